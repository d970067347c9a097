/* SPDX-License-Identifier: MIT */
/* Down is as much a promise as up: what an older version cannot express is rounded so that no item is lost. An item never
 * expires earlier than it was meant to, and counts stop at their maximum. */
#include "shim/examples/cached/migrations.h"

#include "shim/examples/cached/cached_v1.pb-c.h"
#if CACHED_VERSION >= 2
#include "shim/examples/cached/cached_v2.pb-c.h"
#endif
#if CACHED_VERSION >= 3
#include "shim/examples/cached/cached_v3.pb-c.h"
#endif

#include <string.h>

#define NSEC_PER_SEC INT64_C(1000000000)

#if CACHED_VERSION >= 2

static int item_1_to_2(struct upg_step *step, const ProtobufCMessage *from_message, ProtobufCMessage *to_message)
{
	const Cached__V1__Item *from = (const Cached__V1__Item *)from_message;
	Cached__V2__Item *to = (Cached__V2__Item *)to_message;

	(void)step;
	to->key = from->key;
	to->value = from->value;
	to->flags = from->flags;
	to->cas = from->cas;
	if (__builtin_mul_overflow(from->expires_s, NSEC_PER_SEC, &to->expires_ns))
		to->expires_ns = INT64_MAX;
	to->last_access_ns = (int64_t)(from->usage >> 32) * NSEC_PER_SEC;
	to->hits = from->usage & UINT32_MAX;
	return 0;
}

static int item_2_to_1(struct upg_step *step, const ProtobufCMessage *from_message, ProtobufCMessage *to_message)
{
	const Cached__V2__Item *from = (const Cached__V2__Item *)from_message;
	Cached__V1__Item *to = (Cached__V1__Item *)to_message;
	int64_t access_s = from->last_access_ns / NSEC_PER_SEC;

	(void)step;
	to->key = from->key;
	to->value = from->value;
	to->flags = from->flags;
	to->cas = from->cas;
	to->expires_s = from->expires_ns / NSEC_PER_SEC + (from->expires_ns % NSEC_PER_SEC > 0);
	to->usage = (uint64_t)(access_s < UINT32_MAX ? access_s : UINT32_MAX) << 32 |
		    (from->hits < UINT32_MAX ? from->hits : UINT32_MAX);
	return 0;
}

#endif
#if CACHED_VERSION >= 3

static int item_2_to_3(struct upg_step *step, const ProtobufCMessage *from_message, ProtobufCMessage *to_message)
{
	const Cached__V2__Item *from = (const Cached__V2__Item *)from_message;
	Cached__V3__Item *to = (Cached__V3__Item *)to_message;
	uint8_t *colon = from->key.len ? memchr(from->key.data, ':', from->key.len) : NULL;

	to->name = from->key;
	if (colon && colon != from->key.data) {
		to->namespace_ = (ProtobufCBinaryData){ (size_t)(colon - from->key.data), from->key.data };
		to->name = (ProtobufCBinaryData){ from->key.len - to->namespace_.len - 1, colon + 1 };
	}
	to->expires_ns = from->expires_ns;
	to->value = upg_step_alloc(step, sizeof *to->value);
	cached__v3__value__init(to->value);
	to->value->data = from->value;
	to->value->flags = from->flags;
	to->value->cas = from->cas;
	to->usage = upg_step_alloc(step, sizeof *to->usage);
	cached__v3__usage__init(to->usage);
	to->usage->created_ns = from->created_ns;
	to->usage->last_access_ns = from->last_access_ns;
	to->usage->hits = from->hits;
	return 0;
}

static int item_3_to_2(struct upg_step *step, const ProtobufCMessage *from_message, ProtobufCMessage *to_message)
{
	const Cached__V3__Item *from = (const Cached__V3__Item *)from_message;
	Cached__V2__Item *to = (Cached__V2__Item *)to_message;
	const ProtobufCBinaryData *namespace = &from->namespace_;

	if (!from->value)
		return upg_step_fail(step, "item \"%.*s\" has no value", (int)from->name.len, (const char *)from->name.data);
	to->key = from->name;
	if (namespace->len) {
		to->key.len = namespace->len + 1 + from->name.len;
		to->key.data = upg_step_alloc(step, to->key.len);
		memcpy(to->key.data, namespace->data, namespace->len);
		to->key.data[namespace->len] = ':';
		if (from->name.len)
			memcpy(to->key.data + namespace->len + 1, from->name.data, from->name.len);
	}
	to->expires_ns = from->expires_ns;
	to->value = from->value->data;
	to->flags = from->value->flags;
	to->cas = from->value->cas;
	if (from->usage) {
		to->created_ns = from->usage->created_ns;
		to->last_access_ns = from->usage->last_access_ns;
		to->hits = from->usage->hits;
	}
	return 0;
}

#endif

#define STEP(FROM, TO) \
	{ \
		.type = "cached.Item", \
		.from = FROM, \
		.to = TO, \
		.from_descriptor = &cached__v##FROM##__item__descriptor, \
		.to_descriptor = &cached__v##TO##__item__descriptor, \
		.migrate = item_##FROM##_to_##TO, \
	}

const struct upg_migration migrations[] = {
#if CACHED_VERSION >= 2
	STEP(1, 2),
	STEP(2, 1),
#endif
#if CACHED_VERSION >= 3
	STEP(2, 3),
	STEP(3, 2),
#endif
#if CACHED_VERSION == 1
	{ 0 }, /* the first version knows no other; C has no empty arrays */
#endif
};
const size_t n_migrations = CACHED_VERSION == 1 ? 0 : sizeof migrations / sizeof *migrations;
