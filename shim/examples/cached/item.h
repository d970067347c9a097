/* SPDX-License-Identifier: MIT */
/* One cached value. Immutable once it is in the store, except for what the store's lock protects, so that a reader may go on
 * sending a value that was replaced meanwhile. */
#pragma once

#include "shim/examples/cached/item_state.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_MAX 250u
#define VALUE_MAX (1024u * 1024u)
#define NSEC_PER_SEC INT64_C(1000000000)

struct item {
	struct item *chain;         /* the store's lock: next in the bucket */
	struct item *newer, *older; /* the store's lock: neighbours in order of use */
	struct item_state state;    /* the store's lock: expiry and usage, different from version to version */
	uint64_t hash;
	uint64_t cas;
	_Atomic uint32_t refs;
	uint32_t flags;
	uint32_t value_size;
	uint8_t key_size;
	char data[];                /* the key, then the value */
};

static inline const char *item_key(const struct item *item)
{
	return item->data;
}

static inline const char *item_value(const struct item *item)
{
	return item->data + item->key_size;
}

/** item_new() - @value NULL: the caller fills item_room(). Return: with one reference, or NULL when memory is out. */
struct item *item_new(const void *key, size_t key_size, const void *value, size_t value_size, uint32_t flags);
struct item *item_ref(struct item *item);
void item_put(struct item *item); /* NULL allowed */

/** item_room() - Where the value of an item that nobody else has seen yet goes. */
char *item_room(struct item *item);

/** item_footprint() - Bytes that count against the memory limit. */
size_t item_footprint(const struct item *item);

/** item_expiry_ns() - The protocol's exptime as unix time: 0 never; negative at once; up to 30 days from now; else absolute.
 * Return: nanoseconds, 0 for never. */
int64_t item_expiry_ns(int64_t exptime, int64_t now_ns);
