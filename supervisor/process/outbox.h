/* SPDX-License-Identifier: MIT */
/* What a peer's socket had no room for yet. The loop never waits for a peer; it queues. What is queued owns its descriptors. */
#pragma once

#include "base/fd_ref.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct why;
struct outbox_entry;

struct outbox {
	struct outbox_entry *first, **end;
	size_t bytes, n_fds; /* of all that waits */
	bool congested;      /* the kernel takes no more descriptors at the moment: to be flushed a moment later */
};

/* Per peer; past that it counts as not reading any more. */
#define OUTBOX_BYTES_MAX (16u << 20) /* with what it takes to keep them */
#define OUTBOX_FDS_MAX (128u << 10)

/* All borrowed: what has to wait is copied, and is one more owner of each descriptor. */
struct outbox_message {
	const ProtobufCMessage *message;
	struct fd_ref *const *fds;
	size_t n_fds;
	int kind; /* by which it can be found again, if the caller wants that */
};

void outbox_init(struct outbox *outbox);

/** outbox_send() - Send now, or queue behind what waits already. Return: 0; -EPIPE: the peer is gone; -ENOBUFS: it does not read;
 * -EMSGSIZE; -errno. */
int outbox_send(struct outbox *outbox, int fd, const struct outbox_message *message, struct why *why);

/** outbox_flush() - Send what fits. Return: as outbox_send(). */
int outbox_flush(struct outbox *outbox, int fd, struct why *why);
bool outbox_is_empty(const struct outbox *outbox);

/** outbox_holds() - Does a message of this kind wait? */
bool outbox_holds(const struct outbox *outbox, int kind);
/** outbox_retract() - Forget those of this kind that wait. Return: how many these were. */
size_t outbox_retract(struct outbox *outbox, int kind);

/* A message that waits: packed, with its descriptors. Borrowed. */
struct outbox_waiting {
	const uint8_t *data;
	size_t size_bytes;
	struct fd_ref *const *fds;
	size_t n_fds;
	int kind;
};

/** outbox_each() - Call @fn for each message that waits, in their order. */
void outbox_each(const struct outbox *outbox, void (*fn)(void *arg, const struct outbox_waiting *waiting), void *arg);

/** outbox_queue() - Let a message wait that was packed before. Return: as outbox_send(). */
int outbox_queue(struct outbox *outbox, const struct outbox_waiting *waiting, struct why *why);

void outbox_clear(struct outbox *outbox);
