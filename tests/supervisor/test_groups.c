/* SPDX-License-Identifier: MIT */
/* Where nothing is delegated, as in these tests; tests/systemd/groups has the rest. */
#include "supervisor/machine/cgroup.h"
#include "supervisor/process/groups.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <unistd.h>

TestSuite(groups, .timeout = 10);

Test(groups, are_not_there_where_nothing_is_delegated)
{
	char place[PATH_MAX];

	cr_assert_eq(cgroup_delegated(place, sizeof(place)), -ENODATA);
	cr_assert_null(groups_new());
	cr_assert_null(groups_place(NULL));
	cr_assert_eq(groups_open(NULL, "web"), -1);
	groups_join(NULL, "web", getpid());
	cr_assert_not(groups_end(NULL, "web"));
	cr_assert_null(groups_free(NULL));
}
