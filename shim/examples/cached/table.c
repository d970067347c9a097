/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#define FIRST_BUCKETS 1024u
#define MOVES_PER_INSERT 4u

int table_init(struct table *table)
{
	*table = (struct table){ .mask = FIRST_BUCKETS - 1 };
	/* A seed of 0 works as well: nothing depends on it but the defence. */
	if (getrandom(&table->seed, sizeof table->seed, GRND_NONBLOCK) < 0)
		table->seed = 0;
	table->buckets = calloc(FIRST_BUCKETS, sizeof(struct item *));
	return table->buckets ? 0 : -ENOMEM;
}

void table_done(struct table *table)
{
	free(table->buckets);
	free(table->old);
	*table = (struct table){ 0 };
}

uint64_t table_hash(const struct table *table, const void *key, size_t key_size)
{
	return XXH3_64bits_withSeed(key, key_size, table->seed);
}

/* The bucket @hash is in now, while growing or not. */
static struct item **bucket_of(const struct table *table, uint64_t hash)
{
	if (table->old && (hash & table->old_mask) >= table->moved)
		return &table->old[hash & table->old_mask];
	return &table->buckets[hash & table->mask];
}

static void move_bucket(struct table *table)
{
	struct item *item = table->old[table->moved];

	table->old[table->moved++] = NULL;
	while (item) {
		struct item *next = item->chain;
		struct item **bucket = &table->buckets[item->hash & table->mask];
		item->chain = *bucket;
		*bucket = item;
		item = next;
	}
}

static void table_grow(struct table *table)
{
	if (!table->old) {
		if (table->count <= table->mask)
			return;
		struct item **buckets = calloc((table->mask + 1) * 2, sizeof(struct item *));
		if (!buckets)
			return; /* longer chains, and another try with the next insertion */
		table->old = table->buckets;
		table->old_mask = table->mask;
		table->moved = 0;
		table->buckets = buckets;
		table->mask = table->mask * 2 + 1;
	}
	for (unsigned i = 0; i < MOVES_PER_INSERT && table->moved <= table->old_mask; i++)
		move_bucket(table);
	if (table->moved > table->old_mask) {
		free(table->old);
		table->old = NULL;
	}
}

struct item *table_find(const struct table *table, uint64_t hash, const void *key, size_t key_size)
{
	struct item *item = *bucket_of(table, hash);

	while (item && (item->hash != hash || item->key_size != key_size || memcmp(item_key(item), key, key_size) != 0))
		item = item->chain;
	return item;
}

void table_insert(struct table *table, struct item *item)
{
	struct item **bucket = bucket_of(table, item->hash);

	item->chain = *bucket;
	*bucket = item;
	table->count++;
	table_grow(table);
}

void table_remove(struct table *table, struct item *item)
{
	struct item **link = bucket_of(table, item->hash);

	while (*link != item)
		link = &(*link)->chain;
	*link = item->chain;
	item->chain = NULL;
	table->count--;
}
