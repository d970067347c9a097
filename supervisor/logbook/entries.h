/* SPDX-License-Identifier: MIT */
/* The entries in force: a map by key that remembers the order in which keys came. It holds each entry as the bytes that were
 * written, so that nothing of an entry gets lost that only a later version understands. */
#pragma once

#include "supervisor/logbook/logbook.h"

#include <stdint.h>

/* One entry in force. */
struct entry {
	struct entry *next, *before; /* in the order of their first writing */
	struct entry *chain;         /* in its bucket */
	uint64_t hash;
	size_t key_bytes, size_bytes;
	uint8_t bytes[]; /* the key, then the payload */
};

static inline const uint8_t *entry_payload(const struct entry *entry)
{
	return entry->bytes + entry->key_bytes;
}

/* All 0: empty. */
struct entries {
	struct entry *first, *last;
	struct entry **buckets;
	size_t n_buckets, n;
	size_t bytes;     /* of all payloads */
	uint64_t nameless; /* how many entries without any key there were */
};

/* One entry that is about to be in force. */
struct entries_change {
	struct entry *fresh; /* NULL: the old one ends */
	struct entry *old;   /* whose place it takes; NULL: there is none */
};

/**
 * entries_prepare() - Do all of a change that can fail. entries_commit() or entries_drop() follows, before another change.
 * @payload: @entry, packed; copied.
 *
 * Return: 0 or -ENOMEM.
 */
int entries_prepare(struct entries *entries, const Upgraded__Logbook__Entry *entry, const uint8_t *payload, size_t size_bytes,
		    struct entries_change *ret_change);

void entries_commit(struct entries *entries, struct entries_change *change);
void entries_drop(struct entries_change *change);
void entries_done(struct entries *entries);
