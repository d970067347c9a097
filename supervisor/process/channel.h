/* SPDX-License-Identifier: MIT */
/* Our end of the channel to one process: what it says is heard by its instance, what it has no room for waits here. */
#pragma once

#include "base/loop.h"
#include "supervisor/process/outbox.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

struct instance;
struct why;

struct channel {
	struct instance *instance; /* who hears */
	int fd;                    /* -1: closed */
	struct source source;
	struct outbox outbox;
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

/** channel_send() - Send or queue. @fds: borrowed until sent, see outbox_send(). A closed channel swallows it. */
void channel_send(struct channel *channel, const ProtobufCMessage *message, const int *fds, size_t n, const char *name);

/** channel_drain() - The process has ended: hear what it said before, which is bounded, and close. Return: does another process
 * hold the other end? */
bool channel_drain(struct channel *channel);

/** channel_close() - Safe on a closed one. What waited to be sent is forgotten. */
void channel_close(struct channel *channel);
