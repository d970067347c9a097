/* SPDX-License-Identifier: MIT */
/* Our end of the channel to one process: what it says is heard by its instance, what it has no room for waits here. */
#pragma once

#include "base/loop.h"
#include "supervisor/process/outbox.h"
#include "supervisor/process/share.h"
#include "wire/wire.h"

#include <stdbool.h>

struct instance;
struct why;

struct channel {
	struct instance *instance; /* who hears */
	struct loop *loop;         /* of the open channel; borrowed */
	int fd;                    /* -1: closed */
	struct source source;
	struct outbox outbox;
	struct timer congested;    /* then what waits is tried again */
	struct share share;        /* of the loop's time, for hearing it */
	struct timer deaf;         /* until then it is not listened to */
	bool wastes;               /* it has sent descriptors that nobody claimed */
};

/** channel_init() - To the closed state; required before any other call. @instance: borrowed, outlives the channel. */
void channel_init(struct channel *channel, struct instance *instance);

/**
 * channel_open() - A new pair of ends, in the place of the one before.
 * @ret_theirs: the application's, non-blocking, owned by the caller.
 * @ret_inode:  of the application's end.
 *
 * Return: 0 or -errno; then the channel is closed.
 */
int channel_open(struct channel *channel, struct loop *loop, int *ret_theirs, unsigned long long *ret_inode, struct why *why);

/** channel_take() - Go on with an end that a supervisor before this one has made; what it was told and had not heard waits in
 * there. Return: 0 or -errno; then the channel is closed, and @fd_consume with it. */
int channel_take(struct channel *channel, struct loop *loop, int fd_consume, struct why *why);

/** channel_send() - Send or queue; what is queued is one more owner of @fds. A closed channel swallows it. */
void channel_send(struct channel *channel, const Upgraded__Wire__AppMessage *message, struct fd_ref *const *fds, size_t n);

/** channel_queue() - A message that a program before this one had no room for: it goes out before all others. To be called right
 * after channel_take(), in their order. Return: 0 or -errno. */
int channel_queue(struct channel *channel, const struct outbox_waiting *waiting, struct why *why);

/** channel_has_unread() - Does something lie in there that was not heard yet? */
bool channel_has_unread(const struct channel *channel);

/** channel_drain() - The process has ended: hear what it said before, which is bounded. Return: is it open yet, since another
 * process holds the other end? */
bool channel_drain(struct channel *channel);

/** channel_close() - Safe on a closed one. What waited to be sent is forgotten. */
void channel_close(struct channel *channel);
