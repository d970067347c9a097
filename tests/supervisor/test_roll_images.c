/* SPDX-License-Identifier: MIT */
/* Old's image: why there is none, what is said of that, and old that leaves memory. */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

TestSuite(roll_images, .timeout = 20);
TestSuite(roll_pack, .timeout = 20);

#define S USEC_PER_SEC
#define WATCHES(rungs) "bake, new: watching version v2 for 60000 ms; way back: " rungs "\n"
#define PARKS "park, old: version v1 is parked: it released its sockets and sleeps in memory\n"

static void begin(const char *unit, bool require_image)
{
	struct roll_options options;

	scene_set(unit);
	options = scene_options();
	options.require_image = require_image;
	scene_begin(&options);
}

static void park(void)
{
	scene_forget();
	fake_parked(scene.old);
}

/* ---- why there is none ---- */

static void have_no_criu(void)
{
	scene.site.criu_path = NULL;
}

static void have_an_obstacle(void)
{
	fake_imaging.has_obstacle = true;
}

static void have_no_room(void)
{
	fake_imaging.refuses = true;
}

static void be_of_another_kind(void)
{
	static struct instance_kind kind;

	kind = *scene.old->instance.kind;
	kind.powers = INSTANCE_CAN_SIGNAL | INSTANCE_CAN_REAP;
	scene.old->instance.kind = &kind;
}

static const struct {
	void (*prepare)(void);
	const char *reason;
} impossible[] = {
	{ have_no_criu, "no usable CRIU, see upgradectl check" },
	{ have_an_obstacle, "a tape drive is open" },
	{ have_no_room, "the disk is full" },
	{ be_of_another_kind, "a process that is fake cannot be imaged" },
};

#define N_IMPOSSIBLE (sizeof(impossible) / sizeof(impossible[0]))

Test(roll_images, that_cannot_be_taken_are_told_with_the_reason)
{
	for (size_t i = 0; i < N_IMPOSSIBLE; i++) {
		char expected[400];

		begin(NULL, false);
		scene_to(ROLL_PARK);
		impossible[i].prepare();
		park();
		assert_state(ROLL_BAKE);
		snprintf(expected, sizeof(expected),
			 PARKS "image, nobody: no image (%s); the way back is the parked process alone\n" WATCHES("parked"),
			 impossible[i].reason);
		cr_assert_str_eq(scene.said, expected, "%s", scene.said);
		cr_assert_str_eq(scene.heard, "", "old is left as it is");
		scene_go_well();
		assert_outcome(ROLL_IS_DONE);
		cr_assert_str_eq(scene.report.image_missed.text, "", "none was required");
		scene_clear();
	}
}

Test(roll_images, that_were_required_and_missed_are_reported)
{
	for (size_t i = 0; i < N_IMPOSSIBLE; i++) {
		begin(NULL, true);
		scene_to(ROLL_PARK);
		impossible[i].prepare();
		park();
		cr_assert(scene_said("image, nobody: an image was required, and nothing spoke against it before the roll, "
				     "which has committed by now\n"));
		scene_go_well();
		assert_outcome(ROLL_IS_DONE);
		cr_assert_str_eq(scene.report.image_missed.text, impossible[i].reason);
		scene_clear();
	}
}

Test(roll_images, that_fail_although_they_were_required_are_reported)
{
	begin(NULL, true);
	scene_to(ROLL_IMAGE);
	fake_imaging_done(-EIO, CRIU_TARGET_RUNNING);
	cr_assert_str_eq(roll_report(scene.roll)->image_missed.text, "CRIU failed");
	scene_clear();
}

Test(roll_images, that_were_required_and_taken_are_not_missed)
{
	begin(NULL, true);
	scene_go_well();
	assert_outcome(ROLL_IS_DONE);
	cr_assert_str_eq(scene.report.image_missed.text, "");
	scene_clear();
}

/* What was missed at first is there after all. */
Test(roll_images, that_are_taken_later_are_not_missed_any_more)
{
	begin(NULL, true);
	scene_to(ROLL_IMAGE);
	fake_imaging_done(-EIO, CRIU_TARGET_RUNNING);
	cr_assert_eq(roll_pack(scene.roll, NULL), 0);
	fake_imaging_done(0, CRIU_TARGET_GONE);
	cr_assert_str_eq(roll_report(scene.roll)->image_missed.text, "");
	scene_clear();
}

Test(roll_images, say_beforehand_what_will_not_come_back_as_it_was)
{
	begin(NULL, false);
	scene_to(ROLL_PARK);
	fake_imaging.has_flaw = true;
	park();
	assert_state(ROLL_IMAGE);
	cr_assert_str_eq(scene.said, PARKS "image, old: will not come back as it was: a watch on /etc\n");
	scene_clear();
}

Test(roll_images, leave_the_parked_process_running_only_where_both_rungs_are_wanted)
{
	begin("Rollback=auto\n", false);
	scene_to(ROLL_IMAGE);
	cr_assert(fake_imaging.leave_running);
	scene_clear();
	begin("Rollback=image\n", false);
	scene_to(ROLL_IMAGE);
	cr_assert_not(fake_imaging.leave_running);
	scene_clear();
}

/* CRIU may have finished when something else ended the process. */
Test(roll_images, of_a_process_that_died_while_they_were_taken_are_the_one_rung_left)
{
	begin(NULL, false);
	scene_to(ROLL_IMAGE);
	fake_exit(scene.old, SIGKILL);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	assert_state(ROLL_BAKE);
	cr_assert_eq(roll_report(scene.roll)->rungs, ROLL_RUNG_IMAGE);
	scene_clear();
}

/* The end of the process by CRIU is not heard yet, and its pid is not free. */
Test(roll_images, of_a_process_that_criu_ended_are_restored_when_it_was_reaped)
{
	begin("Rollback=image\n", false);
	scene_to(ROLL_BAKE);
	scene_forget();
	fake_exit(scene.new, SIGSEGV);
	assert_state(ROLL_RETREAT);
	cr_assert_str_eq(scene.heard, "old:SIGKILL");
	fake_reap(scene.old);
	assert_state(ROLL_RESTORE);
	cr_assert_eq(fake_imaging.restored, 1);
	scene_go_well();
	assert_outcome(ROLL_IS_BACK_IMAGE);
	scene_clear();
}

Test(roll_images, are_finished_quickly_when_new_dies_meanwhile)
{
	begin(NULL, false);
	scene_to(ROLL_IMAGE);
	cr_assert_not(fake_imaging.hurried);
	fake_exit(scene.new, SIGSEGV);
	cr_assert(fake_imaging.hurried);
	scene_clear();
}

Test(roll_images, are_waited_for_although_new_has_to_be_ended)
{
	begin(NULL, false);
	scene_to(ROLL_IMAGE);
	fake_refused(scene.new, "I give up");
	assert_state(ROLL_RETREAT_IMAGING);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	assert_state(ROLL_RETREAT);
	scene_reap();
	assert_state(ROLL_RESUME);
	scene_clear();
}

/* A kill that did not work is tried again. */
Test(roll_images, under_way_do_not_keep_new_from_being_killed_again)
{
	begin(NULL, false);
	scene_to(ROLL_IMAGE);
	fake_refused(scene.new, "I give up");
	scene_forget();
	scene_pass(5 * S);
	cr_assert_str_eq(scene.heard, "new:SIGKILL");
	assert_state(ROLL_RETREAT_IMAGING);
	scene_clear();
}

/* ---- old leaves memory ---- */

static void bake(const char *unit)
{
	begin(unit, false);
	scene_to(ROLL_BAKE);
	scene_forget();
}

Test(roll_pack, takes_an_image_and_the_process_out_of_memory)
{
	bake("Rollback=parked\n");
	cr_assert_eq(roll_pack(scene.roll, NULL), 0);
	assert_state(ROLL_PACK);
	cr_assert_not(fake_imaging.leave_running);
	cr_assert_eq(scene.packs, 0);
	fake_imaging_done(0, CRIU_TARGET_GONE);
	assert_state(ROLL_BAKE);
	cr_assert_eq(scene.packs, 1);
	cr_assert_str_eq(scene.pack_failure, "");
	cr_assert_eq(roll_report(scene.roll)->rungs, ROLL_RUNG_IMAGE);
	cr_assert_eq(roll_image_generation(scene.roll), 1);
	scene_clear();
}

/* It was taken when old was parked, and old has not run since. */
Test(roll_pack, uses_the_image_that_is_there)
{
	bake(NULL);
	cr_assert_eq(roll_pack(scene.roll, NULL), 0);
	cr_assert_eq(fake_imaging.taken, 1);
	cr_assert_str_eq(scene.heard, "old:SIGKILL");
	cr_assert_eq(scene.packs, 1);
	cr_assert_str_eq(scene.pack_failure, "");
	cr_assert_eq(roll_report(scene.roll)->rungs, ROLL_RUNG_IMAGE);
	scene_clear();
}

Test(roll_pack, leaves_the_process_where_it_is_if_the_image_that_is_there_could_not_be_used)
{
	bake(NULL);
	fake_imaging.rung_is_bad = true;
	cr_assert_eq(roll_pack(scene.roll, NULL), 0);
	assert_state(ROLL_BAKE);
	cr_assert_str_eq(scene.heard, "");
	cr_assert_str_eq(scene.said, "image, old: version v1 stays in memory: a library that the image needs is gone\n"
				     WATCHES("parked+image"));
	cr_assert_eq(scene.packs, 1);
	cr_assert_str_eq(scene.pack_failure, "a library that the image needs is gone");
	cr_assert_eq(roll_report(scene.roll)->rungs, ROLL_RUNG_PARKED | ROLL_RUNG_IMAGE);
	scene_clear();
}

Test(roll_pack, leaves_the_process_where_it_is_if_no_image_can_be_begun)
{
	bake("Rollback=parked\n");
	fake_imaging.has_obstacle = true;
	cr_assert_eq(roll_pack(scene.roll, NULL), 0);
	assert_state(ROLL_BAKE);
	cr_assert_str_eq(scene.said, "image, old: version v1 stays in memory: a tape drive is open\n" WATCHES("parked"));
	cr_assert_eq(scene.packs, 1);
	cr_assert_str_eq(scene.pack_failure, "a tape drive is open");
	scene_clear();
}

Test(roll_pack, leaves_the_process_where_it_is_if_the_image_fails)
{
	bake("Rollback=parked\n");
	cr_assert_eq(roll_pack(scene.roll, NULL), 0);
	fake_imaging_done(-EIO, CRIU_TARGET_RUNNING);
	assert_state(ROLL_BAKE);
	cr_assert_eq(scene.packs, 1);
	cr_assert_str_eq(scene.pack_failure, "CRIU failed");
	cr_assert_eq(roll_report(scene.roll)->rungs, ROLL_RUNG_PARKED);
	scene_clear();
}

Test(roll_pack, is_refused_where_there_is_nothing_to_pack_or_to_pack_it_with)
{
	struct why why;

	bake("Rollback=image\n");
	cr_assert_eq(roll_pack(scene.roll, &why), -ESRCH);
	cr_assert_str_eq(why.text, "no version lies parked in memory");
	scene_clear();
	bake("Rollback=parked\n");
	scene.site.criu_path = NULL;
	cr_assert_eq(roll_pack(scene.roll, &why), -ENOENT);
	cr_assert_str_eq(why.text, "no usable CRIU, see upgradectl check");
	assert_state(ROLL_BAKE);
	cr_assert_eq(scene.packs, 0);
	scene_clear();
}

/* The CRIU that took the image is there no more, but the image is. */
Test(roll_pack, needs_no_criu_where_an_image_is_there)
{
	bake(NULL);
	scene.site.criu_path = NULL;
	cr_assert_eq(roll_pack(scene.roll, NULL), 0);
	cr_assert_eq(roll_report(scene.roll)->rungs, ROLL_RUNG_IMAGE);
	scene_clear();
}

/* What comes of the retreat is the answer. */
Test(roll_pack, is_not_answered_when_new_dies_meanwhile)
{
	bake("Rollback=parked\n");
	cr_assert_eq(roll_pack(scene.roll, NULL), 0);
	fake_exit(scene.new, SIGSEGV);
	assert_state(ROLL_RETREAT_IMAGING);
	cr_assert(fake_imaging.hurried);
	fake_imaging_done(0, CRIU_TARGET_GONE);
	cr_assert_eq(scene.packs, 0);
	scene_go_well();
	assert_outcome(ROLL_IS_BACK_IMAGE);
	scene_clear();
}

Test(roll_pack, turns_to_a_sick_version_when_it_is_done)
{
	bake("Rollback=parked\n");
	cr_assert_eq(roll_pack(scene.roll, NULL), 0);
	scene_judge(HEALTH_SICK, "it is ill");
	assert_state(ROLL_PACK);
	fake_imaging_done(0, CRIU_TARGET_GONE);
	assert_state(ROLL_BACKWARD);
	scene_clear();
}

/* ---- memory is short ---- */

#define SHORT "Rollback=parked\nMemoryLow=1024T\n" /* of any machine's memory */

Test(roll_pack, happens_by_itself_when_memory_is_short)
{
	bake(SHORT);
	scene_pass(1);
	assert_state(ROLL_PACK);
	cr_assert(scene_said("image, old: memory is short: "));
	fake_imaging_done(0, CRIU_TARGET_GONE);
	cr_assert_eq(roll_report(scene.roll)->rungs, ROLL_RUNG_IMAGE);
	scene_clear();
}

/* What cannot be imaged now will not be in a second either. */
Test(roll_pack, is_not_tried_again_and_again_when_memory_is_short)
{
	bake(SHORT);
	scene_pass(1);
	fake_imaging_done(-EIO, CRIU_TARGET_RUNNING);
	assert_state(ROLL_BAKE);
	scene_pass(10 * S);
	assert_state(ROLL_BAKE);
	cr_assert_eq(fake_imaging.taken, 1);
	scene_clear();
}

Test(roll_pack, that_is_not_possible_when_memory_is_short_says_why)
{
	begin(SHORT, false);
	scene.site.criu_path = NULL;
	scene_to(ROLL_BAKE);
	scene_pass(1);
	assert_state(ROLL_BAKE);
	cr_assert(scene_said("image, old: version v1 stays in memory: no usable CRIU, see upgradectl check\n"));
	scene_clear();
}

Test(roll_pack, does_not_happen_by_itself_where_memory_is_not_short_or_nobody_asked)
{
	static const char *const units[] = { "Rollback=parked\n", "Rollback=parked\nMemoryLow=1K\n" };

	for (size_t i = 0; i < 2; i++) {
		bake(units[i]);
		scene_pass(30 * S);
		assert_state(ROLL_BAKE);
		cr_assert_eq(fake_imaging.taken, 0);
		scene_clear();
	}
}

Test(roll_pack, does_not_happen_by_itself_where_nothing_lies_in_memory)
{
	bake("Rollback=image\nMemoryLow=1024T\n");
	scene_pass(10 * S);
	assert_state(ROLL_BAKE);
	cr_assert_not(scene_said("memory is short"));
	scene_clear();
}
