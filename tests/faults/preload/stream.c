/* SPDX-License-Identifier: MIT */
/* Bytes in and out: these can fail, find no room, be cut short, or lose the descriptors that come along. */
#undef _FORTIFY_SOURCE
#include "tests/faults/preload/decide.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) \
	static __typeof__(&name) real; \
	if (!real) { \
		void *found = fault_real(#name); \
		memcpy(&real, &found, sizeof(real)); \
	}

static enum fault_action ask(enum fault_class class, const char *name, int fd, int flags)
{
	int file_flags = fcntl(fd, F_GETFL);
	struct fault_call call = {
		.class = class, .name = name, .fd = fd,
		.may_wait = !(flags & MSG_DONTWAIT) && !(file_flags >= 0 && file_flags & O_NONBLOCK),
	};

	return fault_ask(call).action;
}

/* A record of a few bytes goes through a pipe whole, and what is no stream is never cut. */
#define WHOLE_BYTES 512

static size_t cut(enum fault_action action, int fd, size_t size)
{
	int type = 0, error = errno;
	socklen_t length = sizeof(type);
	bool shorter = false;
	struct stat st;

	if (action != FAULT_SHORT || size < 2)
		return size;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		shorter = true;
	else if (S_ISFIFO(st.st_mode))
		shorter = size > WHOLE_BYTES;
	else if (S_ISSOCK(st.st_mode) && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0)
		shorter = type == SOCK_STREAM && size > WHOLE_BYTES;
	errno = error;
	return shorter ? 1 : size;
}

PUBLIC ssize_t read(int fd, void *to, size_t size)
{
	enum fault_action action = ask(FAULT_READ, "read", fd, 0);

	REAL(read)
	return action == FAULT_FAIL ? -1 : real(fd, to, cut(action, fd, size));
}

PUBLIC ssize_t pread(int fd, void *to, size_t size, off_t offset)
{
	enum fault_action action = ask(FAULT_READ, "pread", fd, 0);

	REAL(pread)
	return action == FAULT_FAIL ? -1 : real(fd, to, cut(action, fd, size), offset);
}

PUBLIC ssize_t write(int fd, const void *from, size_t size)
{
	enum fault_action action = ask(FAULT_WRITE, "write", fd, 0);

	REAL(write)
	return action == FAULT_FAIL ? -1 : real(fd, from, cut(action, fd, size));
}

PUBLIC ssize_t pwrite(int fd, const void *from, size_t size, off_t offset)
{
	enum fault_action action = ask(FAULT_WRITE, "pwrite", fd, 0);

	REAL(pwrite)
	return action == FAULT_FAIL ? -1 : real(fd, from, cut(action, fd, size), offset);
}

PUBLIC ssize_t writev(int fd, const struct iovec *parts, int n)
{
	enum fault_action action = ask(FAULT_WRITE, "writev", fd, 0);

	REAL(writev)
	if (action == FAULT_FAIL)
		return -1;
	if (action == FAULT_SHORT && n > 0)
		return write(fd, parts[0].iov_base, cut(action, fd, parts[0].iov_len));
	return real(fd, parts, n);
}

PUBLIC ssize_t send(int fd, const void *from, size_t size, int flags)
{
	enum fault_action action = ask(FAULT_SEND, "send", fd, flags);

	REAL(send)
	if (action == FAULT_FAIL)
		return -1;
	return real(fd, from, cut(action, fd, size), flags);
}

PUBLIC ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	enum fault_action action = ask(FAULT_SEND, "sendmsg", fd, flags);

	REAL(sendmsg)
	return action == FAULT_FAIL ? -1 : real(fd, message, flags);
}

PUBLIC int sendmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags)
{
	enum fault_action action = ask(FAULT_SEND, "sendmmsg", fd, flags);

	REAL(sendmmsg)
	return action == FAULT_FAIL ? -1 : real(fd, messages, n, flags);
}

PUBLIC ssize_t recv(int fd, void *to, size_t size, int flags)
{
	enum fault_action action = ask(FAULT_RECEIVE, "recv", fd, flags);

	REAL(recv)
	if (action == FAULT_FAIL)
		return -1;
	return real(fd, to, cut(action, fd, size), flags);
}

/* No number is free for a moment. Return: whether it could be had so. */
static bool room_take(struct rlimit *ret_before)
{
	struct rlimit none;

	if (getrlimit(RLIMIT_NOFILE, ret_before) < 0)
		return false;
	none = (struct rlimit){ .rlim_cur = 0, .rlim_max = ret_before->rlim_max };
	return setrlimit(RLIMIT_NOFILE, &none) == 0;
}

static void room_give(const struct rlimit *before)
{
	int error = errno;

	(void)setrlimit(RLIMIT_NOFILE, before);
	errno = error;
}

PUBLIC ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	enum fault_action action = ask(FAULT_RECEIVE, "recvmsg", fd, flags);
	struct rlimit before;
	bool taken;
	ssize_t n;

	REAL(recvmsg)
	if (action == FAULT_FAIL)
		return -1;
	taken = action == FAULT_TRUNC && room_take(&before);
	n = real(fd, message, flags);
	if (taken)
		room_give(&before);
	return n;
}

PUBLIC int recvmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags, struct timespec *timeout)
{
	enum fault_action action = ask(FAULT_RECEIVE, "recvmmsg", fd, flags);
	struct rlimit before;
	bool taken;
	int got;

	REAL(recvmmsg)
	if (action == FAULT_FAIL)
		return -1;
	taken = action == FAULT_TRUNC && room_take(&before);
	got = real(fd, messages, n, flags, timeout);
	if (taken)
		room_give(&before);
	return got;
}

/* ---- what hardened programs call ---- */

ssize_t __read_chk(int fd, void *to, size_t size, size_t room);
ssize_t __pread_chk(int fd, void *to, size_t size, off_t offset, size_t room);
ssize_t __recv_chk(int fd, void *to, size_t size, size_t room, int flags);

PUBLIC ssize_t __read_chk(int fd, void *to, size_t size, size_t room)
{
	(void)room;
	return read(fd, to, size);
}

PUBLIC ssize_t __pread_chk(int fd, void *to, size_t size, off_t offset, size_t room)
{
	(void)room;
	return pread(fd, to, size, offset);
}

PUBLIC ssize_t __recv_chk(int fd, void *to, size_t size, size_t room, int flags)
{
	(void)room;
	return recv(fd, to, size, flags);
}
