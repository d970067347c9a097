/* SPDX-License-Identifier: MIT */
/* The way back after the commit: one rung after the other, and what is told of each. */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

TestSuite(roll_retreat, .timeout = 20);

#define MS USEC_PER_MSEC
#define S USEC_PER_SEC

static void begin_as(const char *unit, enum roll_purpose purpose)
{
	struct roll_options options;

	scene_set(unit);
	options = scene_options();
	options.purpose = purpose;
	scene_begin(&options);
}

static void begin_in(enum roll_state state, const char *unit)
{
	begin_as(unit, PURPOSE_FORWARD);
	scene_to(state);
	scene_forget();
}

static void new_dies(void)
{
	fake_exit(scene.new, SIGSEGV);
}

/* ---- what it costs is told ---- */

Test(roll_retreat, tells_how_much_time_is_lost)
{
	begin_in(ROLL_BAKE, NULL);
	scene_pass(3250 * MS);
	new_dies();
	cr_assert(scene_said("resume, old: what was written in the 3.250 s since the commit is lost\n"));
	scene_pass(40 * MS);
	fake_resumed(scene.old);
	assert_outcome(ROLL_IS_BACK_PARKED);
	cr_assert_eq(scene.report.wire.lost_us, 3250 * MS);
	cr_assert_eq(scene.report.wire.died_us, scene.report.wire.commit_us + 3250 * MS);
	cr_assert_eq(scene.report.wire.resume_us, scene.now_us);
	cr_assert_eq(scene.report.rungs, ROLL_RUNG_PARKED | ROLL_RUNG_IMAGE, "what there was while new served");
	scene_clear();
}

/* Not when it was killed for it: clients got no answer since. */
Test(roll_retreat, counts_the_loss_up_to_the_end_of_new)
{
	begin_in(ROLL_BAKE, NULL);
	scene_pass(2 * S);
	fake_refused(scene.new, "I give up");
	scene_pass(1 * S);
	scene_reap();
	cr_assert_eq(roll_report(scene.roll)->wire.lost_us, 3 * S);
	scene_clear();
}

Test(roll_retreat, drops_the_image_of_a_version_that_serves_again)
{
	begin_in(ROLL_RESUME, NULL);
	fake_resumed(scene.old);
	assert_outcome(ROLL_IS_BACK_PARKED);
	cr_assert_not(scene.left_image);
	scene_clear();
}

Test(roll_retreat, reports_the_last_lines_of_the_failed_version)
{
	begin_in(ROLL_BAKE, NULL);
	lines_put(&scene.new->instance.lines, "assertion failed", strlen("assertion failed"));
	new_dies();
	fake_resumed(scene.old);
	cr_assert_eq(scene.report.lines.n, 1);
	cr_assert_str_eq(scene.report.lines.text[0], "assertion failed");
	scene_clear();
}

/* ---- old while it is chosen ---- */

/* Its end is about to be told: then there is one rung less. */
Test(roll_retreat, waits_for_the_end_of_an_old_that_is_ending)
{
	begin_in(ROLL_BAKE, NULL);
	fake_begin_exit(scene.old, SIGKILL);
	new_dies();
	assert_state(ROLL_RETREAT);
	fake_end_exit(scene.old);
	assert_state(ROLL_RESTORE);
	scene_clear();
}

Test(roll_retreat, kills_new_again_that_does_not_end)
{
	begin_in(ROLL_RETREAT, NULL);
	scene_pass(25 * S);
	cr_assert_str_eq(scene.heard, "new:SIGKILL new:SIGKILL");
	scene_clear();
}

Test(roll_retreat, kills_old_again_that_does_not_end)
{
	begin_in(ROLL_BAKE, NULL);
	cr_assert_eq(roll_give_up(scene.roll, ROLL_RUNG_IMAGE, NULL), 0);
	fake_reap(scene.new);
	scene_forget();
	scene_pass(10 * S);
	cr_assert_str_eq(scene.heard, "old:SIGKILL");
	scene_clear();
}

/* ---- parked ---- */

Test(roll_retreat, goes_on_to_the_image_when_the_parked_process_does_not_come_back)
{
	begin_in(ROLL_RESUME, NULL);
	scene_pass(10 * S);
	assert_state(ROLL_RETREAT);
	cr_assert_str_eq(scene.heard, "old:SIGKILL", "it must not run beside its image");
	cr_assert(scene_said("was told to serve again and did not\n"));
	scene_reap();
	assert_state(ROLL_RESTORE);
	scene_go_well();
	assert_outcome(ROLL_IS_BACK_IMAGE);
	scene_clear();
}

/* It comes too late: it is being killed. */
Test(roll_retreat, does_not_hear_an_old_that_was_given_up)
{
	begin_in(ROLL_RESUME, NULL);
	scene_pass(10 * S);
	fake_resumed(scene.old);
	assert_state(ROLL_RETREAT);
	cr_assert_eq(roll_report(scene.roll)->wire.resume_us, 0);
	scene_reap();
	assert_state(ROLL_RESTORE);
	scene_clear();
}

/* ---- the image ---- */

Test(roll_retreat, restores_the_process_with_a_channel_and_resumes_it)
{
	unsigned before;

	begin_in(ROLL_BAKE, "Rollback=image\n");
	fake_exit(scene.old, SIGKILL);
	before = scene_open_fds();
	new_dies();
	assert_state(ROLL_RESTORE);
	cr_assert_eq(scene_open_fds(), before + 2, "they are lent to the restore");
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	cr_assert_eq(scene_open_fds(), before, "a copy would keep us from hearing of the end of what came back");
	assert_state(ROLL_RESUME);
	cr_assert_eq(scene.old->instance.pid, FAKE_IMAGE_PID);
	fake_resumed(scene.old);
	assert_outcome(ROLL_IS_BACK_IMAGE);
	cr_assert_eq(scene.serves, &scene.old->instance);
	cr_assert_eq(scene.report.wire.restore_us, 1000);
	cr_assert_not(scene.left_image, "what came back moves on from it");
	scene_clear();
}

Test(roll_retreat, lets_go_of_what_it_lent_when_the_restore_fails)
{
	unsigned before;

	begin_in(ROLL_BAKE, "Rollback=image\n");
	fake_exit(scene.old, SIGKILL);
	before = scene_open_fds();
	new_dies();
	scene.cold_refused = true;
	fake_imaging_done(-5, CRIU_TARGET_GONE);
	assert_outcome(ROLL_IS_FAILED);
	cr_assert_leq(scene_open_fds(), before);
	scene_clear();
}

/* Children of old were killed with it, and their pids are in the image. */
Test(roll_retreat, waits_until_the_pids_of_the_image_are_free)
{
	begin_in(ROLL_BAKE, NULL);
	fake_exit(scene.old, SIGKILL);
	fake_imaging.pids_wait = 3;
	new_dies();
	cr_assert_eq(fake_imaging.restored, 0);
	scene_pass(15 * MS - 1);
	cr_assert_eq(fake_imaging.restored, 0);
	scene_pass(1);
	cr_assert_eq(fake_imaging.restored, 1);
	scene_clear();
}

Test(roll_retreat, does_not_wait_for_pids_longer_than_a_second)
{
	begin_in(ROLL_BAKE, NULL);
	fake_exit(scene.old, SIGKILL);
	fake_imaging.pids_wait = 100000;
	new_dies();
	scene_pass(1 * S - 5 * MS);
	cr_assert_eq(fake_imaging.restored, 0);
	scene_pass(5 * MS);
	cr_assert_eq(fake_imaging.restored, 1, "the restore says which pid it is");
	scene_clear();
}

static void get_no_channel(void)
{
	scene.old->gets_no_channel = true;
}

static void be_damaged(void)
{
	fake_imaging.refuses = true;
}

static void not_be_adopted(void)
{
	scene.old->is_not_adopted = true;
}

Test(roll_retreat, says_why_an_image_cannot_be_restored_and_keeps_it)
{
	static const struct {
		void (*prepare)(void);
		const char *says;
		bool begins;
	} all[] = {
		{ get_no_channel, "restore, nobody: the image could not be restored: no descriptor is left\n", false },
		{ be_damaged, "restore, nobody: the image could not be restored: a file of the image is damaged\n", false },
		{ not_be_adopted, "restore, nobody: the image could not be restored: it is no child of this process\n", true },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		begin_in(ROLL_BAKE, NULL);
		fake_exit(scene.old, SIGKILL);
		all[i].prepare();
		new_dies();
		if (all[i].begins)
			fake_imaging_done(0, CRIU_TARGET_RUNNING);
		assert_state(ROLL_COLD);
		cr_assert(scene_said(all[i].says), "%s", scene.said);
		cr_assert(scene_said("cold, nobody: the image that could not be restored stays in /nonexistent/images/web/1\n"));
		scene_go_well();
		assert_outcome(ROLL_IS_COLD);
		cr_assert(scene.left_image, "it may be the last that is left of the state");
		scene_clear();
	}
}

Test(roll_retreat, does_not_restore_an_image_twice)
{
	begin_in(ROLL_RESTORE, NULL);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	assert_state(ROLL_RESUME);
	fake_exit(scene.old, SIGSEGV);
	assert_state(ROLL_COLD);
	cr_assert_eq(fake_imaging.restored, 1);
	scene_clear();
}

/* ---- empty ---- */

Test(roll_retreat, starts_the_last_good_version_empty_when_nothing_else_is_left)
{
	begin_in(ROLL_BAKE, "Rollback=none\n");
	scene_reap(); /* old */
	new_dies();
	assert_state(ROLL_COLD);
	cr_assert_str_eq(scene.said, "cold, nobody: no way back is left; version v1 starts empty\n");
	cr_assert_null(scene.new, "nothing of the failed version is left");
	scene_forget();
	fake_hello(scene.cold, 1, false);
	fake_standby(scene.cold);
	cr_assert_str_eq(scene.heard, "cold:welcome");
	fake_ready(scene.cold);
	assert_outcome(ROLL_IS_COLD);
	cr_assert_eq(scene.serves, &scene.cold->instance);
	cr_assert_str_eq(scene.serves->version, "v1");
	cr_assert_eq(scene.report.rungs, ROLL_RUNG_NONE);
	scene_clear();
}

/* Until then it may hold the listeners, and they could not be opened anew. With a large heap an end takes its time. */
Test(roll_retreat, starts_nothing_before_the_old_version_that_is_not_kept_has_ended)
{
	begin_in(ROLL_BAKE, "Rollback=none\n");
	cr_assert_eq(scene.old->signal, SIGKILL);
	cr_assert_null(roll_old(scene.roll), "nobody is told of it any more");
	new_dies();
	assert_state(ROLL_RETREAT);
	cr_assert_null(scene.cold);
	cr_assert(fake_reap(scene.old));
	assert_state(ROLL_COLD);
	cr_assert_not_null(scene.cold);
	scene_clear();
}

Test(roll_retreat, reports_the_lines_of_the_failed_version_and_not_of_the_one_that_starts_empty)
{
	for (unsigned said_something = 0; said_something < 2; said_something++) {
		begin_in(ROLL_BAKE, "Rollback=none\n");
		scene_reap(); /* old */
		if (said_something)
			lines_put(&scene.new->instance.lines, "assertion failed", strlen("assertion failed"));
		new_dies();
		lines_put(&scene.cold->instance.lines, "hello, world", strlen("hello, world"));
		scene_go_well();
		assert_outcome(ROLL_IS_COLD);
		cr_assert_eq(scene.report.lines.n, said_something);
		cr_assert(!said_something || strcmp(scene.report.lines.text[0], "assertion failed") == 0);
		scene_clear();
	}
}

Test(roll_retreat, fails_when_the_last_good_version_cannot_be_started)
{
	begin_in(ROLL_BAKE, "Rollback=none\n");
	scene.cold_refused = true;
	scene_reap(); /* old */
	new_dies();
	assert_outcome(ROLL_IS_FAILED);
	cr_assert_null(scene.serves);
	cr_assert(scene_said("cold, nobody: version v1: no such file\n"));
	scene_clear();
}

Test(roll_retreat, says_why_the_last_good_version_does_not_start)
{
	char expected[128];

	begin_in(ROLL_COLD, NULL);
	fake_hello(scene.cold, 1, false);
	fake_standby(scene.cold);
	fake_refused(scene.cold, "the port is taken");
	snprintf(expected, sizeof(expected), "cold, cold: version v1 (pid %d) refused to start: the port is taken\n",
		 scene.cold_pid);
	cr_assert_str_eq(scene.said, expected, "%s", scene.said);
	cr_assert_eq(scene.cold->signal, SIGKILL);
	scene_reap();
	assert_outcome(ROLL_IS_FAILED);
	snprintf(expected, sizeof(expected), "version v2 (pid %d) was killed by SIGSEGV", scene.new_pid);
	cr_assert_str_eq(scene.report.cause.text, expected, "what the roll failed of is another matter");
	scene_clear();
}

/* ---- a roll backward ---- */

/* Whoever began it has rungs of its own. */
Test(roll_retreat, of_a_roll_backward_that_did_not_commit_starts_nothing)
{
	static const enum roll_purpose backward[] = { PURPOSE_UNDO, PURPOSE_LEAVE_SICK };

	for (size_t i = 0; i < 2; i++) {
		begin_as(NULL, backward[i]);
		scene_to(ROLL_TRANSFER);
		fake_exit(scene.old, SIGSEGV);
		scene_reap();
		assert_outcome(ROLL_IS_FAILED);
		cr_assert_null(scene.cold);
		cr_assert_not(scene_said("starts empty"));
		scene_clear();
	}
}

/* Nobody was told of that commit, and the parked process there has more of the state than one that starts empty. */
Test(roll_retreat, of_a_roll_backward_whose_version_ended_with_the_commit_starts_nothing)
{
	begin_as("Rollback=none\n", PURPOSE_UNDO);
	scene_to(ROLL_COMMIT);
	cr_assert(commit_take(&scene.new->word, COMMIT_NEW));
	new_dies();
	scene_reap();
	assert_outcome(ROLL_IS_FAILED);
	cr_assert_null(scene.cold);
	cr_assert_eq(scene.commits, 0);
	scene_clear();
}

Test(roll_retreat, of_a_roll_backward_that_committed_is_like_any_other)
{
	begin_as("Rollback=none\n", PURPOSE_UNDO);
	scene_to(ROLL_BAKE);
	scene_reap(); /* old */
	new_dies();
	assert_state(ROLL_COLD);
	scene_go_well();
	assert_outcome(ROLL_IS_COLD);
	scene_clear();
}

/* Old serves in the bake of another roll until it stands still, and that roll hears what it says besides. */
Test(roll_retreat, of_another_roll_is_kept_possible_by_what_is_said_aside)
{
	scene_set(NULL);
	scene.hears_aside = true;
	struct roll_options options = scene_options();

	options.purpose = PURPOSE_UNDO;
	scene_begin(&options);
	fake_closed(scene.old, 1);
	fake_hand_over(scene.old, 1, false);
	fake_pong(scene.old);
	fake_journal_full(scene.old, 4096);
	cr_assert_str_eq(scene.asides, "closed fds pong journal_full");
	cr_assert_eq(roll_descriptors(scene.roll), 0);
	scene_to(ROLL_TRANSFER);
	fake_closed(scene.old, 1);
	cr_assert_str_eq(scene.asides, "closed fds pong journal_full closed", "its descriptors are handed over by now");
	cr_assert_eq(roll_descriptors(scene.roll), 2);
	scene_clear();
}
