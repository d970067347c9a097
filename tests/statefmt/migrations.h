/* SPDX-License-Identifier: MIT */
/* Three versions of an item and the ways between them, for the tests of plans and for the fuzzer. */
#pragma once

#include "statefmt/statefmt.h"
#include "tests/statefmt/item.pb-c.h"

static inline int item_v1_to_v2(struct sf_step *step, const ProtobufCMessage *from, ProtobufCMessage *to, void *arg)
{
	const Test__State__ItemV1 *old = (const void *)from;
	Test__State__ItemV2 *new = (void *)to;

	(void)arg;
	if (old->flags == 666)
		return sf_step_fail(step, "flags %u of \"%s\" have no meaning", old->flags, old->key);
	new->key = old->key;
	new->value = old->value;
	new->flags = old->flags & 0xffff;
	new->expires_us = (uint64_t)(old->flags >> 16) * 1000000;
	return 0;
}

static inline int item_v2_to_v1(struct sf_step *step, const ProtobufCMessage *from, ProtobufCMessage *to, void *arg)
{
	const Test__State__ItemV2 *old = (const void *)from;
	Test__State__ItemV1 *new = (void *)to;

	(void)step;
	(void)arg;
	new->key = old->key;
	new->value = old->value;
	new->flags = (old->flags & 0xffff) | (uint32_t)(old->expires_us / 1000000) << 16;
	return 0;
}

static inline int item_v2_to_v3(struct sf_step *step, const ProtobufCMessage *from, ProtobufCMessage *to, void *arg)
{
	const Test__State__ItemV2 *old = (const void *)from;
	Test__State__ItemV3 *new = (void *)to;

	(void)arg;
	new->key = old->key;
	new->value = old->value;
	new->meta = sf_step_alloc(step, sizeof(*new->meta));
	test__state__meta__init(new->meta);
	new->meta->flags = old->flags;
	new->meta->expires_us = old->expires_us;
	new->tags = sf_step_alloc(step, sizeof(*new->tags));
	new->tags[0] = new->key;
	new->n_tags = 1;
	return 0;
}

static inline int item_v3_to_v2(struct sf_step *step, const ProtobufCMessage *from, ProtobufCMessage *to, void *arg)
{
	const Test__State__ItemV3 *old = (const void *)from;
	Test__State__ItemV2 *new = (void *)to;

	(void)arg;
	if (!old->meta)
		return sf_step_fail(step, "\"%s\" has no meta", old->key);
	new->key = old->key;
	new->value = old->value;
	new->flags = old->meta->flags;
	new->expires_us = old->meta->expires_us;
	return 0;
}

#define ITEM_V1 (&test__state__item_v1__descriptor)
#define ITEM_V2 (&test__state__item_v2__descriptor)
#define ITEM_V3 (&test__state__item_v3__descriptor)

static const struct sf_migration item_migrations[] = {
	{ "cached.Item", 1, 2, ITEM_V1, ITEM_V2, item_v1_to_v2, NULL, NULL },
	{ "cached.Item", 2, 3, ITEM_V2, ITEM_V3, item_v2_to_v3, NULL, NULL },
	{ "cached.Item", 3, 2, ITEM_V3, ITEM_V2, item_v3_to_v2, NULL, NULL },
	{ "cached.Item", 2, 1, ITEM_V2, ITEM_V1, item_v2_to_v1, NULL, NULL },
};
#define N_ITEM_MIGRATIONS (sizeof(item_migrations) / sizeof(item_migrations[0]))
