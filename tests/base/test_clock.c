/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include <criterion/criterion.h>
#include <limits.h>

TestSuite(clock, .timeout = 10);

Test(clock, never_goes_back)
{
	uint64_t before_us = clock_now_us();

	cr_assert_gt(before_us, 0);
	cr_assert_geq(clock_now_us(), before_us);
}

Test(clock, follows_the_fake_and_returns_to_the_real_one)
{
	uint64_t now_us = 41, real_us = clock_now_us();

	clock_fake(&now_us);
	cr_assert_eq(clock_now_us(), 41);
	now_us++;
	cr_assert_eq(clock_now_us(), 42);
	clock_fake(NULL);
	cr_assert_geq(clock_now_us(), real_us);
}

Test(clock, rounds_timeouts_up_so_that_nobody_wakes_too_early)
{
	uint64_t now_us = 1000000;

	clock_fake(&now_us);
	cr_assert_eq(clock_timeout_ms(1000001), 1);
	cr_assert_eq(clock_timeout_ms(1001000), 1);
	cr_assert_eq(clock_timeout_ms(1001001), 2);
}

Test(clock, knows_past_and_never_and_very_late)
{
	uint64_t now_us = 1000000;

	clock_fake(&now_us);
	cr_assert_eq(clock_timeout_ms(0), 0);
	cr_assert_eq(clock_timeout_ms(1000000), 0);
	cr_assert_eq(clock_timeout_ms(UINT64_MAX), -1);
	cr_assert_eq(clock_timeout_ms(UINT64_MAX - 1), INT_MAX);
}
