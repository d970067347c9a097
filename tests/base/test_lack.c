/* SPDX-License-Identifier: MIT */
#include "base/lack.h"

#include <criterion/criterion.h>
#include <errno.h>

TestSuite(lack, .timeout = 10);

Test(lack, of_memory_is_waited_for_but_not_for_ever)
{
	unsigned tries = 0, n = 0;

	while (lack_again(ENOMEM, &tries))
		cr_assert_lt(++n, 1000u);
	cr_assert_gt(n, 1u);
}

Test(lack, of_anything_else_is_told_at_once)
{
	unsigned tries = 0;

	cr_assert_not(lack_again(EMFILE, &tries));
	cr_assert_not(lack_again(EIO, &tries));
	cr_assert_eq(tries, 0u);
}
