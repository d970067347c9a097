/* SPDX-License-Identifier: MIT */
#include "supervisor/process/channel.h"

#include "supervisor/process/instance.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define DATAGRAMS_A_TURN 64u
#define LAST_WORDS_MAX 4096u /* more than a socket holds */

void channel_init(struct channel *channel, struct instance *instance)
{
	*channel = (struct channel){ .instance = instance, .fd = -1 };
	outbox_init(&channel->outbox);
}

void channel_close(struct channel *channel)
{
	source_del(&channel->source);
	channel->fd = fd_close(channel->fd);
	outbox_clear(&channel->outbox);
}

static void watch(struct channel *channel)
{
	if (channel->fd >= 0)
		source_set(&channel->source, EPOLLIN | (outbox_is_empty(&channel->outbox) ? 0u : (uint32_t)EPOLLOUT));
}

void channel_send(struct channel *channel, const ProtobufCMessage *message, const int *fds, size_t n, const char *name)
{
	const struct instance *to = channel->instance;
	struct why why = { 0 };

	if (channel->fd < 0)
		return;
	if (outbox_send(&channel->outbox, channel->fd, message, fds, n, &why) < 0)
		log_warning("%s[%s %d]: %s could not be sent: %s", to->service, to->version, to->pid, name, why.text);
	watch(channel);
}

/* Reads one datagram. Return: true if there may be another. */
static bool read_one(struct channel *channel)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX]; /* one loop thread */
	struct why why = { 0 };
	struct wire_fds fds;
	ProtobufCMessage *message;
	int r;

	if (channel->fd < 0)
		return false;
	r = wire_receive(channel->fd, &upgraded__wire__app_message__descriptor, buffer, &fds, &message, &why);
	if (r == WIRE_AGAIN)
		return false;
	if (r == WIRE_OK)
		instance_hear(channel->instance, (Upgraded__Wire__AppMessage *)message, &fds);
	else if (r == -EBADMSG)
		channel->instance->events->on_garbage(channel->instance, why.text);
	else
		channel_close(channel);
	return true;
}

static void on_ready(struct source *source, uint32_t events)
{
	struct channel *channel = container_of(source, struct channel, source);
	struct why why = { 0 };

	if (events & EPOLLOUT) {
		/* A peer that is gone may have said something before. */
		if (outbox_flush(&channel->outbox, channel->fd, &why) < 0)
			outbox_clear(&channel->outbox);
		watch(channel);
	}
	/* Bounded: a process that talks without end must not hold the loop. */
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		for (unsigned i = 0; i < DATAGRAMS_A_TURN && read_one(channel); i++)
			;
}

bool channel_drain(struct channel *channel)
{
	bool held;

	for (unsigned i = 0; i < LAST_WORDS_MAX && read_one(channel); i++)
		;
	/* A child of the process may hold the other end still: it does not speak for the service. */
	held = channel->fd >= 0;
	channel_close(channel);
	return held;
}

int channel_open(struct channel *channel, struct loop *loop, int *ret_theirs, unsigned long long *ret_inode, struct why *why)
{
	FD_CLEANUP int theirs = -1;
	int pair[2], r;

	channel_close(channel);
	/* Both ends: the shim expects it of the one that a restored process gets, too. */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return why_errno(why, -errno, "socketpair");
	channel->fd = pair[0];
	theirs = pair[1];
	r = fd_inode(theirs, ret_inode);
	if (r == 0)
		r = source_add(loop, &channel->source, pair[0], EPOLLIN, on_ready);
	if (r < 0) {
		channel_close(channel);
		return why_errno(why, r, "channel");
	}
	*ret_theirs = theirs;
	theirs = -1;
	return 0;
}
