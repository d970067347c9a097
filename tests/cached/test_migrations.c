/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/cached_v1.pb-c.h"
#include "shim/examples/cached/cached_v2.pb-c.h"
#include "shim/examples/cached/cached_v3.pb-c.h"
#include "shim/examples/cached/item.h"
#include "shim/examples/cached/migrations.h"

#include "base/why.h"
#include "statefmt/statefmt.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(migrations, .timeout = 20);

static const ProtobufCMessageDescriptor *const descriptors[] = {
	NULL, &cached__v1__item__descriptor, &cached__v2__item__descriptor, &cached__v3__item__descriptor,
};

/* As the library has it: what a migration knows as struct upg_step is the walk's step. */
static int migrate(struct sf_step *step, const ProtobufCMessage *from, ProtobufCMessage *to, void *arg)
{
	const struct upg_migration *migration = arg;

	return migration->migrate((struct upg_step *)(void *)step, from, to);
}

/* The same item in another version, packed and unpacked on the way as in a real roll; owned by the caller. */
static void *walk(const ProtobufCMessage *message, uint32_t from, uint32_t to)
{
	const struct sf_schema have = { "cached.Item", from, descriptors[from], 0, 0 };
	const struct sf_schema want = { "cached.Item", to, descriptors[to], 0, 0 };
	struct sf_migration steps[8];
	const ProtobufCMessage *converted;
	struct sf_plan *plan;
	struct why why = { "" };
	size_t type;

	cr_assert(n_migrations <= 8);
	for (size_t i = 0; i < n_migrations; i++)
		steps[i] = (struct sf_migration){
			.type = migrations[i].type,
			.from = migrations[i].from,
			.to = migrations[i].to,
			.from_descriptor = migrations[i].from_descriptor,
			.to_descriptor = migrations[i].to_descriptor,
			.migrate = migrate,
			.arg = (void *)(uintptr_t)&migrations[i],
		};
	cr_assert_eq(sf_plan_new(&have, 1, &want, 1, steps, n_migrations, &plan, &why), 0, "%s", why.text);
	cr_assert_eq(sf_plan_convert(plan, 0, message, &type, &converted, &why), 0, "%s", why.text);
	size_t size = protobuf_c_message_get_packed_size(converted);
	uint8_t *packed = malloc(size + 1);
	protobuf_c_message_pack(converted, packed);
	void *unpacked = protobuf_c_message_unpack(descriptors[to], NULL, size, packed);
	free(packed);
	sf_plan_free(plan);
	cr_assert_not_null(unpacked);
	return unpacked;
}

static void release(void *message)
{
	protobuf_c_message_free_unpacked(message, NULL);
}

static ProtobufCBinaryData text(const char *data)
{
	return (ProtobufCBinaryData){ strlen(data), (uint8_t *)(uintptr_t)data };
}

static bool same(ProtobufCBinaryData a, ProtobufCBinaryData b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static Cached__V2__Item item_v2(const char *key)
{
	Cached__V2__Item item = CACHED__V2__ITEM__INIT;

	item.key = text(key);
	item.value = text("value");
	item.flags = 3;
	item.cas = 99;
	item.expires_ns = INT64_C(1800000000123456789);
	item.created_ns = INT64_C(1700000000000000001);
	item.last_access_ns = INT64_C(1750000000000000002);
	item.hits = 12;
	return item;
}

Test(migrations, bring_odd_keys_up_and_down_unchanged)
{
	static const char *const keys[] = { "plain", "a:b", ":", ":a", "a:", "::", "a:b:c", ":a:b", "a::b", "\xff\x01:x", "::a:" };
	char longest[KEY_MAX + 1];

	memset(longest, 'k', KEY_MAX);
	longest[KEY_MAX] = '\0';
	longest[KEY_MAX - 1] = ':';
	for (size_t i = 0; i <= sizeof keys / sizeof *keys; i++) {
		const char *key = i < sizeof keys / sizeof *keys ? keys[i] : longest;
		Cached__V2__Item item = item_v2(key);
		Cached__V3__Item *up = walk(&item.base, 2, 3);
		Cached__V2__Item *down = walk(&up->base, 3, 2);
		cr_expect(same(down->key, item.key), "%s", key);
		cr_expect_eq(down->expires_ns, item.expires_ns);
		cr_expect_eq(down->created_ns, item.created_ns);
		cr_expect_eq(down->last_access_ns, item.last_access_ns);
		cr_expect_eq(down->hits, item.hits);
		cr_expect_eq(down->cas, item.cas);
		cr_expect_eq(down->flags, item.flags);
		cr_expect(same(down->value, item.value));
		release(down);
		release(up);
	}
}

Test(migrations, group_by_what_stands_before_the_first_colon)
{
	Cached__V2__Item item = item_v2("user:7:name");
	Cached__V3__Item *up = walk(&item.base, 2, 3);

	cr_expect(same(up->namespace_, text("user")));
	cr_expect(same(up->name, text("7:name")));
	release(up);
	item.key = text(":7");
	up = walk(&item.base, 2, 3);
	cr_expect(same(up->namespace_, text("")));
	cr_expect(same(up->name, text(":7")));
	release(up);
}

Test(migrations, split_usage_and_turn_seconds_into_nanoseconds)
{
	Cached__V1__Item item = CACHED__V1__ITEM__INIT;

	item.key = text("ns:k");
	item.value = text("");
	item.expires_s = 1800000000;
	item.usage = UINT64_C(1750000000) << 32 | 5;
	Cached__V3__Item *up = walk(&item.base, 1, 3);
	cr_expect_eq(up->expires_ns, INT64_C(1800000000000000000));
	cr_expect_eq(up->usage->last_access_ns, INT64_C(1750000000000000000));
	cr_expect_eq(up->usage->hits, 5);
	cr_expect_eq(up->usage->created_ns, 0, "an item of version 1 does not know");
	Cached__V1__Item *down = walk(&up->base, 3, 1);
	cr_expect(same(down->key, item.key));
	cr_expect_eq(down->expires_s, item.expires_s);
	cr_expect_eq(down->usage, item.usage);
	release(down);
	release(up);
}

Test(migrations, keep_never_and_round_expiry_up_so_that_nothing_expires_early)
{
	static const struct {
		int64_t ns, s;
	} cases[] = {
		{ 0, 0 }, { 1, 1 }, { NSEC_PER_SEC, 1 }, { NSEC_PER_SEC + 1, 2 }, { INT64_MAX, 9223372037 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		Cached__V2__Item item = item_v2("k");
		item.expires_ns = cases[i].ns;
		Cached__V1__Item *down = walk(&item.base, 2, 1);
		cr_expect_eq(down->expires_s, cases[i].s);
		release(down);
	}
	Cached__V1__Item far = CACHED__V1__ITEM__INIT;
	far.key = text("k");
	far.expires_s = 9223372037;
	Cached__V2__Item *up = walk(&far.base, 1, 2);
	cr_expect_eq(up->expires_ns, INT64_MAX);
	release(up);
}

Test(migrations, stop_counts_at_what_version_1_can_hold)
{
	Cached__V2__Item item = item_v2("k");

	item.hits = UINT64_C(1) << 40;
	item.last_access_ns = INT64_MAX;
	Cached__V1__Item *down = walk(&item.base, 2, 1);
	cr_expect_eq(down->usage, UINT64_MAX);
	release(down);
}

Test(migrations, agree_with_the_programs_own_items)
{
	static const char *const keys[] = { "plain", "a:b", ":", ":a", "a:", "::", "a:b:c" };

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		struct item *item = item_new(keys[i], strlen(keys[i]), "value", 5, 9), *again;
		struct item_message message;

		item->cas = 4;
		item_state_expire(item, 77);
		item_state_created(item, 11);
		item_state_used(item, 22);
		item_to_message(item, &message);
		Cached__V2__Item *down = walk(&message.item.base, 3, 2);
		cr_expect(same(down->key, text(keys[i])), "%s", keys[i]);
		Cached__V3__Item *up = walk(&down->base, 2, 3);
		cr_assert_eq(item_from_message(&up->base, &again), 0);
		cr_expect_eq(again->key_size, item->key_size);
		cr_expect(memcmp(again->data, item->data, (size_t)item->key_size + item->value_size) == 0, "%s", keys[i]);
		cr_expect_eq(again->flags, 9);
		cr_expect_eq(again->cas, 4);
		cr_expect_eq(again->state.expires_ns, item->state.expires_ns);
		cr_expect_eq(again->state.created_ns, item->state.created_ns);
		cr_expect_eq(again->state.last_access_ns, item->state.last_access_ns);
		cr_expect_eq(again->state.hits, item->state.hits);
		cr_expect_eq(again->state.namespace_size, item->state.namespace_size);
		item_put(again);
		item_put(item);
		release(up);
		release(down);
	}
}

Test(migrations, are_not_needed_to_see_that_an_item_cannot_be)
{
	Cached__V3__Item message = CACHED__V3__ITEM__INIT;
	Cached__V3__Value value = CACHED__V3__VALUE__INIT;
	static uint8_t bytes[VALUE_MAX + 1];
	struct item *item;

	message.name = text("k");
	cr_expect_lt(item_from_message(&message.base, &item), 0, "no value");
	message.value = &value;
	message.name = text("");
	cr_expect_lt(item_from_message(&message.base, &item), 0, "no key");
	message.name = (ProtobufCBinaryData){ 200, bytes };
	message.namespace_ = (ProtobufCBinaryData){ 50, bytes };
	cr_expect_lt(item_from_message(&message.base, &item), 0, "a key of 251 bytes");
	message.namespace_.len = SIZE_MAX;
	cr_expect_lt(item_from_message(&message.base, &item), 0, "sizes that overflow when added");
	message.namespace_.len = 49;
	value.data = (ProtobufCBinaryData){ sizeof bytes, bytes };
	cr_expect_lt(item_from_message(&message.base, &item), 0, "a value too large");
	value.data.len--;
	cr_assert_eq(item_from_message(&message.base, &item), 0);
	item_put(item);
}
