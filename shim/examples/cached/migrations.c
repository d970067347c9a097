/* SPDX-License-Identifier: MIT */
/* What the annotations of cached_v2.proto and cached_v3.proto do not say by themselves. The rest is made of them at build
 * time, by protoc-gen-upgrade(1). */
#include "shim/examples/cached/migrations.h"

#if CACHED_VERSION >= 2
#include "shim/examples/cached/cached_v2.upgrade.h"
#endif
#if CACHED_VERSION >= 3
#include "shim/examples/cached/cached_v3.upgrade.h"

#include <string.h>

/* A key whose first ':' is its first byte has no namespace: going down it could not be told from one that has an empty one. */
int cached_item_2_to_3_key(struct upg_step *step, const Cached__V2__Item *from, Cached__V3__Item *to)
{
	uint8_t *colon = from->key.len ? memchr(from->key.data, ':', from->key.len) : NULL;

	(void)step;
	to->name = from->key;
	if (colon && colon != from->key.data) {
		to->namespace_ = (ProtobufCBinaryData){ (size_t)(colon - from->key.data), from->key.data };
		to->name = (ProtobufCBinaryData){ from->key.len - to->namespace_.len - 1, colon + 1 };
	}
	return 0;
}

int cached_item_3_to_2_key(struct upg_step *step, const Cached__V3__Item *from, Cached__V2__Item *to)
{
	const ProtobufCBinaryData *namespace = &from->namespace_;

	to->key = from->name;
	if (namespace->len) {
		to->key.len = namespace->len + 1 + from->name.len;
		to->key.data = upg_step_alloc(step, to->key.len);
		memcpy(to->key.data, namespace->data, namespace->len);
		to->key.data[namespace->len] = ':';
		if (from->name.len)
			memcpy(to->key.data + namespace->len + 1, from->name.data, from->name.len);
	}
	return 0;
}

#endif

const struct upg_migration migrations[] = {
#if CACHED_VERSION >= 2
	CACHED_V2_MIGRATIONS,
#endif
#if CACHED_VERSION >= 3
	CACHED_V3_MIGRATIONS,
#endif
#if CACHED_VERSION == 1
	{ 0 }, /* the first version knows no other; C has no empty arrays */
#endif
};
const size_t n_migrations = CACHED_VERSION == 1 ? 0 : sizeof migrations / sizeof *migrations;
