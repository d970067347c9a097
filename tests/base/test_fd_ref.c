/* SPDX-License-Identifier: MIT */
#include "base/base.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mman.h>

TestSuite(fd_ref, .timeout = 20);

Test(fd_ref, is_closed_by_its_last_owner)
{
	int fd = memfd_create("x", MFD_CLOEXEC);
	struct fd_ref *ref = fd_ref_new(fd);

	cr_assert_eq(fd_ref_use(ref), ref);
	cr_assert_null(fd_ref_drop(ref));
	cr_assert_geq(fcntl(fd, F_GETFD), 0);
	cr_assert_null(fd_ref_drop(ref));
	cr_assert_lt(fcntl(fd, F_GETFD), 0);
	cr_assert_null(fd_ref_drop(NULL));
}

Test(fd_ref, is_given_up_where_somebody_sent_it)
{
	int fd = memfd_create("x", MFD_CLOEXEC);
	uint64_t before = closer_given();

	fd_ref_drop(fd_ref_new_foreign(fd));
	cr_assert_eq(closer_given(), before + 1);
	cr_assert_lt(fcntl(fd, F_GETFD), 0);
}
