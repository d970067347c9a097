/* SPDX-License-Identifier: MIT */
/* The life of a service's process without a roll: it starts, serves, fails, and is started again. */
#include "tests/supervisor/hosted.h"

#include <errno.h>
#include <signal.h>

#define HEARD(what) UPGRADED__WIRE__APP_MESSAGE__BODY_##what

static void set_up(void)
{
	hosted_set(NULL);
}

static void tear_down(void)
{
	hosted_clear();
}

TestSuite(member, .timeout = 20, .init = set_up, .fini = tear_down);

static int some_file(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	return fd;
}

static bool is_closed(int fd)
{
	return fcntl(fd, F_GETFD) < 0 && errno == EBADF;
}

/* ann asks for a start of v1. Return: its process. */
static struct fake *begin(int state_file)
{
	unsigned n = hosted.origin.n_started;

	service_start(hosted.web, "v1", state_file, ask(&ann));
	assert_waits(&ann);
	return started(n);
}

/* The start has failed, as @cause says, and nothing follows. */
#define assert_failed(...)                                                               \
	do {                                                                                 \
		assert_answer(&ann, WIRE_EXIT_ERROR, "web version v1 could not be started");     \
		assert_text(ann.asked.cause, __VA_ARGS__);                                       \
		cr_assert_str_eq(ann.asked.next, "fix the cause, then start it again");         \
		cr_assert_str_eq(ann.asked.serving, "nothing");                                  \
		assert_status("failed", "");                                                     \
		hosted_pass(USEC_PER_SEC);                                                       \
		cr_assert(service_is_idle(hosted.web), "it was started again");                  \
	} while (0)

static const char *description(void)
{
	static char text[512];
	struct status status;

	service_status(hosted.web, &status);
	snprintf(text, sizeof(text), "%s", status.message.description);
	status_done(&status);
	return text;
}

static unsigned restarts(void)
{
	struct status status;
	unsigned n;

	service_status(hosted.web, &status);
	n = status.message.restarts;
	status_done(&status);
	return n;
}

/* ---- starting ---- */

Test(member, serves_as_soon_as_its_process_is_ready)
{
	struct fake *fake = begin(-1);

	assert_status("starting", "v1");
	cr_assert_str_eq(hosted_processes(), "starting v1");
	fake_hello(fake, 1, false);
	cr_assert_eq(fake->n_sent, 0, "it was spoken to before it stood by");
	fake_standby(fake);
	cr_assert_eq(fake_heard_last(fake), HEARD(WELCOME));
	assert_waits(&ann);
	fake_ready(fake);
	assert_answer(&ann, WIRE_EXIT_DONE, "web version v1 serves (pid %d)", fake->instance.pid);
	assert_serving(&ann, fake);
	assert_status("running", "v1");
	cr_assert_str_eq(hosted_processes(), "serving v1");
	/* No deadline of the start is left. */
	hosted_pass(60 * USEC_PER_SEC);
	cr_assert_eq(fake->signal, 0);
}

Test(member, fails_where_no_process_can_be_made)
{
	hosted.origin.refuses = true;
	service_start(hosted.web, "v1", -1, ask(&ann));
	assert_failed("version v1: no such file");
	cr_assert_eq(ann.asked.n_lines, 0);
	cr_assert_str_eq(hosted_processes(), "");
	/* What was mended counts at once. */
	hosted.origin.refuses = false;
	hosted_start_up(begin(-1));
	assert_status("running", "v1");
	cr_assert_str_eq(description(), "");
}

Test(member, tells_what_the_process_refused_with)
{
	struct fake *fake = begin(-1);
	pid_t pid = fake->instance.pid;

	fake_hello(fake, 1, false);
	fake_refused(fake, "port 80 is taken\033[2J");
	assert_waits(&ann);
	fake_exit(fake, 3 << 8);
	assert_failed("pid %d: port 80 is taken?[2J", pid);
	assert_text(description(), "pid %d: port 80 is taken?[2J", pid);
}

Test(member, tells_how_a_process_ended_that_said_nothing)
{
	struct fake *fake = begin(-1);
	pid_t pid = fake->instance.pid;

	lines_put(&fake->instance.lines, "opening the database", strlen("opening the database"));
	lines_put(&fake->instance.lines, "no such table", strlen("no such table"));
	fake_exit(fake, 3 << 8);
	cr_assert(is_gone(0));
	cr_assert_eq(ann.asked.n_lines, 2);
	cr_assert_str_eq(ann.result->log_lines[1], "no such table");
	assert_failed("pid %d exited with status 3 before it was ready", pid);
}

Test(member, does_not_wait_forever_for_a_hello)
{
	struct fake *fake = begin(-1);
	pid_t pid = fake->instance.pid;

	hosted_pass(10 * USEC_PER_SEC - 1);
	cr_assert_eq(fake->signal, 0);
	hosted_pass(1);
	cr_assert_eq(fake->signal, SIGKILL);
	assert_waits(&ann);
	assert_status("starting", "v1");
	hosted_reap();
	assert_failed("version v1 (pid %d) did not say hello within 10000 ms (StartTimeout=): is it linked with libupgrade, and "
		      "does it call upg_open()?", pid);
}

Test(member, does_not_wait_forever_for_it_to_be_ready)
{
	struct fake *fake = begin(-1);
	pid_t pid = fake->instance.pid;

	fake_hello(fake, 1, false);
	fake_standby(fake);
	hosted_pass(10 * USEC_PER_SEC);
	cr_assert_eq(fake->signal, SIGKILL);
	hosted_reap();
	assert_failed("version v1 (pid %d) did not become ready within 10000 ms (StartTimeout=)", pid);
}

Test(member, is_ready_if_it_said_so_in_time_and_was_not_heard_yet)
{
	struct fake *fake = begin(-1);

	fake_hello(fake, 1, false);
	fake_standby(fake);
	fake->has_unread = true;
	hosted_pass(10 * USEC_PER_SEC);
	cr_assert_eq(fake->signal, 0);
	fake->has_unread = false;
	fake_ready(fake);
	assert_answer(&ann, WIRE_EXIT_DONE, "web version v1 serves (pid %d)", fake->instance.pid);
	assert_status("running", "v1");
}

Test(member, is_not_ready_any_more_once_it_was_killed)
{
	struct fake *fake = begin(-1);
	pid_t pid = fake->instance.pid;

	fake_hello(fake, 1, false);
	fake_standby(fake);
	hosted_pass(10 * USEC_PER_SEC);
	cr_assert_eq(fake->signal, SIGKILL);
	fake_ready(fake);
	assert_waits(&ann);
	assert_status("starting", "v1");
	hosted_reap();
	assert_failed("version v1 (pid %d) did not become ready within 10000 ms (StartTimeout=)", pid);
}

Test(member, has_its_time_anew_with_each_word_of_progress)
{
	struct fake *fake = begin(-1);
	pid_t pid = fake->instance.pid;

	fake_hello(fake, 1, false);
	fake_standby(fake);
	hosted_pass(9 * USEC_PER_SEC);
	fake_progress(fake, "half of the cache");
	cr_assert_str_eq(ann.said, "start: half of the cache\n");
	hosted_pass(9 * USEC_PER_SEC);
	fake_progress(fake, "all of it");
	hosted_pass(10 * USEC_PER_SEC - 1);
	cr_assert_eq(fake->signal, 0);
	hosted_pass(1);
	cr_assert_eq(fake->signal, SIGKILL);
	hosted_reap();
	cr_assert_str_eq(ann.said, "start: half of the cache\nstart: all of it\n");
	assert_failed("version v1 (pid %d) did not become ready within 10000 ms (StartTimeout=) of its last word of progress", pid);
}

Test(member, passes_progress_on_once_a_second)
{
	struct fake *fake = begin(-1);

	for (int i = 0; i < 10; i++)
		fake_progress(fake, "one");
	hosted_pass(USEC_PER_SEC);
	fake_progress(fake, "two");
	cr_assert_str_eq(ann.said, "start: one\nstart: two\n");
	/* It counts as progress of a start only. */
	hosted_start_up(fake);
	hosted_pass(USEC_PER_SEC);
	fake_progress(fake, "three");
	cr_assert_eq(ann.asked.progresses, 2);
}

Test(member, ignores_what_does_not_belong_to_a_start)
{
	struct fake *fake = begin(-1);

	fake_garbage(fake, "said hello twice");
	fake_resumed(fake);
	fake_parked(fake);
	fake_hand_over(fake, 2, true);
	hosted_start_up(fake);
	assert_answer(&ann, WIRE_EXIT_DONE, "web version v1 serves (pid %d)", fake->instance.pid);
	/* And to the time afterwards. */
	fake_ready(fake);
	fake_standby(fake);
	fake_refused(fake, "too late");
	cr_assert_eq(fake_heard_times(fake, HEARD(WELCOME)), 1);
	cr_assert_eq(ann.asked.answers, 1);
	assert_status("running", "v1");
	cr_assert_str_eq(description(), "");
}

/* ---- with a state file ---- */

Test(member, gives_a_state_file_to_the_process_and_closes_it)
{
	int fd = some_file();
	struct fake *fake = begin(fd);

	fake_hello(fake, 1, false);
	cr_assert_not(is_closed(fd));
	fake_standby(fake);
	cr_assert_eq(fake_heard_last(fake), HEARD(RECEIVE));
	cr_assert_not(fake_heard(fake, HEARD(WELCOME)));
	fake_ready(fake);
	assert_answer(&ann, WIRE_EXIT_DONE, "web version v1 serves (pid %d)", fake->instance.pid);
	cr_assert(is_closed(fd));
}

Test(member, closes_the_state_file_of_a_start_that_failed)
{
	int fd = some_file();
	struct fake *fake = begin(fd);
	pid_t pid = fake->instance.pid;

	fake_hello(fake, 1, false);
	fake_standby(fake);
	fake_refused(fake, "the file is of a newer version");
	fake_exit(fake, 1 << 8);
	assert_failed("pid %d: the file is of a newer version", pid);
	cr_assert(is_closed(fd));
}

Test(member, closes_the_state_file_of_a_start_that_cannot_begin)
{
	int fd = some_file();

	hosted.origin.refuses = true;
	service_start(hosted.web, "v1", fd, ask(&ann));
	assert_failed("version v1: no such file");
	cr_assert(is_closed(fd), "nobody will ever read it");
}

Test(member, has_the_time_of_a_transfer_to_load_a_state_file)
{
	struct fake *fake = begin(some_file());
	pid_t pid = fake->instance.pid;

	hosted_pass(5 * USEC_PER_SEC);
	fake_hello(fake, 1, false);
	fake_standby(fake);
	/* Progress buys time. It does not take time that was there already. */
	hosted_pass(USEC_PER_SEC);
	fake_progress(fake, "10 records");
	hosted_pass(20 * USEC_PER_SEC - 1);
	cr_assert_eq(fake->signal, 0);
	hosted_pass(1);
	cr_assert_eq(fake->signal, SIGKILL);
	hosted_reap();
	assert_failed("version v1 (pid %d) did not load the state file within 20000 ms (TransferTimeout=)", pid);
}

Test(member, is_started_again_empty_even_if_it_began_with_a_state_file)
{
	struct fake *fake = begin(some_file());

	hosted_start_up(fake);
	fake_exit(fake, SIGSEGV);
	hosted_pass(100 * USEC_PER_MSEC);
	hosted_start_up(started(1));
	cr_assert_eq(fake_heard_last(started(1)), HEARD(WELCOME));
}

/* ---- again after a failure ---- */

Test(member, is_started_again_after_a_crash)
{
	struct fake *fake = hosted_serve("v1");
	pid_t pid = fake->instance.pid;

	fake_exit(fake, SIGSEGV);
	cr_assert(is_gone(0));
	assert_status("waiting to restart", "v1");
	assert_text(description(), "version v1 (pid %d) was killed by SIGSEGV", pid);
	cr_assert_str_eq(hosted_processes(), "");
	hosted_pass(100 * USEC_PER_MSEC - 1);
	cr_assert_eq(hosted.origin.n_started, 1);
	hosted_pass(1);
	cr_assert_eq(hosted.origin.n_started, 2);
	assert_status("starting", "v1");
	hosted_start_up(started(1));
	assert_status("running", "v1");
	cr_assert_eq(restarts(), 1);
	cr_assert_str_eq(description(), "");
}

/* The process that serves crashes. Asserts that another one comes after @delay_us, and not before. */
static void crash_and_come_back(uint64_t delay_us)
{
	unsigned n = hosted.origin.n_started;

	fake_exit(started(n - 1), SIGABRT);
	hosted_pass(delay_us - 1);
	cr_assert_eq(hosted.origin.n_started, n, "started again before %llu ms", (unsigned long long)delay_us / 1000);
	hosted_pass(1);
	cr_assert_eq(hosted.origin.n_started, n + 1, "not started again after %llu ms", (unsigned long long)delay_us / 1000);
	hosted_start_up(started(n));
}

Test(member, is_started_again_more_and_more_slowly)
{
	static const unsigned ms[] = { 100, 200, 400, 800, 1600, 3200, 3200, 3200 };

	hosted_serve("v1");
	for (size_t i = 0; i < sizeof(ms) / sizeof(ms[0]); i++)
		crash_and_come_back(ms[i] * USEC_PER_MSEC);
	cr_assert_eq(restarts(), 8);
}

Test(member, is_trusted_again_after_it_has_served_for_a_while)
{
	hosted_serve("v1");
	crash_and_come_back(100 * USEC_PER_MSEC);
	crash_and_come_back(200 * USEC_PER_MSEC);
	hosted_pass(10 * USEC_PER_SEC);
	crash_and_come_back(400 * USEC_PER_MSEC);
	hosted_pass(10 * USEC_PER_SEC + 1);
	crash_and_come_back(100 * USEC_PER_MSEC);
	cr_assert_eq(restarts(), 4);
}

Test(member, is_tried_again_when_a_restart_fails)
{
	hosted_serve("v1");
	fake_exit(started(0), SIGSEGV);
	hosted_pass(100 * USEC_PER_MSEC);
	fake_exit(started(1), 1 << 8); /* before it was ready */
	assert_status("waiting to restart", "v1");
	hosted_pass(200 * USEC_PER_MSEC - 1);
	cr_assert_eq(hosted.origin.n_started, 2);
	hosted_pass(1);
	cr_assert_eq(hosted.origin.n_started, 3);
	hosted_start_up(started(2));
	assert_status("running", "v1");
	cr_assert_eq(ann.asked.answers, 1, "nobody asked for that");
}

Test(member, is_tried_again_when_no_process_can_be_made)
{
	hosted_serve("v1");
	fake_exit(started(0), SIGSEGV);
	hosted.origin.refuses = true;
	hosted_pass(100 * USEC_PER_MSEC);
	assert_status("waiting to restart", "v1");
	cr_assert_str_eq(description(), "version v1: no such file");
	hosted_pass(200 * USEC_PER_MSEC);
	assert_status("waiting to restart", "v1");
	hosted.origin.refuses = false;
	hosted_pass(400 * USEC_PER_MSEC - 1);
	cr_assert_eq(hosted.origin.n_started, 1);
	hosted_pass(1);
	hosted_start_up(started(1));
	assert_status("running", "v1");
	cr_assert_eq(restarts(), 3);
}

Test(member, is_not_started_again_if_its_first_start_fails)
{
	struct fake *fake = begin(-1);
	pid_t pid = fake->instance.pid;

	fake_exit(fake, SIGSEGV);
	assert_failed("pid %d was killed by SIGSEGV before it was ready", pid);
	cr_assert_eq(hosted.origin.n_started, 1);
}

Test(member, is_not_started_again_with_restart_no)
{
	hosted_write("Restart=no\n");
	fake_exit(hosted_serve("v1"), 7 << 8);
	assert_status("failed", "v1");
	hosted_pass(60 * USEC_PER_SEC);
	cr_assert_eq(hosted.origin.n_started, 1);
}

Test(member, is_not_started_again_after_it_ended_by_itself)
{
	struct fake *fake = hosted_serve("v1");
	pid_t pid = fake->instance.pid;

	fake_exit(fake, 0);
	assert_status("stopped", "v1");
	assert_text(description(), "version v1 (pid %d) exited with status 0", pid);
	hosted_pass(60 * USEC_PER_SEC);
	cr_assert_eq(hosted.origin.n_started, 1);
}

Test(member, is_started_at_once_by_order_while_it_waits_for_a_restart)
{
	hosted_serve("v1");
	crash_and_come_back(100 * USEC_PER_MSEC);
	fake_exit(started(1), SIGSEGV);
	assert_status("waiting to restart", "v1");
	hosted_serve("v2");
	cr_assert_eq(restarts(), 0, "an order counts as the first start");
	hosted_pass(60 * USEC_PER_SEC);
	cr_assert_eq(hosted.origin.n_started, 3, "the restart came, too");
	assert_status("running", "v2");
}
