/* SPDX-License-Identifier: MIT */
/* The ways back while the new version bakes: the parked process is stopped, and what is lost of them is told at once. */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>
#include <string.h>

static void set_up(void)
{
	struct roll_options options;

	scene_set(NULL);
	options = scene_options();
	scene_begin(&options);
}

TestSuite(rungs, .init = set_up, .fini = scene_clear, .timeout = 20);

Test(rungs, a_parked_process_that_may_be_stopped_is_and_goes_on_when_it_comes_back)
{
	scene_to(ROLL_PARK);
	fake_parked_still(scene.old);
	cr_assert(scene.old->stopped);
	fake_exit(scene.new, 9);
	fake_imaging_done(-5, CRIU_TARGET_RUNNING);
	assert_state(ROLL_RESUME);
	cr_assert_not(scene.old->stopped);
	cr_assert(fake_heard(scene.old, UPGRADED__WIRE__APP_MESSAGE__BODY_RESUME));
	fake_resumed(scene.old);
	assert_outcome(ROLL_IS_BACK_PARKED);
}

Test(rungs, a_process_that_did_not_say_so_is_not_stopped)
{
	scene_to(ROLL_PARK);
	fake_parked(scene.old);
	cr_assert_not(scene.old->stopped);
}

Test(rungs, a_parked_process_is_stopped_again_when_it_was_imaged)
{
	scene_to(ROLL_PARK);
	fake_parked_still(scene.old);
	scene.old->stopped = false; /* as CRIU leaves it */
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	cr_assert(scene.old->stopped);
}

Test(rungs, the_end_of_a_parked_process_is_told_at_once_with_its_cause_and_what_is_left)
{
	scene_to(ROLL_BAKE);
	*scene.said = 0;
	fake_exit(scene.old, 15);
	cr_assert(scene_said("the parked process of version v1 was killed by SIGTERM; what is left: image"), "%s", scene.said);
	cr_assert(strstr(roll_report(scene.roll)->way_note.text, "SIGTERM"));
	cr_assert_eq(roll_report(scene.roll)->rungs, ROLL_RUNG_IMAGE);
}

Test(rungs, an_image_that_was_removed_is_told_at_once)
{
	scene_to(ROLL_BAKE);
	*scene.said = 0;
	fake_imaging.removed = true;
	scene_pass(2 * USEC_PER_SEC);
	cr_assert(scene_said("is not there any more; what is left: parked"), "%s", scene.said);
	cr_assert_eq(roll_report(scene.roll)->rungs, ROLL_RUNG_PARKED);
	*scene.said = 0;
	fake_exit(scene.old, 9);
	cr_assert(scene_said("a cold start"), "%s", scene.said);
	cr_assert_eq(roll_report(scene.roll)->rungs, ROLL_RUNG_NONE);
}

Test(rungs, what_ends_on_the_way_back_is_told_there)
{
	scene_to(ROLL_BAKE);
	*scene.said = 0;
	fake_exit(scene.new, 9);
	fake_exit(scene.old, 9);
	cr_assert_not(scene_said("a way back is lost"), "%s", scene.said);
}
