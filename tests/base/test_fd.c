/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define BIG_BYTES ((size_t)1 << 20)

TestSuite(fd, .timeout = 20);

static char pattern_at(size_t i)
{
	return (char)(i * 7 + i / 4096);
}

static char *pattern_new(void)
{
	char *data = malloc(BIG_BYTES);

	cr_assert_not_null(data);
	for (size_t i = 0; i < BIG_BYTES; i++)
		data[i] = pattern_at(i);
	return data;
}

/* Reads until end-of-file; returns the bytes that came in order, as void * for pthread_join(). */
static void *drain(void *arg)
{
	int fd = *(int *)arg;
	char buf[5000];
	size_t good = 0;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] == pattern_at(good))
				good++;
	return (void *)(uintptr_t)good;
}

/* Writes BIG_BYTES to @to, which is closed, while a thread reads them from @from. */
static void expect_all_arrive(int from, int to)
{
	char *data = pattern_new();
	pthread_t reader;
	void *good;

	cr_assert_eq(pthread_create(&reader, NULL, drain, &from), 0);
	cr_assert_eq(fd_write_all(to, data, BIG_BYTES, clock_now_us() + 10 * USEC_PER_SEC), 0);
	fd_close(to);
	cr_assert_eq(pthread_join(reader, &good), 0);
	cr_assert_eq((uintptr_t)good, BIG_BYTES);
	fd_close(from);
	free(data);
}

/* The deadline must hold although nobody reads from the other end. */
static void expect_timeout(int to)
{
	uint64_t due_us = clock_now_us() + 50 * USEC_PER_MSEC;
	char *data = pattern_new();

	cr_assert_eq(fd_write_all(to, data, BIG_BYTES, due_us), -ETIMEDOUT);
	cr_assert_geq(clock_now_us(), due_us);
	cr_assert_eq(fd_write_all(to, data, BIG_BYTES, 1), -ETIMEDOUT, "a deadline long past");
	free(data);
}

Test(fd, close_forgets_and_keeps_errno)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	int copy = fd;

	cr_assert_geq(fd, 0);
	errno = EXDEV;
	fd = fd_close(fd);
	cr_assert_eq(fd, -1);
	cr_assert_eq(fd_close(-1), -1);
	cr_assert_eq(errno, EXDEV);
	cr_assert_eq(fcntl(copy, F_GETFD), -1);
}

Test(fd, cleanup_closes_at_the_end_of_the_block)
{
	int copy;

	{
		FD_CLEANUP int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

		copy = fd;
		cr_assert_geq(fcntl(copy, F_GETFD), 0);
	}
	cr_assert_eq(fcntl(copy, F_GETFD), -1);
}

Test(fd, nonblock_sets_and_clears)
{
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	cr_assert_eq(fd_nonblock(ends[0], 1), 0);
	cr_assert(fcntl(ends[0], F_GETFL) & O_NONBLOCK);
	cr_assert_eq(fd_nonblock(ends[0], 0), 0);
	cr_assert_not(fcntl(ends[0], F_GETFL) & O_NONBLOCK);
	fd_close(ends[0]);
	fd_close(ends[1]);
	cr_assert_eq(fd_nonblock(ends[0], 1), -EBADF);
}

Test(fd, inode_tells_the_ends_of_a_socketpair_apart)
{
	unsigned long long one, other, untouched = 5;
	char link[64], expected[64] = "";
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	cr_assert_eq(fd_inode(ends[0], &one), 0);
	cr_assert_eq(fd_inode(ends[1], &other), 0);
	cr_assert_neq(one, other);

	snprintf(link, sizeof(link), "/proc/self/fd/%d", ends[0]);
	cr_assert_gt(readlink(link, expected, sizeof(expected) - 1), 0);
	snprintf(link, sizeof(link), "socket:[%llu]", one);
	cr_assert_str_eq(link, expected);
	fd_close(ends[0]);
	fd_close(ends[1]);
	cr_assert_eq(fd_inode(ends[0], &untouched), -EBADF);
	cr_assert_eq(untouched, 5);
}

Test(fd, raise_limit_goes_to_the_hard_one_and_remembers_the_start)
{
	struct rlimit limit;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 200;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_eq(fd_raise_limit(), limit.rlim_max);
	cr_assert_eq(fd_raise_limit(), limit.rlim_max);
	cr_assert_eq(fd_limit_at_start(), 200);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_eq(limit.rlim_cur, limit.rlim_max);
}

Test(fd, write_all_feeds_a_slow_pipe_whole)
{
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	expect_all_arrive(ends[0], ends[1]);
}

Test(fd, write_all_feeds_a_slow_nonblocking_pipe_whole)
{
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	cr_assert_eq(fd_nonblock(ends[1], 1), 0);
	expect_all_arrive(ends[0], ends[1]);
}

Test(fd, write_all_feeds_a_slow_socket_whole)
{
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	expect_all_arrive(ends[0], ends[1]);
}

Test(fd, write_all_writes_a_file_and_nothing_at_all)
{
	char path[] = "/tmp/test_fd_XXXXXX";
	char *data = pattern_new();
	int fd = mkostemp(path, O_CLOEXEC);
	struct stat st;

	cr_assert_geq(fd, 0);
	unlink(path);
	cr_assert_eq(fd_write_all(fd, data, BIG_BYTES, 0), 0);
	cr_assert_eq(fd_write_all(fd, data, 0, 1), 0);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(st.st_size, (off_t)BIG_BYTES);
	fd_close(fd);
	free(data);
}

Test(fd, write_all_keeps_its_deadline_on_a_full_blocking_pipe)
{
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	expect_timeout(ends[1]);
	cr_assert_not(fcntl(ends[1], F_GETFL) & O_NONBLOCK, "the shared description was changed");
	fd_close(ends[0]);
	fd_close(ends[1]);
}

Test(fd, write_all_keeps_its_deadline_on_a_full_nonblocking_pipe)
{
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	expect_timeout(ends[1]);
	fd_close(ends[0]);
	fd_close(ends[1]);
}

Test(fd, write_all_keeps_its_deadline_on_a_full_socket)
{
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	expect_timeout(ends[1]);
	fd_close(ends[0]);
	fd_close(ends[1]);
}

Test(fd, write_all_to_a_lost_peer_fails_without_a_signal)
{
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	fd_close(ends[0]);
	cr_assert_eq(fd_write_all(ends[1], "x", 1, 0), -EPIPE);
	fd_close(ends[1]);
	cr_assert_eq(fd_write_all(-1, "x", 1, 0), -EBADF);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

Test(fd, closes_many_and_nothing_else)
{
	int fds[9], between, all[8];
	size_t n = 0;

	for (size_t i = 0; i < 9; i++)
		cr_assert_geq(fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
	between = fds[4];
	/* Out of order, with a hole, and one that is none. */
	for (size_t i = 9; i-- > 0;)
		if (i != 4 && i != 7)
			all[n++] = fds[i];
	all[n++] = -1;
	errno = EDOM;
	fd_close_all(all, n);
	cr_assert_eq(errno, EDOM);
	for (size_t i = 0; i < 9; i++)
		cr_assert_eq(is_open(fds[i]), i == 4 || i == 7);
	fd_close_all(NULL, 0);
	fd_close(between);
	fd_close(fds[7]);
}

/* In a process of its own. Return: which of 0, 1, 2 are /dev/null afterwards, as bits. */
static int null_after(unsigned closed)
{
	pid_t child = fork();
	int status, null = 0;

	if (child == 0) {
		struct stat st;

		for (int fd = 0; fd < 3; fd++)
			if (closed & 1u << fd)
				close(fd);
		fd_open_standard();
		for (int fd = 0; fd < 3; fd++)
			if (fstat(fd, &st) == 0 && st.st_rdev == makedev(1, 3) && !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
				null |= 1 << fd;
		_exit(null);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

Test(fd, opens_the_standard_descriptors_that_are_closed)
{
	int before = null_after(0);

	for (unsigned closed = 1; closed < 8; closed++)
		cr_assert_eq(null_after(closed), before | (int)closed, "%u: %d", closed, null_after(closed));
}
