/* SPDX-License-Identifier: MIT */
#include "supervisor/process/outbox.h"

#include "base/why.h"
#include "wire/wire.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct outbox_entry {
	struct outbox_entry *next;
	struct fd_ref **fds;
	size_t n_fds;
	size_t size_bytes;
	int kind;
	uint8_t data[];
};

void outbox_init(struct outbox *outbox)
{
	*outbox = (struct outbox){ .first = NULL };
	outbox->end = &outbox->first;
}

bool outbox_is_empty(const struct outbox *outbox)
{
	return !outbox->first;
}

/* ---- entries ---- */

/* A small message takes more room than its bytes. */
static size_t cost_of(size_t size_bytes, size_t n_fds)
{
	return sizeof(struct outbox_entry) + size_bytes + n_fds * sizeof(struct fd_ref *);
}

static int check_room(const struct outbox *outbox, size_t size, size_t n_fds, struct why *why)
{
	if (size > WIRE_MESSAGE_MAX)
		return why_set(why, -EMSGSIZE, "a message of %zu bytes, at most %u travel", size, WIRE_MESSAGE_MAX);
	if (n_fds > WIRE_FDS_MAX)
		return why_set(why, -EMSGSIZE, "a message with %zu descriptors, at most %u travel", n_fds, WIRE_FDS_MAX);
	if (outbox->bytes + cost_of(size, n_fds) > OUTBOX_BYTES_MAX)
		return why_set(why, -ENOBUFS, "the peer does not read: %zu bytes wait for it", outbox->bytes);
	if (outbox->n_fds + n_fds > OUTBOX_FDS_MAX)
		return why_set(why, -ENOBUFS, "the peer does not read: %zu descriptors wait for it", outbox->n_fds);
	return 0;
}

static struct outbox_entry *entry_new(const struct outbox_waiting *what)
{
	struct outbox_entry *entry = calloc(1, sizeof(*entry) + what->size_bytes);

	if (!entry)
		return NULL;
	entry->fds = calloc(what->n_fds + 1, sizeof(struct fd_ref *));
	if (!entry->fds) {
		free(entry);
		return NULL;
	}
	for (size_t i = 0; i < what->n_fds; i++)
		entry->fds[i] = fd_ref_use(what->fds[i]);
	entry->n_fds = what->n_fds;
	entry->size_bytes = what->size_bytes;
	entry->kind = what->kind;
	return entry;
}

/* Take the entry at @link out and release it. */
static void entry_remove(struct outbox *outbox, struct outbox_entry **link)
{
	struct outbox_entry *entry = *link;

	*link = entry->next;
	if (!entry->next)
		outbox->end = link;
	outbox->bytes -= cost_of(entry->size_bytes, entry->n_fds);
	outbox->n_fds -= entry->n_fds;
	for (size_t i = 0; i < entry->n_fds; i++)
		fd_ref_drop(entry->fds[i]);
	free(entry->fds);
	free(entry);
}

/* Return: 0, and the caller fills in the bytes of @ret; -errno. */
static int enqueue(struct outbox *outbox, const struct outbox_waiting *what, struct outbox_entry **ret, struct why *why)
{
	struct outbox_entry *entry;
	int r = check_room(outbox, what->size_bytes, what->n_fds, why);

	if (r < 0)
		return r;
	entry = entry_new(what);
	if (!entry)
		return why_errno(why, -ENOMEM, "message");
	*outbox->end = entry;
	outbox->end = &entry->next;
	outbox->bytes += cost_of(what->size_bytes, what->n_fds);
	outbox->n_fds += what->n_fds;
	*ret = entry;
	return 0;
}

static int enqueue_message(struct outbox *outbox, const struct outbox_message *message, struct why *why)
{
	const struct outbox_waiting what = { .size_bytes = protobuf_c_message_get_packed_size(message->message),
					     .fds = message->fds, .n_fds = message->n_fds, .kind = message->kind };
	struct outbox_entry *entry;
	int r = enqueue(outbox, &what, &entry, why);

	if (r == 0)
		protobuf_c_message_pack(message->message, entry->data);
	return r;
}

int outbox_queue(struct outbox *outbox, const struct outbox_waiting *waiting, struct why *why)
{
	struct outbox_entry *entry;
	int r = enqueue(outbox, waiting, &entry, why);

	if (r == 0)
		memcpy(entry->data, waiting->data, waiting->size_bytes);
	return r;
}

/* ---- sending ---- */

static int *numbers_of(struct fd_ref *const *fds, size_t n, int numbers[static WIRE_FDS_MAX])
{
	for (size_t i = 0; i < n && i < WIRE_FDS_MAX; i++)
		numbers[i] = fds[i]->fd;
	return numbers;
}

/* Others have as many descriptors on their way as the kernel allows a user: that passes, and says nothing of this peer. */
static int sent(struct outbox *outbox, int r)
{
	outbox->congested = r == -ETOOMANYREFS;
	if (r == -ETOOMANYREFS)
		return WIRE_AGAIN;
	return r == WIRE_CLOSED ? -EPIPE : r;
}

int outbox_send(struct outbox *outbox, int fd, const struct outbox_message *message, struct why *why)
{
	int numbers[WIRE_FDS_MAX], r;

	if (outbox_is_empty(outbox)) {
		r = sent(outbox, wire_send(fd, message->message, numbers_of(message->fds, message->n_fds, numbers), message->n_fds,
					   why));
		if (r != WIRE_AGAIN)
			return r;
	}
	return enqueue_message(outbox, message, why);
}

int outbox_flush(struct outbox *outbox, int fd, struct why *why)
{
	int numbers[WIRE_FDS_MAX], r;

	while (outbox->first) {
		struct outbox_entry *entry = outbox->first;

		r = sent(outbox, wire_send_packed(fd, entry->data, entry->size_bytes, numbers_of(entry->fds, entry->n_fds, numbers),
						  entry->n_fds, why));
		if (r != WIRE_OK)
			return r == WIRE_AGAIN ? 0 : r;
		entry_remove(outbox, &outbox->first);
	}
	return 0;
}

/* ---- what waits ---- */

void outbox_each(const struct outbox *outbox, void (*fn)(void *arg, const struct outbox_waiting *waiting), void *arg)
{
	for (const struct outbox_entry *entry = outbox->first; entry; entry = entry->next)
		fn(arg, &(struct outbox_waiting){ .data = entry->data, .size_bytes = entry->size_bytes, .fds = entry->fds,
						  .n_fds = entry->n_fds, .kind = entry->kind });
}

bool outbox_holds(const struct outbox *outbox, int kind)
{
	for (const struct outbox_entry *entry = outbox->first; entry; entry = entry->next)
		if (entry->kind == kind)
			return true;
	return false;
}

size_t outbox_retract(struct outbox *outbox, int kind)
{
	struct outbox_entry **link = &outbox->first;
	size_t n = 0;

	while (*link) {
		if ((*link)->kind == kind) {
			entry_remove(outbox, link);
			n++;
		} else {
			link = &(*link)->next;
		}
	}
	return n;
}

void outbox_clear(struct outbox *outbox)
{
	while (outbox->first)
		entry_remove(outbox, &outbox->first);
	outbox->congested = false;
}
