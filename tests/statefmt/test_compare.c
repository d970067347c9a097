/* SPDX-License-Identifier: MIT */
#include "base/why.h"
#include "statefmt/compare.h"
#include "tests/statefmt/item.pb-c.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(compare, .timeout = 30);

static const struct sf_schema schemas[] = { { .name = "test.One", .version = 1 }, { .name = "test.Two", .version = 1 } };

/* A record of two fields, as a packer writes them: 1: bytes, 2: varint below 128. */
static void add(struct sf_compare *compare, enum sf_side side, size_t type, const char *key, uint8_t number)
{
	uint8_t record[64] = { 0x0a, (uint8_t)strlen(key) };
	size_t n = 2 + strlen(key);

	memcpy(record + 2, key, strlen(key));
	record[n++] = 0x10;
	record[n++] = number;
	cr_assert_eq(sf_compare_add(compare, side, type, record, n), 0);
}

static struct sf_compare *begin(void)
{
	struct sf_compare *compare = NULL;

	cr_assert_eq(sf_compare_new(schemas, 2, NULL, &compare), 0);
	return compare;
}

Test(compare, finds_nothing_in_nothing)
{
	struct sf_compare *compare = begin();

	cr_assert(sf_compare_explain(compare, NULL));
	sf_compare_free(compare);
}

Test(compare, does_not_care_for_order)
{
	struct sf_compare *compare = begin();
	struct why why = { 0 };

	for (uint8_t i = 0; i < 100; i++)
		add(compare, SF_BEFORE, 0, i % 2 ? "odd" : "even", i);
	for (uint8_t i = 100; i > 0; i--)
		add(compare, SF_AFTER, 0, (i - 1) % 2 ? "odd" : "even", (uint8_t)(i - 1));
	cr_assert(sf_compare_explain(compare, &why), "%s", why.text);
	sf_compare_free(compare);
}

Test(compare, names_the_type_the_field_and_a_record)
{
	struct sf_compare *compare = begin();
	struct why why = { 0 };

	add(compare, SF_BEFORE, 0, "same", 1);
	add(compare, SF_BEFORE, 1, "apple", 1);
	add(compare, SF_BEFORE, 1, "pear", 2);
	add(compare, SF_AFTER, 0, "same", 1);
	add(compare, SF_AFTER, 1, "apple", 1);
	add(compare, SF_AFTER, 1, "pear", 3);
	cr_assert_not(sf_compare_explain(compare, &why));
	cr_assert(strstr(why.text, "test.Two: 2 records before, 2 after, 1 of them changed"), "%s", why.text);
	cr_assert(strstr(why.text, "(2)"), "%s", why.text);
	cr_assert_not(strstr(why.text, "(1)"), "%s", why.text);
	cr_assert(strstr(why.text, "\"pear\""), "%s", why.text);
	cr_assert_not(strstr(why.text, "test.One"), "%s", why.text);
	sf_compare_free(compare);
}

Test(compare, tells_a_record_that_is_missing)
{
	struct sf_compare *compare = begin();
	struct why why = { 0 };

	add(compare, SF_BEFORE, 0, "a", 1);
	add(compare, SF_BEFORE, 0, "b", 1);
	add(compare, SF_AFTER, 0, "a", 1);
	cr_assert_not(sf_compare_explain(compare, &why));
	cr_assert(strstr(why.text, "2 records before, 1 after"), "%s", why.text);
	sf_compare_free(compare);
}

Test(compare, sees_a_swap_of_values_between_records)
{
	struct sf_compare *compare = begin();
	struct why why = { 0 };

	/* Each field's values are the same set: only whole records differ. */
	add(compare, SF_BEFORE, 0, "a", 1);
	add(compare, SF_BEFORE, 0, "b", 2);
	add(compare, SF_AFTER, 0, "a", 2);
	add(compare, SF_AFTER, 0, "b", 1);
	cr_assert_not(sf_compare_explain(compare, &why));
	cr_assert(strstr(why.text, "2 of them changed"), "%s", why.text);
	sf_compare_free(compare);
}

Test(compare, survives_bytes_that_are_no_fields)
{
	static const uint8_t odd[][4] = { { 0xff, 0xff, 0xff, 0xff }, { 0x0a, 0x7f, 0, 0 }, { 0x0b, 1, 2, 3 }, { 0, 0, 0, 0 } };
	struct sf_compare *compare = begin();

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		for (size_t n = 0; n <= 4; n++) {
			/* An exact allocation, so that a read past its end is seen. */
			uint8_t *copy = malloc(n ? n : 1);

			cr_assert_not_null(copy);
			memcpy(copy, odd[i], n);
			cr_assert_eq(sf_compare_add(compare, SF_BEFORE, 0, copy, n), 0);
			free(copy);
		}
	cr_assert_not(sf_compare_explain(compare, &(struct why){ 0 }));
	sf_compare_free(compare);
}

Test(compare, holds_many_records)
{
	struct sf_compare *compare = begin();
	char key[16];

	for (int side = SF_BEFORE; side <= SF_AFTER; side++) {
		for (unsigned i = 0; i < 50000; i++) {
			snprintf(key, sizeof(key), "k%u", side == SF_BEFORE ? i : 49999 - i);
			add(compare, (enum sf_side)side, 0, key, 7);
		}
	}
	cr_assert(sf_compare_explain(compare, NULL));
	sf_compare_free(compare);
}

/* ---- nested messages, and fields that change by themselves ---- */

static const struct sf_schema nested[] = {
	{ .name = "test.Item", .version = 3, .descriptor = &test__state__item_v3__descriptor },
	{ .name = "test.Node", .version = 1, .descriptor = &test__state__node__descriptor },
};

static void add_message(struct sf_compare *compare, enum sf_side side, size_t type, const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *packed = malloc(size + 1);

	cr_assert_not_null(packed);
	protobuf_c_message_pack(message, packed);
	cr_assert_eq(sf_compare_add(compare, side, type, packed, size), 0);
	free(packed);
}

static void add_item(struct sf_compare *compare, enum sf_side side, const char *key, uint32_t flags, uint64_t expires_us)
{
	Test__State__ItemV3 item = TEST__STATE__ITEM_V3__INIT;
	Test__State__Meta meta = TEST__STATE__META__INIT;

	item.key = (char *)(uintptr_t)key;
	item.value = (ProtobufCBinaryData){ 2, (uint8_t *)(uintptr_t)"\001\"" };
	item.meta = &meta;
	meta.flags = flags;
	meta.expires_us = expires_us;
	add_message(compare, side, 0, &item.base);
}

Test(compare, names_the_path_of_a_nested_field_and_shows_the_record_as_text)
{
	struct sf_compare *compare = NULL;
	struct why why = { 0 };

	cr_assert_eq(sf_compare_new(nested, 2, NULL, &compare), 0);
	add_item(compare, SF_BEFORE, "apple", 7, 1);
	add_item(compare, SF_AFTER, "apple", 7, 900);
	cr_assert_not(sf_compare_explain(compare, &why));
	cr_assert_str_eq(why.text, "test.Item: 1 records before, 1 after, 1 of them changed, field meta.expires_us (5.2); "
				   "for example the record that begins with key: \"apple\" value: \"\\001\\\"\" "
				   "meta { flags: 7 expires_us: 900 }. ");
	sf_compare_free(compare);
}

Test(compare, leaves_out_fields_that_change_by_themselves_and_no_others)
{
	static const char *const names[] = { "test.state.Meta.expires_us", NULL };
	struct sf_compare *compare = NULL;
	struct why why = { 0 };

	cr_assert_eq(sf_compare_new(nested, 2, names, &compare), 0);
	/* The width of the nested message's length changes, too. */
	add_item(compare, SF_BEFORE, "apple", 7, 0);
	add_item(compare, SF_BEFORE, "pear", 8, 1);
	add_item(compare, SF_AFTER, "apple", 7, UINT64_MAX);
	add_item(compare, SF_AFTER, "pear", 8, 2);
	cr_assert(sf_compare_explain(compare, &why), "%s", why.text);
	add_item(compare, SF_AFTER, "plum", 9, 2);
	cr_assert_not(sf_compare_explain(compare, &why));
	cr_assert(strstr(why.text, "2 records before, 3 after"), "%s", why.text);
	cr_assert(strstr(why.text, "meta { flags: 9 }"), "%s", why.text);
	cr_assert_not(strstr(why.text, "expires_us"), "%s", why.text);
	sf_compare_free(compare);
}

/* A node with a child that has children of its own: what a type that holds itself, and repeated fields, may look like. */
static void add_nodes(struct sf_compare *compare, enum sf_side side, uint64_t id)
{
	Test__State__Node leaf = TEST__STATE__NODE__INIT, node = TEST__STATE__NODE__INIT, root = TEST__STATE__NODE__INIT;
	Test__State__Node *leaves[300];

	leaf.id = id;
	for (size_t i = 0; i < 300; i++)
		leaves[i] = &leaf;
	node.children = leaves;
	node.n_children = 300;
	root.id = id;
	root.child = &node;
	add_message(compare, side, 1, &root.base);
}

Test(compare, leaves_them_out_of_repeated_messages_that_hold_themselves)
{
	static const char *const names[] = { "test.state.Node.id", NULL };
	struct sf_compare *compare = NULL;
	struct why why = { 0 };

	cr_assert_eq(sf_compare_new(nested, 2, names, &compare), 0);
	add_nodes(compare, SF_BEFORE, 1);
	add_nodes(compare, SF_AFTER, UINT64_MAX);
	cr_assert(sf_compare_explain(compare, &why), "%s", why.text);
	sf_compare_free(compare);
	cr_assert_eq(sf_compare_new(nested, 2, NULL, &compare), 0);
	add_nodes(compare, SF_BEFORE, 1);
	add_nodes(compare, SF_AFTER, UINT64_MAX);
	cr_assert_not(sf_compare_explain(compare, &why));
	cr_assert(strstr(why.text, "field id (1), child.children.id (2.3.1)"), "%s", why.text);
	sf_compare_free(compare);
}

Test(compare, takes_messages_that_hold_each_other_very_deeply)
{
	static const char *const names[] = { "test.state.Node.id", NULL };
	static uint8_t deep[4096];
	struct sf_compare *compare = NULL;
	size_t size = 0;

	/* Each is in the one before: child { child { ... } }, with two bytes of length. */
	for (size_t left = sizeof(deep); left > 140; left -= 3) {
		deep[size++] = 0x12;
		deep[size++] = (uint8_t)((left - 3) | 0x80);
		deep[size++] = (uint8_t)((left - 3) >> 7);
	}
	for (; size < sizeof(deep); size += 2)
		memcpy(deep + size, "\x08\x01", sizeof(deep) - size < 2 ? 1 : 2);
	cr_assert_eq(sf_compare_new(nested, 2, names, &compare), 0);
	cr_assert_eq(sf_compare_add(compare, SF_BEFORE, 1, deep, sizeof(deep)), 0);
	cr_assert_eq(sf_compare_add(compare, SF_AFTER, 1, deep, sizeof(deep)), 0);
	cr_assert(sf_compare_explain(compare, &(struct why){ 0 }));
	sf_compare_free(compare);
}
