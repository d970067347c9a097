/* SPDX-License-Identifier: MIT */
/* What came of a roll, as it is told. */
#include "supervisor/roll/report.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

TestSuite(report, .timeout = 20);

static struct roll_report report;
static struct roll_report_texts texts;
static Upgraded__Wire__RollReport told;

static void tell(void)
{
	memset(&texts, 0, sizeof(texts));
	roll_report_tell(&report, &texts, &told);
}

static void setup(void)
{
	setenv("TZ", "America/New_York", 1);
	tzset();
	roll_report_init(&report, "v1", "v2");
}

Test(report, names_every_outcome_differently)
{
	for (enum roll_outcome a = ROLL_IS_UNDER_WAY; a <= ROLL_IS_FAILED; a++) {
		cr_assert_not_null(roll_outcome_name(a));
		for (enum roll_outcome b = ROLL_IS_UNDER_WAY; b < a; b++)
			cr_assert_str_neq(roll_outcome_name(a), roll_outcome_name(b));
	}
}

/* Programs read these. */
Test(report, keeps_the_names_of_outcomes)
{
	cr_assert_str_eq(roll_outcome_name(ROLL_IS_DONE), "done");
	cr_assert_str_eq(roll_outcome_name(ROLL_IS_REFUSED), "refused");
	cr_assert_str_eq(roll_outcome_name(ROLL_IS_ABORTED), "aborted");
	cr_assert_str_eq(roll_outcome_name(ROLL_IS_UNANSWERED), "unanswered");
	cr_assert_str_eq(roll_outcome_name(ROLL_IS_BACK_LIVE), "rolled-back-live");
	cr_assert_str_eq(roll_outcome_name(ROLL_IS_BACK_PARKED), "rolled-back-parked");
	cr_assert_str_eq(roll_outcome_name(ROLL_IS_BACK_IMAGE), "rolled-back-image");
	cr_assert_str_eq(roll_outcome_name(ROLL_IS_COLD), "cold-start");
	cr_assert_str_eq(roll_outcome_name(ROLL_IS_FAILED), "failed");
}

Test(report, begins_with_the_versions_and_the_time, .init = setup)
{
	int64_t now = time(NULL);

	cr_assert(report.started_s <= now && report.started_s > now - 20);
	report.started_s = 1700000000;
	tell();
	cr_assert_str_eq(told.from, "v1");
	cr_assert_str_eq(told.to, "v2");
	cr_assert_str_eq(told.started, "2023-11-14T22:13:20Z", "wherever the machine is");
	cr_assert_str_eq(told.outcome, "under way");
	cr_assert_str_eq(told.way_back, "", "it is not known yet");
	cr_assert_str_eq(told.cause, "");
	cr_assert_str_eq(told.journal_note, "");
	cr_assert_eq(told.n_log_lines, 0);
}

Test(report, tells_that_new_serves_as_soon_as_it_does, .init = setup)
{
	report.wire.commit_us = 5;
	tell();
	cr_assert_str_eq(told.outcome, "committed");
	for (enum roll_outcome outcome = ROLL_IS_DONE; outcome <= ROLL_IS_FAILED; outcome++) {
		report.outcome = outcome;
		tell();
		cr_assert_str_eq(told.outcome, roll_outcome_name(outcome));
	}
}

Test(report, tells_texts_numbers_and_lines, .init = setup)
{
	report.rungs = ROLL_RUNG_PARKED | ROLL_RUNG_IMAGE;
	why_set(&report.cause, 0, "it was ill");
	why_set(&report.journal_note, 0, "no journal");
	report.wire.pause_us = 7;
	report.wire.commit_us = 5;
	lines_put(&report.lines, "first", strlen("first"));
	lines_put(&report.lines, "last", strlen("last"));
	tell();
	cr_assert_str_eq(told.way_back, "parked+image");
	cr_assert_str_eq(told.cause, "it was ill");
	cr_assert_str_eq(told.journal_note, "no journal");
	cr_assert_eq(told.pause_us, 7);
	cr_assert_eq(told.n_log_lines, 2);
	cr_assert_str_eq(told.log_lines[0], "first");
	cr_assert_str_eq(told.log_lines[1], "last");
}

Test(report, can_be_copied_and_outlives_its_roll, .init = setup)
{
	struct roll_report copy;
	uint8_t packed[1024];

	why_set(&report.cause, 0, "it was ill");
	copy = report;
	memset(&report, 0xff, sizeof(report));
	roll_report_tell(&copy, &texts, &told);
	cr_assert_str_eq(told.cause, "it was ill");
	cr_assert_leq(upgraded__wire__roll_report__get_packed_size(&told), sizeof(packed));
	cr_assert_gt(upgraded__wire__roll_report__pack(&told, packed), 0);
}

Test(report, wants_each_name_once_and_no_more_than_it_has_room_for)
{
	struct roll_names names = { .n = 0 };

	cr_assert(roll_names_want(&names, "web", 1));
	roll_names_add(&names, "web", 1, "127.0.0.1:80");
	cr_assert_not(roll_names_want(&names, "web", 1));
	cr_assert(roll_names_want(&names, "web", 12));
	cr_assert(roll_names_want(&names, "we", 1));
	for (uint64_t tag = 1; tag <= 2 * ROLL_NAMES_MAX; tag++)
		roll_names_add(&names, "web", tag, NULL);
	cr_assert_eq(names.n, ROLL_NAMES_MAX);
	cr_assert_str_eq(names.text[0], "web 1 (127.0.0.1:80)");
	cr_assert_str_eq(names.text[ROLL_NAMES_MAX - 1], "web 8");
	cr_assert_not(roll_names_want(&names, "web", 1000), "who looks further into it would do so for nothing");
}
