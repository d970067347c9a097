/* SPDX-License-Identifier: MIT */
#include "supervisor/process/channel.h"

#include "supervisor/process/instance.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* Bounds of one turn: a process that talks without end must not hold the loop. */
#define DATAGRAMS_A_TURN 64u
#define TURN_US (2 * USEC_PER_MSEC)
/* Of what a process said before its end: more than a socket holds. A child of it may go on speaking. */
#define LAST_WORDS_MAX 1024u
#define LAST_WORDS_US (100 * USEC_PER_MSEC)
/* Who sends descriptors that nobody wants is not heard while so many wait to be closed. */
#define WASTE_MAX 256u
#define WASTE_US (5 * USEC_PER_MSEC)
#define CONGESTED_US (10 * USEC_PER_MSEC)

static void on_ready(struct source *source, uint32_t events);

void channel_init(struct channel *channel, struct instance *instance)
{
	*channel = (struct channel){ .instance = instance, .fd = -1 };
	outbox_init(&channel->outbox);
}

void channel_close(struct channel *channel)
{
	source_del(&channel->source);
	timer_disarm(&channel->deaf);
	timer_disarm(&channel->congested);
	/* With what lies in there and was not heard. */
	channel->fd = fd_give_up(channel->fd);
	outbox_clear(&channel->outbox);
}

/* ---- out ---- */

static void on_congested(struct timer *timer);

static void watch(struct channel *channel)
{
	const struct outbox *outbox = &channel->outbox;
	bool waits = !outbox_is_empty(outbox);

	if (channel->fd < 0)
		return;
	if (waits && outbox->congested)
		timer_arm(channel->loop, &channel->congested, clock_now_us() + CONGESTED_US, on_congested);
	source_set(&channel->source, EPOLLIN | (waits && !outbox->congested ? (uint32_t)EPOLLOUT : 0u));
}

static void flush(struct channel *channel)
{
	struct why why = { 0 };

	/* A peer that is gone may have said something before. */
	if (outbox_flush(&channel->outbox, channel->fd, &why) < 0)
		outbox_clear(&channel->outbox);
	watch(channel);
}

static void on_congested(struct timer *timer)
{
	flush(container_of(timer, struct channel, congested));
}

void channel_send(struct channel *channel, const Upgraded__Wire__AppMessage *message, struct fd_ref *const *fds, size_t n)
{
	const struct outbox_message what = { .message = &message->base, .fds = fds, .n_fds = n, .kind = (int)message->body_case };
	const struct instance *to = channel->instance;
	struct why why = { 0 };

	if (channel->fd < 0)
		return;
	if (outbox_send(&channel->outbox, channel->fd, &what, &why) < 0)
		log_instance(WARNING, to, "%s could not be sent: %s", wire_app_name(message), why.text);
	watch(channel);
}

int channel_queue(struct channel *channel, const struct outbox_waiting *waiting, struct why *why)
{
	int r = channel->fd < 0 ? 0 : outbox_queue(&channel->outbox, waiting, why);

	watch(channel);
	return r;
}

/* ---- in ---- */

/* Descriptors that come too late are nobody's fault; in a message of another kind they have nothing to do. */
static void note_waste(struct channel *channel, bool hands_over, const char *name)
{
	const struct instance *of = channel->instance;

	if (!channel->wastes && !hands_over)
		log_instance(WARNING, of,
			     "its message (%s) came with descriptors, which none of that kind has; they are closed",
			     name);
	channel->wastes = true;
}

static void hear(struct channel *channel, Upgraded__Wire__AppMessage *message_consume, struct wire_fds *fds)
{
	bool hands_over = message_consume->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_FDS;
	const char *name = wire_app_name(message_consume); /* a literal */

	if (instance_hear(channel->instance, message_consume, fds) > 0)
		note_waste(channel, hands_over, name);
}

/* @given: what closer_given() was before it came. */
static void hear_garbage(struct channel *channel, const char *reason, uint64_t given)
{
	channel->wastes |= closer_given() > given;
	channel->instance->events->on_garbage(channel->instance, reason);
}

/* Reads one datagram. Return: true if there may be another. */
static bool read_one(struct channel *channel)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX]; /* one loop thread */
	struct why why = { 0 };
	struct wire_fds fds;
	ProtobufCMessage *message;
	uint64_t given = closer_given();
	int r;

	if (channel->fd < 0)
		return false;
	r = wire_receive(channel->fd, &upgraded__wire__app_message__descriptor, buffer, &fds, &message, &why);
	if (r == WIRE_AGAIN)
		return false;
	if (r == WIRE_OK)
		hear(channel, (Upgraded__Wire__AppMessage *)message, &fds);
	else if (r == -EBADMSG)
		hear_garbage(channel, why.text, given);
	else
		channel_close(channel);
	return true;
}

static void on_heard_again(struct timer *timer)
{
	struct channel *channel = container_of(timer, struct channel, deaf);

	int r = source_add(channel->loop, &channel->source, channel->fd, EPOLLIN, on_ready);

	/* Its process would be out of reach for good, for want of memory in this moment. */
	if (r == -ENOMEM)
		timer_arm(channel->loop, timer, clock_now_us() + CONGESTED_US, on_heard_again);
	else if (r < 0)
		channel_close(channel);
	watch(channel);
}

/* Leave the peer alone for a while. Not even its end is heard: that would be told again in each turn. */
static void be_deaf(struct channel *channel, uint64_t us)
{
	source_del(&channel->source);
	timer_arm(channel->loop, &channel->deaf, clock_now_us() + us, on_heard_again);
}

static bool wastes_too_much(const struct channel *channel)
{
	return channel->wastes && closer_waiting() > WASTE_MAX;
}

static void listen_to(struct channel *channel)
{
	uint64_t began_us = clock_now_us(), worked_us = clock_worked_us(), now_us = began_us, pause_us;

	for (unsigned i = 0; i < DATAGRAMS_A_TURN && now_us - began_us < TURN_US; i++) {
		if (wastes_too_much(channel) || !read_one(channel))
			break;
		now_us = clock_now_us();
	}
	/* What it cost us, not how long it took: that we were stopped meanwhile, or waited for a processor or the disk, is not its
	 * doing, and whoever is not heard for seconds because of that is taken for one that hangs. */
	pause_us = share_use(&channel->share, now_us, clock_worked_us() - worked_us);
	if (wastes_too_much(channel) && pause_us < WASTE_US)
		pause_us = WASTE_US;
	if (pause_us && channel->fd >= 0)
		be_deaf(channel, pause_us);
}

static void on_ready(struct source *source, uint32_t events)
{
	struct channel *channel = container_of(source, struct channel, source);

	if (events & EPOLLOUT)
		flush(channel);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		listen_to(channel);
}

bool channel_has_unread(const struct channel *channel)
{
	struct pollfd end = { .fd = channel->fd, .events = POLLIN };

	return poll(&end, 1, 0) > 0 && (end.revents & POLLIN);
}

bool channel_drain(struct channel *channel)
{
	uint64_t until_us = clock_now_us() + LAST_WORDS_US;

	for (unsigned i = 0; i < LAST_WORDS_MAX && read_one(channel) && clock_now_us() < until_us; i++)
		;
	return channel->fd >= 0;
}

/* ---- open ---- */

int channel_take(struct channel *channel, struct loop *loop, int fd_consume, struct why *why)
{
	int r;

	channel_close(channel);
	channel->loop = loop;
	channel->fd = fd_consume;
	r = fd_nonblock(fd_consume, 1);
	if (r == 0)
		r = source_add(loop, &channel->source, fd_consume, EPOLLIN, on_ready);
	if (r < 0)
		channel_close(channel);
	return r < 0 ? why_errno(why, r, "channel") : 0;
}

int channel_open(struct channel *channel, struct loop *loop, int *ret_theirs, unsigned long long *ret_inode, struct why *why)
{
	FD_CLEANUP int theirs = -1;
	int pair[2], r;

	/* Both ends: the shim expects it of the one that a restored process gets, too. */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return why_errno(why, -errno, "socketpair");
	theirs = pair[1];
	r = channel_take(channel, loop, pair[0], why);
	if (r < 0)
		return r;
	r = fd_inode(theirs, ret_inode);
	if (r < 0) {
		channel_close(channel);
		return why_errno(why, r, "channel");
	}
	*ret_theirs = theirs;
	theirs = -1;
	return 0;
}
