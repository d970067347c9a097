/* SPDX-License-Identifier: MIT */
/* An old version that does not read what it is asked, or answers more often than it was asked. */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>

TestSuite(roll_unread, .timeout = 20);

#define PREPARE UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE

static void setup(void)
{
	struct roll_options options;

	scene_set(NULL);
	options = scene_options();
	scene_begin(&options);
}

Test(roll_unread, is_not_asked_again_while_a_question_waits, .init = setup, .fini = scene_clear)
{
	scene.old->reads_nothing = true;
	scene_to(ROLL_QUIESCE);
	cr_assert_eq(fake_heard_times(scene.old, PREPARE), 1);
	fake_not_yet(scene.old);
	scene_be_silent(500 * USEC_PER_MSEC);
	fake_not_yet(scene.old);
	scene_be_silent(500 * USEC_PER_MSEC);
	assert_state(ROLL_QUIESCE);
	cr_assert_eq(fake_heard_times(scene.old, PREPARE), 1);
	/* It reads at last. */
	scene.old->reads_nothing = false;
	scene.old->prepares_wait = 0;
	scene_be_silent(50 * USEC_PER_MSEC);
	cr_assert_eq(fake_heard_times(scene.old, PREPARE), 2);
}

Test(roll_unread, is_asked_once_however_often_it_says_not_yet, .init = setup, .fini = scene_clear)
{
	scene_to(ROLL_QUIESCE);
	for (unsigned i = 0; i < 100; i++)
		fake_not_yet(scene.old);
	scene_be_silent(50 * USEC_PER_MSEC);
	cr_assert_eq(fake_heard_times(scene.old, PREPARE), 2);
}

Test(roll_unread, is_not_waited_for_when_the_roll_is_called_off, .init = setup, .fini = scene_clear)
{
	uint64_t began_us;

	scene.old->reads_nothing = true;
	scene_to(ROLL_QUIESCE);
	began_us = scene.now_us;
	roll_cancel(scene.roll);
	scene_reap();
	assert_outcome(ROLL_IS_ABORTED);
	cr_assert_eq(scene.now_us, began_us);
	cr_assert_eq(scene.serves, &scene.old->instance);
	/* And nothing is left that it would come upon in another roll. */
	cr_assert_eq(scene.old->prepares_wait, 0);
}

Test(roll_unread, leaves_nothing_in_custody_when_the_roll_is_called_off, .init = setup, .fini = scene_clear)
{
	scene_to(ROLL_TRANSFER);
	cr_assert_eq(roll_descriptors(scene.roll), 2);
	roll_cancel(scene.roll);
	assert_state(ROLL_ABORT);
	cr_assert_eq(roll_descriptors(scene.roll), 0);
}
