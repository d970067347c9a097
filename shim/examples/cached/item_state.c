/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/item.h"

#include <errno.h>
#include <string.h>

static ProtobufCBinaryData bytes_of(const char *data, size_t size)
{
	/* protobuf-c has no const variant; packing only reads. */
	return (ProtobufCBinaryData){ .len = size, .data = (uint8_t *)(uintptr_t)data };
}

static int item_made(struct item *item, uint64_t cas, struct item **ret_item)
{
	if (!item)
		return -ENOMEM;
	item->cas = cas;
	*ret_item = item;
	return 0;
}

#if CACHED_VERSION == 1

void item_state_init(struct item *item)
{
	item->state = (struct item_state){ 0 };
}

void item_state_created(struct item *item, int64_t now_ns)
{
	item->state.usage = (uint64_t)(uint32_t)(now_ns / NSEC_PER_SEC) << 32;
}

void item_state_expire(struct item *item, int64_t expires_ns)
{
	item->state.expires_s = expires_ns / NSEC_PER_SEC + (expires_ns % NSEC_PER_SEC != 0);
}

void item_state_used(struct item *item, int64_t now_ns)
{
	uint64_t hits = item->state.usage & UINT32_MAX;

	hits += hits < UINT32_MAX;
	item->state.usage = (uint64_t)(uint32_t)(now_ns / NSEC_PER_SEC) << 32 | hits;
}

void item_state_inherit(struct item *item, const struct item *from)
{
	item->state = from->state;
}

bool item_state_expired(const struct item *item, int64_t now_ns)
{
	return item->state.expires_s != 0 && now_ns / NSEC_PER_SEC >= item->state.expires_s;
}

void item_to_message(const struct item *item, struct item_message *ret_message)
{
	cached__v1__item__init(&ret_message->item);
	ret_message->item.key = bytes_of(item_key(item), item->key_size);
	ret_message->item.value = bytes_of(item_value(item), item->value_size);
	ret_message->item.flags = item->flags;
	ret_message->item.expires_s = item->state.expires_s;
	ret_message->item.cas = item->cas;
	ret_message->item.usage = item->state.usage;
}

int item_from_message(const ProtobufCMessage *message, struct item **ret_item)
{
	const Cached__V1__Item *from = (const Cached__V1__Item *)message;

	if (from->key.len == 0 || from->key.len > KEY_MAX || from->value.len > VALUE_MAX)
		return -EINVAL;
	struct item *item = item_new(from->key.data, from->key.len, from->value.data, from->value.len, from->flags);
	if (item) {
		item->state.expires_s = from->expires_s;
		item->state.usage = from->usage;
	}
	return item_made(item, from->cas, ret_item);
}

#else

void item_state_init(struct item *item)
{
	item->state = (struct item_state){ 0 };
#if CACHED_VERSION >= 3
	const char *colon = memchr(item_key(item), ':', item->key_size);
	item->state.namespace_size = colon ? (uint8_t)(colon - item_key(item)) : 0;
#endif
}

void item_state_created(struct item *item, int64_t now_ns)
{
	item->state.created_ns = now_ns;
}

void item_state_expire(struct item *item, int64_t expires_ns)
{
	item->state.expires_ns = expires_ns;
}

void item_state_used(struct item *item, int64_t now_ns)
{
	item->state.last_access_ns = now_ns;
	item->state.hits++;
}

void item_state_inherit(struct item *item, const struct item *from)
{
	item->state = from->state;
}

bool item_state_expired(const struct item *item, int64_t now_ns)
{
	return item->state.expires_ns != 0 && now_ns >= item->state.expires_ns;
}

#endif

#if CACHED_VERSION == 2

void item_to_message(const struct item *item, struct item_message *ret_message)
{
	cached__v2__item__init(&ret_message->item);
	ret_message->item.key = bytes_of(item_key(item), item->key_size);
	ret_message->item.value = bytes_of(item_value(item), item->value_size);
	ret_message->item.flags = item->flags;
	ret_message->item.cas = item->cas;
	ret_message->item.expires_ns = item->state.expires_ns;
	ret_message->item.created_ns = item->state.created_ns;
	ret_message->item.last_access_ns = item->state.last_access_ns;
	ret_message->item.hits = item->state.hits;
}

int item_from_message(const ProtobufCMessage *message, struct item **ret_item)
{
	const Cached__V2__Item *from = (const Cached__V2__Item *)message;

	if (from->key.len == 0 || from->key.len > KEY_MAX || from->value.len > VALUE_MAX)
		return -EINVAL;
	struct item *item = item_new(from->key.data, from->key.len, from->value.data, from->value.len, from->flags);
	if (item) {
		item->state.expires_ns = from->expires_ns;
		item->state.created_ns = from->created_ns;
		item->state.last_access_ns = from->last_access_ns;
		item->state.hits = from->hits;
	}
	return item_made(item, from->cas, ret_item);
}

#elif CACHED_VERSION == 3

void item_to_message(const struct item *item, struct item_message *ret_message)
{
	size_t namespace_size = item->state.namespace_size;
	size_t name_at = namespace_size ? namespace_size + 1 : 0;

	cached__v3__item__init(&ret_message->item);
	cached__v3__value__init(&ret_message->value);
	cached__v3__usage__init(&ret_message->usage);
	ret_message->item.namespace_ = bytes_of(item_key(item), namespace_size);
	ret_message->item.name = bytes_of(item_key(item) + name_at, item->key_size - name_at);
	ret_message->item.expires_ns = item->state.expires_ns;
	ret_message->item.value = &ret_message->value;
	ret_message->item.usage = &ret_message->usage;
	ret_message->value.data = bytes_of(item_value(item), item->value_size);
	ret_message->value.flags = item->flags;
	ret_message->value.cas = item->cas;
	ret_message->usage.created_ns = item->state.created_ns;
	ret_message->usage.last_access_ns = item->state.last_access_ns;
	ret_message->usage.hits = item->state.hits;
}

int item_from_message(const ProtobufCMessage *message, struct item **ret_item)
{
	const Cached__V3__Item *from = (const Cached__V3__Item *)message;
	const Cached__V3__Value *value = from->value;
	size_t name_at = from->namespace_.len ? from->namespace_.len + 1 : 0;
	size_t key_size = name_at + from->name.len;
	char key[KEY_MAX];

	if (!value || key_size == 0 || from->namespace_.len > KEY_MAX || from->name.len > KEY_MAX || key_size > KEY_MAX ||
	    value->data.len > VALUE_MAX)
		return -EINVAL;
	if (name_at) {
		memcpy(key, from->namespace_.data, from->namespace_.len);
		key[name_at - 1] = ':';
	}
	if (from->name.len)
		memcpy(key + name_at, from->name.data, from->name.len);
	struct item *item = item_new(key, key_size, value->data.data, value->data.len, value->flags);
	if (item) {
		item->state.expires_ns = from->expires_ns;
		item->state.created_ns = from->usage ? from->usage->created_ns : 0;
		item->state.last_access_ns = from->usage ? from->usage->last_access_ns : 0;
		item->state.hits = from->usage ? from->usage->hits : 0;
	}
	return item_made(item, value->cas, ret_item);
}

#endif
