/* SPDX-License-Identifier: MIT */
#include "supervisor/process/share.h"

#include <criterion/criterion.h>

TestSuite(share, .timeout = 20);

#define SECOND 1000000u

Test(share, lets_a_peer_have_a_burst)
{
	struct share share = { 0 };

	for (unsigned i = 0; i < SHARE_BURST_US / 1000; i++)
		cr_assert_eq(share_use(&share, SECOND, 1000), 0);
	cr_assert_gt(share_use(&share, SECOND, 1000), 0);
}

Test(share, forgives_as_time_passes)
{
	struct share share = { 0 };

	cr_assert_eq(share_use(&share, SECOND, SHARE_BURST_US), 0);
	cr_assert_gt(share_use(&share, SECOND, 1000), 0);
	cr_assert_eq(share_use(&share, 2 * SECOND, 1000), 0);
	/* Nobody saves up. */
	cr_assert_eq(share_use(&share, 1000 * SECOND, SHARE_BURST_US), 0);
	cr_assert_gt(share_use(&share, 1000 * SECOND, 1), 0);
}

Test(share, leaves_the_others_their_time_however_much_it_says)
{
	struct share share = { 0 };
	uint64_t now = SECOND, heard = 0;

	while (now < 101 * SECOND) {
		uint64_t pause;

		now += 2000;
		heard += 2000;
		pause = share_use(&share, now, 2000);
		now += pause;
	}
	cr_assert_leq(heard, 100 * SECOND / SHARE_PARTS + 2 * SHARE_BURST_US, "%llu us", (unsigned long long)heard);
	cr_assert_geq(heard, 100 * SECOND / SHARE_PARTS / 2, "%llu us", (unsigned long long)heard);
}

Test(share, is_not_moved_by_a_clock_that_stands)
{
	struct share share = { .at_us = 2 * SECOND };

	cr_assert_eq(share_use(&share, SECOND, 10), 0);
	cr_assert_eq(share.used_us, 10);
}
