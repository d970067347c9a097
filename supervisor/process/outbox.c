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
	size_t n_fds;
	size_t size_bytes;
	int *fds;
	uint8_t data[];
};

void outbox_init(struct outbox *outbox)
{
	*outbox = (struct outbox){ .first = NULL };
	outbox->end = &outbox->first;
}

int outbox_is_empty(const struct outbox *outbox)
{
	return !outbox->first;
}

static struct outbox_entry *entry_free(struct outbox_entry *entry)
{
	free(entry->fds);
	free(entry);
	return NULL;
}

static int enqueue(struct outbox *outbox, const ProtobufCMessage *message, const int *fds, size_t n, struct why *why)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	struct outbox_entry *entry;

	if (size > WIRE_MESSAGE_MAX)
		return why_set(why, -EMSGSIZE, "a message of %zu bytes, at most %u travel", size, WIRE_MESSAGE_MAX);
	if (n > WIRE_FDS_MAX)
		return why_set(why, -EMSGSIZE, "a message with %zu descriptors, at most %u travel", n, WIRE_FDS_MAX);
	if (outbox->bytes + size > OUTBOX_BYTES_MAX)
		return why_set(why, -ENOBUFS, "the peer does not read: %zu bytes wait for it", outbox->bytes);
	entry = calloc(1, sizeof(*entry) + size);
	if (entry && n)
		entry->fds = malloc(n * sizeof(int));
	if (!entry || (n && !entry->fds)) {
		free(entry);
		return why_errno(why, -ENOMEM, "message");
	}
	if (n)
		memcpy(entry->fds, fds, n * sizeof(int));
	entry->n_fds = n;
	entry->size_bytes = size;
	protobuf_c_message_pack(message, entry->data);
	*outbox->end = entry;
	outbox->end = &entry->next;
	outbox->bytes += size;
	return 0;
}

int outbox_send(struct outbox *outbox, int fd, const ProtobufCMessage *message, const int *fds, size_t n, struct why *why)
{
	if (outbox_is_empty(outbox)) {
		int r = wire_send(fd, message, fds, n, why);

		if (r < 0 || r == WIRE_OK)
			return r;
		if (r == WIRE_CLOSED)
			return -EPIPE;
	}
	return enqueue(outbox, message, fds, n, why);
}

int outbox_flush(struct outbox *outbox, int fd, struct why *why)
{
	while (outbox->first) {
		struct outbox_entry *entry = outbox->first;
		int r = wire_send_packed(fd, entry->data, entry->size_bytes, entry->fds, entry->n_fds, why);

		if (r == WIRE_AGAIN)
			return 0;
		if (r != WIRE_OK)
			return r < 0 ? r : -EPIPE;
		outbox->first = entry->next;
		if (!outbox->first)
			outbox->end = &outbox->first;
		outbox->bytes -= entry->size_bytes;
		entry_free(entry);
	}
	return 0;
}

void outbox_clear(struct outbox *outbox)
{
	while (outbox->first) {
		struct outbox_entry *entry = outbox->first;

		outbox->first = entry->next;
		entry_free(entry);
	}
	outbox_init(outbox);
}
