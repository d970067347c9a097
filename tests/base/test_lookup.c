/* SPDX-License-Identifier: MIT */
/* A child that looks a name up for ever. */
#include "base/child.h"
#include "base/fd.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define NOBODY_SAYS "upg-test-silence"

TestSuite(lookup, .timeout = 20);

/* In place of libc's, whose names for the parameters are reserved.
 * NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
int getpwnam_r(const char *name, struct passwd *entry, char *buf, size_t size, struct passwd **ret)
{
	int (*real)(const char *name, struct passwd *entry, char *buf, size_t size, struct passwd **ret);

	while (strcmp(name, NOBODY_SAYS) == 0)
		pause();
	*(void **)&real = dlsym(RTLD_NEXT, "getpwnam_r");
	return real(name, entry, buf, size, ret);
}

static void on_exit_ignored(struct child *child)
{
	(void)child;
}

Test(lookup, of_a_user_that_lasts_for_ever_keeps_nothing_of_ours_open)
{
	char *argv[] = { (char[]){ "/bin/true" }, NULL };
	struct child_spec spec = { .path = argv[0], .argv = argv, .uid = (uid_t)-1, .gid = (gid_t)-1, .user = NOBODY_SAYS };
	struct pollfd end;
	struct child child;
	struct loop *loop;
	char doing[160], none;
	int pair[2];

	cr_assert_eq(loop_new(&loop, NULL), 0);
	cr_assert_eq(pipe2(pair, O_CLOEXEC), 0);
	child_init(&child);
	cr_assert_eq(child_spawn(loop, &child, &spec, on_exit_ignored, NULL), 0);
	cr_assert_not_null(child_doing(&child, doing, sizeof(doing)));
	cr_assert_str_eq(doing, "looks up the user " NOBODY_SAYS);
	fd_close(pair[1]);
	end = (struct pollfd){ .fd = pair[0], .events = POLLIN };
	cr_assert_eq(poll(&end, 1, 5000), 1, "the child has our end of the pipe");
	cr_assert_eq(read(pair[0], &none, 1), 0);
	fd_close(pair[0]);
	child_done(&child);
	loop_free(loop);
}
