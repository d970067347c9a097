/* SPDX-License-Identifier: MIT */
#include "tests/statefmt/migrations.h"
#include "tests/statefmt/stream.h"


TestSuite(statefmt_plan, .timeout = 60);

static const struct sf_schema item_v1 = { "cached.Item", 1, ITEM_V1, 0, 0 };
static const struct sf_schema item_v2 = { "cached.Item", 2, ITEM_V2, 0, 0 };
static const struct sf_schema item_v3 = { "cached.Item", 3, ITEM_V3, 0, 0 };
static const struct sf_schema node_v1 = { "cached.Node", 1, &test__state__node__descriptor, 0, 0 };

static struct sf_plan *plan_make(const struct sf_schema *have, const struct sf_schema *want)
{
	struct sf_plan *plan = NULL;
	struct why why = { "" };

	cr_assert_eq(sf_plan_new(have, 1, want, 1, item_migrations, N_ITEM_MIGRATIONS, &plan, &why), 0, "%s", why.text);
	return plan;
}

static int plan_refused(const struct sf_schema *have, const struct sf_schema *want, const struct sf_migration *steps,
			size_t n, struct why *why)
{
	struct sf_plan *plan = NULL;
	int r = sf_plan_new(have, 1, want, 1, steps, n, &plan, why);

	cr_assert_lt(r, 0);
	cr_assert_null(plan);
	return r;
}

/* ---- walking ---- */

Test(statefmt_plan, unpacks_where_nothing_changes)
{
	Test__State__ItemV1 item = item_make((char[]){ "k" }, (char[]){ "v" }, 1, 9);
	struct sf_plan *plan = plan_make(&item_v1, &item_v1);
	const ProtobufCMessage *message;
	const Test__State__ItemV1 *got;
	struct why why = { "" };
	uint8_t data[64];
	size_t want = 7;

	cr_assert_eq(sf_plan_unpack(plan, 0, data, test__state__item_v1__pack(&item, data), &want, &message, &why), 0);
	got = (const void *)message;
	cr_assert_eq(want, 0);
	cr_assert(got->base.descriptor == ITEM_V1 && got->flags == 9 && strcmp(got->key, "k") == 0 && got->value.len == 1);
	cr_assert_eq(sf_plan_convert(plan, 0, &item.base, &want, &message, &why), 0);
	cr_assert_eq(message, &item.base, "nothing is copied where nothing changes");
	sf_plan_free(plan);
}

Test(statefmt_plan, walks_up)
{
	Test__State__ItemV1 item = item_make((char[]){ "key" }, (char[]){ "value" }, 5, 0x30002);
	struct sf_plan *plan = plan_make(&item_v1, &item_v3);
	const ProtobufCMessage *message;
	const Test__State__ItemV3 *got;
	struct why why = { "" };
	uint8_t data[64];
	size_t want;

	for (int round = 0; round < 1000; round++) {
		cr_assert_eq(sf_plan_unpack(plan, 0, data, test__state__item_v1__pack(&item, data), &want, &message, &why), 0);
		got = (const void *)message;
		cr_assert(got->base.descriptor == ITEM_V3);
		cr_assert(got->meta && got->meta->flags == 2 && got->meta->expires_us == 3000000);
		cr_assert(got->n_tags == 1 && strcmp(got->tags[0], "key") == 0);
	}
	sf_plan_free(plan);
}

Test(statefmt_plan, walks_down_from_memory)
{
	Test__State__Meta meta = { .base = { .descriptor = &test__state__meta__descriptor }, .flags = 5, .expires_us = 9000000 };
	struct sf_plan *plan = plan_make(&item_v3, &item_v1);
	const ProtobufCMessage *message;
	const Test__State__ItemV1 *got;
	Test__State__ItemV3 item;
	struct why why = { "" };
	size_t want;

	test__state__item_v3__init(&item);
	item.key = (char[]){ "k" };
	item.meta = &meta;
	cr_assert_eq(sf_plan_convert(plan, 0, &item.base, &want, &message, &why), 0, "%s", why.text);
	got = (const void *)message;
	cr_assert(got->base.descriptor == ITEM_V1);
	cr_assert_eq(got->flags, 0x90005);
	cr_assert_eq(got->key, item.key, "a migration may share");
	sf_plan_free(plan);
}

/* The receiving side knows old versions only through its migrations; the saving side new ones not at all. */
Test(statefmt_plan, takes_descriptors_from_whoever_knows_them)
{
	const struct sf_schema have = { "cached.Item", 1, NULL, sf_fingerprint(ITEM_V1), 0 };
	const struct sf_schema want = { "cached.Item", 1, NULL, 0, 0 };
	Test__State__ItemV1 item = item_make((char[]){ "k" }, NULL, 0, 1);
	const ProtobufCMessage *message;
	struct sf_plan *plan = plan_make(&have, &item_v3);
	struct why why = { "" };
	uint8_t data[64];
	size_t index;

	cr_assert_eq(sf_plan_unpack(plan, 0, data, test__state__item_v1__pack(&item, data), &index, &message, &why), 0);
	cr_assert_eq(message->descriptor, ITEM_V3);
	sf_plan_free(plan);
	plan = plan_make(&have, &item_v1);
	cr_assert_eq(sf_plan_unpack(plan, 0, data, test__state__item_v1__pack(&item, data), &index, &message, &why), 0);
	cr_assert_eq(message->descriptor, ITEM_V1);
	sf_plan_free(plan);
	sf_plan_free(plan_make(&item_v3, &want));
	cr_assert_eq(plan_refused(&have, &want, NULL, 0, &why), -EINVAL, "nobody knows");
}

Test(statefmt_plan, finds_the_wanted_type_by_name)
{
	const struct sf_schema have[] = { node_v1, item_v1 }, want[] = { item_v2, { "new", 1, NULL, 0, 0 }, node_v1 };
	const ProtobufCMessage *message;
	struct sf_plan *plan;
	struct why why = { "" };
	size_t index;

	cr_assert_eq(sf_plan_new(have, 2, want, 3, item_migrations, N_ITEM_MIGRATIONS, &plan, &why), 0, "%s", why.text);
	cr_assert_eq(sf_plan_unpack(plan, 0, NULL, 0, &index, &message, &why), 0);
	cr_assert_eq(index, 2);
	cr_assert_eq(sf_plan_unpack(plan, 1, NULL, 0, &index, &message, &why), 0);
	cr_assert_eq(index, 0);
	cr_assert_eq(sf_plan_unpack(plan, 2, NULL, 0, &index, &message, &why), -EINVAL);
	cr_assert_eq(sf_plan_convert(plan, 2, message, &index, &message, &why), -EINVAL);
	sf_plan_free(plan);
}

/* ---- unknown fields ---- */

/* Field 9 (a string), field 100 (a varint) and field 4 (a varint): numbers ItemV1 does not know. ItemV2 knows 4. */
#define UNKNOWN "\x4a\x03" "abc" "\xa0\x06\x2a"
#define UNKNOWN_4 "\x20\x07"

Test(statefmt_plan, unknown_fields_survive_every_step)
{
	static const uint8_t data[] = "\x0a\x01k" UNKNOWN;
	struct sf_plan *up = plan_make(&item_v1, &item_v3), *down = plan_make(&item_v3, &item_v1);
	const ProtobufCMessage *message, *back;
	struct why why = { "" };
	uint8_t packed[64];
	size_t want, n;

	cr_assert_eq(sf_plan_unpack(up, 0, data, sizeof(data) - 1, &want, &message, &why), 0, "%s", why.text);
	cr_assert_eq(message->n_unknown_fields, 2);
	cr_assert_eq(message->unknown_fields[0].tag, 9);
	cr_assert_eq(message->unknown_fields[1].tag, 100);
	cr_assert_eq(sf_plan_convert(down, 0, message, &want, &back, &why), 0, "%s", why.text);
	n = protobuf_c_message_pack(back, packed);
	cr_assert_eq(n, sizeof(data) - 1);
	cr_assert_arr_eq(packed, data, n);
	sf_plan_free(up);
	sf_plan_free(down);
}

Test(statefmt_plan, unknown_fields_that_become_known_are_the_migrations_to_fill)
{
	static const uint8_t data[] = "\x0a\x01k" UNKNOWN_4 UNKNOWN;
	struct sf_plan *plan = plan_make(&item_v1, &item_v2);
	const ProtobufCMessage *message;
	struct why why = { "" };
	size_t want;

	cr_assert_eq(sf_plan_unpack(plan, 0, data, sizeof(data) - 1, &want, &message, &why), 0, "%s", why.text);
	cr_assert_eq(message->n_unknown_fields, 2);
	cr_assert_eq(message->unknown_fields[0].tag, 9);
	cr_assert_eq(((const Test__State__ItemV2 *)message)->expires_us, 0);
	sf_plan_free(plan);
}

/* A migration that takes unknown fields into its own hands: shares the array, or has one of its own. */
static int takes_unknown(struct sf_step *step, const ProtobufCMessage *from, ProtobufCMessage *to, void *arg)
{
	static uint8_t one = 1;

	if (arg) {
		to->unknown_fields = sf_step_alloc(step, sizeof(*to->unknown_fields));
		to->unknown_fields[0] = (ProtobufCMessageUnknownField){ 50, PROTOBUF_C_WIRE_TYPE_VARINT, 1, &one };
		to->n_unknown_fields = 1;
	} else {
		to->unknown_fields = from->unknown_fields;
		to->n_unknown_fields = from->n_unknown_fields;
	}
	return 0;
}

Test(statefmt_plan, unknown_fields_a_migration_set_itself_are_kept_once)
{
	static const uint8_t data[] = UNKNOWN;
	char yes;

	for (int own = 0; own < 2; own++) {
		const struct sf_migration step = { "cached.Item", 1, 2, ITEM_V1, ITEM_V2, takes_unknown,
						   own ? &yes : NULL, NULL };
		const ProtobufCMessage *message;
		struct sf_plan *plan;
		struct why why = { "" };
		size_t want;

		cr_assert_eq(sf_plan_new(&item_v1, 1, &item_v2, 1, &step, 1, &plan, &why), 0, "%s", why.text);
		cr_assert_eq(sf_plan_unpack(plan, 0, data, sizeof(data) - 1, &want, &message, &why), 0);
		cr_assert_eq(message->n_unknown_fields, own ? 3 : 2);
		cr_assert_eq(message->unknown_fields[0].tag, own ? 50 : 9);
		sf_plan_free(plan);
	}
}

/* ---- records that cannot be migrated ---- */

Test(statefmt_plan, a_failing_step_names_type_step_and_reason)
{
	Test__State__ItemV1 item = item_make((char[]){ "devil" }, NULL, 0, 666);
	struct sf_plan *plan = plan_make(&item_v1, &item_v3);
	const ProtobufCMessage *message;
	struct why why = { "" };
	size_t want;

	cr_assert_eq(sf_plan_convert(plan, 0, &item.base, &want, &message, &why), -EINVAL);
	cr_assert_str_eq(why.text, "migrating \"cached.Item\" from version 1 to 2: flags 666 of \"devil\" have no meaning");
	item.flags = 1;
	cr_assert_eq(sf_plan_convert(plan, 0, &item.base, &want, &message, &why), 0, "the plan goes on");
	sf_plan_free(plan);
}

static int returns_arg(struct sf_step *step, const ProtobufCMessage *from, ProtobufCMessage *to, void *arg)
{
	(void)step;
	(void)from;
	(void)to;
	return *(int *)arg;
}

Test(statefmt_plan, a_step_that_returns_what_it_must_not_fails_the_record)
{
	static const struct {
		int returned, status;
		const char *say;
	} cases[] = { { -ERANGE, -ERANGE, "Numerical result out of range" }, { 3, -EINVAL, "returned 3" } };

	for (size_t i = 0; i < 2; i++) {
		int returned = cases[i].returned;
		const struct sf_migration step = { "cached.Item", 1, 2, ITEM_V1, ITEM_V2, returns_arg, &returned, NULL };
		const ProtobufCMessage *message;
		struct sf_plan *plan;
		struct why why = { "" };
		size_t want;

		cr_assert_eq(sf_plan_new(&item_v1, 1, &item_v2, 1, &step, 1, &plan, &why), 0, "%s", why.text);
		cr_assert_eq(sf_plan_unpack(plan, 0, NULL, 0, &want, &message, &why), cases[i].status);
		cr_assert(strstr(why.text, "cached.Item") && strstr(why.text, "1 to 2") && strstr(why.text, cases[i].say), "%s",
			  why.text);
		sf_plan_free(plan);
	}
}

/* More than any address space has. */
static int wants_too_much(struct sf_step *step, const ProtobufCMessage *from, ProtobufCMessage *to, void *arg)
{
	(void)from;
	(void)to;
	memset(sf_step_alloc(step, SIZE_MAX / 2), 1, 100);
	*(bool *)arg = true;
	return 0;
}

Test(statefmt_plan, memory_that_is_not_there_fails_the_record)
{
	bool went_on = false;
	const struct sf_migration step = { "cached.Item", 1, 2, ITEM_V1, ITEM_V2, wants_too_much, &went_on, NULL };
	const ProtobufCMessage *message;
	struct sf_plan *plan;
	struct why why = { "" };
	size_t want;

	cr_assert_eq(sf_plan_new(&item_v1, 1, &item_v2, 1, &step, 1, &plan, &why), 0, "%s", why.text);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(sf_plan_unpack(plan, 0, NULL, 0, &want, &message, &why), -ENOMEM);
	cr_assert(strstr(why.text, "cached.Item") && strstr(why.text, "Cannot allocate memory"), "%s", why.text);
	cr_assert(!went_on);
	sf_plan_free(plan);
}

Test(statefmt_plan, bytes_that_are_no_message_fail_the_record)
{
	struct sf_plan *plan = plan_make(&item_v1, &item_v2);
	const ProtobufCMessage *message;
	Test__State__Node node;
	struct why why = { "" };
	size_t want;

	cr_assert_eq(sf_plan_unpack(plan, 0, (const uint8_t *)"\x0a\x7f", 2, &want, &message, &why), -EBADMSG);
	cr_assert(strstr(why.text, "\"cached.Item\" version 1"), "%s", why.text);
	test__state__node__init(&node);
	cr_assert_eq(sf_plan_convert(plan, 0, &node.base, &want, &message, &why), -EINVAL);
	cr_assert(strstr(why.text, "test.state.Node"), "%s", why.text);
	sf_plan_free(plan);
}

/* ---- plans that are refused ---- */

Test(statefmt_plan, a_type_nobody_wants_is_refused)
{
	struct why why = { "" };

	cr_assert_eq(plan_refused(&node_v1, &item_v1, NULL, 0, &why), -ENOENT);
	cr_assert(strstr(why.text, "cached.Node"), "%s", why.text);
}

Test(statefmt_plan, a_gap_is_refused_before_any_record)
{
	struct why why = { "" };

	cr_assert_eq(plan_refused(&item_v1, &item_v3, item_migrations, 1, &why), -ENOENT);
	cr_assert(strstr(why.text, "stuck at version 2"), "%s", why.text);
	/* Up-migrations only: a newer version has no way down. */
	cr_assert_eq(plan_refused(&item_v3, &item_v2, item_migrations, 2, &why), -ENOENT);
	cr_assert(strstr(why.text, "from version 3 to 2"), "%s", why.text);
}

Test(statefmt_plan, an_ambiguous_step_is_refused)
{
	const struct sf_migration steps[] = { item_migrations[0], item_migrations[0] };
	struct why why = { "" };

	cr_assert_eq(plan_refused(&item_v1, &item_v2, steps, 2, &why), -EEXIST);
}

Test(statefmt_plan, one_version_of_two_shapes_is_refused)
{
	const struct sf_schema changed = { "cached.Item", 1, &test__state__item_type__descriptor, 0, 0 };
	const struct sf_schema renamed = { "cached.Item", 1, NULL, sf_fingerprint(&test__state__thing__descriptor), 0 };
	const struct sf_schema told = { "cached.Item", 1, NULL, sf_fingerprint(changed.descriptor), 0 };
	const struct sf_schema want_told = { "cached.Item", 1, NULL, told.fingerprint, 0 };
	struct sf_plan *plan;
	struct why why = { "" };

	cr_assert_eq(plan_refused(&item_v1, &changed, NULL, 0, &why), -EPROTO);
	cr_assert(strstr(why.text, "\"cached.Item\" version 1") && strstr(why.text, "shapes"), "%s", why.text);
	cr_assert_eq(plan_refused(&told, &item_v1, NULL, 0, &why), -EPROTO);
	cr_assert_eq(plan_refused(&told, &item_v2, item_migrations, N_ITEM_MIGRATIONS, &why), -EPROTO,
		     "the step's idea of version 1 counts too");
	cr_assert_eq(plan_refused(&item_v2, &want_told, item_migrations, N_ITEM_MIGRATIONS, &why), -EPROTO);
	cr_assert_eq(sf_plan_new(&renamed, 1, &item_v1, 1, NULL, 0, &plan, &why), 0, "%s", why.text);
	sf_plan_free(plan);
}

Test(statefmt_plan, steps_that_do_not_fit_together_are_refused)
{
	struct sf_migration steps[] = { item_migrations[0], item_migrations[1] };
	struct why why = { "" };

	steps[1].from_descriptor = &test__state__thing__descriptor;
	cr_assert_eq(plan_refused(&item_v1, &item_v3, steps, 2, &why), -EINVAL);
	cr_assert(strstr(why.text, "version 2 is test.state.ItemV2") && strstr(why.text, "test.state.Thing"), "%s", why.text);
	steps[1].from_descriptor = ITEM_V2;
	steps[0].migrate = NULL;
	cr_assert_eq(plan_refused(&item_v1, &item_v3, steps, 2, &why), -EINVAL);
	cr_assert(strstr(why.text, "no function"), "%s", why.text);
}

/* ---- writer, stream, plan ---- */

Test(statefmt_plan, a_whole_state_goes_up_and_comes_back_the_same)
{
	struct memory first = small_stream(), back = { .data = NULL };
	const struct sf_schema have[] = { { "cached.Item", 1, NULL, 0, 0 }, { "cached.Node", 7, NULL, 0, 0 } };
	const struct sf_schema node_v7 = { "cached.Node", 7, &test__state__node__descriptor, 0, 0 };
	const struct sf_schema want[] = { item_v3, node_v7 };
	struct sf_plan *up, *down;
	struct sf_reader *reader;
	struct sf_writer *writer = writer_make(&back, NULL);
	struct sf_totals one, two;
	struct sf_record record;
	struct why why = { "" };

	cr_assert_eq(sf_plan_new(have, 2, want, 2, item_migrations, N_ITEM_MIGRATIONS, &up, &why), 0, "%s", why.text);
	cr_assert_eq(sf_plan_new(want, 2, have, 2, item_migrations, N_ITEM_MIGRATIONS, &down, &why), 0, "%s", why.text);
	cr_assert_eq(sf_reader_new(NULL, memory_read, &first, &reader, &why), 0);
	while (sf_reader_next(reader, &record, &why) == SF_RECORD) {
		const ProtobufCMessage *new, *old;
		size_t type;

		cr_assert_eq(sf_plan_unpack(up, record.type, record.data, record.size_bytes, &type, &new, &why), 0);
		cr_assert_eq(sf_plan_convert(down, type, new, &type, &old, &why), 0, "%s", why.text);
		cr_assert_eq(sf_writer_put(writer, type, old, &why), 0, "%s", why.text);
	}
	stream_finish(writer);
	cr_assert_eq(memory_drain(&first, NULL, &one, &why), SF_END);
	cr_assert_eq(memory_drain(&back, NULL, &two, &why), SF_END, "%s", why.text);
	cr_assert_eq(one.records, two.records);
	cr_assert_arr_eq(one.digest, two.digest, sizeof(one.digest));
	sf_reader_free(reader);
	sf_plan_free(up);
	sf_plan_free(down);
	memory_free(&first);
	memory_free(&back);
}
