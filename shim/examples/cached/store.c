/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bounds for what one request does on behalf of earlier ones. */
#define EVICT_PER_REQUEST 64u
#define FREE_PER_REQUEST 16u

int store_init(struct store *store, size_t bytes_max)
{
	*store = (struct store){ .bytes_max = bytes_max };
	pthread_mutex_init(&store->lock, NULL);
	return table_init(&store->table);
}

static void free_flushed(struct store *store, size_t limit)
{
	for (size_t i = 0; i < limit && store->flushed; i++) {
		struct item *item = store->flushed;
		store->flushed = item->older;
		item_put(item);
	}
}

static void drop_all(struct store *store)
{
	if (!store->newest)
		return;
	store->oldest->older = store->flushed;
	store->flushed = store->newest;
	store->newest = store->oldest = NULL;
	store->bytes = 0;
}

void store_done(struct store *store)
{
	drop_all(store);
	free_flushed(store, SIZE_MAX);
	table_done(&store->table);
	pthread_mutex_destroy(&store->lock);
}

/* ---- order of use ---- */

static void order_append(struct store *store, struct item *item)
{
	item->newer = NULL;
	item->older = store->newest;
	if (store->newest)
		store->newest->newer = item;
	else
		store->oldest = item;
	store->newest = item;
}

static void order_remove(struct store *store, struct item *item)
{
	if (item->newer)
		item->newer->older = item->older;
	else
		store->newest = item->older;
	if (item->older)
		item->older->newer = item->newer;
	else
		store->oldest = item->newer;
}

/* ---- under the lock ---- */

static void store_insert(struct store *store, struct item *item)
{
	table_insert(&store->table, item_ref(item));
	order_append(store, item);
	store->bytes += item_footprint(item);
}

static void store_remove(struct store *store, struct item *item)
{
	table_remove(&store->table, item);
	order_remove(store, item);
	store->bytes -= item_footprint(item);
	item_put(item);
}

static void flush_now(struct store *store)
{
	struct table empty;

	/* The items stay in the list of the flushed; the table starts over. Without memory for a new one they leave one by one. */
	if (table_init(&empty) < 0) {
		table_done(&empty);
		while (store->oldest)
			store_remove(store, store->oldest);
		return;
	}
	table_done(&store->table);
	store->table = empty;
	drop_all(store);
}

static void tell(const struct store *store, enum store_change change, const struct item *item)
{
	if (store->on_change)
		store->on_change(store->userdata, store->for_whom, change, item);
}

void store_lock(struct store *store, void *for_whom, int64_t now_ns)
{
	pthread_mutex_lock(&store->lock);
	if (store->flush_due_ns && now_ns >= store->flush_due_ns) {
		store->flush_due_ns = 0;
		flush_now(store);
		store->for_whom = NULL;
		tell(store, STORE_EMPTIED, NULL);
		tell(store, STORE_NUMBERS, NULL);
	}
	store->for_whom = for_whom;
	free_flushed(store, FREE_PER_REQUEST);
}

void store_unlock(struct store *store)
{
	pthread_mutex_unlock(&store->lock);
}

static struct item *find_live(struct store *store, uint64_t hash, const char *key, size_t key_size, int64_t now_ns)
{
	struct item *item = table_find(&store->table, hash, key, key_size);

	if (item && item_state_expired(item, now_ns)) {
		store_remove(store, item);
		store->counters.expired++;
		return NULL;
	}
	return item;
}

static struct item *find(struct store *store, const char *key, size_t key_size, int64_t now_ns)
{
	return find_live(store, table_hash(&store->table, key, key_size), key, key_size, now_ns);
}

static void store_use(struct store *store, struct item *item, int64_t now_ns)
{
	item_state_used(item, now_ns);
	if (store->newest == item)
		return;
	order_remove(store, item);
	order_append(store, item);
}

static void evict(struct store *store)
{
	for (unsigned i = 0; i < EVICT_PER_REQUEST && store->bytes > store->bytes_max; i++) {
		tell(store, STORE_ITEM_REMOVED, store->oldest);
		store_remove(store, store->oldest);
		store->counters.evictions++;
	}
}

/* Put @item, which has no key-mate but @old, in the place of @old (NULL: none). */
static enum store_outcome store_replace(struct store *store, struct item *old, struct item *item)
{
	if (item->value_size > VALUE_MAX)
		return STORE_TOO_LARGE;
	if (item_footprint(item) > store->bytes_max)
		return STORE_NO_MEMORY;
	if (old)
		store_remove(store, old);
	item->hash = table_hash(&store->table, item_key(item), item->key_size);
	item->cas = ++store->cas;
	store_insert(store, item);
	store->counters.total_items++;
	tell(store, STORE_ITEM_PUT, item);
	evict(store);
	return STORE_DONE;
}

/* ---- requests ---- */

static struct item *retrieve(struct store *store, const char *key, size_t key_size, const int64_t *expires_ns, int64_t now_ns)
{
	struct item *item = find(store, key, key_size, now_ns);
	if (item) {
		store->counters.get_hits++;
		store_use(store, item_ref(item), now_ns);
		if (expires_ns) {
			item_state_expire(item, *expires_ns);
			tell(store, STORE_ITEM_PUT, item);
		}
	} else {
		store->counters.get_misses++;
	}
	if (expires_ns)
		store->counters.cmd_touch++;
	return item;
}

struct item *store_get(struct store *store, const char *key, size_t key_size, int64_t now_ns)
{
	return retrieve(store, key, key_size, NULL, now_ns);
}

struct item *store_touch(struct store *store, const char *key, size_t key_size, int64_t expires_ns, int64_t now_ns)
{
	return retrieve(store, key, key_size, &expires_ns, now_ns);
}

static enum store_outcome may_put(enum store_mode mode, const struct item *old, uint64_t cas)
{
	switch (mode) {
	case STORE_SET:
		return STORE_DONE;
	case STORE_ADD:
		return old ? STORE_NOT_STORED : STORE_DONE;
	case STORE_REPLACE:
	case STORE_APPEND:
	case STORE_PREPEND:
		return old ? STORE_DONE : STORE_NOT_STORED;
	case STORE_CAS:
		if (!old)
			return STORE_NOT_FOUND;
		return old->cas == cas ? STORE_DONE : STORE_EXISTS;
	}
	return STORE_NOT_STORED;
}

/* @old's value with @item's at its end or its start: a new item with @old's flags and history. */
static struct item *join(const struct item *old, const struct item *item, bool at_end)
{
	const struct item *first = at_end ? old : item, *second = at_end ? item : old;
	struct item *joined = item_new(item_key(old), old->key_size, NULL, (size_t)first->value_size + second->value_size,
				       old->flags);
	if (!joined)
		return NULL;
	memcpy(item_room(joined), item_value(first), first->value_size);
	memcpy(item_room(joined) + first->value_size, item_value(second), second->value_size);
	item_state_inherit(joined, old);
	return joined;
}

enum store_outcome store_put_consume(struct store *store, enum store_mode mode, struct item *item, uint64_t cas,
				     int64_t now_ns)
{
	struct item *old = find(store, item_key(item), item->key_size, now_ns);
	enum store_outcome outcome = may_put(mode, old, cas);
	store->counters.cmd_set++;
	if (outcome == STORE_DONE && old && (mode == STORE_APPEND || mode == STORE_PREPEND)) {
		struct item *joined = join(old, item, mode == STORE_APPEND);
		item_put(item);
		item = joined;
	} else {
		item_state_created(item, now_ns);
	}
	if (!item)
		outcome = STORE_NO_MEMORY;
	else if (outcome == STORE_DONE)
		outcome = store_replace(store, old, item);
	item_put(item);
	return outcome;
}

static bool value_number(const struct item *item, uint64_t *ret)
{
	uint64_t number = 0;

	for (size_t i = 0; i < item->value_size; i++) {
		char digit = item_value(item)[i];
		if (digit < '0' || digit > '9' || __builtin_mul_overflow(number, UINT64_C(10), &number) ||
		    __builtin_add_overflow(number, (uint64_t)(digit - '0'), &number))
			return false;
	}
	*ret = number;
	return item->value_size > 0;
}

static enum store_outcome replace_number(struct store *store, struct item *old, uint64_t number)
{
	char digits[24];
	int size = snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
	struct item *item = item_new(item_key(old), old->key_size, digits, (size_t)size, old->flags);

	if (!item)
		return STORE_NO_MEMORY;
	item_state_inherit(item, old);
	enum store_outcome outcome = store_replace(store, old, item);
	item_put(item);
	return outcome;
}

enum store_outcome store_add_number(struct store *store, const char *key, size_t key_size, bool up, uint64_t delta,
				    int64_t now_ns, uint64_t *ret_number)
{
	enum store_outcome outcome;
	uint64_t number;

	struct item *old = find(store, key, key_size, now_ns);
	if (!old) {
		outcome = STORE_NOT_FOUND;
	} else if (!value_number(old, &number)) {
		outcome = STORE_NOT_A_NUMBER;
	} else {
		/* As the protocol has it: up wraps around, down stops at 0. */
		if (up)
			number += delta;
		else
			number -= delta < number ? delta : number;
		outcome = replace_number(store, old, number);
		if (outcome == STORE_DONE)
			*ret_number = number;
	}
	return outcome;
}

enum store_outcome store_delete(struct store *store, const char *key, size_t key_size, int64_t now_ns)
{
	struct item *item = find(store, key, key_size, now_ns);
	if (item) {
		tell(store, STORE_ITEM_REMOVED, item);
		store_remove(store, item);
	}
	return item ? STORE_DONE : STORE_NOT_FOUND;
}

void store_flush(struct store *store, int64_t due_ns, int64_t now_ns)
{
	store->counters.cmd_flush++;
	store->flush_due_ns = 0;
	if (due_ns > now_ns) {
		store->flush_due_ns = due_ns;
	} else {
		flush_now(store);
		tell(store, STORE_EMPTIED, NULL);
	}
	tell(store, STORE_NUMBERS, NULL);
}

void store_reset_counters(struct store *store)
{
	store->counters = (struct counters){ 0 };
	tell(store, STORE_NUMBERS, NULL);
}

void store_numbers(struct store *store, struct store_numbers *ret)
{
	*ret = (struct store_numbers){
		.counters = store->counters,
		.items = store->table.count,
		.bytes = store->bytes,
		.bytes_max = store->bytes_max,
		.buckets = store->table.mask + 1,
	};
}

int store_walk(struct store *store, int (*visit)(const struct item *item, void *arg), void *arg)
{
	for (const struct item *item = store->oldest; item; item = item->newer) {
		int rc = visit(item, arg);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int store_load_consume(struct store *store, struct item *item)
{
	item->hash = table_hash(&store->table, item_key(item), item->key_size);
	if (table_find(&store->table, item->hash, item_key(item), item->key_size)) {
		item_put(item);
		return -EEXIST;
	}
	if (item->cas > store->cas)
		store->cas = item->cas;
	store_insert(store, item);
	item_put(item);
	return 0;
}

/* ---- what another store had told ---- */

void store_replay_remove(struct store *store, const char *key, size_t key_size)
{
	struct item *item = table_find(&store->table, table_hash(&store->table, key, key_size), key, key_size);

	if (item)
		store_remove(store, item);
}

void store_replay_put_consume(struct store *store, struct item *item)
{
	store_replay_remove(store, item_key(item), item->key_size);
	store_load_consume(store, item);
}

void store_replay_empty(struct store *store)
{
	flush_now(store);
}
