/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/why.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
	/* Where lines are missing, there it is told how many: at the end, or as well where the thread came late to its first
	 * ones. */
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
