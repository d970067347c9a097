/* SPDX-License-Identifier: MIT */
#include "base/fd.h"
#include "base/why.h"
#include "supervisor/machine/folder.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char root[64];
static struct why why;

static void set_up(void)
{
	strcpy(root, "/tmp/upg-folder.XXXXXX");
	cr_assert(mkdtemp(root));
}

static void tear_down(void)
{
	cr_assert_eq(folder_remove(root, &why), 0, "%s", why.text);
}

TestSuite(folder, .init = set_up, .fini = tear_down, .timeout = 20);

static const char *below(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	return path;
}

static void write_file(const char *name, size_t size_bytes)
{
	FD_CLEANUP int fd = open(below(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	cr_assert(fd >= 0);
	cr_assert_eq(ftruncate(fd, (off_t)size_bytes), 0);
}

Test(folder, is_made_with_those_above_it_for_us_alone)
{
	struct stat st;

	cr_assert_eq(folder_make(below("a/b/c"), &why), 0, "%s", why.text);
	cr_assert_eq(folder_make(below("a/b/c"), &why), 0, "%s", why.text);
	cr_assert_eq(stat(below("a/b"), &st), 0);
	cr_assert(S_ISDIR(st.st_mode));
	cr_assert_eq(st.st_mode & 0777, 0700);
}

Test(folder, is_not_made_below_a_file)
{
	write_file("file", 1);
	cr_assert_eq(folder_make(below("file/a"), &why), -ENOTDIR);
	cr_assert(strstr(why.text, "/file/a"), "%s", why.text);
	cr_assert_eq(folder_make("", &why), -ENAMETOOLONG);
}

Test(folder, is_removed_with_all_that_is_in_it)
{
	cr_assert_eq(folder_make(below("a/b"), &why), 0);
	write_file("a/b/file", 1);
	cr_assert_eq(folder_remove(below("a"), &why), 0, "%s", why.text);
	cr_assert(access(below("a"), F_OK) < 0 && errno == ENOENT);
	cr_assert_eq(folder_remove(below("a"), &why), 0, "one that is not there is removed, too");
}

Test(folder, removal_leaves_what_a_link_points_to)
{
	cr_assert_eq(folder_make(below("kept"), &why), 0);
	write_file("kept/file", 1);
	cr_assert_eq(folder_make(below("a"), &why), 0);
	cr_assert_eq(symlink("../kept", below("a/link")), 0);
	cr_assert_eq(folder_remove(below("a"), &why), 0, "%s", why.text);
	cr_assert_eq(access(below("kept/file"), F_OK), 0);
}

Test(folder, size_counts_the_files_directly_in_it)
{
	uint64_t size = 0;

	cr_assert_eq(folder_make(below("inner"), &why), 0);
	write_file("one", 1000);
	write_file("two", 234);
	write_file("inner/three", 5);
	cr_assert_eq(folder_size(root, &size, &why), 0);
	cr_assert_eq(size, 1234);
	cr_assert_eq(folder_size(below("missing"), &size, &why), -ENOENT);
}

Test(folder, is_claimed_if_nobody_else_can_write_to_it)
{
	struct stat st;

	cr_assert_eq(folder_claim(below("mine"), 0700, &why), 0, "%s", why.text);
	cr_assert_eq(folder_claim(below("mine"), 0700, &why), 0, "%s", why.text);
	cr_assert(stat(below("mine"), &st) == 0 && (st.st_mode & 0777) == 0700);
	cr_assert_eq(chmod(below("mine"), 0777), 0);
	cr_assert_eq(folder_claim(below("mine"), 0700, &why), -EPERM);
	cr_assert(strstr(why.text, "chmod go-w"), "%s", why.text);
	cr_assert_eq(folder_claim(below("not/there"), 0700, &why), -ENOENT);
}

Test(folder, is_locked_by_one_at_a_time)
{
	int first, second;

	cr_assert_eq(folder_lock(root, "lock", 0, &first, &why), 0, "%s", why.text);
	cr_assert_eq(folder_lock(root, "lock", 0, &second, &why), -EWOULDBLOCK);
	cr_assert_eq(second, -1);
	cr_assert(strstr(why.text, "another upgraded runs in"), "%s", why.text);
	fd_close(first);
	cr_assert_eq(folder_lock(root, "lock", 0, &second, &why), 0, "%s", why.text);
	fd_close(second);
}

/* As a child that a daemon was forking when it was killed. */
Test(folder, lock_of_one_who_is_ending_is_waited_for)
{
	int first, second, gone[2];
	pid_t child;
	char end;

	cr_assert_eq(folder_lock(root, "lock", 0, &first, &why), 0, "%s", why.text);
	cr_assert_eq(pipe(gone), 0);
	child = fork();
	cr_assert_geq(child, 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(gone[1]);
		(void)!read(gone[0], &end, 1);
		usleep(100000); /* so that the lock is tried in vain first */
		_exit(0);
	}
	fd_close(first);
	cr_assert_eq(folder_lock(root, "lock", 50, &second, &why), -EWOULDBLOCK);
	close(gone[1]);
	cr_assert_eq(folder_lock(root, "lock", 10000, &second, &why), 0, "%s", why.text);
	fd_close(second);
	close(gone[0]);
	cr_assert_eq(waitpid(child, NULL, 0), child);
}
