/* SPDX-License-Identifier: MIT */
#include "base/fd.h"
#include "base/why.h"
#include "wire/in_hand.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(in_hand, .timeout = 20);

static struct in_hand in_hand;
static int fd = -1;

static void setup(void)
{
	struct why why = { 0 };

	cr_assert_eq(in_hand_create(&in_hand, &fd, &why), 0, "%s", why.text);
}

static void teardown(void)
{
	in_hand_unmap(&in_hand);
	fd = fd_close(fd);
}

Test(in_hand, says_none_at_first_and_when_it_is_not_mapped, .init = setup, .fini = teardown)
{
	const struct in_hand none = { 0 };
	uint64_t number;
	size_t type;

	cr_assert_not(in_hand_get(&in_hand, &type, &number));
	cr_assert_not(in_hand_get(&none, &type, &number));
	in_hand_set(&none, 1, 1);
	in_hand_clear(&none);
}

Test(in_hand, is_known_after_whoever_had_it_was_killed, .init = setup, .fini = teardown)
{
	struct in_hand theirs = { 0 };
	struct why why = { 0 };
	uint64_t number;
	size_t type;
	pid_t child = fork();

	if (child == 0) {
		if (in_hand_map(&theirs, fd, &why) == 0)
			in_hand_set(&theirs, 65534, (UINT64_C(1) << IN_HAND_TYPE_BITS) - 1);
		kill(getpid(), SIGKILL);
	}
	cr_assert_eq(waitpid(child, NULL, 0), child);
	cr_assert(in_hand_get(&in_hand, &type, &number));
	cr_assert_eq(type, 65534);
	cr_assert_eq(number, (UINT64_C(1) << IN_HAND_TYPE_BITS) - 1);
	in_hand_clear(&in_hand);
	cr_assert_not(in_hand_get(&in_hand, &type, &number));
}

Test(in_hand, cannot_be_resized_under_us, .init = setup, .fini = teardown)
{
	cr_assert_eq(ftruncate(fd, 0), -1);
	cr_assert_eq(errno, EPERM);
}

Test(in_hand, is_not_taken_from_what_holds_none)
{
	struct in_hand theirs = { 0 };
	struct why why = { 0 };
	int pair[2], small = memfd_create("small", MFD_CLOEXEC);

	cr_assert_eq(pipe(pair), 0);
	cr_assert_eq(in_hand_map(&theirs, pair[0], &why), -EPROTO);
	cr_assert_eq(in_hand_map(&theirs, small, &why), -EPROTO);
	cr_assert_eq(in_hand_map(&theirs, -1, &why), -EBADF);
	cr_assert_null(theirs.at);
	fd_close(small);
	fd_close(pair[0]);
	fd_close(pair[1]);
}
