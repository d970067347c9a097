/* SPDX-License-Identifier: MIT */
/* The journal's log: changes on their way into it.
 *
 * Changes of a request are packed and migrated as they are marked, into memory of the connection's own. When the request
 * is done, they are copied behind the log's head in one piece, and one store of the head puts them into effect.
 */
#include "shim/journal/memory.h"

#include "shim/journal/conn.h"
#include "shim/core/upg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define PENDING_KEEP_BYTES ((size_t)64 << 10)

uint32_t journal_check(const struct journal_transaction *transaction, size_t size_bytes)
{
	const uint8_t *from = (const uint8_t *)&transaction->record;
	size_t before = (size_t)(from - (const uint8_t *)transaction);

	return (uint32_t)XXH3_64bits_withSeed(from, size_bytes - before, size_bytes);
}

void journal_pending_done(struct journal_pending *pending)
{
	free(pending->data);
	*pending = (struct journal_pending){ 0 };
}

static void pending_clear(struct journal_pending *pending)
{
	if (pending->cap > PENDING_KEEP_BYTES)
		journal_pending_done(pending);
	pending->used = 0;
	pending->n_changes = 0;
}

static int pending_grow(struct journal_pending *pending, size_t bytes)
{
	size_t cap = pending->cap ? pending->cap : 256;
	uint8_t *grown;

	while (cap - pending->used < bytes)
		cap *= 2;
	if (cap == pending->cap)
		return 0;
	grown = realloc(pending->data, cap);
	if (!grown)
		return -ENOMEM;
	pending->data = grown;
	pending->cap = cap;
	return 0;
}

static int pending_add(struct journal_pending *pending, size_t type, enum upg_change change,
		       const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message), padded = journal_padded(size);
	struct journal_change head = { .type = (uint16_t)type, .change = (uint8_t)change, .size_bytes = (uint32_t)size };
	uint8_t *at;

	if (size > UINT32_MAX / 4 || pending->used > UINT32_MAX / 4)
		return -EMSGSIZE;
	if (pending_grow(pending, sizeof(struct journal_transaction) + sizeof(head) + padded) < 0)
		return -ENOMEM;
	if (!pending->used)
		pending->used = sizeof(struct journal_transaction);
	at = pending->data + pending->used;
	memcpy(at, &head, sizeof(head));
	protobuf_c_message_pack(message, at + sizeof(head));
	memset(at + sizeof(head) + size, 0, padded - size);
	pending->used += sizeof(head) + padded;
	pending->n_changes++;
	return 0;
}

/* The head in front of what is pending. */
static void seal(struct journal_pending *pending, uint32_t record, uint64_t serial, struct journal_cursor cursor)
{
	struct journal_transaction *transaction = (struct journal_transaction *)(void *)pending->data;

	*transaction = (struct journal_transaction){
		.size_bytes = (uint32_t)pending->used,
		.record = record,
		.n_changes = pending->n_changes,
		.serial = serial,
		.cursor = cursor,
	};
	transaction->check = journal_check(transaction, pending->used);
}

/* Lock held. Return: whether this was too much. */
static bool append(struct journal *journal, const struct journal_pending *pending)
{
	struct journal_header *header = journal->header;

	if (pending->used > header->log_bytes - journal->log_head) {
		journal_fail_locked(journal, "it is full");
		return true;
	}
	memcpy(journal->map + header->log_at + journal->log_head, pending->data, pending->used);
	journal->log_head += pending->used;
	atomic_store_explicit(&header->log_head, journal->log_head, memory_order_release);
	return false;
}

void journal_publish(struct upg *upg, struct journal_pending *pending, const struct journal_record *record,
		     struct journal_cursor cursor)
{
	struct journal *journal = &upg->journal;
	uint8_t *near = NULL;
	bool full = false;

	seal(pending, record ? (uint32_t)(record - journal->records) + 1 : 0,
	     record ? atomic_load_explicit(&record->serial, memory_order_relaxed) : 0, cursor);
	pthread_mutex_lock(&journal->lock);
	if (atomic_load(&journal->on)) {
		full = append(journal, pending);
		near = full ? NULL : journal_log_near(journal);
	}
	pthread_mutex_unlock(&journal->lock);
	if (near)
		journal_log_touch(near);
	if (full)
		journal_tell(upg);
	pending_clear(pending);
}

int upg_journal_on(const struct upg *upg)
{
	return atomic_load_explicit(&upg->journal.on, memory_order_relaxed);
}

/* Lock held where the predecessor's version is another: a plan works for one at a time. */
static int convert(struct upg *upg, size_t index, const ProtobufCMessage **message, struct why *why)
{
	struct sf_plan *plan = upg->journal.plans[index];
	size_t want;

	return plan ? sf_plan_convert(plan, 0, *message, &want, message, why) : 0;
}

static int add(struct upg *upg, struct journal_pending *pending, size_t index, enum upg_change change,
	       const ProtobufCMessage *message, struct why *why)
{
	int r = convert(upg, index, &message, why);

	if (r == 0 && (r = pending_add(pending, (size_t)upg->journal.types[index], change, message)) < 0)
		why_errno(why, r, "a change of a %s", upg->config->types[index].name);
	return r;
}

static int add_to_conn(struct upg *upg, struct upg_conn *conn, size_t index, enum upg_change change,
		       const ProtobufCMessage *message, struct why *why)
{
	bool locks = upg->journal.plans[index] != NULL;
	int r;

	if (locks)
		pthread_mutex_lock(&upg->journal.lock);
	r = add(upg, &conn->pending, index, change, message, why);
	if (locks)
		pthread_mutex_unlock(&upg->journal.lock);
	return r;
}

/* In effect at once. */
static int add_loose(struct upg *upg, size_t index, enum upg_change change, const ProtobufCMessage *message, struct why *why)
{
	struct journal *journal = &upg->journal;
	uint8_t *near = NULL;
	bool full = false;
	int r = 0;

	pthread_mutex_lock(&journal->lock);
	if (atomic_load(&journal->on)) {
		r = add(upg, &journal->loose, index, change, message, why);
		if (r == 0) {
			seal(&journal->loose, 0, 0, (struct journal_cursor){ 0 });
			full = append(journal, &journal->loose);
			near = full ? NULL : journal_log_near(journal);
		}
		pending_clear(&journal->loose);
	}
	pthread_mutex_unlock(&journal->lock);
	if (near)
		journal_log_touch(near);
	if (full)
		journal_tell(upg);
	return r;
}

int upg_changed(struct upg *upg, struct upg_conn *conn, const char *type, enum upg_change change,
		const ProtobufCMessage *message)
{
	const struct upg_type *known;
	struct why why = { 0 };
	size_t index;
	int r;

	if (!upg_journal_on(upg))
		return 0;
	known = application_type(upg->application, type);
	if (!known || message->descriptor != known->descriptor)
		return -EINVAL;
	index = (size_t)(known - upg->config->types);
	if (change != UPG_PUT && change != UPG_REMOVE)
		return -EINVAL;
	/* What the predecessor does not know it cannot lose. */
	if (upg->journal.types[index] < 0)
		return 0;
	if (conn)
		r = add_to_conn(upg, conn, index, change, message, &why);
	else
		r = add_loose(upg, index, change, message, &why);
	if (r < 0)
		journal_fail(upg, "%s", why.text);
	return 0;
}
