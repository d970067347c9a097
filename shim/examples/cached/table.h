/* SPDX-License-Identifier: MIT */
/* The hash table. It doubles by moving a few buckets with each insertion, so that no request pays for all of it. */
#pragma once

#include "shim/examples/cached/item.h"

struct table {
	struct item **buckets; /* size: mask + 1 */
	struct item **old;     /* while growing: the smaller table; its buckets below @moved are empty */
	size_t mask, old_mask, moved;
	size_t count;
	uint64_t seed;         /* so that nobody outside can choose keys that collide */
};

/** table_init() - Return: 0 or -ENOMEM. */
int table_init(struct table *table);

/** table_done() - The items are the caller's. */
void table_done(struct table *table);

uint64_t table_hash(const struct table *table, const void *key, size_t key_size);
struct item *table_find(const struct table *table, uint64_t hash, const void *key, size_t key_size);

/** table_insert() - @item's key must not be in the table. */
void table_insert(struct table *table, struct item *item);

/** table_remove() - @item must be in the table. */
void table_remove(struct table *table, struct item *item);
