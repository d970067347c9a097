/* SPDX-License-Identifier: MIT */
#include "tests/load/alarm.h"
#include "tests/load/stats.h"
#include "tests/load/util.h"

#include <criterion/criterion.h>

TestSuite(stats, .timeout = 20);

Test(stats, percentiles_are_right_to_two_per_cent)
{
	static const struct {
		unsigned per_mille;
		uint64_t exact;
	} cases[] = { { 500, 50000 }, { 900, 90000 }, { 990, 99000 }, { 999, 99900 }, { 1000, 100000 } };
	static struct histogram histogram;

	cr_assert_eq(histogram_at(&histogram, 500), 0);
	for (uint64_t i = 1; i <= 100000; i++)
		histogram_add(&histogram, i);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t got = histogram_at(&histogram, cases[i].per_mille);

		cr_assert_geq(got, cases[i].exact);
		cr_assert_leq(got, cases[i].exact + cases[i].exact / 50);
	}
	cr_assert_eq(histogram.max, 100000);
}

Test(stats, every_value_lands_in_a_bucket_that_ends_at_or_after_it)
{
	for (uint64_t value = 0; value < UINT64_MAX / 3; value = value * 2 + 1) {
		for (uint64_t near = value > 2 ? value - 2 : 0; near <= value + 2; near++) {
			static struct histogram histogram;

			histogram = (struct histogram){ 0 };
			histogram_add(&histogram, near);
			histogram.max = UINT64_MAX; /* so that the bucket's own end shows */
			if (near <= HISTOGRAM_MAX) {
				cr_assert_geq(histogram_at(&histogram, 1000), near);
				cr_assert_leq(histogram_at(&histogram, 1000), near + near / 60);
			}
		}
	}
}

Test(stats, a_mark_begins_a_new_interval_and_forgets_its_maximum)
{
	static struct stats stats;

	stats.total.answered = 5;
	stats_latency(&stats, 7000);
	stats_mark(&stats);
	stats_latency(&stats, 10);
	cr_assert_eq(stats.latency.max, 7000);
	cr_assert_eq(stats.latency_since_mark.max, 10);
	cr_assert_eq(stats.at_mark.answered, 5);
}

Test(stats, is_clean_only_if_something_was_answered_and_nothing_went_wrong)
{
	static struct stats stats;

	cr_assert_not(stats_clean(&stats));
	stats.total.answered = 1;
	cr_assert(stats_clean(&stats));
	stats.total.lost = 1;
	cr_assert_not(stats_clean(&stats));
	stats.total = (struct counts){ .answered = 1, .failed = 1 };
	cr_assert_not(stats_clean(&stats));
	stats.total = (struct counts){ .answered = 1, .wrong = 1 };
	cr_assert_not(stats_clean(&stats));
}

Test(stats, alarms_come_in_order_whatever_was_moved_or_cleared)
{
	static struct alarm alarms[300];
	struct alarms heap = { 0 };
	struct alarm *alarm;
	uint64_t rng = 3, last = 0;
	size_t n = 0, cleared = 0;

	for (size_t i = 0; i < 300; i++)
		alarm_set(&heap, &alarms[i], rng_below(&rng, 1000));
	for (size_t i = 0; i < 300; i += 3)
		alarm_set(&heap, &alarms[i], rng_below(&rng, 1000));
	for (size_t i = 1; i < 300; i += 7, cleared++)
		alarm_clear(&heap, &alarms[i]);
	alarm_clear(&heap, &alarms[1]);
	while ((alarm = alarms_due(&heap, UINT64_MAX - 1))) {
		cr_assert_geq(alarm->due_us, last);
		cr_assert_eq(alarm->place, 0);
		last = alarm->due_us;
		n++;
	}
	cr_assert_eq(n + cleared, 300);
	cr_assert_eq(alarms_next_us(&heap), UINT64_MAX);
	alarms_done(&heap);
}
