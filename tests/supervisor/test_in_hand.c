/* SPDX-License-Identifier: MIT */
/* What a new version loads at the moment in which it fails is said with the failure. */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

static void set_up(void)
{
	struct roll_options options;

	scene_set("Rollback=parked\n");
	options = scene_options();
	scene_begin(&options);
	scene_to(ROLL_LOADING);
}

TestSuite(in_hand, .timeout = 20, .init = set_up, .fini = scene_clear);

static void the_cause_is(const char *cause)
{
	cr_assert(strstr(roll_report(scene.roll)->cause.text, cause), "%s", roll_report(scene.roll)->cause.text);
}

/* New's mapping is of the same memory. */
static void loads(size_t type, uint64_t number)
{
	cr_assert_not_null(scene.new->instance.in_hand.at, "Receive came with it");
	in_hand_set(&scene.new->instance.in_hand, type, number);
}

Test(in_hand, the_record_is_named_when_loading_it_kills)
{
	loads(0, 1025);
	fake_exit(scene.new, SIGSEGV);
	the_cause_is("was killed by SIGSEGV while loading record 1,025 of thing");
}

Test(in_hand, the_record_is_named_when_loading_it_takes_too_long)
{
	loads(0, 7);
	scene_be_silent(scene.unit->transfer_timeout_us + USEC_PER_SEC);
	the_cause_is("did not finish loading: it is at record 7 of thing");
}

Test(in_hand, a_death_that_no_record_is_to_blame_for_blames_none)
{
	fake_exit(scene.new, SIGSEGV);
	cr_assert(strstr(roll_report(scene.roll)->cause.text, "SIGSEGV"));
	cr_assert_null(strstr(roll_report(scene.roll)->cause.text, "record"));
}

Test(in_hand, a_type_that_does_not_exist_is_not_looked_up)
{
	loads(65534, 1);
	fake_exit(scene.new, SIGSEGV);
	cr_assert_null(strstr(roll_report(scene.roll)->cause.text, "record"));
}
