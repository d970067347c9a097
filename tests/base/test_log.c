/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/log_queue.h"
#include "base/why.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(log, .timeout = 10);

static int real_stderr;
static int log_fd;      /* reading end of what stderr became; packets, so that each write(2) stays one */

static void setup(void)
{
	int ends[2];

	unsetenv("JOURNAL_STREAM");
	cr_assert_eq(pipe2(ends, O_CLOEXEC | O_DIRECT | O_NONBLOCK), 0);
	real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	cr_assert_geq(dup2(ends[1], STDERR_FILENO), 0);
	fd_close(ends[1]);
	log_fd = ends[0];
}

static void teardown(void)
{
	dup2(real_stderr, STDERR_FILENO);
	fd_close(real_stderr);
	fd_close(log_fd);
}

/* One write(2)'s worth; "" when nothing was written. */
static const char *written(void)
{
	static char line[LOG_LINE_BYTES + 1];
	ssize_t n = read(log_fd, line, sizeof(line) - 1);

	line[n > 0 ? n : 0] = '\0';
	return line;
}

static const char *with_name(const char *text)
{
	static char line[256];

	snprintf(line, sizeof(line), "%s: %s", program_invocation_short_name, text);
	return line;
}

static void set_stream(unsigned long long inode_offset)
{
	char stream[64];
	struct stat st;

	cr_assert_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, st.st_ino + inode_offset);
	cr_assert_eq(setenv("JOURNAL_STREAM", stream, 1), 0);
}

Test(log, writes_a_line_in_one_go_with_the_program_name, .init = setup, .fini = teardown)
{
	log_info("service %s: rolled", "a");
	cr_assert_str_eq(written(), with_name("service a: rolled\n"));
	cr_assert_str_eq(written(), "");
}

Test(log, gives_the_journal_priorities_instead_of_a_name, .init = setup, .fini = teardown)
{
	set_stream(0);
	log_error("one");
	cr_assert_str_eq(written(), "<3>one\n");
	log_warning("two");
	cr_assert_str_eq(written(), "<4>two\n");
	log_info("three");
	cr_assert_str_eq(written(), "<6>three\n");
}

Test(log, does_not_believe_a_journal_stream_that_is_not_its_stderr, .init = setup, .fini = teardown)
{
	set_stream(1);
	log_error("one");
	cr_assert_str_eq(written(), with_name("one\n"));
}

Test(log, survives_a_malformed_journal_stream, .init = setup, .fini = teardown)
{
	setenv("JOURNAL_STREAM", "12:34:56", 1);
	log_error("one");
	cr_assert_str_eq(written(), with_name("one\n"));
}

Test(log, keeps_quiet_above_its_level, .init = setup, .fini = teardown)
{
	log_debug("too much");
	cr_assert_str_eq(written(), "");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("wanted");
	cr_assert_str_eq(written(), with_name("wanted\n"));
	log_set_level(LOG_LEVEL_ERROR);
	log_warning("not wanted");
	cr_assert_str_eq(written(), "");
}

Test(log, does_not_let_a_message_forge_lines, .init = setup, .fini = teardown)
{
	log_error("peer says: %s", "x\n<0>forged\033[2J\r");
	cr_assert_str_eq(written(), with_name("peer says: x <0>forged [2J \n"));
}

Test(log, cuts_a_long_message_and_still_ends_the_line, .init = setup, .fini = teardown)
{
	char big[8000];
	const char *line;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_error("%s", big);
	line = written();
	cr_assert_eq(strlen(line), LOG_LINE_BYTES);
	cr_assert_eq(line[LOG_LINE_BYTES - 1], '\n');
	cr_assert_str_eq(written(), "");
}

Test(log, keeps_other_languages_and_cuts_between_their_characters, .init = setup, .fini = teardown)
{
	char big[LOG_LINE_BYTES + 64];
	const char *line;

	log_info("Gr\xc3\xbc\xc3\x9f Gott, \xc2\x9b and \x9b");
	cr_assert_str_eq(written(), with_name("Gr\xc3\xbc\xc3\x9f Gott, ?? and ?\n"));
	for (size_t i = 0; i + 3 < sizeof(big); i += 3)
		memcpy(big + i, "\xe6\x97\xa5", 4);
	for (unsigned shift = 0; shift < 3; shift++) {
		log_info("%.*s%s", (int)shift, "ab", big);
		line = written();
		cr_assert_null(strchr(line, '?'));
		cr_assert_geq(strlen(line), (size_t)LOG_LINE_BYTES - 2);
		cr_assert_eq(line[strlen(line) - 1], '\n');
	}
}

Test(log, keeps_errno, .init = setup, .fini = teardown)
{
	errno = EXDEV;
	log_error("what");
	cr_assert_eq(errno, EXDEV);
	cr_assert_str_eq(written(), with_name("what\n"));
}

static void *log_some(void *arg)
{
	for (int i = 0; i < 3; i++)
		log_error("%s", (const char *)arg);
	return NULL;
}

Test(log, lines_of_several_threads_do_not_mix, .init = setup, .fini = teardown)
{
	char words[4][8] = { "one", "two", "three", "four" };
	pthread_t threads[4];

	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, log_some, words[i]), 0);
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	for (size_t i = 0; i < 12; i++) {
		const char *line = written();
		bool known = false;

		for (size_t word = 0; word < 4; word++) {
			char expected[40];

			snprintf(expected, sizeof(expected), "%s\n", words[word]);
			known = known || strcmp(line, with_name(expected)) == 0;
		}
		cr_assert(known, "got '%s'", line);
	}
	cr_assert_str_eq(written(), "");
}

/* ---- lines that a thread writes ---- */

/* A pipe as it is between us and a reader who stands still: it is full. */
static int stuck_reader(void)
{
	static char block[4096];
	int ends[2], flags;

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	cr_assert_geq(fcntl(ends[1], F_SETPIPE_SZ, 4096), 0);
	flags = fcntl(ends[1], F_GETFL);
	cr_assert_eq(fcntl(ends[1], F_SETFL, flags | O_NONBLOCK), 0);
	memset(block, '.', sizeof(block));
	while (write(ends[1], block, sizeof(block)) > 0)
		;
	cr_assert_eq(fcntl(ends[1], F_SETFL, flags), 0);
	real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	cr_assert_geq(dup2(ends[1], STDERR_FILENO), 0);
	fd_close(ends[1]);
	return ends[0];
}

/* Reads until there are no writers any more, or until @end was read. Return: all of it, for the caller to free. */
static char *read_until(int fd, const char *end)
{
	size_t used = 0, room = (size_t)1 << 20;
	char *text = malloc(room);
	ssize_t n;

	cr_assert_not_null(text);
	do {
		n = read(fd, text + used, room - 1 - used);
		cr_assert_geq(n, 0);
		used += (size_t)n;
		text[used] = '\0';
	} while (n > 0 && !strstr(text, end));
	return text;
}

Test(log, of_a_reader_who_stands_still_holds_nobody_up_and_tells_what_was_dropped)
{
	unsigned long dropped = 0, queued = 0;
	struct why why = { 0 };
	int reader = stuck_reader();
	char *text, *rest;

	unsetenv("JOURNAL_STREAM");
	cr_assert_eq(log_defer(&why), 0, "%s", why.text);
	for (int i = 0; i < 100000; i++)
		log_info("line %d", i);
	log_error("this one matters"); /* there is room left for it */
	text = read_until(reader, "matters");
	/* Where lines are missing, there it is told how many: at the end, and where the thread came late to its first ones. */
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		const char *words = strstr(line, ": ");
		unsigned long n;

		if (words && sscanf(words, ": line %lu", &n) == 1)
			cr_assert_eq(n, dropped + queued++, "a line is missing, or two have changed places");
		else if (words && strstr(words, " lines of this log were dropped: nobody read it"))
			dropped += strtoul(words + 2, NULL, 10);
	}
	cr_assert_gt(dropped, 0ul);
	cr_assert_gt(queued, 1000ul);
	cr_assert_eq(queued + dropped, 100000ul);
	free(text);
	log_settle(5 * USEC_PER_SEC);
	dup2(real_stderr, STDERR_FILENO);
	fd_close(reader);
}

Test(log, that_nobody_reads_does_not_keep_the_program_from_ending)
{
	int reader = stuck_reader();
	uint64_t before;

	cr_assert_eq(log_defer(NULL), 0);
	log_info("lost");
	before = clock_now_us();
	log_settle(50 * USEC_PER_MSEC);
	cr_assert_lt(clock_now_us() - before, 5 * USEC_PER_SEC);
	log_info("lost as well, and nobody waits");
	dup2(real_stderr, STDERR_FILENO);
	fd_close(reader);
}

Test(log, is_written_to_its_end_before_the_program_ends, .init = setup, .fini = teardown)
{
	cr_assert_eq(log_defer(NULL), 0);
	log_info("one");
	log_settle(5 * USEC_PER_SEC);
	cr_assert_str_eq(written(), with_name("one\n"));
	log_info("two"); /* as at the beginning: who logs writes */
	cr_assert_str_eq(written(), with_name("two\n"));
}

Test(log, of_a_forked_child_is_written_by_the_child, .init = setup, .fini = teardown)
{
	pid_t child;
	int status;

	cr_assert_eq(log_defer(NULL), 0);
	child = fork();
	if (child == 0) {
		log_info("from the child");
		_exit(0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	cr_assert_str_eq(written(), with_name("from the child\n"));
	log_settle(5 * USEC_PER_SEC);
}

/* ---- the journal ---- */

static char journal_path[64];
static int journal_fd;

/* A journal of our own, which stderr is said to be. */
static void setup_journal(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	setup();
	set_stream(0);
	snprintf(journal_path, sizeof(journal_path), "/tmp/upg-journal-%d", (int)getpid());
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", journal_path);
	journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert_geq(journal_fd, 0);
	cr_assert_eq(bind(journal_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	log_queue_journal_at(journal_path);
}

static void teardown_journal(void)
{
	unlink(journal_path);
	fd_close(journal_fd);
	teardown();
}

static const char *record(void)
{
	static char text[8192];
	ssize_t n = recv(journal_fd, text, sizeof(text) - 1, 0);

	cr_assert_gt(n, 0);
	text[n] = 0;
	return text;
}

static const char *fields(const char *more)
{
	static char text[512];

	snprintf(text, sizeof(text), "PRIORITY=4\nSYSLOG_IDENTIFIER=%s\n%s", program_invocation_short_name, more);
	return text;
}

static const struct log_about roll_of_web = { .service = "web", .roll = 17, .phase = "bake" };
static const struct log_about words_of_web = { .service = "web", .version = "v1", .pid = 12, .printed = true };

Test(log, gives_the_journal_fields, .init = setup_journal, .fini = teardown_journal)
{
	cr_assert_eq(log_defer(NULL), 0);
	log_about(LOG_LEVEL_WARNING, &roll_of_web, "it was %s", "seen");
	cr_assert_str_eq(record(), fields("UPGRADED_SERVICE=web\nUPGRADED_ROLL=17\nUPGRADED_PHASE=bake\n"
					  "MESSAGE=web: it was seen\n"));
	log_warning("nothing of a service");
	cr_assert_str_eq(record(), fields("MESSAGE=nothing of a service\n"));
	log_settle(5 * USEC_PER_SEC);
	cr_assert_str_eq(written(), "", "something went to stderr as well");
}

Test(log, shows_the_journal_what_a_service_prints_under_its_own_name, .init = setup_journal, .fini = teardown_journal)
{
	cr_assert_eq(log_defer(NULL), 0);
	log_about(LOG_LEVEL_INFO, &words_of_web, "hello");
	cr_assert_str_eq(record(), "PRIORITY=6\nSYSLOG_IDENTIFIER=web\nSYSLOG_PID=12\nUPGRADED_SERVICE=web\nUPGRADED_VERSION=v1\n"
				   "MESSAGE=hello\n");
	log_settle(5 * USEC_PER_SEC);
}

Test(log, lets_nobody_forge_a_field, .init = setup_journal, .fini = teardown_journal)
{
	cr_assert_eq(log_defer(NULL), 0);
	log_about(LOG_LEVEL_INFO, &words_of_web, "%s", "x\nPRIORITY=0\nUPGRADED_SERVICE=other");
	cr_assert(strstr(record(), "\nMESSAGE=x PRIORITY=0 UPGRADED_SERVICE=other\n"));
	log_settle(5 * USEC_PER_SEC);
}

Test(log, goes_to_stderr_when_the_journal_has_gone_and_to_the_journal_when_it_is_back, .init = setup_journal,
     .fini = teardown_journal)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	cr_assert_eq(log_defer(NULL), 0);
	fd_close(journal_fd);
	unlink(journal_path);
	log_about(LOG_LEVEL_WARNING, &roll_of_web, "one");
	log_settle(5 * USEC_PER_SEC);
	cr_assert_str_eq(written(), "<4>web: one\n");

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", journal_path);
	journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(journal_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(log_defer(NULL), 0);
	fd_close(journal_fd);
	unlink(journal_path);
	journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(journal_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	log_about(LOG_LEVEL_WARNING, &roll_of_web, "two");
	cr_assert(strstr(record(), "MESSAGE=web: two\n"), "a journal that was started anew is not found");
	log_settle(5 * USEC_PER_SEC);
}

Test(log, says_what_it_is_about_where_there_is_no_journal, .init = setup, .fini = teardown)
{
	log_about(LOG_LEVEL_INFO, &roll_of_web, "one");
	cr_assert_str_eq(written(), with_name("web: one\n"));
	log_about(LOG_LEVEL_INFO, &words_of_web, "two");
	cr_assert_str_eq(written(), with_name("web[v1 12]: two\n"));
}

/* What the journal's queue has no room for waits in ours, and beyond that it is dropped: whoever logs does not wait, and it is told
 * how much is missing. */
Test(log, of_a_journal_that_stands_still_holds_nobody_up, .init = setup_journal, .fini = teardown_journal)
{
	unsigned long seen = 0, dropped = 0;

	cr_assert_eq(log_defer(NULL), 0);
	for (int i = 0; i < 10000; i++)
		log_about(LOG_LEVEL_INFO, &words_of_web, "line %d", i);
	while (seen + dropped < 10000) {
		const char *text = strstr(record(), "\nMESSAGE=") + 9;

		if (strncmp(text, "line ", 5) == 0) {
			cr_assert_eq(strtoul(text + 5, NULL, 10), seen + dropped);
			seen++;
		} else {
			dropped += strtoul(text, NULL, 10);
		}
	}
	cr_assert_gt(dropped, 0ul);
	log_settle(5 * USEC_PER_SEC);
}
