/* SPDX-License-Identifier: MIT */
/* What the versions of cached disagree about: how an item remembers time and use, and how it looks on its way to another
 * process. Everything that depends on CACHED_VERSION is in this header, in item_state.c and in migrations.c. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#if CACHED_VERSION == 1
#include "shim/examples/cached/cached_v1.pb-c.h"

struct item_state {
	int64_t expires_s; /* unix time; 0: never */
	uint64_t usage;    /* last access in unix seconds << 32 | hits */
};
struct item_message {
	Cached__V1__Item item;
};
#define ITEM_DESCRIPTOR cached__v1__item__descriptor

#elif CACHED_VERSION == 2
#include "shim/examples/cached/cached_v2.pb-c.h"

struct item_state {
	int64_t expires_ns;     /* unix time; 0: never */
	int64_t created_ns;     /* 0: not known */
	int64_t last_access_ns; /* 0: never */
	uint64_t hits;
};
struct item_message {
	Cached__V2__Item item;
};
#define ITEM_DESCRIPTOR cached__v2__item__descriptor

#elif CACHED_VERSION == 3
#include "shim/examples/cached/cached_v3.pb-c.h"

struct item_state {
	int64_t expires_ns;     /* unix time; 0: never */
	int64_t created_ns;     /* 0: not known */
	int64_t last_access_ns; /* 0: never */
	uint64_t hits;
	uint8_t namespace_size; /* bytes of the key before its first ':'; 0: none */
};
struct item_message {
	Cached__V3__Item item;
	Cached__V3__Value value;
	Cached__V3__Usage usage;
};
#define ITEM_DESCRIPTOR cached__v3__item__descriptor

#else
#error "CACHED_VERSION must be 1, 2 or 3"
#endif

struct item;

/** item_state_init() - For an item whose key is in place. */
void item_state_init(struct item *item);
void item_state_created(struct item *item, int64_t now_ns);
void item_state_expire(struct item *item, int64_t expires_ns); /* 0: never */
void item_state_used(struct item *item, int64_t now_ns);

/** item_state_inherit() - @item is a new value of @from (append, incr): same expiry, same history. */
void item_state_inherit(struct item *item, const struct item *from);
bool item_state_expired(const struct item *item, int64_t now_ns);

/** item_to_message() - @ret_message borrows @item's memory. */
void item_to_message(const struct item *item, struct item_message *ret_message);

/** item_from_message() - @message is of ITEM_DESCRIPTOR. Return: 0, -EINVAL (no such item can be) or -ENOMEM. */
int item_from_message(const ProtobufCMessage *message, struct item **ret_item);
