/* SPDX-License-Identifier: MIT */
#include "tests/statefmt/stream.h"

TestSuite(statefmt_stream, .timeout = 60);

#define GOLDEN_FILE "tests/statefmt/golden/format-1.bin"
#define GOLDEN_FILE_DESCRIBED "tests/statefmt/golden/format-1-described.bin"

#define HEADER(s, v, list, n) { .service = (s), .app_version = (v), .schemas = (list), .n_schemas = (n) }

static Test__State__ItemV1 *item_unpack(const struct sf_record *record)
{
	return test__state__item_v1__unpack(NULL, record->size_bytes, record->data);
}

Test(statefmt_stream, returns_what_was_written)
{
	struct memory memory = { .piece = 7 };
	struct sf_writer *writer = writer_make(&memory, NULL);
	struct sf_totals written;
	struct sf_reader *reader;
	struct sf_record record;
	struct why why = { "" };

	for (uint32_t i = 0; i < 20000; i++)
		item_put(writer, "some key that is long enough", i);
	cr_assert_eq(sf_writer_finish(writer, &written, &why), 0);
	cr_assert_eq(sf_reader_new(NULL, memory_read, &memory, &reader, &why), 0, "%s", why.text);
	for (uint32_t i = 0; i < 20000; i++) {
		Test__State__ItemV1 *item;

		cr_assert_eq(sf_reader_next(reader, &record, &why), SF_RECORD, "%s", why.text);
		cr_assert_eq(record.type, TYPE_ITEM);
		cr_assert_eq(record.version, 1);
		cr_assert(memory.data[record.offset] == TYPE_ITEM &&
			  memcmp(memory.data + record.offset + SF_RECORD_HEAD_BYTES, record.data, record.size_bytes) == 0);
		item = item_unpack(&record);
		cr_assert_not_null(item);
		cr_assert_eq(item->flags, i);
		cr_assert_str_eq(item->key, "some key that is long enough");
		test__state__item_v1__free_unpacked(item, NULL);
	}
	cr_assert_eq(sf_reader_next(reader, &record, &why), SF_END, "%s", why.text);
	cr_assert_eq(sf_reader_next(reader, &record, &why), SF_END, "the end stays the end");
	cr_assert_eq(sf_reader_totals(reader)->records, 20000);
	cr_assert_eq(sf_reader_totals(reader)->counts[TYPE_ITEM], 20000);
	cr_assert_eq(sf_reader_totals(reader)->counts[TYPE_NODE], 0);
	cr_assert_eq(sf_reader_totals(reader)->payload_bytes, written.payload_bytes);
	cr_assert_arr_eq(sf_reader_totals(reader)->digest, written.digest, sizeof(written.digest));
	sf_reader_free(reader);
	sf_writer_free(writer);
	memory_free(&memory);
}

Test(statefmt_stream, header_tells_service_and_schemas)
{
	struct memory memory = small_stream();
	struct sf_reader *reader;
	const struct sf_header *header;

	cr_assert_eq(sf_reader_new(NULL, memory_read, &memory, &reader, NULL), 0);
	header = sf_reader_header(reader);
	cr_assert_str_eq(header->service, "cached");
	cr_assert_str_eq(header->app_version, "v1");
	cr_assert_eq(header->n_schemas, 2);
	cr_assert_str_eq(header->schemas[1].name, "cached.Node");
	cr_assert_eq(header->schemas[1].version, 7);
	cr_assert_eq(header->schemas[1].fingerprint, 0x99aabbccddeeff00);
	cr_assert_null(header->schemas[1].descriptor);
	sf_reader_free(reader);
	memory_free(&memory);
}

Test(statefmt_stream, fills_in_fingerprints_it_can_know)
{
	const struct sf_schema schema = { "t", 1, &test__state__item_v1__descriptor, 0, 0 };
	const struct sf_header header = { .schemas = &schema, .n_schemas = 1 };
	struct memory memory = { .data = NULL };
	struct sf_writer *writer;
	struct sf_reader *reader;
	struct why why;

	cr_assert_eq(sf_writer_new(&header, NULL, memory_write, &memory, &writer, &why), 0);
	stream_finish(writer);
	cr_assert_eq(sf_reader_new(NULL, memory_read, &memory, &reader, &why), 0);
	cr_assert_eq(sf_reader_header(reader)->schemas[0].fingerprint, sf_fingerprint(schema.descriptor));
	cr_assert_str_eq(sf_reader_header(reader)->service, "");
	sf_reader_free(reader);
	memory_free(&memory);
}

Test(statefmt_stream, without_records_is_a_stream)
{
	struct memory memory = { .data = NULL };
	struct sf_totals totals;

	stream_finish(writer_make(&memory, NULL));
	cr_assert_eq(memory_drain(&memory, NULL, &totals, NULL), SF_END);
	cr_assert_eq(totals.records, 0);
	memory_free(&memory);
}

Test(statefmt_stream, an_empty_message_is_a_record)
{
	struct memory memory = { .data = NULL };
	struct sf_writer *writer = writer_make(&memory, NULL);
	Test__State__Node node;
	struct sf_totals totals;

	test__state__node__init(&node);
	cr_assert_eq(sf_writer_put(writer, TYPE_NODE, &node.base, NULL), 0);
	stream_finish(writer);
	cr_assert_eq(memory_drain(&memory, NULL, &totals, NULL), SF_END);
	cr_assert_eq(totals.records, 1);
	cr_assert_eq(totals.payload_bytes, 0);
	memory_free(&memory);
}

/* Batches close at their limit, and what is larger than one travels alone. */
Test(statefmt_stream, batches_keep_their_limit)
{
	const struct sf_limits limits = { .record_bytes = 4096, .batch_bytes = 100, .header_bytes = 4096, .types = 4 };
	struct memory memory = { .data = NULL };
	struct sf_writer *writer = writer_make(&memory, &limits);
	char large[3000];
	Test__State__ItemV1 item;
	size_t batches = 0, alone = 0;

	memset(large, 'x', sizeof(large));
	item = item_make((char[]){ "" }, large, sizeof(large), 0);
	for (uint32_t i = 1; i <= 30; i++) {
		item_put(writer, "key", i);
		if (i % 10 == 0)
			cr_assert_eq(sf_writer_put(writer, TYPE_ITEM, &item.base, NULL), 0);
	}
	stream_finish(writer);
	for (size_t at = frame_offset(&memory, 1); memory.data[at] == SF_FRAME_BATCH; at += frame_bytes(&memory, at)) {
		size_t size = frame_bytes(&memory, at) - SF_FRAME_HEAD_BYTES;

		batches++;
		if (size > limits.batch_bytes) {
			cr_assert_eq(sf_get_le32(memory.data + at + SF_FRAME_HEAD_BYTES + 4) + SF_RECORD_HEAD_BYTES, size);
			alone++;
		}
	}
	cr_assert_eq(alone, 3);
	cr_assert_geq(batches, 3 + 30 * 20 / 100);
	cr_assert_eq(memory_drain(&memory, &limits, NULL, NULL), SF_END);
	memory_free(&memory);
}

Test(statefmt_stream, digest_is_the_same_in_any_order)
{
	struct memory one = { .data = NULL }, other = { .data = NULL };
	struct sf_writer *a = writer_make(&one, NULL), *b = writer_make(&other, NULL);
	struct sf_totals x, y;

	item_put(a, "one", 1);
	node_put(a, 5);
	item_put(a, "two", 2);
	item_put(b, "two", 2);
	item_put(b, "one", 1);
	node_put(b, 5);
	stream_finish(a);
	stream_finish(b);
	cr_assert_eq(memory_drain(&one, NULL, &x, NULL), SF_END);
	cr_assert_eq(memory_drain(&other, NULL, &y, NULL), SF_END);
	cr_assert_arr_eq(x.digest, y.digest, sizeof(x.digest));
	memory_free(&one);
	memory_free(&other);
}

/* ---- what a writer refuses ---- */

Test(statefmt_stream, writer_refuses_a_record_over_the_limit_and_stays_refused)
{
	const struct sf_limits limits = { .record_bytes = 100, .batch_bytes = 1000, .header_bytes = 1000, .types = 2 };
	struct memory memory = { .data = NULL };
	struct sf_writer *writer = writer_make(&memory, &limits);
	char large[200] = { 0 };
	Test__State__ItemV1 item = item_make((char[]){ "k" }, large, sizeof(large), 0);
	Test__State__ItemV1 small = item_make((char[]){ "k" }, NULL, 0, 0);
	struct why why = { "" };

	cr_assert_eq(sf_writer_put(writer, TYPE_ITEM, &item.base, &why), -EMSGSIZE);
	cr_assert(strstr(why.text, "cached.Item") && strstr(why.text, "limit of 100"), "%s", why.text);
	why.text[0] = '\0';
	cr_assert_eq(sf_writer_put(writer, TYPE_ITEM, &small.base, &why), -EMSGSIZE);
	cr_assert(strstr(why.text, "limit of 100"), "%s", why.text);
	cr_assert_eq(sf_writer_finish(writer, NULL, &why), -EMSGSIZE);
	sf_writer_free(writer);
	memory_free(&memory);
}

Test(statefmt_stream, writer_passes_on_why_a_write_failed)
{
	struct memory memory = { .fail_after = 400 };
	struct sf_writer *writer = writer_make(&memory, NULL), *none = NULL;
	struct why why = { "" };

	for (uint32_t i = 0; i < 20; i++)
		item_put(writer, "key", i);
	cr_assert_eq(sf_writer_finish(writer, NULL, &why), -ENOSPC);
	cr_assert(strstr(why.text, "the disk is full") && strstr(why.text, "at byte"), "%s", why.text);
	sf_writer_free(writer);
	memory.fail_after = memory.size + 10;
	cr_assert_eq(sf_writer_new(&test_header, NULL, memory_write, &memory, &none, &why), -ENOSPC);
	cr_assert_null(none, "nothing is returned on failure");
	memory_free(&memory);
}

Test(statefmt_stream, writer_refuses_the_wrong_message_type_or_moment)
{
	struct memory memory = { .data = NULL };
	struct sf_writer *writer = writer_make(&memory, NULL);
	Test__State__Node node;
	struct why why = { "" };

	test__state__node__init(&node);
	cr_assert_eq(sf_writer_put(writer, TYPE_ITEM, &node.base, &why), -EINVAL);
	cr_assert(strstr(why.text, "test.state.Node") && strstr(why.text, "test.state.ItemV1"), "%s", why.text);
	sf_writer_free(writer);
	writer = writer_make(&memory, NULL);
	cr_assert_eq(sf_writer_put(writer, 2, &node.base, &why), -EINVAL);
	sf_writer_free(writer);
	writer = writer_make(&memory, NULL);
	cr_assert_eq(sf_writer_finish(writer, NULL, &why), 0);
	cr_assert_eq(sf_writer_put(writer, TYPE_NODE, &node.base, &why), -EINVAL);
	sf_writer_free(writer);
	memory_free(&memory);
}

Test(statefmt_stream, writer_refuses_what_no_reader_would_take_for_its_depth)
{
	struct memory memory = { .data = NULL };
	struct sf_writer *writer = writer_make(&memory, NULL);
	static Test__State__Node nodes[SF_DEPTH_MAX + 1];
	struct why why = { "" };

	for (size_t i = 0; i <= SF_DEPTH_MAX; i++) {
		test__state__node__init(&nodes[i]);
		nodes[i].id = i + 1;
		nodes[i].child = i ? &nodes[i - 1] : NULL;
	}
	cr_assert_eq(sf_writer_put(writer, TYPE_NODE, &nodes[SF_DEPTH_MAX - 1].base, &why), 0, "%s", why.text);
	cr_assert_eq(sf_writer_put(writer, TYPE_NODE, &nodes[SF_DEPTH_MAX].base, &why), -EMSGSIZE);
	cr_assert(strstr(why.text, "cached.Node"), "%s", why.text);
	sf_writer_free(writer);
	memory_free(&memory);
}

struct bad_header {
	const char *say;
	struct sf_header header;
	int status;
};

Test(statefmt_stream, writer_refuses_headers_no_reader_would_take)
{
	static char long_name[300];
	static const struct sf_schema nameless = { "", 1, NULL, 0, 0 }, null_name = { NULL, 1, NULL, 0, 0 },
				      zero = { "t", 0, NULL, 0, 0 }, high = { "t", 65536, NULL, 0, 0 },
				      control = { "a\033[2Jb", 1, NULL, 0, 0 }, broken = { "a\xc3(", 1, NULL, 0, 0 },
				      overlong = { "a\xc0\xaf", 1, NULL, 0, 0 }, surrogate = { "\xed\xa0\x80", 1, NULL, 0, 0 },
				      beyond = { "\xf5\x80\x80\x80", 1, NULL, 0, 0 }, c1 = { "\xc2\x9b", 1, NULL, 0, 0 },
				      cut = { "\xe2\x82", 1, NULL, 0, 0 }, tail = { "\x80", 1, NULL, 0, 0 },
				      lengthy = { long_name, 1, NULL, 0, 0 };
	static const struct sf_schema twice[] = { { "t", 1, NULL, 0, 0 }, { "u", 1, NULL, 0, 0 }, { "t", 2, NULL, 0, 0 } };
	static const struct sf_schema five[5] = { { "a", 1, NULL, 0, 0 }, { "b", 1, NULL, 0, 0 }, { "c", 1, NULL, 0, 0 },
						  { "d", 1, NULL, 0, 0 }, { "e", 1, NULL, 0, 0 } };
	const struct bad_header bad[] = {
		{ "names no type", HEADER("s", "v", NULL, 0), -EINVAL },
		{ "type 0 has no name", HEADER("s", "v", &nameless, 1), -EINVAL },
		{ "type 0 has no name", HEADER("s", "v", &null_name, 1), -EINVAL },
		{ "version 0", HEADER("s", "v", &zero, 1), -EINVAL },
		{ "version 65536", HEADER("s", "v", &high, 1), -EINVAL },
		{ "printable", HEADER("s", "v", &control, 1), -EINVAL },
		{ "printable", HEADER("s", "v", &broken, 1), -EINVAL },
		{ "printable", HEADER("s", "v", &overlong, 1), -EINVAL },
		{ "printable", HEADER("s", "v", &surrogate, 1), -EINVAL },
		{ "printable", HEADER("s", "v", &beyond, 1), -EINVAL },
		{ "printable", HEADER("s", "v", &c1, 1), -EINVAL },
		{ "printable", HEADER("s", "v", &cut, 1), -EINVAL },
		{ "printable", HEADER("s", "v", &tail, 1), -EINVAL },
		{ "printable", HEADER("s\n", "v", five, 1), -EINVAL },
		{ "printable", HEADER("s", "\x7f", five, 1), -EINVAL },
		{ "longer than 255", HEADER("s", "v", &lengthy, 1), -EINVAL },
		{ "appears twice", HEADER("s", "v", twice, 3), -EINVAL },
		{ "limit of 4", HEADER("s", "v", five, 5), -EMSGSIZE },
	};
	const struct sf_limits limits = { .record_bytes = 100, .batch_bytes = 100, .header_bytes = 1000, .types = 4 };

	memset(long_name, 'n', sizeof(long_name) - 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct memory memory = { .data = NULL };
		struct sf_writer *writer = NULL;
		struct why why = { "" };

		cr_assert_eq(sf_writer_new(&bad[i].header, &limits, memory_write, &memory, &writer, &why), bad[i].status,
			     "%zu: %s", i, why.text);
		cr_assert(strstr(why.text, bad[i].say), "%zu: %s", i, why.text);
		cr_assert_eq(memory.size, 0, "nothing is written before the header was checked");
	}
}

Test(statefmt_stream, takes_names_in_any_script)
{
	static const struct sf_schema schema = { "кэш.项目.\xf0\x9f\x97\x84.é", 65535, NULL, 0, 0 };
	const struct sf_header header = HEADER("s", "v", &schema, 1);
	struct memory memory = { .data = NULL };
	struct sf_writer *writer;
	struct why why = { "" };

	cr_assert_eq(sf_writer_new(&header, NULL, memory_write, &memory, &writer, &why), 0, "%s", why.text);
	stream_finish(writer);
	cr_assert_eq(memory_drain(&memory, NULL, NULL, &why), SF_END, "%s", why.text);
	memory_free(&memory);
}

/* ---- frozen bytes ---- */

/* Written once, by hand: SF_GOLDEN_WRITE=1 with no file there. A released format never changes. */
static struct memory golden_load(const char *path, const struct memory *written)
{
	struct memory golden = { .data = NULL };
	FILE *file;
	uint8_t buffer[4096];

	if (written && getenv("SF_GOLDEN_WRITE")) {
		file = fopen(path, "wx");
		cr_assert_not_null(file, "%s is frozen: remove it first if it was never released", path);
		cr_assert_eq(fwrite(written->data, 1, written->size, file), written->size);
		fclose(file);
	}
	file = fopen(path, "r");
	cr_assert_not_null(file, "%s: run the tests from the repository's root", path);
	golden.size = fread(buffer, 1, sizeof(buffer), file);
	fclose(file);
	golden.data = malloc(golden.size + 1);
	cr_assert_not_null(golden.data);
	memcpy(golden.data, buffer, golden.size);
	return golden;
}

static void golden_check_written(const char *path, struct memory written)
{
	struct memory golden = golden_load(path, &written);

	cr_assert_eq(golden.size, written.size);
	cr_assert_arr_eq(golden.data, written.data, written.size);
	memory_free(&golden);
	memory_free(&written);
}

Test(statefmt_stream, golden_bytes_of_format_1_are_written_still)
{
	golden_check_written(GOLDEN_FILE, small_stream());
}

Test(statefmt_stream, golden_bytes_of_format_1_with_a_description_are_written_still)
{
	struct sf_schema schemas[2] = { test_schemas[0], test_schemas[1] };
	struct sf_header header = test_header;

	schemas[0].fingerprint = schemas[1].fingerprint = 0; /* let the writer find them */
	header.schemas = schemas;
	golden_check_written(GOLDEN_FILE_DESCRIBED, small_stream_with(&header));
}

static void golden_check_read(const char *path)
{
	struct memory golden = golden_load(path, NULL);
	struct sf_reader *reader;
	struct sf_record record;
	struct why why = { "" };
	Test__State__ItemV1 *item;
	Test__State__Node *node;

	cr_assert_eq(sf_reader_new(NULL, memory_read, &golden, &reader, &why), 0, "%s", why.text);
	cr_assert_eq(sf_reader_next(reader, &record, &why), SF_RECORD);
	item = item_unpack(&record);
	cr_assert(item && strcmp(item->key, "one") == 0 && item->flags == 1 && item->value.len == 3);
	test__state__item_v1__free_unpacked(item, NULL);
	cr_assert_eq(sf_reader_next(reader, &record, &why), SF_RECORD);
	item = item_unpack(&record);
	cr_assert(item && strcmp(item->key, "two") == 0 && item->flags == 2);
	test__state__item_v1__free_unpacked(item, NULL);
	cr_assert_eq(sf_reader_next(reader, &record, &why), SF_RECORD);
	cr_assert_eq(record.type, TYPE_NODE);
	node = test__state__node__unpack(NULL, record.size_bytes, record.data);
	cr_assert(node && node->id == 300 && node->child && node->child->id == 301);
	test__state__node__free_unpacked(node, NULL);
	cr_assert_eq(sf_reader_next(reader, &record, &why), SF_END, "%s", why.text);
	sf_reader_free(reader);
	memory_free(&golden);
}

Test(statefmt_stream, golden_bytes_of_format_1_are_read_still)
{
	golden_check_read(GOLDEN_FILE);
}

Test(statefmt_stream, golden_bytes_of_format_1_with_a_description_are_read_still)
{
	golden_check_read(GOLDEN_FILE_DESCRIBED);
}

/* ---- records larger than the caps ---- */

#define LARGE_BYTES ((size_t)40 << 20)

/* A stream with a small record and a large one, the latter of a type that allows @record_bytes. */
static int large_write(uint32_t record_bytes, struct memory *memory, struct why *why)
{
	struct sf_schema schemas[] = { test_schemas[TYPE_NODE], test_schemas[TYPE_ITEM] };
	const struct sf_header header = { .service = "s", .app_version = "v", .schemas = schemas, .n_schemas = 2 };
	Test__State__ItemV1 item = TEST__STATE__ITEM_V1__INIT;
	Test__State__Node node = TEST__STATE__NODE__INIT;
	struct sf_writer *writer = NULL;
	struct sf_totals totals;
	int r;

	schemas[1].record_bytes = record_bytes;
	item.value.data = calloc(1, LARGE_BYTES);
	cr_assert_not_null(item.value.data);
	item.value.len = LARGE_BYTES;
	memset(item.value.data, 'l', LARGE_BYTES);
	r = sf_writer_new(&header, NULL, memory_write, memory, &writer, why);
	cr_assert_eq(r, 0, "%s", why->text);
	r = sf_writer_put(writer, 0, &node.base, why);
	if (r == 0)
		r = sf_writer_put(writer, 1, &item.base, why);
	if (r == 0)
		r = sf_writer_put(writer, 0, &node.base, why);
	if (r == 0)
		r = sf_writer_finish(writer, &totals, why);
	sf_writer_free(writer);
	free(item.value.data);
	return r;
}

Test(statefmt_stream, takes_records_as_large_as_their_type_allows, .timeout = 60)
{
	struct memory memory = { .data = NULL }, small;
	struct sf_reader *reader = NULL;
	struct sf_record record;
	struct why why = { "" };

	cr_assert_eq(large_write(LARGE_BYTES + 100, &memory, &why), 0, "%s", why.text);
	cr_assert_eq(sf_reader_new(NULL, memory_read, &memory, &reader, &why), 0, "%s", why.text);
	cr_assert_eq(sf_reader_header(reader)->schemas[0].record_bytes, 0);
	cr_assert_eq(sf_reader_header(reader)->schemas[1].record_bytes, LARGE_BYTES + 100);
	sf_reader_raise(reader, 1, sf_reader_header(reader)->schemas[1].record_bytes);
	cr_assert_eq(sf_reader_next(reader, &record, &why), SF_RECORD);
	cr_assert_eq(sf_reader_next(reader, &record, &why), SF_RECORD, "%s", why.text);
	cr_assert_eq(record.type, 1);
	cr_assert_gt(record.size_bytes, LARGE_BYTES);
	cr_assert_eq(record.data[record.size_bytes - 1], 'l');
	cr_assert_eq(sf_reader_next(reader, &record, &why), SF_RECORD);
	cr_assert_eq(sf_reader_next(reader, &record, &why), SF_END, "%s", why.text);
	sf_reader_free(reader);
	/* What the header says is not enough: whoever reads has to allow it. */
	memory.at = 0;
	cr_assert_eq(memory_drain(&memory, NULL, NULL, &why), -EMSGSIZE);
	cr_assert(strstr(why.text, "over the limit of 16777"), "%s", why.text);
	/* Another type's records stay as small as they were. */
	small = (struct memory){ .data = memory.data, .size = memory.size };
	cr_assert_eq(sf_reader_new(NULL, memory_read, &small, &reader, &why), 0);
	sf_reader_raise(reader, 0, LARGE_BYTES + 100);
	cr_assert_eq(sf_reader_next(reader, &record, &why), SF_RECORD);
	cr_assert_eq(sf_reader_next(reader, &record, &why), -EMSGSIZE);
	cr_assert(strstr(why.text, "\"cached.Item\", over the limit of 16777216; StateRecordMax= of the service raises it, or "
				   "record_max of the type"), "%s", why.text);
	sf_reader_free(reader);
	memory_free(&memory);
}

Test(statefmt_stream, refuses_to_write_a_record_larger_than_its_type_allows, .timeout = 60)
{
	struct memory memory = { .data = NULL };
	struct why why = { "" };

	cr_assert_eq(large_write(LARGE_BYTES, &memory, &why), -EMSGSIZE);
	cr_assert(strstr(why.text, "over the limit of 41943040"), "%s", why.text);
	memory_free(&memory);
	cr_assert_eq(large_write(0, &memory, &why), -EMSGSIZE);
	cr_assert(strstr(why.text, "over the limit of 16777216"), "%s", why.text);
	memory_free(&memory);
}

Test(statefmt_stream, refuses_a_header_that_speaks_of_endless_records)
{
	struct sf_schema schema = test_schemas[TYPE_ITEM];
	const struct sf_header header = { .service = "s", .app_version = "v", .schemas = &schema, .n_schemas = 1 };
	struct memory memory = { .data = NULL };
	struct sf_writer *writer = NULL;
	struct why why = { "" };

	schema.record_bytes = SF_RECORD_BYTES_MAX + 1;
	cr_assert_eq(sf_writer_new(&header, NULL, memory_write, &memory, &writer, &why), -EINVAL);
	cr_assert(strstr(why.text, "1073741824 are possible"), "%s", why.text);
}
