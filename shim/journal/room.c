/* SPDX-License-Identifier: MIT */
/* Only the process that writes gives memory out. So who has which block is kept in that process's own memory, and ends with it. */
#include "shim/fds/table.h"
#include "shim/journal/divide.h"
#include "shim/journal/memory.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_TOUCHED_BYTES ((uint64_t)8 << 10) /* of a block: most requests need no more */

/* ---- what is not covered ---- */

/* Lock held. Return: the JournalSize= that would have had room for all that is there, and for this. */
static uint64_t size_that_would_do(struct journal *journal, enum gap gap, size_t bytes)
{
	const struct journal_header *header = journal->header;
	struct gaps *gaps = &journal->fds->gaps;
	uint64_t without_record = gaps_count(gaps, GAP_RECORD) + (gap == GAP_RECORD);

	if (without_record + gaps_count(gaps, GAP_ROOM) == 0)
		journal->missed_bytes = 0;
	/* A buffer grew by doubling, and blocks are never merged: all the smaller ones together are as large as itself. */
	journal->missed_bytes += gap == GAP_ROOM ? 2 * bytes : bytes;
	return journal_size_for(journal->size_bytes, header->n_types, journal->n_attached + without_record,
				header->arena_bytes - atomic_load(&journal->arena_left) + journal->missed_bytes);
}

bool journal_miss(struct journal *journal, enum gap gap, size_t bytes)
{
	bool misses;

	pthread_mutex_lock(&journal->lock);
	misses = journal->usable;
	if (misses)
		gaps_add(&journal->fds->gaps, gap, bytes ? size_that_would_do(journal, gap, bytes) : 0);
	pthread_mutex_unlock(&journal->lock);
	return misses;
}

void journal_miss_more(struct journal *journal, size_t bytes)
{
	pthread_mutex_lock(&journal->lock);
	if (journal->usable)
		gaps_resize(&journal->fds->gaps, size_that_would_do(journal, GAP_ROOM, bytes));
	pthread_mutex_unlock(&journal->lock);
}

/* ---- blocks ---- */

static unsigned order_of(size_t size_bytes)
{
	return (unsigned)__builtin_ctzll(size_bytes) % JOURNAL_ORDERS;
}

/* Lock held. */
static void put_block(struct journal *journal, uint64_t at, unsigned order)
{
	struct journal_blocks *blocks = &journal->blocks[order];

	if (blocks->n == blocks->cap) {
		size_t cap = blocks->cap ? blocks->cap * 2 : 16;
		uint64_t *grown = realloc(blocks->at, cap * sizeof(*grown));

		if (!grown)
			return; /* the block is lost, for the time of a bake */
		blocks->at = grown;
		blocks->cap = cap;
	}
	blocks->at[blocks->n++] = at;
}

/* Lock held. Cut a larger free block in halves. Return: as journal_block(). */
static uint64_t cut_block(struct journal *journal, unsigned order)
{
	for (unsigned larger = order; larger < JOURNAL_ORDERS; larger++) {
		struct journal_blocks *blocks = &journal->blocks[larger];
		uint64_t at;

		if (!blocks->n)
			continue;
		at = blocks->at[--blocks->n];
		while (larger-- > order)
			put_block(journal, at + ((uint64_t)1 << larger), larger);
		return at;
	}
	return 0;
}

uint64_t journal_block(struct journal *journal, size_t size_bytes)
{
	uint64_t at = 0;
	bool fresh = false;

	if (size_bytes >= (uint64_t)1 << (JOURNAL_ORDERS - 1))
		return 0;
	pthread_mutex_lock(&journal->lock);
	if (journal->usable) {
		struct journal_blocks *blocks = &journal->blocks[order_of(size_bytes)];

		if (blocks->n) {
			at = blocks->at[--blocks->n];
		} else if (journal->arena_end - journal->arena_top >= size_bytes) {
			at = journal->arena_top;
			journal->arena_top += size_bytes;
			fresh = true;
		} else {
			at = cut_block(journal, order_of(size_bytes));
		}
	}
	if (at)
		atomic_fetch_sub(&journal->arena_left, size_bytes);
	pthread_mutex_unlock(&journal->lock);
	if (fresh)
		journal_touch(journal, at, size_bytes < BLOCK_TOUCHED_BYTES ? size_bytes : BLOCK_TOUCHED_BYTES);
	return at;
}

void journal_unblock(struct journal *journal, uint64_t at, size_t size_bytes)
{
	pthread_mutex_lock(&journal->lock);
	put_block(journal, at, order_of(size_bytes));
	atomic_fetch_add(&journal->arena_left, size_bytes);
	pthread_mutex_unlock(&journal->lock);
}

/* ---- records ---- */

struct journal_record *journal_record_take(struct journal *journal, uint64_t *ret_serial)
{
	struct journal_record *record = NULL;

	pthread_mutex_lock(&journal->lock);
	if (journal->usable) {
		uint32_t n_used = atomic_load(&journal->header->n_used);

		if (journal->n_free_records) {
			record = &journal->records[journal->free_records[--journal->n_free_records]];
		} else if (n_used < journal->header->n_records) {
			record = &journal->records[n_used];
			atomic_store(&journal->header->n_used, n_used + 1);
		}
	}
	if (record) {
		memset(record, 0, sizeof(*record));
		*ret_serial = ++journal->serial;
		journal->n_attached++;
	}
	pthread_mutex_unlock(&journal->lock);
	return record;
}

/* Lock held. */
static void put_record(struct journal *journal, struct journal_record *record)
{
	/* Room for all records at once: a realloc could fail at every close. */
	if (!journal->free_records)
		journal->free_records = calloc(journal->header->n_records, sizeof(*journal->free_records));
	if (journal->free_records)
		journal->free_records[journal->n_free_records++] = (uint32_t)(record - journal->records);
}

void journal_record_give(struct journal *journal, struct journal_record *record)
{
	pthread_mutex_lock(&journal->lock);
	atomic_store_explicit(&record->serial, 0, memory_order_release);
	put_record(journal, record);
	journal->n_attached--;
	journal_unmap_if_unused(journal);
	pthread_mutex_unlock(&journal->lock);
}
