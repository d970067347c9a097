/* SPDX-License-Identifier: MIT */
/* A roll whose old version waits for a child process of its own before it comes to rest (ChildTimeout=). */
#include "tests/supervisor/scene.h"

#include "base/fd.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(roll_rest, .timeout = 20);

#define MS USEC_PER_MSEC
#define S USEC_PER_SEC
#define PAUSE (60 * MS) /* a thousandth of ChildTimeout= */
#define DUMP "writes dump.rdb"

static void begin(void)
{
	struct roll_options options;

	scene_set("ChildTimeout=60s\n");
	options = scene_options();
	scene_begin(&options);
	scene_to(ROLL_QUIESCE);
	scene_forget();
}

static void assert_cause(const char *text)
{
	const char *cause = scene.roll ? roll_report(scene.roll)->cause.text : scene.report.cause.text;
	char expected[512];

	snprintf(expected, sizeof(expected), "version v1 (pid %d) %s", scene.old_pid, text);
	cr_assert_str_eq(cause, expected, "\"%s\"", cause);
}

/* A child of this process, which stands for old. It ends when *@ret_hold is closed. */
static pid_t fork_child(int *ret_hold)
{
	int pair[2];
	pid_t pid;

	cr_assert_eq(pipe2(pair, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		char byte;

		close(pair[1]);
		(void)!read(pair[0], &byte, 1);
		_exit(0);
	}
	cr_assert_gt(pid, 0);
	close(pair[0]);
	*ret_hold = pair[1];
	scene.old->instance.pid = getpid();
	return pid;
}

static void await_end(pid_t pid)
{
	siginfo_t info;

	cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

Test(roll_rest, asks_an_old_that_waits_for_a_child_again_and_moves_all_deadlines)
{
	begin();
	for (unsigned i = 0; i < 50; i++) {
		fake_awaits_child(scene.old, 0, DUMP);
		scene_forget();
		scene_pass(PAUSE - 1);
		cr_assert_str_eq(scene.heard, "");
		scene_pass(1);
		cr_assert_str_eq(scene.heard, "new:postponed old:prepare");
		cr_assert_eq(scene.old->quiesce_deadline_us, scene.now_us + 2 * S);
		cr_assert_eq(scene.old->commit_deadline_us, scene.now_us + 27 * S);
		cr_assert_eq(scene.new->receive_deadline_us, scene.now_us + 22 * S);
	}
	assert_state(ROLL_QUIESCE);
	scene_go_well();
	cr_assert_eq(scene.report.outcome, ROLL_IS_DONE);
	cr_assert_eq(scene.report.wire.waited_us, 50 * PAUSE);
	cr_assert_str_eq(scene.report.waited_for.text, "a child process of its own: " DUMP);
	cr_assert(!scene.report.wire.child_since_us && !scene.report.wire.child, "it is not waited for any more");
	scene_clear();
}

Test(roll_rest, says_for_what_it_waits_and_since_when)
{
	const struct roll_report *report;
	uint64_t since_us;

	begin();
	report = roll_report(scene.roll);
	scene_pass(10 * MS);
	since_us = scene.now_us;
	for (unsigned i = 0; i < 3; i++) {
		fake_awaits_child(scene.old, 4711, DUMP);
		scene_pass(PAUSE);
	}
	cr_assert_str_eq(scene.said, "quiesce, old: version v1 waits for its child process 4711: " DUMP
				     "; it has 60 s for that (ChildTimeout=)\n");
	cr_assert(report->wire.child == 4711 && report->wire.child_since_us == since_us);
	fake_not_yet_as(scene.old, "client 3 uploads");
	cr_assert(!report->wire.child && !report->wire.child_since_us);
	cr_assert_str_eq(report->waited_for.text, "client 3 uploads");
	roll_cancel(scene.roll);
	scene_reap();
	scene_clear();
}

Test(roll_rest, gives_up_an_old_whose_child_lives_past_child_timeout)
{
	begin();
	fake_awaits_child(scene.old, 4711, DUMP);
	for (unsigned i = 0; i < 1000; i++) {
		assert_state(ROLL_QUIESCE);
		scene_pass(PAUSE);
		fake_awaits_child(scene.old, 4711 + i % 2, DUMP); /* they have the time together */
	}
	assert_state(ROLL_ABORT);
	assert_cause("still waits after 60 s (ChildTimeout=) for its child process 4712: " DUMP);
	scene_reap();
	cr_assert_eq(scene.report.outcome, ROLL_IS_ABORTED);
	scene_clear();
}

Test(roll_rest, gives_it_quiesce_timeout_from_when_it_waits_for_no_child_any_more)
{
	begin();
	for (unsigned i = 0; i < 100; i++) {
		fake_awaits_child(scene.old, 0, DUMP);
		scene_pass(PAUSE);
	}
	fake_not_yet_as(scene.old, "client 3 uploads");
	scene_pass(2 * S);
	fake_not_yet_as(scene.old, "client 3 uploads");
	assert_state(ROLL_QUIESCE);
	scene_pass(10 * MS);
	fake_not_yet_as(scene.old, "client 3 uploads");
	assert_state(ROLL_ABORT);
	assert_cause("was not ready to be rolled within QuiesceTimeout=: client 3 uploads");
	scene_reap();
	scene_clear();
}

Test(roll_rest, notices_an_old_that_falls_silent_as_soon_as_always)
{
	begin();
	for (unsigned i = 0; i < 100; i++) {
		fake_awaits_child(scene.old, 0, DUMP);
		scene_pass(PAUSE);
	}
	scene_be_silent(3 * S - 1);
	assert_state(ROLL_QUIESCE);
	scene_be_silent(1);
	assert_state(ROLL_ABORT);
	assert_cause("did not answer within QuiesceTimeout=");
	/* It may be in a long request, and has 5 s to say something. */
	scene_reap();
	scene_be_silent(10 * S);
	cr_assert_eq(scene.report.outcome, ROLL_IS_UNANSWERED);
	scene_clear();
}

Test(roll_rest, is_called_off_at_once_while_it_waits)
{
	begin();
	fake_awaits_child(scene.old, 4711, DUMP);
	scene_pass(10 * PAUSE / 20);
	scene_forget();
	roll_cancel(scene.roll);
	cr_assert_str_eq(scene.heard, "new:SIGKILL old:abort");
	scene_reap();
	cr_assert_null(scene.roll);
	cr_assert_eq(scene.report.outcome, ROLL_IS_ABORTED);
	cr_assert_eq(scene.report.wire.child_since_us, 0);
	scene_clear();
}

Test(roll_rest, asks_no_more_than_once_in_a_second_and_not_less)
{
	struct roll_options options;

	scene_set("ChildTimeout=3601500ms\nQuiesceTimeout=10ms\n");
	options = scene_options();
	scene_begin(&options);
	scene_to(ROLL_QUIESCE);
	for (unsigned i = 0; i < 3; i++) {
		fake_awaits_child(scene.old, 0, DUMP);
		cr_assert(i || strstr(scene.said, "a child process of its own: " DUMP "; it has 3601500 ms for that"), "%s",
			  scene.said);
		scene_forget();
		scene_pass(1 * S - 1);
		cr_assert_str_eq(scene.heard, "");
		scene_pass(1);
		cr_assert_str_eq(scene.heard, "new:postponed old:prepare");
	}
	scene_go_well();
	cr_assert_eq(scene.report.outcome, ROLL_IS_DONE);
	scene_clear();
}

Test(roll_rest, asks_again_when_the_child_has_ended)
{
	const struct roll_report *report;
	char said[256];
	uint64_t now_us;
	int hold;
	pid_t pid;

	begin();
	report = roll_report(scene.roll);
	pid = fork_child(&hold);
	fake_awaits_child(scene.old, pid, DUMP);
	snprintf(said, sizeof(said), "its child process %d (", pid);
	cr_assert(strncmp(report->waited_for.text, said, strlen(said)) == 0, "%s", report->waited_for.text);
	scene_pass(5 * MS);
	scene_forget();
	fd_close(hold);
	await_end(pid);
	now_us = scene.now_us;
	cr_assert_eq(loop_turn(scene.loop, 1000), 0);
	cr_assert_eq(report->wire.child_since_us, 0);
	cr_assert_eq(roll_due_us(scene.roll), now_us + 10 * MS);
	scene_pass(10 * MS);
	cr_assert_str_eq(scene.heard, "new:postponed old:prepare");
	/* It has not heard of it yet: from here on it has QuiesceTimeout=. */
	fake_awaits_child(scene.old, pid, DUMP);
	snprintf(said, sizeof(said), "its child process %d, which has ended: " DUMP, pid);
	cr_assert_str_eq(report->waited_for.text, said);
	scene_pass(10 * MS);
	scene_pass(now_us + 2 * S - scene.now_us + 1);
	fake_awaits_child(scene.old, pid, DUMP);
	assert_state(ROLL_ABORT);
	scene_reap();
	waitpid(pid, NULL, 0);
	scene_clear();
}

Test(roll_rest, watches_no_process_that_is_not_olds_child)
{
	const struct roll_report *report;
	int hold;
	pid_t pid;

	begin();
	report = roll_report(scene.roll);
	pid = fork_child(&hold);
	scene.old->instance.pid = 1;
	fake_awaits_child(scene.old, pid, DUMP);
	cr_assert_null(strchr(report->waited_for.text, '('), "its name is nobody's business: %s", report->waited_for.text);
	fd_close(hold);
	await_end(pid);
	scene_forget();
	cr_assert_eq(loop_turn(scene.loop, 0), 0);
	cr_assert_eq(roll_due_us(scene.roll), scene.now_us + PAUSE);
	roll_cancel(scene.roll);
	scene_reap();
	waitpid(pid, NULL, 0);
	scene_clear();
}
