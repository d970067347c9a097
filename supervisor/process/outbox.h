/* SPDX-License-Identifier: MIT */
/* What a peer's socket had no room for yet. The loop never waits for a peer; it queues. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

struct why;
struct outbox_entry;

struct outbox {
	struct outbox_entry *first, **end;
	size_t bytes;
};

#define OUTBOX_BYTES_MAX (8u << 20) /* of messages, per peer; past that it counts as not reading any more */

void outbox_init(struct outbox *outbox);

/**
 * outbox_send() - Send now, or queue behind what waits already.
 * @fds: borrowed until sent: they must stay open until the outbox is empty or cleared.
 *
 * Return: 0; -EPIPE: the peer is gone; -ENOBUFS: it does not read; -EMSGSIZE; -errno.
 */
int outbox_send(struct outbox *outbox, int fd, const ProtobufCMessage *message, const int *fds, size_t n, struct why *why);

/** outbox_flush() - Send what fits. Return: as outbox_send(). */
int outbox_flush(struct outbox *outbox, int fd, struct why *why);
int outbox_is_empty(const struct outbox *outbox);
void outbox_clear(struct outbox *outbox);
