/* SPDX-License-Identifier: MIT */
#include "shim/core/channel.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/why.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEND_PATIENCE_US USEC_PER_SEC
#define FD_HIGHEST 0xfffff

/* ---- spare numbers ---- */

/* An eventfd, as it needs no path. What there is no number for is tried again later. */
static void take_spare(struct channel *channel)
{
	for (size_t i = 0; i < CHANNEL_SPARE; i++)
		if (channel->spare[i] < 0)
			channel->spare[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void give_spare(struct channel *channel)
{
	for (size_t i = 0; i < CHANNEL_SPARE; i++)
		channel->spare[i] = fd_close(channel->spare[i]);
}

/* Does the next message bring descriptors? Without room for them the kernel says that some would be cut off. */
static bool brings_descriptors(int fd)
{
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };

	return recvmsg(fd, &header, MSG_PEEK | MSG_DONTWAIT) >= 0 && header.msg_flags & MSG_CTRUNC;
}

/* The message is lost. Whose limit it was, and who has set it, is what helps. */
static int explain_cut(const struct channel *channel, int error, struct why *why)
{
	struct rlimit now;

	if (!channel->fds.cut || getrlimit(RLIMIT_NOFILE, &now) < 0)
		return error;
	if (now.rlim_cur == channel->limit)
		return why_set(why, error, "no number was free for a descriptor that came: process %d may have %llu "
			       "(raise LimitNOFILE=, or what the program itself sets)", (int)getpid(),
			       (unsigned long long)now.rlim_cur);
	return why_set(why, error, "no number was free for a descriptor that came: process %d may have %llu, as it has set "
		       "itself (LimitNOFILE= gave it %llu)", (int)getpid(), (unsigned long long)now.rlim_cur,
		       (unsigned long long)channel->limit);
}

/* ---- open and close ---- */

int channel_inherited(int *ret_fd, struct why *why)
{
	const char *text = getenv(WIRE_FD_ENV);
	char *end;
	long fd;

	*ret_fd = -1;
	if (!text)
		return 0;
	errno = 0;
	fd = strtol(text, &end, 10);
	if (errno || end == text || *end || fd < 0 || fd > FD_HIGHEST || fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0)
		return why_set(why, -EBADF, WIRE_FD_ENV "=%s names no open descriptor", text);
	unsetenv(WIRE_FD_ENV);
	*ret_fd = (int)fd;
	return 0;
}

int channel_init(struct channel *channel, channel_answer_fn answer, void *arg)
{
	*channel = (struct channel){ .fd = -1, .answer = answer, .arg = arg, .kept = -1, .supervisor = -1,
				      .stored = -1, .note = -1, .spare = { -1, -1, -1, -1 } };
	_Static_assert(CHANNEL_SPARE == 4, "as many are none");
	pthread_mutex_init(&channel->lock, NULL);
	channel->buffer = malloc(WIRE_MESSAGE_MAX);
	return channel->buffer ? 0 : -ENOMEM;
}

void channel_done(struct channel *channel)
{
	if (!channel->buffer)
		return;
	channel_end_keep(channel);
	if (channel_is_ours(channel))
		channel_close(channel);
	else
		give_spare(channel);
	channel->fd = fd_close(channel->fd);
	free(channel->buffer);
	channel->buffer = NULL;
	pthread_mutex_destroy(&channel->lock);
}

/* An eventfd that nobody writes to is never readable and never hung up. Without a descriptor to spare the number is given back
 * first: as there is no other free one, it is the one that the eventfd gets, unless another thread was faster. Then there is none.
 * Lock held. */
static int silence(int number)
{
	int silent = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (silent >= 0 && dup3(silent, number, O_CLOEXEC) == number) {
		fd_close(silent);
		return number;
	}
	fd_close(silent);
	fd_close(number);
	silent = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (silent >= 0 && silent != number)
		silent = fd_close(silent);
	return silent >= 0 ? silent : -1;
}

/* The number stays the same once there is one, as an event loop may have kept it. */
static int put_in_place(struct channel *channel, int fd)
{
	int r = 0;

	pthread_mutex_lock(&channel->lock);
	if (channel->fd < 0 || channel->fd == fd) {
		channel->fd = fd;
	} else {
		r = dup3(fd, channel->fd, O_CLOEXEC) < 0 ? -errno : 0;
		fd_close(fd);
	}
	channel->is_open = r == 0;
	pthread_mutex_unlock(&channel->lock);
	return r;
}

int channel_open(struct channel *channel, int fd, struct why *why)
{
	int r = fd_nonblock(fd, 1);
	struct rlimit limit;

	if (r < 0)
		fd_close(fd);
	else
		r = put_in_place(channel, fd);
	channel->process = getpid();
	if (r == 0)
		take_spare(channel);
	channel->limit = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
	return r < 0 ? why_errno(why, r, "the channel to the supervisor") : 0;
}

void channel_close(struct channel *channel)
{
	pthread_mutex_lock(&channel->lock);
	if (channel->is_open) {
		channel->is_open = false;
		give_spare(channel); /* nothing comes any more */
		channel->fd = silence(channel->fd);
	}
	pthread_mutex_unlock(&channel->lock);
}

/* ---- beyond a supervisor's end ---- */

void channel_keep(struct channel *channel, int end, int supervisor)
{
	channel_end_keep(channel);
	if (end < 0 || supervisor < 0) { /* a supervisor that does not do as it says */
		fd_close(end);
		fd_close(supervisor);
		return;
	}
	channel->kept = end;
	channel->supervisor = supervisor;
}

void channel_end_keep(struct channel *channel)
{
	channel->kept = fd_close(channel->kept);
	channel->supervisor = fd_close(channel->supervisor);
	channel_store(channel, -1);
	channel_note(channel, -1);
}

void channel_store(struct channel *channel, int fd_consume)
{
	fd_close(channel->stored);
	channel->stored = fd_consume;
}

void channel_note(struct channel *channel, int fd_consume)
{
	fd_close(channel->note);
	channel->note = fd_consume;
}

void channel_print_to(int log_consume, uint64_t before)
{
	for (int number = STDOUT_FILENO; number <= STDERR_FILENO; number++) {
		unsigned long long inode;

		if (log_consume >= 0 && fd_inode(number, &inode) == 0 && inode == before)
			(void)dup3(log_consume, number, 0);
	}
	fd_close(log_consume);
}

void channel_come_anew(struct channel *channel, int supervisor)
{
	if (supervisor >= 0) {
		fd_close(channel->supervisor);
		channel->supervisor = supervisor;
	}
	channel->anew = true;
}

int channel_restored(struct channel *channel)
{
	return fd_nonblock(channel->fd, 1);
}

/* ---- out ---- */

/* Return: above 0: it is so far; 0: the deadline; -EPIPE: it will not be, as the supervisor has ended; -errno. */
static int await(const struct channel *channel, short events, uint64_t deadline_us)
{
	struct pollfd fds[] = { { .fd = channel->fd, .events = events }, { .fd = channel->supervisor, .events = POLLIN } };
	int n;

	/* EINTR also comes when this process was imaged and restored inside the call. */
	do
		n = poll(fds, 2, clock_timeout_ms(deadline_us));
	while (n < 0 && errno == EINTR);
	if (n > 0 && !fds[0].revents) /* what it had said before comes first */
		return -EPIPE;
	return n < 0 ? -errno : n;
}

int channel_send(struct channel *channel, const Upgraded__Wire__AppMessage *message, const int *fds, size_t n,
		 uint64_t deadline_us, struct why *why)
{
	if (!deadline_us)
		deadline_us = clock_now_us() + SEND_PATIENCE_US;
	for (;;) {
		int r = wire_send(channel->fd, &message->base, fds, n, why);

		if (r == WIRE_OK || r < 0)
			return r;
		r = r == WIRE_CLOSED ? -EPIPE : await(channel, POLLOUT, deadline_us);
		if (r == -EPIPE)
			return why_set(why, -EPIPE, "the supervisor is gone");
		if (r == 0)
			return why_set(why, -ETIMEDOUT, "the supervisor does not take %s", wire_app_name(message));
		if (r < 0)
			return why_errno(why, r, "poll");
	}
}

int channel_post(struct channel *channel, const Upgraded__Wire__AppMessage *message, const int *fds, size_t n)
{
	int r = WIRE_CLOSED;

	if (!channel_is_ours(channel))
		return r;
	pthread_mutex_lock(&channel->lock);
	if (channel->is_open)
		r = wire_send(channel->fd, &message->base, fds, n, NULL);
	pthread_mutex_unlock(&channel->lock);
	return r;
}

void channel_await_room(struct channel *channel, int timeout_ms)
{
	struct pollfd room = { .events = POLLOUT };

	pthread_mutex_lock(&channel->lock);
	room.fd = channel->is_open ? channel->fd : -1;
	pthread_mutex_unlock(&channel->lock);
	/* Without the lock. If the number is somebody else's by now, this waits for the wrong descriptor, but not for longer. */
	if (room.fd >= 0)
		(void)poll(&room, 1, timeout_ms);
}

/* ---- in ---- */

int channel_receive(struct channel *channel, uint64_t deadline_us, Upgraded__Wire__AppMessage **ret, struct why *why)
{
	while (!channel->anew) {
		ProtobufCMessage *message;
		int r;

		if (brings_descriptors(channel->fd))
			give_spare(channel);
		r = wire_receive(channel->fd, &upgraded__wire__app_message__descriptor, channel->buffer, &channel->fds, &message,
				 why);
		if (r == WIRE_OK) {
			*ret = (Upgraded__Wire__AppMessage *)message;
			if (!channel->answer(channel->arg, *ret))
				return CHANNEL_MESSAGE;
			channel_free(channel, *ret);
			continue;
		}
		if (r == WIRE_CLOSED)
			return CHANNEL_CLOSED;
		if (r < 0) {
			take_spare(channel);
			return explain_cut(channel, r, why);
		}
		r = await(channel, POLLIN, deadline_us);
		if (r == 0)
			return CHANNEL_TIMEOUT;
		if (r == -EPIPE)
			return CHANNEL_CLOSED;
		if (r < 0)
			return why_errno(why, r, "poll");
	}
	return CHANNEL_CLOSED;
}

int channel_claim(struct channel *channel, size_t i)
{
	return wire_fds_claim(&channel->fds, i);
}

void channel_free(struct channel *channel, Upgraded__Wire__AppMessage *message)
{
	wire_fds_close(&channel->fds);
	upgraded__wire__app_message__free_unpacked(message, NULL);
	take_spare(channel);
}
