/* SPDX-License-Identifier: MIT */
#include "cli/leave.h"

#include <criterion/criterion.h>

TestSuite(leave, .timeout = 10);

Test(leave, finds_a_restart_among_jobs)
{
	cr_assert(leave_is_restart("  79 upgraded.service restart running\n", "upgraded.service"));
	cr_assert(leave_is_restart("1 a.service stop waiting\n2 upgraded.service restart waiting", "upgraded.service"));
	cr_assert(leave_is_restart("79 upgraded.service try-restart running\n", "upgraded.service"));
}

Test(leave, takes_nothing_else_for_a_restart)
{
	cr_assert_not(leave_is_restart("", "upgraded.service"));
	cr_assert_not(leave_is_restart("79 upgraded.service stop running\n", "upgraded.service"));
	cr_assert_not(leave_is_restart("79 upgraded.service start waiting\n", "upgraded.service"));
	cr_assert_not(leave_is_restart("79 other.service restart running\n80 upgraded.service stop running\n", "upgraded.service"));
	cr_assert_not(leave_is_restart("No jobs running.\n", "upgraded.service"));
	cr_assert_not(leave_is_restart("restart upgraded.service restart\n\n\n", "upgraded.service"));
}
