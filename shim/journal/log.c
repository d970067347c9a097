/* SPDX-License-Identifier: MIT */
/* Changes of a request are packed and migrated as they are marked, into memory of the connection's own. When the request
 * is done, they are copied behind the log's head in one piece, and one store of the head puts them into effect.
 */
#include "shim/journal/log.h"

#include <string.h>
#include <xxhash.h>

uint32_t journal_check(const struct journal_transaction *transaction, size_t size_bytes)
{
	const uint8_t *from = (const uint8_t *)&transaction->record;
	size_t before = (size_t)(from - (const uint8_t *)transaction);

	return (uint32_t)XXH3_64bits_withSeed(from, size_bytes - before, size_bytes);
}

/* The head in front of what is packed. */
static void seal(struct changes *changes, uint32_t record, uint64_t serial, struct journal_cursor cursor)
{
	struct journal_transaction *transaction = (struct journal_transaction *)(void *)changes->data;

	*transaction = (struct journal_transaction){
		.size_bytes = (uint32_t)changes->used,
		.record = record,
		.n_changes = changes->n,
		.serial = serial,
		.cursor = cursor,
	};
	transaction->check = journal_check(transaction, changes->used);
}

/* Lock held. Return: whether there is something to tell: this was too much, or half of all. */
static bool append(struct journal *journal, const struct changes *changes)
{
	struct journal_header *header = journal->header;

	if (changes->used > header->log_bytes - journal->log_head) {
		journal_fail_locked(journal, NULL);
		return true;
	}
	memcpy(journal->map + header->log_at + journal->log_head, changes->data, changes->used);
	journal->log_head += changes->used;
	atomic_store_explicit(&header->log_head, journal->log_head, memory_order_release);
	if (!journal->log_half || journal->log_head < journal->log_half)
		return false;
	journal->log_half = 0;
	atomic_store(&journal->half_untold, true);
	return true;
}

/* After append(), without the lock. */
static void follow_up(struct journal *journal, uint8_t *near, bool tells)
{
	if (near)
		journal_log_touch(near);
	if (tells)
		journal_tell(journal);
}

void journal_publish(struct journal *journal, struct changes *changes, const struct journal_record *record,
		     struct journal_cursor cursor)
{
	uint8_t *near = NULL;
	bool tells = false;

	seal(changes, record ? (uint32_t)(record - journal->records) + 1 : 0,
	     record ? atomic_load_explicit(&record->serial, memory_order_relaxed) : 0, cursor);
	pthread_mutex_lock(&journal->lock);
	if (atomic_load(&journal->on)) {
		tells = append(journal, changes);
		near = tells ? NULL : journal_log_near(journal);
	}
	pthread_mutex_unlock(&journal->lock);
	follow_up(journal, near, tells);
	changes_clear(changes);
}

int journal_add_loose(struct journal *journal, size_t type, enum upg_change change, const ProtobufCMessage *message,
		      struct why *why)
{
	struct changes *loose = &journal->loose;
	uint8_t *near = NULL;
	bool tells = false;
	int r = 0;

	pthread_mutex_lock(&journal->lock);
	if (atomic_load(&journal->on)) {
		r = changes_add(loose, &journal->ways, type, change, message, why);
		if (r == 0) {
			seal(loose, 0, 0, (struct journal_cursor){ 0 });
			tells = append(journal, loose);
			near = tells ? NULL : journal_log_near(journal);
		}
		changes_clear(loose);
	}
	pthread_mutex_unlock(&journal->lock);
	follow_up(journal, near, tells);
	return r;
}
