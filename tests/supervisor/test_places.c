/* SPDX-License-Identifier: MIT */
/* What each process of a roll is to its service, which decides what becomes of its child processes. */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>
#include <signal.h>

static void set_up(void)
{
	scene_set(NULL);
}

TestSuite(places, .init = set_up, .fini = scene_clear, .timeout = 30);

static void begin(void)
{
	struct roll_options options = scene_options();

	scene_begin(&options);
	instance_set_place(&scene.old->instance, INSTANCE_SERVES); /* as its service has it */
}

Test(places, change_with_the_commit)
{
	begin();
	scene_to(ROLL_COMMIT);
	cr_assert_eq(scene.old->instance.place, INSTANCE_SERVES);
	cr_assert_eq(scene.new->instance.place, INSTANCE_IS_NEW);
	scene_to(ROLL_BAKE);
	cr_assert_eq(scene.old->instance.place, INSTANCE_IS_REPLACED);
	cr_assert_eq(scene.new->instance.place, INSTANCE_SERVES);
}

Test(places, are_not_changed_by_a_roll_that_is_called_off)
{
	begin();
	scene_to(ROLL_ABORT);
	cr_assert_eq(scene.old->instance.place, INSTANCE_SERVES);
	scene_conclude();
}

Test(places, change_back_when_the_old_version_comes_back)
{
	begin();
	scene_to(ROLL_BAKE);
	fake_exit(scene.new, SIGSEGV);
	cr_assert_eq(scene_state(), ROLL_RESUME);
	cr_assert_eq(scene.old->instance.place, INSTANCE_SERVES);
	scene_conclude();
}
