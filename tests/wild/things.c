/* SPDX-License-Identifier: MIT */
#include "tests/wild/things.h"

#include "wire/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define LINGER_S 2
#define MEMORY_BYTES 70000

/* ---- sockets ---- */

int things_listener(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)bind(fd, (struct sockaddr *)&address, sizeof(address));
	(void)listen(fd, 1);
	return fd;
}

/* Its other end is accepted, stays open in this process and is never read from. */
int things_lingering(void)
{
	static int accepted[8];
	static size_t n;
	struct sockaddr_in address;
	socklen_t size = sizeof(address);
	int listener = things_listener(), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct linger linger = { 1, LINGER_S };
	static const char data[65536];
	int *place = &accepted[n++ % 8];

	getsockname(listener, (struct sockaddr *)&address, &size);
	(void)connect(fd, (struct sockaddr *)&address, sizeof(address));
	if (*place > 0)
		close(*place);
	*place = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	close(listener);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	while (send(fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
	return fd;
}

static int one_of_pair(int type)
{
	int pair[2];

	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	close(pair[1]);
	return pair[0];
}

/* A socket with a channel in its queue: what is closed then closes more. */
static int loaded_pair(int channel)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	things_send(pair[1], "x", 1, &channel, 1);
	close(pair[1]);
	return pair[0];
}

/* ---- all kinds ---- */

/* @end: 0: for reading, 1: for writing; its other end is closed, or there twice. */
static int one_of_pipe(int end, bool full)
{
	static const char data[4096];
	int pair[2], fd;

	if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	while (full && write(pair[1], data, sizeof(data)) > 0)
		;
	fd = pair[end];
	close(pair[!end]);
	return fd;
}

static int memory(bool sealed)
{
	int fd = memfd_create("wild", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (ftruncate(fd, MEMORY_BYTES) == 0 && sealed)
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
	return fd;
}

static int signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	return signalfd(-1, &none, SFD_CLOEXEC);
}

int things_any(struct dice *dice, int channel)
{
	switch (dice_below(dice, 24)) {
	case 0:
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	case 1:
		return open("/dev/zero", O_RDWR | O_CLOEXEC);
	case 2:
		return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	case 3:
		return open("/etc/passwd", O_PATH | O_CLOEXEC);
	case 4:
		return open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	case 5:
		return open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	case 6:
		return memory(false);
	case 7:
		return memory(true);
	case 8:
		return one_of_pipe(0, true);
	case 9:
		return one_of_pipe(1, true);
	case 10:
		return one_of_pipe(0, false);
	case 11:
		return one_of_pair(SOCK_STREAM);
	case 12:
		return one_of_pair(SOCK_DGRAM);
	case 13:
		return loaded_pair(channel);
	case 14:
		return things_listener();
	case 15:
		return things_lingering();
	case 16:
		return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	case 17:
		return socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	case 18:
		return pidfd_open(getpid(), 0);
	case 19:
		return eventfd(0, EFD_CLOEXEC);
	case 20:
		return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	case 21:
		return epoll_create1(EPOLL_CLOEXEC);
	case 22:
		return dice_percent(dice, 50) ? inotify_init1(IN_CLOEXEC) : signals();
	default:
		return fcntl(channel, F_DUPFD_CLOEXEC, 0);
	}
}

static size_t how_many(struct dice *dice, size_t room)
{
	size_t n = dice_percent(dice, 90) ? dice_below(dice, 5) : dice_below(dice, WIRE_FDS_MAX + 1);

	return n < room ? n : room;
}

size_t things_some(struct dice *dice, int channel, int *fds, size_t room)
{
	size_t n = how_many(dice, room), made = 0;
	bool alike = n > 8; /* many are of one kind, so that they cost little */

	for (size_t i = 0; i < n; i++) {
		int fd = alike && i ? fcntl(fds[0], F_DUPFD_CLOEXEC, 0) : things_any(dice, channel);

		if (fd < 0)
			break;
		fds[made++] = fd;
	}
	return made;
}

void things_close(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

/* ---- datagrams ---- */

bool things_send(int channel, const void *bytes, size_t size, const int *fds, size_t n)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		control.header = (struct cmsghdr){ CMSG_LEN(sizeof(int) * n), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * n);
	}
	return sendmsg(channel, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

void things_send_garbage(struct dice *dice, int channel)
{
	static uint8_t bytes[WIRE_MESSAGE_MAX + 4096];
	static const size_t sizes[] = { 0, 1, WIRE_MESSAGE_MAX - 1, WIRE_MESSAGE_MAX, WIRE_MESSAGE_MAX + 1, sizeof(bytes) };
	int fds[WIRE_FDS_MAX];
	size_t n = dice_percent(dice, 50) ? things_some(dice, channel, fds, WIRE_FDS_MAX) : 0;
	size_t size = dice_percent(dice, 80) ? dice_below(dice, 400) : sizes[dice_below(dice, 6)];

	dice_fill(dice, bytes, size);
	things_send(channel, bytes, size, fds, n);
	things_close(fds, n);
}

void things_send_damaged(struct dice *dice, int channel, const void *bytes, size_t size)
{
	uint8_t *copy = calloc(1, size + 64);

	if (!copy)
		return;
	memcpy(copy, bytes, size);
	for (size_t i = dice_below(dice, 4); i > 0 && size; i--)
		copy[dice_below(dice, size)] ^= (uint8_t)(1u << dice_below(dice, 8));
	if (dice_percent(dice, 30))
		size = dice_below(dice, size + 1);
	else if (dice_percent(dice, 30))
		size += dice_below(dice, 64);
	things_send(channel, copy, size, NULL, 0);
	free(copy);
}
