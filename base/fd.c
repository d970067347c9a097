/* SPDX-License-Identifier: MIT */
#include "base/fd.h"
#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_once_t start_once = PTHREAD_ONCE_INIT;
static rlim_t start_soft;

int fd_close(int fd)
{
	int saved_errno = errno;

	/* Linux frees the number even when close(2) fails: a second close could hit another descriptor. */
	if (fd >= 0)
		close(fd);
	errno = saved_errno;
	return -1;
}

static int compare(const void *a, const void *b)
{
	const int *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

void fd_close_all(int *fds, size_t n)
{
	int saved_errno = errno;
	size_t i = 0;

	if (n > 1)
		qsort(fds, n, sizeof(*fds), compare);
	while (i < n) {
		size_t first = i++;

		if (fds[first] < 0)
			continue;
		while (i < n && fds[i] == fds[i - 1] + 1)
			i++;
		/* Before Linux 5.9 there is no close_range(2). */
		if (i - first == 1 || close_range((unsigned)fds[first], (unsigned)fds[i - 1], 0) < 0)
			for (size_t j = first; j < i; j++)
				close(fds[j]);
	}
	errno = saved_errno;
}

void fd_cleanup(int *fd)
{
	*fd = fd_close(*fd);
}

int fd_nonblock(int fd, int on)
{
	int flags = fcntl(fd, F_GETFL);
	int wanted;

	if (flags < 0)
		return -errno;
	wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	if (wanted != flags && fcntl(fd, F_SETFL, wanted) < 0)
		return -errno;
	return 0;
}

void fd_open_standard(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)open("/dev/null", O_RDWR); /* the lowest free number, which is @fd; inherited, as these three are */
}

int fd_inode(int fd, unsigned long long *ret_inode)
{
	struct statx st;

	/* What the kernel knows by itself: whoever serves the file system of a file that somebody sent us may not answer. */
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &st) < 0)
		return -errno;
	*ret_inode = st.stx_ino;
	return 0;
}

static size_t count_entries(const char *path)
{
	DIR *dir = opendir(path);
	size_t n = 0;

	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n > 3 ? n - 3 : 0; /* ".", "..", and the folder itself */
}

size_t fd_count(void)
{
	struct stat st;

	/* Since Linux 6.2 the folder's size is the number of its entries. */
	if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
		return (size_t)st.st_size;
	return count_entries("/proc/self/fd");
}

static void start_note(void)
{
	struct rlimit limit;

	start_soft = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
}

size_t fd_limit_at_start(void)
{
	pthread_once(&start_once, start_note);
	return (size_t)start_soft;
}

size_t fd_limit(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (size_t)limit.rlim_cur : 1024;
}

size_t fd_raise_limit(void)
{
	struct rlimit limit;
	rlim_t soft;

	soft = fd_limit_at_start();
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return (size_t)soft;
	soft = limit.rlim_cur;
	limit.rlim_cur = limit.rlim_max;
	return (size_t)(setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : soft);
}

/*
 * fd_write_all() must come back at its deadline. It cannot set O_NONBLOCK for that: the flag belongs to the open file description,
 * which others may share. A socket takes MSG_DONTWAIT with each call. For pipes and terminals, poll(2) first and write no more than
 * PIPE_BUF, for which a writable pipe has room.
 */
enum write_way { WRITE_SEND, WRITE_PLAIN, WRITE_SMALL };

static int write_way(int fd, enum write_way *ret_way)
{
	struct stat st;
	int flags;

	if (fstat(fd, &st) < 0)
		return -errno;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0)
		return -errno;
	if (S_ISSOCK(st.st_mode))
		*ret_way = WRITE_SEND;
	else
		*ret_way = S_ISREG(st.st_mode) || (flags & O_NONBLOCK) ? WRITE_PLAIN : WRITE_SMALL;
	return 0;
}

static ssize_t write_some(int fd, enum write_way way, const char *data, size_t size_bytes)
{
	struct pollfd ready = { .fd = fd, .events = POLLOUT };

	if (way == WRITE_SEND)
		return send(fd, data, size_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (way == WRITE_PLAIN)
		return write(fd, data, size_bytes);
	if (poll(&ready, 1, 0) <= 0) {
		errno = EAGAIN;
		return -1;
	}
	return write(fd, data, size_bytes < PIPE_BUF ? size_bytes : PIPE_BUF);
}

int fd_write_all(int fd, const void *data, size_t size_bytes, unsigned long long deadline_us)
{
	struct pollfd ready = { .fd = fd, .events = POLLOUT };
	uint64_t due_us = deadline_us ? deadline_us : UINT64_MAX;
	const char *at = data;
	enum write_way way = WRITE_SMALL;
	bool full;
	ssize_t n;
	int r;

	r = write_way(fd, &way);
	if (r < 0)
		return r;
	while (size_bytes > 0) {
		n = write_some(fd, way, at, size_bytes);
		if (n == 0)
			return -EIO; /* write(2) wrote nothing and gave no reason: going on would spin */
		full = n < 0 && errno == EAGAIN;
		if (n < 0 && !full && errno != EINTR)
			return -errno;
		if (n > 0) {
			at += n;
			size_bytes -= (size_t)n;
		}
		if (size_bytes > 0 && clock_timeout_ms(due_us) == 0)
			return -ETIMEDOUT;
		if (full && poll(&ready, 1, clock_timeout_ms(due_us)) < 0 && errno != EINTR)
			return -errno;
	}
	return 0;
}

void fd_set_limit_at_start(size_t soft)
{
	pthread_once(&start_once, start_note);
	start_soft = soft;
}
