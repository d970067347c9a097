/* SPDX-License-Identifier: MIT */
/* What a version may have to do before it comes to rest, and what the next one says of what it is given; each by a character of
 * upg-keeper. And versions that do not answer. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

STAGE(rest, 60);

#define SHOWN_US (10 * USEC_PER_SEC)
#define CHILD_SAYS "its child process %d (dumper): writes notes.dump"

static void plays(const char *character)
{
	char name[64];

	snprintf(name, sizeof(name), "keeper-%s", character);
	stage_link(name, rig_program(stage.rig, "upg-keeper"));
}

/* The service `keeper` serves as @from, and may be rolled to @to. */
static void keep(const char *lines, const char *from, const char *to)
{
	char *text = NULL;

	plays(from);
	plays(to);
	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s/keeper-%%v\nBake=10ms\nRestartDelay=10ms\n%s", rig_folder(stage.rig),
			      lines), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "keeper", text), 0);
	free(text);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "keeper", from);
}

static void ended_with(struct rig_child *child, int status, struct rig_answer *ret_answer)
{
	cr_assert_eq(rig_run_wait(child, SHOWN_US, ret_answer), 0);
	cr_assert_eq(ret_answer->status, status, "%d: %s", ret_answer->status, ret_answer->out);
}

static void runs(const char *version)
{
	cr_assert_eq(rig_wait_status(stage.rig, "keeper", "running", version, SHOWN_US), 0);
}

static pid_t keeper_pid(void)
{
	json_t *status = rig_status(stage.rig, "keeper");
	pid_t pid = (pid_t)json_integer_value(json_object_get(json_array_get(json_object_get(status, "instances"), 0), "pid"));

	json_decref(status);
	cr_assert_gt(pid, 1);
	return pid;
}

/* ---- not at rest ---- */

SCENE(rest, is_waited_for_and_the_report_says_for_what)
{
	const json_t *answer;

	keep("", "uploads", "plain");
	answer = ctl(0, "roll", "keeper", "plain");
	cr_assert_str_eq(rig_text(answer, "roll.waited_for"), "client 17 uploads");
	cr_assert_eq(rig_number(answer, "roll.asked"), 6);
	cr_assert_geq(rig_number(answer, "roll.waited_us"), 50000, "five times 10 ms");
	cr_assert_eq(rig_number(answer, "roll.records"), 1000);
}

SCENE(rest, is_refused_with_the_reason_of_the_application)
{
	keep("", "refuses", "plain");
	must_say(ctl(6, "roll", "keeper", "plain"), "the application refused to be rolled now: the books are open");
	must_say(ctl(1, "save", "keeper", stage_path("notes.state")), "the books are open");
	runs("refuses");
}

/* ---- a child process of its own ---- */

/* Return: the pid of the dumper, as soon as status says that it is waited for. */
static pid_t await_child(void)
{
	for (uint64_t due_us = clock_now_us() + SHOWN_US;;) {
		json_t *status = rig_status(stage.rig, "keeper");
		pid_t child = (pid_t)rig_number(status, "last_roll.child");
		char expected[128];

		if (child > 0) {
			snprintf(expected, sizeof(expected), CHILD_SAYS, child);
			cr_assert_str_eq(rig_text(status, "last_roll.waited_for"), expected);
			cr_assert_gt(rig_number(status, "last_roll.child_since_us"), 0);
			cr_assert_leq(rig_number(status, "last_roll.child_since_us"), (int64_t)clock_now_us());
			json_decref(status);
			return child;
		}
		json_decref(status);
		cr_assert_lt(clock_now_us(), due_us, "status does not say that a child is waited for");
		stage_sleep_ms(10);
	}
}

SCENE(rest, is_waited_for_until_its_child_has_ended)
{
	struct rig_answer answer = { 0 };
	struct rig_child *roll;
	char waits[128];
	pid_t child;

	/* Longer than QuiesceTimeout= says. Between two questions there may be a second: the child's end is heard of by itself. */
	keep("QuiesceTimeout=300ms\nChildTimeout=2h\n", "dumps", "plain");
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "keeper", "plain", NULL), 0);
	child = await_child();
	stage_sleep_ms(900);
	cr_assert_eq(await_child(), child);
	cr_assert_eq(rig_ctl_text(stage.rig, &answer, NULL, NULL, "status", "keeper", NULL), 0);
	snprintf(waits, sizeof(waits), "waits for  " CHILD_SAYS ", since ", child);
	cr_assert(strstr(answer.out, waits), "%s", answer.out);
	rig_answer_done(&answer);
	cr_assert_eq(kill(child, SIGTERM), 0);
	ended_with(roll, 0, &answer);
	cr_assert_geq(rig_number(answer.json, "roll.waited_us"), 900000);
	cr_assert_lt(rig_number(answer.json, "roll.pause_us"), 500000, "it served while it waited");
	cr_assert_eq(rig_number(answer.json, "roll.child_since_us"), 0);
	rig_answer_done(&answer);
	runs("plain");
}

SCENE(rest, is_called_off_at_once_while_it_waits_for_a_child)
{
	struct rig_answer answer = { 0 };
	struct rig_child *roll;
	uint64_t begun_us;

	keep("", "dumps", "plain");
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "keeper", "plain", NULL), 0);
	await_child();
	begun_us = clock_now_us();
	ctl(0, "abort", "keeper");
	cr_assert_lt(clock_now_us() - begun_us, 3 * USEC_PER_SEC);
	ended_with(roll, 6, &answer);
	rig_answer_done(&answer);
	runs("dumps");
	ctl(0, "stop", "keeper");
}

SCENE(rest, is_called_off_when_its_child_lives_too_long)
{
	const json_t *answer;

	keep("ChildTimeout=1s\n", "dumps", "plain");
	answer = ctl(6, "roll", "keeper", "plain");
	must_say(answer, "still waits after 1 s (ChildTimeout=) for its child process ");
	must_say(answer, " (dumper): writes notes.dump");
	answer = ctl(1, "save", "keeper", stage_path("notes.state"));
	must_say(answer, "it still waits after 1 s (ChildTimeout=) for its child process ");
	runs("dumps");
	ctl(0, "stop", "keeper");
}

/* ---- threads that it stops by itself ---- */

SCENE(rest, is_its_own_business_for_threads_of_its_own)
{
	keep("", "threads", "threads-die");
	must_say(ctl(6, "roll", "keeper", "threads-die"), "while loading record 501 of app.Note");
	stage_wait_log("]: threads go on from ");
	/* What was saved is whole each time, and what is saved from then on as well. */
	for (unsigned i = 0; i < 3; i++)
		ctl(0, "save", "keeper", stage_path("notes.state"));
	plays("plain");
	ctl(0, "roll", "keeper", "plain");
	runs("plain");
}

/* ---- what the next version says ---- */

SCENE(rest, lets_the_next_version_know_what_will_come)
{
	keep("", "plain", "expects");
	ctl(0, "roll", "keeper", "expects");
	stage_wait_log("]: expects 1000 notes of 1000 records");
	/* A fresh start has nothing to come. */
	ctl(0, "stop", "keeper");
	ctl(0, "start", "keeper", "expects");
	stage_wait_log("]: expects nothing: ");
}

SCENE(rest, reports_which_records_the_next_version_did_not_take)
{
	const json_t *answer;

	keep("", "plain", "skips");
	answer = ctl(0, "roll", "keeper", "skips");
	cr_assert_eq(rig_number(answer, "roll.skipped_records"), 10);
	cr_assert_str_eq(rig_text(answer, "roll.skipped.0"), "10 of app.Note: note 0 has expired");
	cr_assert_eq(rig_number(answer, "roll.records"), 1000);
	cr_assert_eq(rig_number(ctl(0, "save", "keeper", stage_path("notes.state")), "save.records"), 990);
}

SCENE(rest, names_the_record_that_the_next_version_died_of)
{
	keep("", "plain", "dies");
	must_say(ctl(6, "roll", "keeper", "dies"), "was killed by SIGKILL while loading record 501 of app.Note");
	runs("plain");
}

/* ---- no answer ---- */

#define HEARTBEAT "Heartbeat=50ms\nHealthTimeout=300ms\n"

static void falls_silent(pid_t pid)
{
	cr_assert_eq(kill(pid, SIGSTOP), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "keeper", "not answering", "plain", SHOWN_US), 0);
}

SCENE(rest, of_a_version_that_hangs_is_told_by_its_heartbeat_and_it_is_kept)
{
	pid_t pid;

	keep(HEARTBEAT, "plain", "other");
	pid = keeper_pid();
	falls_silent(pid);
	stage_wait_log("nobody knows whether it serves (Unanswered=keep)");
	cr_assert_eq(kill(pid, SIGCONT), 0);
	runs("plain");
	cr_assert_eq(keeper_pid(), pid);
}

SCENE(rest, of_a_version_that_hangs_ends_it_where_the_service_file_says_so)
{
	json_t *status;
	pid_t pid;

	keep(HEARTBEAT "Unanswered=restart\n", "plain", "other");
	pid = keeper_pid();
	cr_assert_eq(kill(pid, SIGSTOP), 0);
	stage_wait_log("ending it (Unanswered=restart)");
	runs("plain");
	cr_assert_neq(keeper_pid(), pid);
	status = rig_status(stage.rig, "keeper");
	cr_assert_eq(rig_number(status, "restarts"), 1);
	json_decref(status);
}

/* The old version hangs before it is asked, and confirms nothing. */
static void is_not_confirmed(const char *lines)
{
	const json_t *answer;

	keep(lines, "plain", "other");
	cr_assert_eq(kill(keeper_pid(), SIGSTOP), 0);
	answer = ctl(10, "roll", "keeper", "other");
	cr_assert_str_eq(rig_text(answer, "roll.outcome"), "unanswered");
	cr_assert_gt(rig_number(answer, "roll.unanswered_us"), 0);
}

SCENE(rest, of_an_old_version_that_hangs_is_not_confirmed_and_it_is_kept)
{
	pid_t pid;

	is_not_confirmed("QuiesceTimeout=100ms\n");
	pid = keeper_pid();
	cr_assert_eq(rig_wait_status(stage.rig, "keeper", "not answering", "plain", SHOWN_US), 0);
	cr_assert_eq(kill(pid, SIGCONT), 0);
	runs("plain");
	/* What it read then was over, and it can be rolled. */
	ctl(0, "roll", "keeper", "other");
	runs("other");
}

SCENE(rest, of_an_old_version_that_hangs_is_not_confirmed_and_it_is_started_again)
{
	is_not_confirmed("QuiesceTimeout=100ms\nUnanswered=restart\n");
	runs("plain");
	ctl(0, "roll", "keeper", "other");
	runs("other");
}
