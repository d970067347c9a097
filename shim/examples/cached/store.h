/* SPDX-License-Identifier: MIT */
/* The items: found by key, evicted by age of use. One lock, held for no longer than a request that changes something; what a
 * caller gets is a reference that stays good without the lock.
 * Time is always the caller's: unix time in nanoseconds. */
#pragma once

#include "shim/examples/cached/table.h"

#include <pthread.h>

enum store_outcome {
	STORE_DONE = 0,
	STORE_NOT_STORED = 1,
	STORE_EXISTS = 2,    /* cas: somebody else was faster */
	STORE_NOT_FOUND = 3,
	STORE_TOO_LARGE = 4,
	STORE_NO_MEMORY = 5,
	STORE_NOT_A_NUMBER = 6,
};

enum store_mode { STORE_SET, STORE_ADD, STORE_REPLACE, STORE_APPEND, STORE_PREPEND, STORE_CAS };

/* What a listener is told of. It is not told of items that expire: every reader of the items finds that out by the time. */
enum store_change {
	STORE_ITEM_PUT,     /* new, or in the place of the one with its key, or with another expiry */
	STORE_ITEM_REMOVED,
	STORE_EMPTIED,
	STORE_NUMBERS,      /* counters or @flush_due_ns were set */
};

struct counters {
	uint64_t get_hits, get_misses;
	uint64_t cmd_set, cmd_touch, cmd_flush;
	uint64_t total_items, evictions, expired;
};

struct store {
	pthread_mutex_t lock;
	struct table table;
	struct item *newest, *oldest;
	struct item *flushed;  /* chained by ->older: dropped by flush_all, freed a few at a time */
	size_t bytes, bytes_max;
	uint64_t cas;          /* the last one given out */
	int64_t flush_due_ns;  /* 0: none */
	struct counters counters;
	/* Optional, under the lock. @for_whom: see store_lock(); NULL: in nobody's name, and to be made known at once. @item is
	 * NULL for what concerns all. */
	void (*on_change)(void *userdata, void *for_whom, enum store_change change, const struct item *item);
	void *userdata;
	void *for_whom;
};

/** store_init() - Return: 0 or -ENOMEM. */
int store_init(struct store *store, size_t bytes_max);
void store_done(struct store *store);

/** store_lock() - All functions from here on to store_walk() are called between these two. @for_whom is told to the listener. */
void store_lock(struct store *store, void *for_whom, int64_t now_ns);
void store_unlock(struct store *store);

/** store_get() - Return: a reference for the caller to item_put(), or NULL. */
struct item *store_get(struct store *store, const char *key, size_t key_size, int64_t now_ns);

/** store_touch() - store_get() with a new expiry (0: never). */
struct item *store_touch(struct store *store, const char *key, size_t key_size, int64_t expires_ns, int64_t now_ns);

/** store_put_consume() - Take @item's reference whatever the outcome. @cas is compared by STORE_CAS only. */
enum store_outcome store_put_consume(struct store *store, enum store_mode mode, struct item *item, uint64_t cas,
				     int64_t now_ns);

/** store_add_number() - incr (@up) or decr; *@ret_number only with STORE_DONE. */
enum store_outcome store_add_number(struct store *store, const char *key, size_t key_size, bool up, uint64_t delta,
				    int64_t now_ns, uint64_t *ret_number);
enum store_outcome store_delete(struct store *store, const char *key, size_t key_size, int64_t now_ns);

/** store_flush() - Drop what is in the store at @due_ns. */
void store_flush(struct store *store, int64_t due_ns, int64_t now_ns);

/** store_reset_counters() - All but what is counted now. */
void store_reset_counters(struct store *store);

struct store_numbers {
	struct counters counters;
	size_t items, bytes, bytes_max, buckets;
};
void store_numbers(struct store *store, struct store_numbers *ret);

/** store_walk() - Each item from the least to the most recently used, until @visit returns non-zero. Return: that, or 0.
 * Context: nobody else uses the store. */
int store_walk(struct store *store, int (*visit)(const struct item *item, void *arg), void *arg);

/** store_load_consume() - Append as the most recently used, with its cas and whatever the memory limit. What is too much is
 * evicted by later requests, so that a load never loses items. Return: 0 or -EEXIST. */
int store_load_consume(struct store *store, struct item *item);

/** store_replay_put_consume(), store_replay_remove(), store_replay_empty() - What a store that is not there any more had told
 * its listener. The cas goes on where that one was. Context: as store_walk(). */
void store_replay_put_consume(struct store *store, struct item *item);
void store_replay_remove(struct store *store, const char *key, size_t key_size);
void store_replay_empty(struct store *store);
