/* SPDX-License-Identifier: MIT */
/* A version's health: signs of life, checks of all three kinds with real sockets and processes, and what their results amount
 * to. Time is the test's: nothing is due before the test says so. */
#include "supervisor/health/health.h"
#include "supervisor/process/channel.h"
#include "supervisor/process/graveyard.h"

#include "base/clock.h"
#include "base/fd.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define TURNS 600 /* of at most 50 ms each */
#define INTERVAL_US USEC_PER_SEC
#define CHECK_TIMEOUT_US (2 * USEC_PER_SEC)

static uint64_t now_us;
static struct loop *loop;
static struct unit *unit;
static struct instance instance;
static struct channel channel;
static int application = -1; /* the other end of its channel */
static struct health health;
static struct graveyard graveyard;
static enum health_verdict verdict;
static struct why reason;
static char notes[16][480];
static unsigned n_notes;

static void on_verdict(struct health *heard, enum health_verdict what)
{
	cr_assert_eq(heard, &health);
	cr_assert_eq(verdict, HEALTH_NONE, "told twice");
	verdict = what;
	reason = heard->why;
}

static void on_note(struct health *heard, const char *text)
{
	cr_assert_eq(heard, &health);
	if (n_notes < 16)
		snprintf(notes[n_notes], sizeof(notes[n_notes]), "%s", text);
	n_notes++;
}

static bool was_noted(const char *words)
{
	for (unsigned i = 0; i < n_notes && i < 16; i++)
		if (strstr(notes[i], words))
			return true;
	return false;
}

/* A process of which there is a channel and nothing else. */
static void send_on(struct instance *to, const Upgraded__Wire__AppMessage *message, struct fd_ref *const *fds, size_t n)
{
	(void)to;
	channel_send(&channel, message, fds, n);
}

/* Of what it said, something lies in the channel, although the loop has turned: it had used up its share of the loop's time. */
static bool lies_unread;

static bool has_unread(struct instance *of)
{
	(void)of;
	return lies_unread || channel_has_unread(&channel);
}

static const struct instance_kind kind = { .name = "a test's", .send = send_on, .has_unread = has_unread };

static void set_up(void)
{
	unsigned long long inode;
	struct why why;

	now_us = 1000 * USEC_PER_SEC;
	clock_fake(&now_us);
	cr_assert_eq(loop_new(&loop, &why), 0);
	instance_init(&instance, &kind, "cache", "v3");
	instance.pid = 4711;
	channel_init(&channel, &instance);
	cr_assert_eq(channel_open(&channel, loop, &application, &inode, &why), 0);
}

static void tear_down(void)
{
	health_stop(&health);
	health_stop(&health);
	graveyard_done(&graveyard);
	/* Nothing is left, not even dead. */
	cr_assert(waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD);
	channel_close(&channel);
	fd_close(application);
	loop_free(loop);
	unit_free(unit);
	clock_fake(NULL);
}

TestSuite(health, .init = set_up, .fini = tear_down, .timeout = 60);

#define TURN_UNTIL(condition) \
	do { \
		for (unsigned turn = 0; turn < TURNS && !(condition); turn++) \
			cr_assert_eq(loop_turn(loop, 50), 0); \
		cr_assert(condition, "never came: %s", #condition); \
	} while (0)

static void watch(const char *lines)
{
	char text[4096];
	struct why why;

	snprintf(text, sizeof(text),
		 "[Service]\nExec=/opt/%%v/app\nHealthInterval=1s\nHealthTimeout=5s\nHealthCheckTimeout=2s\n%s", lines);
	cr_assert_eq(unit_parse("cache", "/etc/upgraded/cache.conf", text, &unit, &why), 0, "%s", why.text);
	health_start(&health, &(struct health_spec){ .loop = loop, .graveyard = &graveyard, .unit = unit, .instance = &instance,
						     .on_verdict = on_verdict, .on_note = on_note });
}

/* What is due now happens; then the given time passes. */
static void pass(uint64_t us)
{
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(loop_turn(loop, 0), 0);
	now_us += us;
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(loop_turn(loop, 0), 0);
}

static unsigned pings_heard(void)
{
	char datagram[256];
	unsigned n = 0;

	while (read(application, datagram, sizeof(datagram)) > 0)
		n++;
	return n;
}

/* The only check's next run, which is due, comes to its end. */
static void run_once(void)
{
	uint64_t runs = health.checks[0].runs;

	TURN_UNTIL(health.checks[0].runs == runs + 1);
	/* The verdict has a timer of its own. */
	pass(0);
}

static void run_next(void)
{
	health_pong(&health, health.nonce);
	now_us += INTERVAL_US;
	run_once();
}

/* ---- signs of life ---- */

Test(health, asks_for_a_sign_of_life_at_each_interval)
{
	watch("");
	pass(0);
	cr_assert_eq(pings_heard(), 1);
	health_pong(&health, health.nonce);
	pass(INTERVAL_US / 2);
	cr_assert_eq(pings_heard(), 0);
	pass(INTERVAL_US / 2);
	cr_assert_eq(pings_heard(), 1);
	cr_assert_eq(verdict, HEALTH_NONE);
}

Test(health, is_lost_after_its_timeout_of_silence_and_says_for_how_long)
{
	watch("");
	pass(0);
	health_pong(&health, health.nonce);
	for (unsigned i = 0; i < 6; i++) {
		cr_assert_eq(verdict, HEALTH_NONE);
		pass(INTERVAL_US);
	}
	cr_assert_eq(verdict, HEALTH_NONE, "the first without an answer was asked a second after that with one");
	pass(INTERVAL_US);
	cr_assert_eq(verdict, HEALTH_LOST);
	cr_assert(strstr(reason.text, "version v3 (pid 4711) has not answered for 6000 ms"), "%s", reason.text);
}

Test(health, is_not_lost_while_its_answer_may_lie_unread)
{
	watch("");
	pass(0);
	lies_unread = true;
	for (unsigned i = 0; i < 6; i++)
		pass(INTERVAL_US);
	cr_assert_eq(verdict, HEALTH_NONE);
	lies_unread = false;
	health_pong(&health, health.nonce);
	pass(INTERVAL_US);
	cr_assert_eq(verdict, HEALTH_NONE);
	/* One that talks without end and answers nothing is lost all the same. */
	lies_unread = true;
	for (unsigned i = 0; i < 120 && !verdict; i++)
		pass(i < 6 ? INTERVAL_US : 10 * USEC_PER_MSEC);
	cr_assert_eq(verdict, HEALTH_LOST);
	lies_unread = false;
}

Test(health, does_not_count_time_in_which_the_supervisor_stood_still)
{
	watch("");
	pass(INTERVAL_US);
	pass(100 * INTERVAL_US);
	cr_assert_eq(verdict, HEALTH_NONE);
	health_pong(&health, health.nonce);
	pass(INTERVAL_US);
	cr_assert_eq(verdict, HEALTH_NONE);
}

Test(health, takes_progress_for_an_answer_before_the_first_one)
{
	watch("");
	for (unsigned i = 0; i < 20; i++) {
		pass(INTERVAL_US);
		health_progress(&health, "building the index");
	}
	cr_assert_eq(verdict, HEALTH_NONE);
	health_pong(&health, health.nonce);
	for (unsigned i = 0; i < 8 && !verdict; i++) {
		pass(INTERVAL_US);
		health_progress(&health, "building another");
	}
	cr_assert_eq(verdict, HEALTH_LOST);
}

Test(health, asks_nothing_once_it_is_stopped)
{
	watch("");
	pass(0);
	pings_heard();
	health_stop(&health);
	pass(100 * INTERVAL_US);
	cr_assert_eq(pings_heard(), 0);
	cr_assert_eq(verdict, HEALTH_NONE);
	health_pong(&health, health.nonce);
	health_progress(&health, "late");
}

/* ---- a server whose answers the test chooses ---- */

static struct server {
	int listener;
	uint16_t port;
	struct source source;
	const char *answer; /* NULL: none, and the connection stays open */
	bool endless;       /* the answer's last byte again and again */
	unsigned asked;
	char request[2048]; /* the last */
	struct conversation {
		struct source source;
		int fd;
		size_t n;
		bool answered;
	} conversations[8];
	unsigned n_conversations;
} server;

static void on_conversation(struct source *source, uint32_t events)
{
	struct conversation *c = container_of(source, struct conversation, source);
	static char flood[8192];
	ssize_t n;

	if ((events & EPOLLIN) && !c->answered) {
		n = read(c->fd, server.request + c->n, sizeof(server.request) - 1 - c->n);
		if (n > 0) {
			c->n += (size_t)n;
			server.request[c->n] = 0;
			if (strstr(server.request, "\r\n\r\n")) {
				server.asked++;
				c->answered = true;
				if (server.answer)
					cr_assert_eq(write(c->fd, server.answer, strlen(server.answer)),
						     (ssize_t)strlen(server.answer));
				if (server.answer && !server.endless)
					goto close;
				source_set(source, server.endless ? EPOLLOUT : 0);
			}
			return;
		}
	} else if (server.endless && (events & EPOLLOUT)) {
		memset(flood, 'x', sizeof(flood));
		if (send(c->fd, flood, sizeof(flood), MSG_NOSIGNAL) > 0)
			return;
	}
close:
	source_del(source);
	c->fd = fd_close(c->fd);
}

static void on_connection(struct source *source, uint32_t events)
{
	struct conversation *c;

	(void)events;
	cr_assert_lt(server.n_conversations, 8);
	c = &server.conversations[server.n_conversations++];
	c->fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	cr_assert_geq(c->fd, 0);
	cr_assert_eq(source_add(loop, &c->source, c->fd, EPOLLIN, on_conversation), 0);
}

/* A port of ours; with @listening, somebody answers there. */
static void serve(bool listening)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(server.port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int one = 1;

	if (!server.port)
		server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	cr_assert_eq(setsockopt(server.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	if (!server.port)
		cr_assert_eq(bind(server.listener, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(getsockname(server.listener, (struct sockaddr *)&address, &size), 0);
	server.port = ntohs(address.sin_port);
	if (!listening)
		return;
	cr_assert_eq(listen(server.listener, 8), 0);
	cr_assert_eq(source_add(loop, &server.source, server.listener, EPOLLIN, on_connection), 0);
}

static void serve_no_more(void)
{
	source_del(&server.source);
	server.listener = fd_close(server.listener);
	for (unsigned i = 0; i < server.n_conversations; i++) {
		if (server.conversations[i].fd < 0)
			continue;
		source_del(&server.conversations[i].source);
		fd_close(server.conversations[i].fd);
	}
	server.n_conversations = 0;
}

static void watch_at(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void watch_at(const char *fmt, ...)
{
	char lines[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(lines, sizeof(lines), fmt, args);
	va_end(args);
	watch(lines);
}

#define OK_ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
#define BAD_ANSWER "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\nthe database is away\nand more\n"

/* ---- HTTP ---- */

Test(health, asks_by_http_for_the_path_of_this_version)
{
	serve(true);
	server.answer = OK_ANSWER;
	watch_at("HealthHTTP=http://127.0.0.1:%u/%%n/%%v?deep=1\n", server.port);
	run_once();
	cr_assert_eq(server.asked, 1);
	cr_assert(strncmp(server.request, "GET /cache/v3?deep=1 HTTP/1.1\r\n", 31) == 0, "%s", server.request);
	cr_assert_str_eq(health_state(&health.checks[0]), "ok");
	cr_assert_str_eq(health.checks[0].detail, "HTTP status 200");
	serve_no_more();
}

Test(health, a_redirect_is_healthy_and_not_followed)
{
	serve(true);
	server.answer = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
	watch_at("HealthHTTP=http://127.0.0.1:%u/\n", server.port);
	run_once();
	cr_assert_eq(server.asked, 1);
	cr_assert_str_eq(health_state(&health.checks[0]), "ok");
	serve_no_more();
}

Test(health, three_bad_statuses_in_a_row_are_a_verdict_with_the_first_line_of_the_body)
{
	char expected[256];

	serve(true);
	server.answer = BAD_ANSWER;
	watch_at("HealthHTTP=http://127.0.0.1:%u/ready\n", server.port);
	run_once();
	run_next();
	cr_assert_eq(verdict, HEALTH_NONE);
	cr_assert_eq(health.checks[0].failures, 2);
	run_next();
	cr_assert_eq(verdict, HEALTH_SICK);
	snprintf(expected, sizeof(expected),
		 "version v3 (pid 4711): HealthHTTP=http://127.0.0.1:%u/ready failed 3 times in a row: "
		 "HTTP status 503: the database is away", server.port);
	cr_assert_str_eq(reason.text, expected);
	serve_no_more();
}

Test(health, a_success_in_between_begins_the_count_anew)
{
	serve(true);
	server.answer = BAD_ANSWER;
	watch_at("HealthHTTP=http://127.0.0.1:%u/\n", server.port);
	run_once();
	run_next();
	server.answer = OK_ANSWER;
	run_next();
	cr_assert_eq(health.checks[0].failures, 0);
	cr_assert(was_noted("succeeds again"));
	server.answer = BAD_ANSWER;
	run_next();
	run_next();
	cr_assert_eq(verdict, HEALTH_NONE);
	cr_assert_str_eq(health_state(&health.checks[0]), "failing");
	serve_no_more();
}

Test(health, the_number_of_failures_is_the_service_file_s)
{
	serve(true);
	server.answer = BAD_ANSWER;
	watch_at("HealthFailures=1\nHealthHTTP=http://127.0.0.1:%u/\n", server.port);
	run_once();
	cr_assert_eq(verdict, HEALTH_SICK);
	cr_assert(strstr(reason.text, "/ failed: HTTP status 503"), "%s", reason.text);
	serve_no_more();
}

Test(health, a_server_that_says_nothing_has_failed_after_the_timeout)
{
	serve(true);
	watch_at("HealthHTTP=http://127.0.0.1:%u/\n", server.port);
	TURN_UNTIL(server.asked == 1);
	cr_assert(health.checks[0].running);
	now_us += CHECK_TIMEOUT_US - 1;
	pass(0);
	cr_assert_eq(health.checks[0].runs, 0);
	pass(1);
	cr_assert_eq(health.checks[0].runs, 1);
	cr_assert_eq(health.checks[0].failures, 1);
	cr_assert_str_eq(health.checks[0].detail, "no result within 2000 ms (HealthCheckTimeout=)");
	serve_no_more();
}

Test(health, a_body_without_end_is_not_read_to_it)
{
	serve(true);
	server.answer = "HTTP/1.1 200 OK\r\n\r\n";
	server.endless = true;
	watch_at("HealthHTTP=http://127.0.0.1:%u/\n", server.port);
	run_once();
	cr_assert_str_eq(health.checks[0].detail, "HTTP status 200");
	serve_no_more();
}

Test(health, nonsense_for_an_answer_is_a_failure_in_words)
{
	serve(true);
	server.answer = "\x01\x02 what?\r\n\r\n";
	watch_at("HealthHTTP=http://127.0.0.1:%u/\n", server.port);
	run_once();
	cr_assert_eq(health.checks[0].failures, 1);
	cr_assert(strstr(health.checks[0].detail, "HTTP/0.9"), "%s", health.checks[0].detail);
	serve_no_more();
}

Test(health, a_proxy_in_the_environment_is_not_used)
{
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	serve(true);
	server.answer = OK_ANSWER;
	watch_at("HealthHTTP=http://127.0.0.1:%u/\n", server.port);
	run_once();
	cr_assert_str_eq(health_state(&health.checks[0]), "ok", "%s", health.checks[0].detail);
	serve_no_more();
}

/* ---- TCP ---- */

Test(health, a_tcp_port_that_is_listened_on_is_healthy)
{
	serve(true);
	watch_at("HealthTCP=127.0.0.1:%u\n", server.port);
	run_once();
	cr_assert_str_eq(health_state(&health.checks[0]), "ok", "%s", health.checks[0].detail);
	TURN_UNTIL(server.n_conversations == 1);
	/* And the connection is closed again. */
	TURN_UNTIL(server.conversations[0].fd == -1);
	serve_no_more();
}

Test(health, a_refused_port_fails_with_the_kernel_s_word)
{
	serve(false);
	watch_at("HealthTCP=127.0.0.1:%u\n", server.port);
	run_once();
	cr_assert_str_eq(health.checks[0].detail, "Connection refused");
	run_next();
	run_next();
	cr_assert_eq(verdict, HEALTH_SICK);
	cr_assert(strstr(reason.text, "failed 3 times in a row: Connection refused"), "%s", reason.text);
	serve_no_more();
}

Test(health, the_name_localhost_is_found)
{
	serve(true);
	watch_at("HealthTCP=localhost:%u\n", server.port);
	run_once();
	cr_assert_str_eq(health_state(&health.checks[0]), "ok", "%s", health.checks[0].detail);
	serve_no_more();
}

Test(health, can_be_stopped_in_the_middle_of_everything)
{
	serve(true);
	watch_at("HealthTCP=127.0.0.1:%u\nHealthHTTP=http://127.0.0.1:%u/\nHealthCommand=/bin/sleep 1000\n"
		 "HealthHTTP=http://no-such-host.invalid/\n", server.port, server.port);
	TURN_UNTIL(server.asked == 1 && health.checks[2].running && health.checks[2].child.pid > 0);
	health_stop(&health);
	pass(100 * INTERVAL_US);
	cr_assert_eq(verdict, HEALTH_NONE);
	serve_no_more();
}

/* ---- commands ---- */

Test(health, a_command_that_exits_with_0_is_healthy)
{
	watch("HealthCommand=/bin/echo all is well\n");
	run_once();
	cr_assert_str_eq(health_state(&health.checks[0]), "ok");
	cr_assert_str_eq(health.checks[0].detail, "all is well");
}

Test(health, a_command_knows_what_it_is_about)
{
	watch("Environment=MODE=test\n"
	      "HealthCommand=/bin/sh -c 'echo \"$0 $UPGRADE_PID $UPGRADE_VERSION $UPGRADE_SERVICE $MODE "
	      "${UPGRADE_FD-none}\"' %n-%v\n");
	run_once();
	cr_assert_str_eq(health.checks[0].detail, "cache-v3 4711 v3 cache test none");
}

Test(health, a_command_that_fails_is_told_with_its_last_line)
{
	watch("HealthFailures=2\n"
	      "HealthCommand=/bin/sh -c 'echo first; echo; printf \"disk \\\\033[1m full\\r\\n\\n\" >&2; exit 3'\n");
	run_once();
	cr_assert_str_eq(health.checks[0].detail, "exited with status 3: disk ?[1m full");
	run_next();
	cr_assert_eq(verdict, HEALTH_SICK);
	cr_assert(strstr(reason.text, "failed 2 times in a row: exited with status 3: disk ?[1m full"), "%s", reason.text);
}

Test(health, a_command_that_is_killed_is_told_by_its_signal)
{
	watch("HealthCommand=/bin/sh -c 'kill -SEGV $$'\n");
	run_once();
	cr_assert(strncmp(health.checks[0].detail, "was killed by SIGSEGV", 21) == 0, "%s", health.checks[0].detail);
}

Test(health, a_command_that_is_not_there_fails_and_says_so)
{
	watch("HealthCommand=/nonexistent/%v/check\n");
	run_once();
	cr_assert_eq(health.checks[0].failures, 1);
	cr_assert(strstr(health.checks[0].detail, "/nonexistent/v3/check: exec"), "%s", health.checks[0].detail);
}

Test(health, a_command_that_hangs_is_killed_with_what_it_started)
{
	char line[128], path[] = "/tmp/upg-health.XXXXXX";
	struct pollfd end = { .events = POLLIN };
	FILE *file = fdopen(mkstemp(path), "r");
	int pid = 0;

	cr_assert_not_null(file);
	snprintf(line, sizeof(line), "HealthCommand=/bin/sh -c 'echo waiting; sleep 1000 & echo $! >%s; wait'\n", path);
	watch(line);
	TURN_UNTIL((rewind(file), fscanf(file, "%d", &pid)) == 1);
	end.fd = pidfd_open(pid, 0);
	cr_assert_geq(end.fd, 0);
	TURN_UNTIL(health.checks[0].output.line.text[0]);
	pass(CHECK_TIMEOUT_US);
	cr_assert_eq(health.checks[0].failures, 1);
	cr_assert_str_eq(health.checks[0].detail, "no result within 2000 ms (HealthCheckTimeout=); it said: waiting");
	TURN_UNTIL(poll(&end, 1, 0) == 1);
	close(end.fd);
	fclose(file);
	unlink(path);
}

Test(health, a_command_that_prints_without_end_does_not_hold_the_loop)
{
	watch("HealthCommand=/usr/bin/yes still here\n");
	TURN_UNTIL(health.checks[0].output.line.text[0]);
	pass(CHECK_TIMEOUT_US);
	cr_assert_eq(health.checks[0].failures, 1);
	cr_assert(strstr(health.checks[0].detail, "still here"), "%s", health.checks[0].detail);
}

Test(health, what_a_command_left_behind_is_not_waited_for)
{
	watch("HealthCommand=/bin/sh -c 'sleep 1000 & echo done'\n");
	run_once();
	cr_assert_str_eq(health_state(&health.checks[0]), "ok");
	cr_assert_str_eq(health.checks[0].detail, "done");
}

/* ---- what it amounts to ---- */

Test(health, a_failing_check_is_no_verdict_while_the_heart_does_not_beat)
{
	watch("HealthCommand=/bin/false\n");
	run_once();
	for (unsigned i = 0; i < 4; i++) {
		now_us += INTERVAL_US;
		run_once();
	}
	cr_assert_gt(health.checks[0].failures, 3);
	cr_assert_eq(verdict, HEALTH_NONE);
	for (unsigned i = 0; i < 3 && !verdict; i++) {
		now_us += INTERVAL_US;
		run_once();
	}
	cr_assert_eq(verdict, HEALTH_LOST);
}

Test(health, and_is_one_as_soon_as_it_beats_again)
{
	watch("HealthCommand=/bin/false\n");
	run_once();
	for (unsigned i = 0; i < 4; i++) {
		now_us += INTERVAL_US;
		run_once();
	}
	cr_assert_eq(verdict, HEALTH_NONE);
	run_next();
	cr_assert_eq(verdict, HEALTH_SICK);
}

Test(health, each_check_counts_for_itself)
{
	watch("HealthCommand=/bin/true\nHealthCommand=/bin/false\n");
	TURN_UNTIL(health.checks[0].runs == 1 && health.checks[1].runs == 1);
	health_pong(&health, health.nonce);
	now_us += INTERVAL_US;
	TURN_UNTIL(health.checks[0].runs == 2 && health.checks[1].runs == 2);
	cr_assert_eq(health.checks[0].failures, 0);
	cr_assert_eq(health.checks[1].failures, 2);
}

Test(health, progress_excuses_failures_of_a_check_that_never_succeeded)
{
	watch("HealthCommand=/bin/false\n");
	health_progress(&health, "40 of 100 segments");
	run_once();
	for (unsigned i = 0; i < 10; i++) {
		health_progress(&health, "more segments");
		run_next();
	}
	cr_assert_eq(verdict, HEALTH_NONE);
	cr_assert_eq(health.checks[0].failures, 0);
	cr_assert_str_eq(health_state(&health.checks[0]), "warming up");
	cr_assert(was_noted("excused, as it makes progress: 40 of 100 segments"));
	cr_assert_leq(n_notes, 1, "told each time");
	/* It says nothing any more. */
	now_us += 1;
	run_next();
	run_next();
	cr_assert_eq(verdict, HEALTH_NONE);
	run_next();
	cr_assert_eq(verdict, HEALTH_SICK);
}

Test(health, progress_excuses_nothing_once_the_check_has_succeeded)
{
	serve(true);
	server.answer = OK_ANSWER;
	watch_at("HealthHTTP=http://127.0.0.1:%u/\n", server.port);
	run_once();
	server.answer = BAD_ANSWER;
	for (unsigned i = 0; i < 3; i++) {
		health_progress(&health, "always busy");
		run_next();
	}
	cr_assert_eq(verdict, HEALTH_SICK);
	serve_no_more();
}

/* ---- the end of the bake ---- */

/* A Ping is heard from now on. */
static void forget_pings(void)
{
	(void)pings_heard();
}

Test(health, the_bake_ends_with_a_sign_of_life_that_was_asked_for_then)
{
	watch("HealthCommand=/bin/true\n");
	run_once();
	health_pong(&health, health.nonce);
	forget_pings();
	health_conclude(&health, false);
	cr_assert_eq(pings_heard(), 1, "at once, not at the next interval");
	pass(0);
	cr_assert_eq(verdict, HEALTH_NONE, "the answer before it does not count");
	health_pong(&health, health.nonce);
	pass(0);
	cr_assert_eq(verdict, HEALTH_SETTLED);
}

Test(health, without_checks_the_bake_ends_with_that_alone)
{
	watch("");
	health_conclude(&health, false);
	health_pong(&health, health.nonce);
	pass(0);
	cr_assert_eq(verdict, HEALTH_SETTLED);
}

/* Stopped by SIGSTOP in a bake that is shorter than HealthTimeout=: it was never silent for long enough to be lost before. */
Test(health, a_version_that_does_not_give_it_in_time_is_lost)
{
	watch("");
	pass(0);
	health_pong(&health, health.nonce);
	pass(INTERVAL_US / 2);
	health_conclude(&health, false);
	for (unsigned i = 0; i < 10; i++) {
		cr_assert_eq(verdict, HEALTH_NONE);
		pass(INTERVAL_US / 2);
	}
	pass(INTERVAL_US / 2);
	cr_assert_eq(verdict, HEALTH_LOST);
	cr_assert(strstr(reason.text, "not every thread passes its update point"), "%s", reason.text);
}

Test(health, an_answer_to_an_earlier_ping_is_no_proof_and_is_asked_after_at_once)
{
	uint64_t earlier;

	watch("");
	pass(0);
	earlier = health.nonce;
	health_conclude(&health, false);
	forget_pings();
	health_pong(&health, earlier);
	cr_assert_eq(pings_heard(), 1, "the library answers one ping and lets go those that came meanwhile");
	pass(0);
	cr_assert_eq(verdict, HEALTH_NONE);
	health_pong(&health, health.nonce);
	pass(0);
	cr_assert_eq(verdict, HEALTH_SETTLED);
}

Test(health, what_was_not_asked_is_no_answer)
{
	watch("");
	pass(0);
	health_conclude(&health, false);
	health_pong(&health, 0);
	health_pong(&health, health.nonce + 1);
	pass(0);
	cr_assert_eq(verdict, HEALTH_NONE);
	cr_assert_neq(health.unanswered_us, 0);
}

Test(health, an_answer_counts_once)
{
	watch("");
	pass(0);
	health_pong(&health, health.nonce);
	pass(INTERVAL_US);
	health_pong(&health, health.nonce - 1);
	cr_assert_neq(health.unanswered_us, 0);
}

Test(health, the_bake_waits_for_a_first_success_and_asks_after_it)
{
	watch("HealthCommand=/bin/true\n");
	health_conclude(&health, false);
	cr_assert(was_noted("the time to bake is over, but HealthCommand=/bin/true has not succeeded yet"));
	health_pong(&health, health.nonce);
	run_once();
	cr_assert_eq(verdict, HEALTH_NONE, "the sign of life comes last");
	health_pong(&health, health.nonce);
	pass(0);
	cr_assert_eq(verdict, HEALTH_SETTLED);
}

Test(health, by_order_no_check_is_waited_for_but_the_sign_of_life_is)
{
	watch("HealthCommand=/bin/false\n");
	run_once();
	health_conclude(&health, true);
	pass(0);
	cr_assert_eq(verdict, HEALTH_NONE);
	health_pong(&health, health.nonce);
	pass(0);
	cr_assert_eq(verdict, HEALTH_SETTLED);
}

Test(health, can_be_asked_to_conclude_once_more)
{
	watch("");
	health_conclude(&health, false);
	health_pong(&health, health.nonce);
	pass(0);
	cr_assert_eq(verdict, HEALTH_SETTLED);
	verdict = HEALTH_NONE;
	pass(20 * INTERVAL_US);
	health_pong(&health, health.nonce);
	health_conclude(&health, false);
	pass(0);
	cr_assert_eq(verdict, HEALTH_NONE, "it needs a new proof");
	health_pong(&health, health.nonce);
	pass(0);
	cr_assert_eq(verdict, HEALTH_SETTLED);
}

Test(health, after_the_bake_s_time_progress_excuses_nothing)
{
	watch("HealthCommand=/bin/false\n");
	health_progress(&health, "busy");
	run_once();
	health_conclude(&health, false);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(verdict, HEALTH_NONE);
		health_progress(&health, "busy");
		run_next();
	}
	cr_assert_eq(verdict, HEALTH_SICK);
}

/* ---- told ---- */

Test(health, says_how_the_heart_beats)
{
	char text[128];

	watch("");
	cr_assert_str_eq(health_heartbeat(&health, text, sizeof(text)), "waiting");
	pass(0);
	health_pong(&health, health.nonce);
	cr_assert_str_eq(health_heartbeat(&health, text, sizeof(text)), "ok");
	for (unsigned i = 0; i < 3; i++)
		pass(INTERVAL_US);
	cr_assert_str_eq(health_heartbeat(&health, text, sizeof(text)), "silent");
}
