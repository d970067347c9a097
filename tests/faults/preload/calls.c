/* SPDX-License-Identifier: MIT */
/* The calls that can fail, a line for each; those that can do something else than fail are below them, and in stream.c. */
#undef _FORTIFY_SOURCE
#include "tests/faults/preload/decide.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A function pointer and an object pointer are not the same in ISO C; POSIX has them look alike. */
#define REAL(name) \
	static __typeof__(&name) real; \
	if (!real) { \
		void *found = fault_real(#name); \
		memcpy(&real, &found, sizeof(real)); \
	}

#define CALL(class, type, failed, name, parameters, arguments, fd, path) \
	PUBLIC type name parameters \
	{ \
		REAL(name) \
		return fault_strikes(class, #name, fd, path) ? (failed) : real arguments; \
	}

CALL(FAULT_MAP, void *, MAP_FAILED, mmap, (void *at, size_t size, int prot, int flags, int fd, off_t offset),
     (at, size, prot, flags, fd, offset), NO_FD, NULL)
CALL(FAULT_MAP, void *, MAP_FAILED, mmap64, (void *at, size_t size, int prot, int flags, int fd, off64_t offset),
     (at, size, prot, flags, fd, offset), NO_FD, NULL)

CALL(FAULT_DESCRIPTOR, FILE *, NULL, fopen, (const char *path, const char *mode), (path, mode), NO_FD, path)
CALL(FAULT_DESCRIPTOR, FILE *, NULL, fopen64, (const char *path, const char *mode), (path, mode), NO_FD, path)
CALL(FAULT_DESCRIPTOR, DIR *, NULL, opendir, (const char *path), (path), NO_FD, path)
CALL(FAULT_DESCRIPTOR, int, -1, socket, (int domain, int type, int protocol), (domain, type, protocol), NO_FD, NULL)
CALL(FAULT_DESCRIPTOR, int, -1, socketpair, (int domain, int type, int protocol, int fds[2]), (domain, type, protocol, fds),
     NO_FD, NULL)
CALL(FAULT_DESCRIPTOR, int, -1, accept4, (int fd, __SOCKADDR_ARG address, socklen_t *size, int flags),
     (fd, address, size, flags), fd, NULL)
CALL(FAULT_DESCRIPTOR, int, -1, pipe2, (int fds[2], int flags), (fds, flags), NO_FD, NULL)
CALL(FAULT_DESCRIPTOR, int, -1, dup, (int fd), (fd), fd, NULL)
CALL(FAULT_DESCRIPTOR, int, -1, memfd_create, (const char *name, unsigned flags), (name, flags), NO_FD, NULL)
CALL(FAULT_DESCRIPTOR, int, -1, epoll_create1, (int flags), (flags), NO_FD, NULL)
CALL(FAULT_DESCRIPTOR, int, -1, timerfd_create, (clockid_t clock, int flags), (clock, flags), NO_FD, NULL)
CALL(FAULT_DESCRIPTOR, int, -1, eventfd, (unsigned value, int flags), (value, flags), NO_FD, NULL)
CALL(FAULT_DESCRIPTOR, int, -1, inotify_init1, (int flags), (flags), NO_FD, NULL)
CALL(FAULT_DESCRIPTOR, int, -1, signalfd, (int fd, const sigset_t *set, int flags), (fd, set, flags), NO_FD, NULL)
CALL(FAULT_DESCRIPTOR, int, -1, pidfd_open, (pid_t pid, unsigned flags), (pid, flags), NO_FD, NULL)
CALL(FAULT_DESCRIPTOR, int, -1, pidfd_getfd, (int pidfd, int fd, unsigned flags), (pidfd, fd, flags), NO_FD, NULL)

CALL(FAULT_SYNC, int, -1, fsync, (int fd), (fd), fd, NULL)
CALL(FAULT_SYNC, int, -1, fdatasync, (int fd), (fd), fd, NULL)

CALL(FAULT_NAME, int, -1, rename, (const char *from, const char *to), (from, to), NO_FD, to)
CALL(FAULT_NAME, int, -1, renameat, (int at, const char *from, int to_at, const char *to), (at, from, to_at, to), to_at, to)
CALL(FAULT_NAME, int, -1, renameat2, (int at, const char *from, int to_at, const char *to, unsigned flags),
     (at, from, to_at, to, flags), to_at, to)
CALL(FAULT_NAME, int, -1, linkat, (int at, const char *from, int to_at, const char *to, int flags), (at, from, to_at, to, flags),
     to_at, to)
CALL(FAULT_NAME, int, -1, unlink, (const char *path), (path), NO_FD, path)
CALL(FAULT_NAME, int, -1, unlinkat, (int at, const char *path, int flags), (at, path, flags), at, path)
CALL(FAULT_NAME, int, -1, mkdir, (const char *path, mode_t mode), (path, mode), NO_FD, path)
CALL(FAULT_NAME, int, -1, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode), at, path)
CALL(FAULT_NAME, int, -1, ftruncate, (int fd, off_t size), (fd, size), fd, NULL)
CALL(FAULT_NAME, int, -1, ftruncate64, (int fd, off64_t size), (fd, size), fd, NULL)

CALL(FAULT_WATCH, int, -1, timerfd_settime, (int fd, int flags, const struct itimerspec *to, struct itimerspec *before),
     (fd, flags, to, before), fd, NULL)

CALL(FAULT_PROCESS, pid_t, -1, fork, (void), (), NO_FD, NULL)
CALL(FAULT_PROCESS, int, -1, execve, (const char *path, char *const argv[], char *const envp[]), (path, argv, envp), NO_FD, path)

CALL(FAULT_LOOK, int, -1, stat, (const char *path, struct stat *st), (path, st), NO_FD, path)
CALL(FAULT_LOOK, int, -1, lstat, (const char *path, struct stat *st), (path, st), NO_FD, path)
CALL(FAULT_LOOK, int, -1, fstat, (int fd, struct stat *st), (fd, st), fd, NULL)
CALL(FAULT_LOOK, int, -1, fstatat, (int at, const char *path, struct stat *st, int flags), (at, path, st, flags), at, path)
CALL(FAULT_LOOK, int, -1, statx, (int at, const char *path, int flags, unsigned mask, struct statx *st),
     (at, path, flags, mask, st), at, path)
CALL(FAULT_LOOK, int, -1, statvfs, (const char *path, struct statvfs *st), (path, st), NO_FD, path)
CALL(FAULT_LOOK, ssize_t, -1, readlink, (const char *path, char *to, size_t size), (path, to, size), NO_FD, path)
CALL(FAULT_LOOK, ssize_t, -1, readlinkat, (int at, const char *path, char *to, size_t size), (at, path, to, size), at, path)
CALL(FAULT_LOOK, int, -1, getsockopt, (int fd, int level, int name, void *value, socklen_t *size),
     (fd, level, name, value, size), fd, NULL)

CALL(FAULT_WAIT, int, -1, epoll_wait, (int fd, struct epoll_event *events, int max, int timeout), (fd, events, max, timeout), fd,
     NULL)
CALL(FAULT_WAIT, int, -1, poll, (struct pollfd *fds, nfds_t n, int timeout), (fds, n, timeout), NO_FD, NULL)
CALL(FAULT_WAIT, pid_t, -1, waitpid, (pid_t pid, int *status, int options), (pid, status, options), NO_FD, NULL)
CALL(FAULT_WAIT, int, -1, waitid, (idtype_t type, id_t id, siginfo_t *info, int options), (type, id, info, options), NO_FD, NULL)

/* ---- by hand ---- */

static bool makes_file(int flags)
{
	return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
}

#define OPEN(name) \
	PUBLIC int name(const char *path, int flags, ...) \
	{ \
		mode_t mode = 0; \
		va_list args; \
\
		REAL(name) \
		va_start(args, flags); \
		if (makes_file(flags)) \
			mode = va_arg(args, mode_t); \
		va_end(args); \
		return fault_strikes(FAULT_DESCRIPTOR, #name, NO_FD, path) ? -1 : real(path, flags, mode); \
	}
#define OPENAT(name) \
	PUBLIC int name(int at, const char *path, int flags, ...) \
	{ \
		mode_t mode = 0; \
		va_list args; \
\
		REAL(name) \
		va_start(args, flags); \
		if (makes_file(flags)) \
			mode = va_arg(args, mode_t); \
		va_end(args); \
		return fault_strikes(FAULT_DESCRIPTOR, #name, at, path) ? -1 : real(at, path, flags, mode); \
	}
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

/* What hardened programs call where no mode can be meant. */
int __open_2(const char *path, int flags);
int __openat_2(int at, const char *path, int flags);

PUBLIC int __open_2(const char *path, int flags)
{
	return open(path, flags, 0);
}

PUBLIC int __openat_2(int at, const char *path, int flags)
{
	return openat(at, path, flags, 0);
}

ssize_t __readlink_chk(const char *path, char *to, size_t size, size_t room);
ssize_t __readlinkat_chk(int at, const char *path, char *to, size_t size, size_t room);
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room);

PUBLIC ssize_t __readlink_chk(const char *path, char *to, size_t size, size_t room)
{
	(void)room;
	return readlink(path, to, size);
}

PUBLIC ssize_t __readlinkat_chk(int at, const char *path, char *to, size_t size, size_t room)
{
	(void)room;
	return readlinkat(at, path, to, size);
}

PUBLIC int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room)
{
	(void)room;
	return poll(fds, n, timeout);
}

PUBLIC void *mremap(void *at, size_t size, size_t wanted, int flags, ...)
{
	void *to = NULL;
	va_list args;

	REAL(mremap)
	va_start(args, flags);
	if (flags & MREMAP_FIXED)
		to = va_arg(args, void *);
	va_end(args);
	return fault_strikes(FAULT_MAP, "mremap", NO_FD, NULL) ? MAP_FAILED : real(at, size, wanted, flags, to);
}

#define FCNTL(name) \
	PUBLIC int name(int fd, int command, ...) \
	{ \
		void *argument; \
		va_list args; \
\
		REAL(name) \
		va_start(args, command); \
		argument = va_arg(args, void *); /* libc itself takes it so, whatever it is */ \
		va_end(args); \
		if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && fault_strikes(FAULT_DESCRIPTOR, #name, fd, NULL)) \
			return -1; \
		return real(fd, command, argument); \
	}
FCNTL(fcntl)
FCNTL(fcntl64)

/* Only what adds takes memory. */
PUBLIC int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	REAL(epoll_ctl)
	if (operation == EPOLL_CTL_ADD && fault_strikes(FAULT_WATCH, "epoll_ctl", fd, NULL))
		return -1;
	return real(epoll, operation, fd, event);
}

PUBLIC int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *data)
{
	int before = errno, error;

	REAL(pthread_create)
	if (!fault_strikes(FAULT_PROCESS, "pthread_create", NO_FD, NULL))
		return real(thread, attributes, run, data);
	error = errno;
	errno = before; /* this one tells by what it returns */
	return error;
}

PUBLIC long syscall(long number, ...)
{
	long a[6];
	va_list args;

	REAL(syscall)
	va_start(args, number);
	for (size_t i = 0; i < 6; i++)
		a[i] = va_arg(args, long); /* registers, which are there whether they were set or not */
	va_end(args);
	if (number == SYS_openat2 && fault_strikes(FAULT_DESCRIPTOR, "openat2", (int)a[0], (const char *)(uintptr_t)a[1]))
		return -1;
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- the clock ---- */

static int64_t clock_off_us(const char *name)
{
	struct fault_call call = { .class = FAULT_CLOCK, .name = name, .fd = NO_FD, .may_wait = true };
	struct fault_verdict verdict = fault_ask(call);

	return verdict.action == FAULT_SHIFT ? verdict.amount : 0;
}

PUBLIC int clock_gettime(clockid_t clock, struct timespec *ret)
{
	int rc;

	REAL(clock_gettime)
	rc = real(clock, ret);
	if (rc == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		ret->tv_sec += clock_off_us("clock_gettime") / 1000000;
	return rc;
}

PUBLIC time_t time(time_t *ret)
{
	time_t now;

	REAL(time)
	now = real(NULL) + clock_off_us("time") / 1000000;
	if (ret)
		*ret = now;
	return now;
}
