/* SPDX-License-Identifier: MIT */
/* Records that the new version does not take are counted and told, whatever it says of them. */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static void set_up(void)
{
	scene_set("Rollback=parked\n");
}

TestSuite(skipped, .timeout = 20, .init = set_up, .fini = scene_clear);

#define TYPES 20u

/* New has loaded ten records, and skipped i + 1 of the i-th of @n types. */
static void load(unsigned n, const char *reason)
{
	Upgraded__Wire__Skipped skipped[TYPES], *list[TYPES];
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	Upgraded__Wire__Loaded loaded = UPGRADED__WIRE__LOADED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_LOADED, .loaded = &loaded);
	struct roll_options options = scene_options();
	char names[TYPES][24];

	for (unsigned i = 0; i < n; i++) {
		upgraded__wire__skipped__init(&skipped[i]);
		snprintf(names[i], sizeof(names[i]), "app.Type%u", i);
		skipped[i].type = names[i];
		skipped[i].records = i + 1;
		skipped[i].reason = wire_text(reason);
		list[i] = &skipped[i];
	}
	totals.records = totals.digest_lo = 10;
	totals.payload_bytes = 1000;
	loaded.totals = &totals;
	loaded.fds = 2;
	loaded.skipped = list;
	loaded.n_skipped = n;
	scene_begin(&options);
	scene_to(ROLL_LOADING);
	fake_say(scene.new, &message);
}

Test(skipped, records_are_counted_in_the_report_and_told)
{
	load(2, "has expired");
	cr_assert_eq(roll_report(scene.roll)->wire.skipped_records, 3);
	cr_assert_eq(roll_report(scene.roll)->skipped.n, 2);
	cr_assert_str_eq(roll_report(scene.roll)->skipped.text[1], "2 of app.Type1: has expired");
	cr_assert(scene_said("version v2 skipped 1 of app.Type0: has expired"));
}

Test(skipped, records_without_a_reason_are_told_too)
{
	load(1, "");
	cr_assert_str_eq(roll_report(scene.roll)->skipped.text[0], "1 of app.Type0: no reason given");
}

Test(skipped, records_of_many_types_are_counted_and_some_are_named)
{
	load(TYPES, "\x1b[2Jtoo many");
	cr_assert_eq(roll_report(scene.roll)->skipped.n, 8);
	cr_assert_eq(roll_report(scene.roll)->wire.skipped_records, 16 * 17 / 2);
	cr_assert_str_eq(roll_report(scene.roll)->skipped.text[7], "8 of app.Type7: ?[2Jtoo many");
}
