/* SPDX-License-Identifier: MIT */
/* The bake: how it ends, what a new version that is not well or not wanted is left for, and what is tried before it is ended. */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

TestSuite(roll_bake, .timeout = 20);

#define S USEC_PER_SEC

static void begin_with(const char *unit, enum roll_purpose purpose)
{
	struct roll_options options;

	scene_set(unit);
	options = scene_options();
	options.purpose = purpose;
	scene_begin(&options);
}

static void bake(const char *unit)
{
	begin_with(unit, PURPOSE_FORWARD);
	scene_to(ROLL_BAKE);
	scene_forget();
}

/* A bake without a parked process and without an image. */
static void bake_without_way_back(enum roll_purpose purpose)
{
	begin_with("Rollback=parked\n", purpose);
	scene_to(ROLL_BAKE);
	fake_exit(scene.old, SIGKILL);
	cr_assert_eq(roll_report(scene.roll)->rungs, ROLL_RUNG_NONE);
	scene_forget();
}

static const char *cause(void)
{
	return scene.roll ? roll_report(scene.roll)->cause.text : scene.report.cause.text;
}

/* ---- its time ---- */

Test(roll_bake, counts_from_the_commit)
{
	begin_with("Rollback=parked\n", PURPOSE_FORWARD);
	scene_to(ROLL_PARK);
	scene_pass(8 * S);
	fake_parked(scene.old);
	assert_state(ROLL_BAKE);
	scene_pass(52 * S - 1);
	assert_state(ROLL_BAKE);
	scene_pass(1);
	assert_outcome(ROLL_IS_DONE);
	scene_clear();
}

Test(roll_bake, that_is_over_while_old_leaves_memory_ends_when_it_has_left)
{
	bake("Rollback=parked\n");
	scene_pass(50 * S);
	cr_assert_eq(roll_pack(scene.roll, NULL), 0);
	scene_pass(20 * S);
	assert_state(ROLL_PACK);
	fake_imaging_done(0, CRIU_TARGET_GONE);
	assert_state(ROLL_BAKE);
	scene_pass(1);
	assert_outcome(ROLL_IS_DONE);
	cr_assert(scene.left_image);
	scene_clear();
}

/* The kernel knows of its end already, and the message is on its way. */
Test(roll_bake, does_not_accept_a_version_that_has_ended)
{
	bake(NULL);
	scene.new->has_ended_unheard = true;
	scene_pass(70 * S);
	assert_state(ROLL_BAKE);
	fake_exit(scene.new, SIGSEGV);
	assert_state(ROLL_RESUME);
	scene_clear();
}

Test(roll_bake, ends_when_the_checks_of_health_are_settled)
{
	bake(NULL);
	scene_judge(HEALTH_SETTLED, "");
	assert_outcome(ROLL_IS_DONE);
	scene_clear();
}

Test(roll_bake, whose_checks_are_settled_does_not_accept_a_version_that_has_ended)
{
	bake(NULL);
	scene.new->has_ended_unheard = true;
	scene_judge(HEALTH_SETTLED, "");
	assert_state(ROLL_BAKE);
	scene_clear();
}

/* The order is taken back while the ping that it asked for is under way: the bake goes on as if there had been none. */
Test(roll_bake, whose_acceptance_was_taken_back_goes_on)
{
	bake("Rollback=parked\n");
	roll_accept(scene.roll);
	cr_assert_eq(roll_pack(scene.roll, NULL), 0);
	cr_assert(roll_drop_wish(scene.roll));
	fake_imaging_done(0, CRIU_TARGET_GONE);
	scene_pass(60 * S - 1);
	assert_state(ROLL_BAKE);
	scene_pass(1);
	assert_outcome(ROLL_IS_DONE);
	scene_clear();
}

/* ---- a version that hangs ---- */

Test(roll_bake, ends_a_version_that_does_not_answer)
{
	char expected[200];

	bake(NULL);
	scene_be_silent(30 * S);
	assert_state(ROLL_RETREAT);
	cr_assert_eq(scene.new->signal, SIGKILL);
	snprintf(expected, sizeof(expected),
		 "version v2 (pid %d) has not answered for 6000 ms: not every thread passes its update point", scene.new_pid);
	cr_assert_str_eq(cause(), expected);
	scene_go_well();
	assert_outcome(ROLL_IS_BACK_PARKED);
	cr_assert_str_eq(cause(), expected, "that it was killed for it is no other cause");
	scene_clear();
}

/* ---- a version that is not well ---- */

Test(roll_bake, leaves_a_sick_version_with_all_its_state)
{
	bake(NULL);
	scene_judge(HEALTH_SICK, "it is ill");
	assert_state(ROLL_BACKWARD);
	cr_assert(roll_is_sick(scene.roll));
	cr_assert_str_eq(scene.heard, "", "nobody is killed");
	cr_assert_eq(scene.lent, &scene.new->instance);
	cr_assert_null(roll_new(scene.roll));
	cr_assert_null(roll_serving(scene.roll), "the roll backward knows who serves");
	scene_go_well();
	assert_outcome(ROLL_IS_BACK_LIVE);
	cr_assert_str_eq(cause(), "it is ill");
	cr_assert_not(scene.left_image, "its image is of no use to anybody");
	scene_clear();
}

Test(roll_bake, is_sick_once)
{
	begin_with(NULL, PURPOSE_FORWARD);
	scene_to(ROLL_IMAGE);
	scene_judge(HEALTH_SICK, "it is ill");
	scene_judge(HEALTH_SICK, "it is worse");
	cr_assert_str_eq(cause(), "it is ill");
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	assert_state(ROLL_BACKWARD);
	scene_clear();
}

Test(roll_bake, ends_a_sick_version_for_a_rung_when_it_cannot_be_left_with_its_state)
{
	bake(NULL);
	scene_judge(HEALTH_SICK, "it is ill");
	scene_forget();
	scene_turn_down("version v1 (pid 7) could not load");
	assert_state(ROLL_RETREAT);
	cr_assert_str_eq(scene.heard, "new:SIGKILL");
	cr_assert_str_eq(scene.said, "undo, new: version v2 could not be rolled back: version v1 (pid 7) could not load\n"
				     "bake, new: watching version v2 for 60000 ms; way back: parked+image\n");
	scene_go_well();
	assert_outcome(ROLL_IS_BACK_PARKED);
	cr_assert_str_eq(cause(), "it is ill");
	scene_clear();
}

Test(roll_bake, ends_a_sick_version_for_an_image_that_can_be_used_alone)
{
	bake("Rollback=image\n");
	fake_exit(scene.old, SIGKILL);
	scene_judge(HEALTH_SICK, "it is ill");
	scene_turn_down("no");
	assert_state(ROLL_RETREAT);
	scene_go_well();
	assert_outcome(ROLL_IS_BACK_IMAGE);
	scene_clear();
}

static void assert_kept(void)
{
	assert_state(ROLL_BAKE);
	cr_assert_not(roll_is_sick(scene.roll));
	cr_assert_eq(scene.new->signal, 0);
	cr_assert(scene_said("bake, new: version v2 is kept all the same: no way back is left, and it answers\n"));
	scene_go_well();
	assert_outcome(ROLL_IS_DONE);
	cr_assert_eq(scene.serves, &scene.new->instance);
	scene_clear();
}

Test(roll_bake, keeps_a_sick_version_where_no_way_back_is_left)
{
	bake_without_way_back(PURPOSE_FORWARD);
	scene_judge(HEALTH_SICK, "it is ill");
	scene_turn_down("no");
	assert_kept();
}

Test(roll_bake, keeps_a_sick_version_where_the_image_could_not_be_used)
{
	bake("Rollback=image\n");
	fake_exit(scene.old, SIGKILL);
	fake_imaging.rung_is_bad = true;
	scene_judge(HEALTH_SICK, "it is ill");
	scene_turn_down("no");
	assert_kept();
}

Test(roll_bake, bears_with_a_version_that_is_kept_and_says_so_each_time)
{
	bake_without_way_back(PURPOSE_FORWARD);
	scene_judge(HEALTH_SICK, "it is ill");
	scene_turn_down("no");
	scene_forget();
	scene_judge(HEALTH_SICK, "it is worse");
	assert_state(ROLL_BAKE);
	cr_assert_str_eq(scene.said, "bake, new: it is worse; it is kept, as no way back is left\n");
	cr_assert_str_eq(cause(), "it is ill");
	cr_assert_not_null(roll_health(scene.roll), "it is watched all the same");
	scene_forget();
	cr_assert_eq(roll_give_up(scene.roll, ROLL_RUNG_PARKED, NULL), -ESRCH);
	scene_judge(HEALTH_LOST, "it hangs");
	assert_state(ROLL_RETREAT);
	scene_clear();
}

/* It is what a version that was not well was left for. Otherwise a check that is broken itself would send both round in circles. */
Test(roll_bake, bears_with_the_version_that_was_gone_back_to)
{
	begin_with(NULL, PURPOSE_LEAVE_SICK);
	scene_to(ROLL_BAKE);
	scene_forget();
	scene_judge(HEALTH_SICK, "it is ill");
	assert_state(ROLL_BAKE);
	cr_assert_str_eq(scene.said, "bake, new: it is ill; it is kept, as it is what was gone back to\n");
	cr_assert_str_eq(cause(), "");
	cr_assert_not_null(roll_health(scene.roll));
	scene_go_well();
	assert_outcome(ROLL_IS_DONE);
	scene_clear();
}

/* The bake has waited for that check alone. */
Test(roll_bake, that_bears_with_a_version_ends_with_its_last_check)
{
	struct health *health;

	begin_with(NULL, PURPOSE_LEAVE_SICK);
	scene_to(ROLL_BAKE);
	health = (struct health *)(uintptr_t)roll_health(scene.roll);
	health->concluding = true;
	scene_judge(HEALTH_SICK, "it never was well");
	assert_state(ROLL_BAKE);
	scene_pass(0); /* a sign of life is still asked for */
	assert_outcome(ROLL_IS_DONE);
	scene_clear();
}

/* An undo by the operator is another matter than a version that is not well. */
Test(roll_bake, leaves_a_sick_version_in_a_roll_that_an_operator_asked_back)
{
	begin_with(NULL, PURPOSE_UNDO);
	scene_to(ROLL_BAKE);
	scene_judge(HEALTH_SICK, "it is ill");
	assert_state(ROLL_BACKWARD);
	scene_clear();
}

/* ---- a version that is not wanted ---- */

Test(roll_bake, undoes_and_is_turned)
{
	bake(NULL);
	roll_undo(scene.roll);
	assert_state(ROLL_BACKWARD);
	cr_assert_not(roll_is_sick(scene.roll));
	cr_assert_not(roll_may_undo(scene.roll));
	scene_go_well();
	assert_outcome(ROLL_IS_BACK_LIVE);
	cr_assert_null(scene.serves);
	cr_assert_str_eq(cause(), "", "nothing was wrong");
	scene_clear();
}

Test(roll_bake, goes_on_when_an_undo_is_called_off)
{
	bake(NULL);
	scene_pass(10 * S);
	roll_undo(scene.roll);
	scene_pass(5 * S);
	scene_forget();
	scene_turn_down("aborted by the operator");
	assert_state(ROLL_BAKE);
	cr_assert_eq(roll_new(scene.roll), &scene.new->instance);
	cr_assert_not_null(roll_health(scene.roll));
	cr_assert_eq(roll_due_us(scene.roll), roll_record(scene.roll)->commit_us + 60 * S, "it has lost no time of its own");
	cr_assert(roll_may_undo(scene.roll));
	fake_refused(scene.new, "it is heard again");
	assert_state(ROLL_RETREAT);
	scene_clear();
}

Test(roll_bake, can_be_undone_again)
{
	bake(NULL);
	roll_undo(scene.roll);
	scene_turn_down("no");
	roll_undo(scene.roll);
	assert_state(ROLL_BACKWARD);
	scene_go_well();
	assert_outcome(ROLL_IS_BACK_LIVE);
	scene_clear();
}

/* An undo may have failed of what is over by now. But if this fails, too, new is ended. */
Test(roll_bake, tries_once_more_to_leave_a_version_that_becomes_sick_after_an_undo_failed)
{
	bake(NULL);
	roll_undo(scene.roll);
	scene_turn_down("no");
	scene_judge(HEALTH_SICK, "it is ill");
	assert_state(ROLL_BACKWARD);
	scene_turn_down("no");
	assert_state(ROLL_RETREAT);
	scene_clear();
}

Test(roll_bake, whose_time_is_over_when_an_undo_is_called_off_ends_at_once)
{
	bake(NULL);
	roll_undo(scene.roll);
	scene_pass(100 * S);
	assert_state(ROLL_BACKWARD);
	scene_turn_down("no");
	assert_state(ROLL_BAKE);
	scene_pass(1);
	assert_outcome(ROLL_IS_DONE);
	scene_clear();
}

Test(roll_bake, that_becomes_sick_while_an_undo_waits_is_left_because_it_is_sick)
{
	begin_with(NULL, PURPOSE_FORWARD);
	scene_to(ROLL_PARK);
	roll_undo(scene.roll);
	scene_judge(HEALTH_SICK, "it is ill");
	roll_undo(scene.roll);
	fake_parked(scene.old);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	assert_state(ROLL_BACKWARD);
	cr_assert(roll_is_sick(scene.roll));
	cr_assert(scene_said("undo, new: it is ill; rolling back"));
	scene_clear();
}

Test(roll_bake, resumes_the_parked_process_when_new_comes_back_dead)
{
	bake(NULL);
	roll_undo(scene.roll);
	scene_pass(2 * S);
	fake_exit(scene.new, SIGSEGV);
	scene_pass(1 * S);
	scene_turn_down("version v2 died on the way");
	assert_state(ROLL_RESUME);
	cr_assert_str_eq(cause(), "version v2 died on the way");
	cr_assert_eq(roll_report(scene.roll)->wire.died_us, scene.now_us - 1 * S);
	cr_assert_eq(roll_report(scene.roll)->wire.lost_us, 2 * S);
	scene_clear();
}

Test(roll_bake, hears_of_the_end_of_a_version_that_came_back_dying)
{
	bake(NULL);
	roll_undo(scene.roll);
	fake_begin_exit(scene.new, SIGSEGV);
	scene_turn_down("it is dying");
	assert_state(ROLL_BAKE);
	fake_end_exit(scene.new);
	assert_state(ROLL_RESUME);
	scene_clear();
}

Test(roll_bake, resumes_the_parked_process_when_the_roll_backward_loses_new)
{
	bake(NULL);
	roll_undo(scene.roll);
	scene_pass(3 * S);
	scene_conclude();
	assert_outcome(ROLL_IS_FAILED);
	cr_assert(scene_said("resume, old: it ended on the way back; version v1 comes back from memory"));
	cr_assert_str_eq(cause(), "it ended on the way back");
	cr_assert_eq(scene.report.wire.lost_us, 3 * S);
	scene_clear();
}

/* ---- what a version says while it is lent ---- */

Test(roll_bake, hears_what_new_has_closed_while_it_is_lent)
{
	bake(NULL);
	cr_assert_eq(roll_descriptors(scene.roll), 2);
	roll_undo(scene.roll);
	fake_closed(scene.new, scene.tag);
	fake_pong(scene.new);
	cr_assert_eq(roll_descriptors(scene.roll), 1);
	assert_state(ROLL_BACKWARD);
	scene_clear();
}

/* ---- by order, without new's state ---- */

Test(roll_bake, gives_up_for_nothing_that_is_not_there)
{
	struct why why;

	bake("Rollback=image\n");
	cr_assert_eq(roll_give_up(scene.roll, ROLL_RUNG_PARKED, &why), -ESRCH);
	cr_assert_str_eq(why.text, "no version lies parked in memory");
	scene_clear();
	bake("Rollback=parked\n");
	cr_assert_eq(roll_give_up(scene.roll, ROLL_RUNG_IMAGE, &why), -ENOENT);
	cr_assert_str_eq(why.text, "no version is an image");
	scene_clear();
	bake(NULL);
	fake_imaging.rung_is_bad = true;
	cr_assert_eq(roll_give_up(scene.roll, ROLL_RUNG_IMAGE, &why), -ENOENT);
	cr_assert_str_eq(why.text, "a library that the image needs is gone");
	assert_state(ROLL_BAKE);
	cr_assert_str_eq(scene.heard, "");
	cr_assert_str_eq(cause(), "");
	scene_clear();
}

/* The image is wished, so the parked process has to make room for it. */
Test(roll_bake, ends_the_parked_process_for_the_image_that_was_wished)
{
	bake(NULL);
	scene_pass(4 * S);
	cr_assert_eq(roll_give_up(scene.roll, ROLL_RUNG_IMAGE, NULL), 0);
	cr_assert_str_eq(scene.heard, "new:SIGKILL", "new first");
	fake_reap(scene.new);
	cr_assert_str_eq(scene.heard, "new:SIGKILL old:SIGKILL");
	assert_state(ROLL_RETREAT);
	fake_reap(scene.old);
	assert_state(ROLL_RESTORE);
	scene_go_well();
	assert_outcome(ROLL_IS_BACK_IMAGE);
	cr_assert_eq(scene.report.wire.lost_us, 4 * S);
	cr_assert_eq(scene.report.wire.restore_us, 1000);
	scene_clear();
}
