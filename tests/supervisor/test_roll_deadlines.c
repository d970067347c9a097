/* SPDX-License-Identifier: MIT */
/* How long each state of a roll lasts when nobody says anything, what comes of that, and that hardly anything buys time. */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

TestSuite(roll_deadlines, .timeout = 20);

#define S USEC_PER_SEC

struct deadline {
	enum roll_state in, next;
	uint64_t us;        /* from where scene_to() entered it */
	const char *hears;  /* at that moment */
	const char *cause;  /* with OLD and NEW for the pids */
};

static const struct deadline deadlines[] = {
	{ ROLL_STANDBY, ROLL_DISMISS, 10 * S, "new:SIGKILL",
	  "version v2 (pid NEW) did not say hello within 10000 ms (StartTimeout=): is it linked with libupgrade, and does it call "
	  "upg_open()?" },
	{ ROLL_DISMISS, ROLL_DISMISS, 5 * S, "new:SIGKILL", "version v2 (pid NEW) spoke before it said hello" },
	{ ROLL_QUIESCE, ROLL_ABORT, 3 * S, "new:SIGKILL old:abort",
	  "version v1 (pid OLD) did not answer within QuiesceTimeout=" },
	{ ROLL_TRANSFER, ROLL_ABORT, 20 * S, "new:SIGKILL old:abort",
	  "the state was not transferred within 20000 ms (TransferTimeout=): the old version did not finish saving" },
	{ ROLL_LOADING, ROLL_ABORT, 20 * S, "new:SIGKILL old:abort",
	  "the state was not transferred within 20000 ms (TransferTimeout=): the new version did not finish loading" },
	{ ROLL_COMMIT, ROLL_ABORT, 5 * S, "new:SIGKILL old:abort", "version v2 (pid NEW) was told to take over and did not" },
	/* The deadline that old was told, after 2 + 20 + 5 s, and 5 s more. */
	{ ROLL_ABORT, ROLL_RETREAT, 32 * S, "old:SIGKILL",
	  "aborted by the operator; version v1 (pid OLD) was told to go on and did not" },
	{ ROLL_PARK, ROLL_BAKE, 10 * S, "old:SIGKILL new:baked", "" },
	{ ROLL_BAKE, ROLL_DONE, 60 * S, "old:SIGKILL new:baked", "" },
	{ ROLL_RETREAT, ROLL_RETREAT, 10 * S, "new:SIGKILL", "version v2 (pid NEW) refused to take over: I give up" },
	{ ROLL_RETREAT_IMAGING, ROLL_RETREAT_IMAGING, 5 * S, "", "version v2 (pid NEW) was killed by SIGSEGV" },
	{ ROLL_RESUME, ROLL_RETREAT, 10 * S, "old:SIGKILL", "version v2 (pid NEW) was killed by SIGSEGV" },
	{ ROLL_COLD, ROLL_COLD, 10 * S, "cold:SIGKILL", "version v2 (pid NEW) was killed by SIGSEGV" },
};

#define EACH_DEADLINE(deadline) \
	(const struct deadline *deadline = deadlines; deadline < deadlines + sizeof(deadlines) / sizeof(deadlines[0]); deadline++)

static void begin_in(enum roll_state state, const char *unit)
{
	struct roll_options options;

	scene_set(unit);
	options = scene_options();
	scene_begin(&options);
	scene_to(state);
	scene_forget();
}

static void check_cause(const char *expected)
{
	char old[40], new[40], text[512];
	const char *at = strstr(expected, "(pid OLD)"), *cause;

	snprintf(old, sizeof(old), "(pid %d)", scene.old_pid);
	snprintf(new, sizeof(new), "(pid %d)", scene.new_pid);
	if (!at)
		at = strstr(expected, "(pid NEW)");
	if (at)
		snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - expected), expected, at[5] == 'O' ? old : new, at + 9);
	else
		snprintf(text, sizeof(text), "%s", expected);
	cause = scene.roll ? roll_report(scene.roll)->cause.text : scene.report.cause.text;
	cr_assert_str_eq(cause, text, "\"%s\" instead of \"%s\"", cause, text);
}

/* Whoever can talk says what has no consequence where the roll is. */
static void chatter(void)
{
	struct fake *all[] = { scene.old, scene.new };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && scene.roll; i++) {
		if (!all[i] || all[i]->instance.life != INSTANCE_RUNS || all[i]->signal == SIGKILL)
			continue;
		fake_pong(all[i]);
		fake_closed(all[i], 1000);
		if (!all[i]->instance.hello)
			continue;
		if (all[i] == scene.old || scene_state() != ROLL_STANDBY)
			fake_progress(all[i], "half");
		fake_ready(all[i]);
	}
}

static void pass(uint64_t us, bool with_chatter)
{
	for (uint64_t gone = 0; gone < us && scene.roll; gone += S / 2) {
		if (with_chatter)
			chatter();
		scene_pass(us - gone < S / 2 ? us - gone : S / 2);
	}
}

static void check(const struct deadline *deadline, bool with_chatter)
{
	const char *name = roll_state_name(deadline->in);

	begin_in(deadline->in, NULL);
	pass(deadline->us - 1, with_chatter);
	cr_assert_eq(scene_state(), deadline->in, "%s ends too early", name);
	cr_assert_str_eq(scene.heard, "", "%s: %s too early", name, scene.heard);
	scene_pass(1);
	cr_assert_eq(scene_state(), deadline->next, "%s leads to %s", name, roll_state_name(scene_state()));
	cr_assert_str_eq(scene.heard, deadline->hears, "%s: %s", name, scene.heard);
	check_cause(deadline->cause);
	scene_clear();
}

Test(roll_deadlines, end_each_state_to_the_microsecond)
{
	for EACH_DEADLINE (deadline)
		check(deadline, false);
}

Test(roll_deadlines, are_not_moved_by_what_anybody_says_meanwhile)
{
	for EACH_DEADLINE (deadline)
		if (deadline->in != ROLL_STANDBY && deadline->in != ROLL_DISMISS) /* nobody has said hello there */
			check(deadline, true);
}

/* What nobody has a deadline for here: CRIU, the rolls backward and onward and the checks of health have clocks of their own. */
Test(roll_deadlines, are_somebody_else_s_where_somebody_else_works)
{
	static const enum roll_state states[] = { ROLL_IMAGE, ROLL_PACK, ROLL_BACKWARD, ROLL_ONWARD, ROLL_RESTORE };

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		begin_in(states[i], "Bake=1h\n");
		scene_pass(600 * S);
		assert_state(states[i]);
		cr_assert(scene_is_bounded());
		scene_clear();
	}
}

Test(roll_deadlines, can_be_asked_for)
{
	for EACH_DEADLINE (deadline) {
		begin_in(deadline->in, NULL);
		cr_assert_eq(roll_due_us(scene.roll), scene.now_us + deadline->us, "%s", roll_state_name(deadline->in));
		scene_clear();
	}
	begin_in(ROLL_RESTORE, NULL);
	cr_assert_eq(roll_due_us(scene.roll), 0);
	scene_clear();
}

/* ---- what was said in time ---- */

static struct fake *speaker_in(enum roll_state state)
{
	bool of_new = state == ROLL_STANDBY || state == ROLL_LOADING || state == ROLL_COMMIT;

	return state == ROLL_COLD ? scene.cold : of_new ? scene.new : scene.old;
}

static void leave_unread(bool unread)
{
	struct fake *all[] = { scene.old, scene.new, scene.cold };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i])
			all[i]->has_unread = unread;
}

/* Where the process whose word is waited for is the one that would be killed, or called off. */
static bool waits_for_word(const struct deadline *deadline)
{
	return deadline->in != ROLL_BAKE && deadline->in != ROLL_DISMISS && deadline->in != ROLL_RETREAT &&
	       deadline->in != ROLL_RETREAT_IMAGING;
}

Test(roll_deadlines, are_not_believed_while_words_are_unread)
{
	for EACH_DEADLINE (deadline) {
		if (!waits_for_word(deadline))
			continue;
		begin_in(deadline->in, NULL);
		scene_pass(deadline->us - 1);
		cr_assert_not_null(speaker_in(deadline->in));
		speaker_in(deadline->in)->has_unread = true;
		scene_pass(100 * USEC_PER_MSEC);
		assert_state(deadline->in);
		cr_assert_str_eq(scene.heard, "", "%s: %s", roll_state_name(deadline->in), scene.heard);
		/* They were about something else. */
		leave_unread(false);
		scene_pass(100 * USEC_PER_MSEC);
		assert_state(deadline->next);
		cr_assert_str_eq(scene.heard, deadline->hears);
		scene_clear();
	}
}

Test(roll_deadlines, are_believed_of_one_that_talks_without_end)
{
	for EACH_DEADLINE (deadline) {
		if (!waits_for_word(deadline))
			continue;
		begin_in(deadline->in, NULL);
		leave_unread(true);
		scene_pass(deadline->us + S);
		cr_assert_str_eq(scene.heard, deadline->hears, "%s: %s", roll_state_name(deadline->in), scene.heard);
		leave_unread(false);
		scene_clear();
	}
}

Test(roll_deadlines, of_an_empty_start_are_met_by_a_word_that_lay_unread)
{
	begin_in(ROLL_COLD, NULL);
	fake_hello(scene.cold, 1, false);
	fake_standby(scene.cold);
	scene.cold->has_unread = true;
	scene_pass(10 * S);
	scene.cold->has_unread = false;
	fake_ready(scene.cold);
	assert_outcome(ROLL_IS_COLD);
	scene_clear();
}

/* It is being killed: that it was ready is no news any more, and nobody may be told that it serves. */
Test(roll_deadlines, of_an_empty_start_are_not_met_by_a_word_that_came_too_late)
{
	for (unsigned dead = 0; dead < 2; dead++) {
		begin_in(ROLL_COLD, NULL);
		fake_hello(scene.cold, 1, false);
		fake_standby(scene.cold);
		scene_pass(10 * S);
		cr_assert_eq(scene.cold->signal, SIGKILL);
		if (dead)
			fake_begin_exit(scene.cold, SIGKILL);
		fake_ready(scene.cold);
		assert_state(ROLL_COLD);
		if (dead)
			fake_end_exit(scene.cold);
		scene_reap();
		assert_outcome(ROLL_IS_FAILED);
		scene_clear();
	}
}

/* ---- two states, one deadline ---- */

Test(roll_deadlines, are_shared_by_saving_and_loading)
{
	begin_in(ROLL_TRANSFER, NULL);
	scene_pass(15 * S);
	fake_saved(scene.old, 10, 2);
	assert_state(ROLL_LOADING);
	scene_pass(5 * S - 1);
	assert_state(ROLL_LOADING);
	scene_pass(1);
	assert_state(ROLL_ABORT);
	scene_clear();
}

/* ---- a start that gets on ---- */

Test(roll_deadlines, of_a_start_begin_anew_with_each_word_of_progress)
{
	char cause[512];

	begin_in(ROLL_STANDBY, NULL);
	fake_hello(scene.new, 2, true);
	for (unsigned i = 0; i < 5; i++) {
		scene_pass(10 * S - 1);
		fake_progress(scene.new, "half");
	}
	assert_state(ROLL_STANDBY);
	scene_pass(10 * S - 1);
	assert_state(ROLL_STANDBY);
	scene_pass(1);
	assert_state(ROLL_DISMISS);
	snprintf(cause, sizeof(cause),
		 "version v2 (pid %d) did not become ready within 10000 ms (StartTimeout=) of its last word of progress",
		 scene.new_pid);
	cr_assert_str_eq(roll_report(scene.roll)->cause.text, cause);
	scene_clear();
}

Test(roll_deadlines, of_a_start_that_said_hello_and_no_more_say_so)
{
	char cause[512];

	begin_in(ROLL_STANDBY, NULL);
	fake_hello(scene.new, 2, true);
	scene_pass(10 * S);
	assert_state(ROLL_DISMISS);
	snprintf(cause, sizeof(cause), "version v2 (pid %d) did not become ready within 10000 ms (StartTimeout=)", scene.new_pid);
	cr_assert_str_eq(roll_report(scene.roll)->cause.text, cause);
	scene_clear();
}

Test(roll_deadlines, of_a_start_tell_progress_once_a_second_at_most)
{
	begin_in(ROLL_STANDBY, NULL);
	fake_hello(scene.new, 2, true);
	fake_progress(scene.new, "1 of 9");
	fake_progress(scene.new, "2 of 9");
	scene_pass(S - 1);
	fake_progress(scene.new, "3 of 9");
	cr_assert_str_eq(scene.said, "standby, new: version v2 gets on: 1 of 9\n");
	scene_pass(1);
	fake_progress(scene.new, "4 of 9");
	cr_assert(scene_said("gets on: 4 of 9"));
	cr_assert_not(scene_said("2 of 9") || scene_said("3 of 9"));
	scene_clear();
}

Test(roll_deadlines, of_an_empty_start_begin_anew_with_progress_too)
{
	begin_in(ROLL_COLD, NULL);
	fake_hello(scene.cold, 1, false);
	scene_pass(10 * S - 1);
	fake_progress(scene.cold, "half");
	scene_pass(10 * S - 1);
	cr_assert_eq(scene.cold->signal, 0);
	scene_pass(1);
	cr_assert_eq(scene.cold->signal, SIGKILL);
	cr_assert(scene_said("did not become ready within 10000 ms (StartTimeout=) of its last word of progress\n"));
	scene_clear();
}

/* What v2 said of its start is not what the fresh process said of its own. */
Test(roll_deadlines, of_an_empty_start_do_not_count_the_progress_of_the_failed_version)
{
	struct roll_options options;

	scene_set("Rollback=none\n");
	options = scene_options();
	scene_begin(&options);
	fake_hello(scene.new, 2, true);
	fake_progress(scene.new, "half");
	scene_to(ROLL_BAKE);
	scene_reap(); /* old */
	fake_exit(scene.new, SIGSEGV);
	assert_state(ROLL_COLD);
	fake_hello(scene.cold, 1, false);
	scene_forget();
	scene_pass(10 * S);
	cr_assert(scene_said("did not become ready within 10000 ms (StartTimeout=)\n"));
	scene_clear();
}
