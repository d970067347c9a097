/* SPDX-License-Identifier: MIT */
/* A version that starts hears how much the version that serves holds, and waits for nobody who does not answer. */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>
#include <string.h>

static void set_up(void)
{
	struct roll_options options;

	scene_set("Rollback=parked\n");
	options = scene_options();
	scene_begin(&options);
	fake_hello(scene.new, 2, true);
}

TestSuite(expected, .timeout = 20, .init = set_up, .fini = scene_clear);

static void ask(void)
{
	Upgraded__Wire__AskExpected ask = UPGRADED__WIRE__ASK_EXPECTED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_ASK_EXPECTED, .ask_expected = &ask);

	fake_say(scene.new, &message);
}

static void inventory(bool last)
{
	Upgraded__Wire__Count count = UPGRADED__WIRE__COUNT__INIT, *list[] = { &count };
	Upgraded__Wire__Inventory body = UPGRADED__WIRE__INVENTORY__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_INVENTORY, .inventory = &body);

	count.type = wire_text("thing");
	count.records = 77;
	body.last = last;
	body.counts = list;
	body.n_counts = last;
	fake_say(scene.old, &message);
}

static bool was_told(void)
{
	return fake_heard(scene.new, UPGRADED__WIRE__APP_MESSAGE__BODY_EXPECTED);
}

Test(expected, is_asked_of_the_version_that_serves_and_passed_on)
{
	ask();
	cr_assert(fake_heard(scene.old, UPGRADED__WIRE__APP_MESSAGE__BODY_ASK_INVENTORY));
	inventory(false);
	cr_assert_not(was_told());
	inventory(true);
	cr_assert(was_told());
	scene_go_well();
	assert_outcome(ROLL_IS_DONE);
}

Test(expected, is_asked_once_however_often_new_asks)
{
	for (unsigned i = 0; i < 10; i++)
		ask();
	cr_assert_eq(fake_heard_times(scene.old, UPGRADED__WIRE__APP_MESSAGE__BODY_ASK_INVENTORY), 1);
	inventory(true);
	inventory(true);
	cr_assert_eq(fake_heard_times(scene.new, UPGRADED__WIRE__APP_MESSAGE__BODY_EXPECTED), 1);
}

Test(expected, that_is_asked_for_too_late_is_answered_at_once_with_nothing)
{
	fake_standby(scene.new);
	ask();
	cr_assert(was_told());
	cr_assert_not(fake_heard(scene.old, UPGRADED__WIRE__APP_MESSAGE__BODY_ASK_INVENTORY));
	scene_go_well();
	assert_outcome(ROLL_IS_DONE);
}

Test(expected, keeps_no_roll_from_going_on_when_old_does_not_answer)
{
	ask();
	fake_standby(scene.new);
	scene_go_well();
	assert_outcome(ROLL_IS_DONE);
}
