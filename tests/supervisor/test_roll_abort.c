/* SPDX-License-Identifier: MIT */
/* A roll that is called off: old goes on and new is ended, in whichever order. Old has the only state, and is not given up before
 * it has broken its promise to go on. */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

TestSuite(roll_abort, .timeout = 20);

#define MS USEC_PER_MSEC
#define S USEC_PER_SEC

static void begin_in(enum roll_state state)
{
	struct roll_options options;

	scene_set(NULL);
	options = scene_options();
	scene_begin(&options);
	scene_to(state);
	scene_forget();
}

/* Called off at this moment, out of @state. */
static void call_off_in(enum roll_state state)
{
	begin_in(state);
	roll_cancel(scene.roll);
	assert_state(ROLL_ABORT);
}

static void assert_aborted(void)
{
	assert_outcome(ROLL_IS_ABORTED);
	cr_assert_eq(scene.serves, &scene.old->instance);
	cr_assert_eq(scene.old_killed_us, 0);
}

/* The same, but nobody knows whether old goes on. */
static void assert_unanswered(uint64_t since_us)
{
	assert_outcome(ROLL_IS_UNANSWERED);
	cr_assert_eq(scene.serves, &scene.old->instance);
	cr_assert_eq(scene.old_killed_us, 0);
	cr_assert_eq(scene.report.wire.unanswered_us, since_us);
	cr_assert(scene_said("version v1 has not answered for"));
}

static const char *cause(void)
{
	return scene.roll ? roll_report(scene.roll)->cause.text : scene.report.cause.text;
}

/* ---- both have to happen ---- */

Test(roll_abort, ends_when_old_goes_on_and_new_is_reaped)
{
	call_off_in(ROLL_TRANSFER);
	fake_resumed(scene.old);
	assert_state(ROLL_ABORT);
	scene_reap();
	assert_aborted();
	scene_clear();
}

Test(roll_abort, ends_when_new_is_reaped_and_old_goes_on)
{
	call_off_in(ROLL_TRANSFER);
	scene_reap();
	assert_state(ROLL_ABORT);
	fake_resumed(scene.old);
	assert_aborted();
	scene_clear();
}

/* Old may be blocked in writing, and the broken pipe wakes it. */
Test(roll_abort, ends_new_before_it_tells_old)
{
	call_off_in(ROLL_TRANSFER);
	cr_assert_str_eq(scene.heard, "new:SIGKILL old:abort");
	cr_assert_str_eq(scene.old->reason, "aborted by the operator");
	scene_clear();
}

/* Nothing that waits for old may name descriptors which end with the roll. */
Test(roll_abort, reports_the_last_lines_of_new)
{
	begin_in(ROLL_TRANSFER);
	lines_put(&scene.new->instance.lines, "no room for the table", strlen("no room for the table"));
	fake_exit(scene.new, SIGSEGV);
	fake_resumed(scene.old);
	assert_aborted();
	cr_assert_eq(scene.report.lines.n, 1);
	cr_assert_str_eq(scene.report.lines.text[0], "no room for the table");
	scene_clear();
}

/* ---- an old that never stood still ---- */

Test(roll_abort, believes_an_old_that_refused_before_it_stood_still)
{
	begin_in(ROLL_QUIESCE);
	fake_refused(scene.old, "in the middle of something");
	assert_state(ROLL_ABORT);
	scene_reap();
	assert_aborted();
	scene_clear();
}

Test(roll_abort, lets_an_old_serve_on_that_never_answered)
{
	uint64_t asked_us;

	call_off_in(ROLL_QUIESCE);
	asked_us = roll_record(scene.roll)->stops_us;
	scene_reap();
	/* It may be in a long request until QuiesceTimeout=, and has 5 s to say something. */
	scene_pass(7 * S - 1);
	assert_state(ROLL_ABORT);
	scene_pass(1);
	assert_unanswered(asked_us);
	scene_clear();
}

Test(roll_abort, waits_for_the_end_of_new_even_if_old_is_silent)
{
	uint64_t asked_us;

	call_off_in(ROLL_QUIESCE);
	asked_us = roll_record(scene.roll)->stops_us;
	scene_pass(60 * S);
	assert_state(ROLL_ABORT);
	cr_assert_eq(scene.old->signal, 0);
	scene_reap();
	assert_unanswered(asked_us);
	scene_clear();
}

Test(roll_abort, hears_old_say_not_yet_as_a_word_that_it_serves)
{
	call_off_in(ROLL_QUIESCE);
	scene_reap();
	fake_not_yet(scene.old);
	assert_aborted();
	scene_clear();
}

Test(roll_abort, hears_old_refuse_as_a_word_that_it_serves)
{
	call_off_in(ROLL_QUIESCE);
	fake_refused(scene.old, "no");
	scene_reap();
	assert_aborted();
	scene_clear();
}

/* ---- an old that stands still ---- */

/* Refused is not enough there: until it says that it goes on it stands. */
Test(roll_abort, does_not_take_a_refusal_of_an_old_that_stands_for_going_on)
{
	call_off_in(ROLL_TRANSFER);
	scene_reap();
	fake_refused(scene.old, "cannot save");
	fake_not_yet(scene.old);
	assert_state(ROLL_ABORT);
	fake_resumed(scene.old);
	assert_aborted();
	scene_clear();
}

/* It had not read Prepare, or a thread was late: it comes to rest after all, and reads Abort then. */
Test(roll_abort, gives_an_old_that_comes_to_rest_late_until_its_own_deadline)
{
	call_off_in(ROLL_QUIESCE);
	scene_pass(6 * S);
	fake_quiesced(scene.old);
	assert_state(ROLL_ABORT);
	cr_assert_eq(roll_due_us(scene.roll), scene.old->commit_deadline_us + 5 * S);
	scene_pass(20 * S);
	cr_assert_eq(scene.old->signal, 0);
	fake_resumed(scene.old);
	scene_reap();
	assert_aborted();
	scene_clear();
}

Test(roll_abort, is_not_held_up_by_an_old_that_comes_to_rest_again_and_again)
{
	call_off_in(ROLL_TRANSFER);
	for (unsigned i = 0; i < 32 && scene_state() == ROLL_ABORT; i++) {
		fake_quiesced(scene.old);
		scene_pass(1 * S);
	}
	assert_state(ROLL_RETREAT);
	cr_assert_eq(scene.old_killed_us, scene.old->commit_deadline_us + 5 * S);
	scene_clear();
}

Test(roll_abort, ends_an_old_that_has_broken_its_promise_and_says_so)
{
	char expected[200];

	call_off_in(ROLL_TRANSFER);
	scene_reap();
	scene_pass(32 * S - 1);
	cr_assert_eq(scene.old->signal, 0);
	scene_pass(1);
	cr_assert_eq(scene.old->signal, SIGKILL);
	assert_state(ROLL_RETREAT);
	scene_reap();
	assert_state(ROLL_COLD);
	snprintf(expected, sizeof(expected),
		 "aborted by the operator; version v1 (pid %d) was told to go on and did not", scene.old_pid);
	cr_assert_str_eq(cause(), expected, "%s", cause());
	scene_go_well();
	assert_outcome(ROLL_IS_COLD);
	scene_clear();
}

/* The promise is the deadline that it was told, and not a time since the roll was called off. */
Test(roll_abort, counts_the_patience_with_old_from_when_it_was_asked)
{
	begin_in(ROLL_TRANSFER);
	scene_pass(19 * S);
	roll_cancel(scene.roll);
	cr_assert_eq(roll_due_us(scene.roll), scene.old->commit_deadline_us + 5 * S);
	scene_clear();
	begin_in(ROLL_QUIESCE);
	scene_pass(1 * S);
	roll_cancel(scene.roll);
	cr_assert_eq(roll_due_us(scene.roll), scene.old->quiesce_deadline_us + 5 * S);
	scene_clear();
}

/* Past the deadline that old was told, 5 s are left for what it says to come here. */
Test(roll_abort, past_the_promise_leaves_five_seconds)
{
	begin_in(ROLL_QUIESCE);
	scene_pass(3 * S);
	assert_state(ROLL_ABORT);
	cr_assert_eq(roll_due_us(scene.roll), scene.now_us + 5 * S);
	scene_clear();
}

/* ---- old dies ---- */

Test(roll_abort, of_an_old_that_dies_costs_its_state_and_says_so)
{
	char expected[200];

	call_off_in(ROLL_TRANSFER);
	fake_exit(scene.old, SIGSEGV);
	assert_state(ROLL_RETREAT);
	snprintf(expected, sizeof(expected),
		 "aborted by the operator; version v1 (pid %d) was killed by SIGSEGV during the roll", scene.old_pid);
	cr_assert_str_eq(cause(), expected);
	scene_reap();
	scene_go_well();
	assert_outcome(ROLL_IS_COLD);
	cr_assert_str_eq(scene.report.cause.text, expected);
	scene_clear();
}

/* Its refusal is among its last words. */
Test(roll_abort, of_an_old_that_is_ending_waits_for_its_end)
{
	char expected[200];

	begin_in(ROLL_TRANSFER);
	fake_begin_exit(scene.old, SIGSEGV);
	fake_refused(scene.old, "cannot save");
	assert_state(ROLL_RETREAT);
	cr_assert_str_eq(scene.heard, "new:SIGKILL");
	scene_reap();
	assert_state(ROLL_RETREAT);
	fake_end_exit(scene.old);
	assert_state(ROLL_COLD);
	snprintf(expected, sizeof(expected),
		 "version v1 (pid %d): cannot save; version v1 (pid %d) was killed by SIGSEGV during the roll", scene.old_pid,
		 scene.old_pid);
	cr_assert_str_eq(cause(), expected);
	scene_clear();
}

/* ---- nobody reads what old saves ---- */

Test(roll_abort, is_blamed_on_new_if_new_dies_while_old_saves)
{
	char expected[200];

	begin_in(ROLL_TRANSFER);
	fake_reader_gone(scene.old);
	assert_state(ROLL_TRANSFER);
	fake_exit(scene.new, SIGSEGV);
	assert_state(ROLL_ABORT);
	snprintf(expected, sizeof(expected), "version v2 (pid %d) was killed by SIGSEGV", scene.new_pid);
	cr_assert_str_eq(cause(), expected);
	scene_clear();
}

/* Its end is known, and its last words are being read. */
Test(roll_abort, is_blamed_on_new_if_old_notices_before_the_end_of_new_is_told)
{
	char expected[200];

	begin_in(ROLL_TRANSFER);
	fake_begin_exit(scene.new, SIGSEGV);
	fake_reader_gone(scene.old);
	assert_state(ROLL_TRANSFER);
	fake_end_exit(scene.new);
	assert_state(ROLL_ABORT);
	snprintf(expected, sizeof(expected), "version v2 (pid %d) was killed by SIGSEGV", scene.new_pid);
	cr_assert_str_eq(cause(), expected);
	scene_clear();
}

Test(roll_abort, is_blamed_on_a_new_that_closed_the_stream_and_lives)
{
	char expected[200];

	begin_in(ROLL_TRANSFER);
	fake_reader_gone(scene.old);
	scene_pass(1 * S - 1);
	assert_state(ROLL_TRANSFER);
	scene_pass(1);
	assert_state(ROLL_ABORT);
	snprintf(expected, sizeof(expected), "version v2 (pid %d) closed the stream before all of the state had come",
		 scene.new_pid);
	cr_assert_str_eq(cause(), expected);
	scene_clear();
}

Test(roll_abort, is_not_put_off_by_an_old_that_complains_of_its_reader_again_and_again)
{
	begin_in(ROLL_TRANSFER);
	for (unsigned i = 0; i < 10; i++) {
		fake_reader_gone(scene.old);
		scene_pass(100 * MS);
	}
	assert_state(ROLL_ABORT);
	scene_clear();
}

/* The second is shorter than what is left, or nothing changes. */
Test(roll_abort, is_not_put_off_by_a_complaint_just_before_the_deadline)
{
	begin_in(ROLL_TRANSFER);
	scene_pass(20 * S - 100 * MS);
	fake_reader_gone(scene.old);
	scene_pass(100 * MS);
	assert_state(ROLL_ABORT);
	scene_clear();
}

/* ---- descriptors ---- */

Test(roll_abort, follows_when_fewer_descriptors_come_than_are_named)
{
	Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT, *list[] = { &info, &info };
	Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);
	char expected[200];

	begin_in(ROLL_TRANSFER);
	fds.n_fds = 2;
	fds.fds = list;
	fake_say(scene.old, &message);
	assert_state(ROLL_ABORT);
	snprintf(expected, sizeof(expected), "version v1 (pid %d): 2 descriptors are named, 0 came", scene.old_pid);
	cr_assert_str_eq(cause(), expected);
	cr_assert_eq(roll_descriptors(scene.roll), 0, "nothing is kept of a roll that is aborted");
	scene_clear();
}
