/* SPDX-License-Identifier: MIT */
/* `upgradectl state`, with files made by the writer. */
#include "base/why.h"
#include "cli/sorter.h"
#include "cli/state.h"
#include "statefmt/frame.h"
#include "statefmt/statefmt.h"
#include "tests/cli/shown.pb-c.h"
#include "wire/wire.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(state, .timeout = 120);

/* ---- files ---- */

#define EVERY (&test__shown__every__descriptor)
#define ITEM (&test__shown__item__descriptor)

struct made {
	char path[64];
	FILE *file;
	struct sf_writer *writer;
};

static int file_write(void *arg, const void *data, size_t size_bytes, struct why *why)
{
	return fwrite(data, 1, size_bytes, arg) == size_bytes ? 0 : why_errno(why, -errno, "write");
}

static struct made made_with(const struct sf_header *header, const struct sf_limits *limits)
{
	struct made made = { .path = "/tmp/test-state-XXXXXX" };
	struct why why = { "" };

	made.file = fdopen(mkstemp(made.path), "w+");
	cr_assert(made.file);
	cr_assert_eq(sf_writer_new(header, limits, file_write, made.file, &made.writer, &why), 0, "%s", why.text);
	return made;
}

static const struct sf_schema schemas[] = { { "cached.Item", 3, ITEM, 0, 0 }, { "Every", 1, EVERY, 0, 0 } };
#define TYPE_ITEM 0u
#define TYPE_EVERY 1u

static struct made made_open(void)
{
	const struct sf_limits limits = { .record_bytes = 1 << 20, .batch_bytes = 512, .header_bytes = 1 << 20, .types = 8 };
	const struct sf_header header = { .service = "cached", .app_version = "v3", .schemas = schemas, .n_schemas = 2 };

	return made_with(&header, &limits);
}

static void put(struct made *made, size_t type, const ProtobufCMessage *message)
{
	struct why why = { "" };

	cr_assert_eq(sf_writer_put(made->writer, type, message, &why), 0, "%s", why.text);
}

static void item_put(struct made *made, const char *key, const char *value, uint32_t flags)
{
	Test__Shown__Item item = TEST__SHOWN__ITEM__INIT;

	item.key = (char *)(uintptr_t)key;
	item.value = (ProtobufCBinaryData){ strlen(value), (uint8_t *)(uintptr_t)value };
	item.flags = flags;
	put(made, TYPE_ITEM, &item.base);
}

static void made_finish(struct made *made)
{
	struct why why = { "" };

	cr_assert_eq(sf_writer_finish(made->writer, NULL, &why), 0, "%s", why.text);
	sf_writer_free(made->writer);
	cr_assert_eq(fclose(made->file), 0);
}

/* ---- the tool ---- */

struct told {
	int status;
	char *out, *err;
};

static struct told told;

/* "%s" in @line stands for the path of @a, then of @b. */
static int tell(const char *line, const struct made *a, const struct made *b)
{
	static char words[512];
	char *argv[16] = { NULL }, *save = NULL;
	size_t out_size, err_size;
	struct state_call call;
	struct why why = { "" };
	struct term out = { .utf8 = true }, err = { .utf8 = true };
	int argc = 0, rc;

	free(told.out);
	free(told.err);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(words, sizeof(words), line, a ? a->path : "", b ? b->path : "");
#pragma GCC diagnostic pop
	for (char *word = strtok_r(words, " ", &save); word && argc < 15; word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	out.out = open_memstream(&told.out, &out_size);
	cr_assert_not_null(out.out);
	err.out = open_memstream(&told.err, &err_size);
	cr_assert_not_null(err.out);
	rc = state_args_parse(argc, argv, &call, &why);
	if (rc == ARGS_RUN)
		told.status = call.verb->run(&call, &out, &err);
	else
		told.status = WIRE_EXIT_USAGE;
	if (rc < 0)
		fputs(why.text, err.out);
	fclose(out.out);
	fclose(err.out);
	return told.status;
}

static void expect_out(const char *text)
{
	cr_expect(strstr(told.out, text), "no \"%s\" in:\n%s%s", text, told.out, told.err);
}

static json_t *line_json(const char *text)
{
	json_error_t error;
	json_t *json = json_loads(text, JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES, &error);

	cr_assert(json, "%s at %d of: %s", error.text, error.position, text);
	return json;
}

/* ---- show ---- */

static void every_put(struct made *made)
{
	Test__Shown__Every every = TEST__SHOWN__EVERY__INIT, inner = TEST__SHOWN__EVERY__INIT, second = TEST__SHOWN__EVERY__INIT;
	Test__Shown__Every__NamedEntry named[2] = { TEST__SHOWN__EVERY__NAMED_ENTRY__INIT, TEST__SHOWN__EVERY__NAMED_ENTRY__INIT };
	Test__Shown__Every__NumberedEntry numbered = TEST__SHOWN__EVERY__NUMBERED_ENTRY__INIT;
	Test__Shown__Every__NamedEntry *named_list[] = { &named[0], &named[1] };
	Test__Shown__Every__NumberedEntry *numbered_list[] = { &numbered };
	Test__Shown__Every *inners[] = { &inner, &second };
	int32_t packed[] = { 1, -2, 300 }, loose[] = { 7, 8 };
	char *texts[] = { (char[]){ "a" }, (char[]){ "" } };

	every.real = 0.1;
	every.small_real = 0.1f;
	every.i64 = INT64_MIN;
	every.u64 = UINT64_MAX;
	every.i32 = -1;
	every.f64 = 1;
	every.f32 = UINT32_MAX;
	every.truth = 1;
	every.text = (char[]){ "h\xc3\xa9 \"\\\n\033[2J\xe2\x80\xae" };
	every.data = (ProtobufCBinaryData){ 3, (uint8_t[]){ 0, 255, 'a' } };
	every.u32 = 5;
	every.color = TEST__SHOWN__COLOR__COLOR_RED;
	every.sf32 = -6;
	every.sf64 = -7;
	every.s32 = INT32_MIN;
	every.s64 = -9;
	every.packed = packed;
	every.n_packed = 3;
	every.loose = loose;
	every.n_loose = 2;
	every.texts = texts;
	every.n_texts = 2;
	inner.color = (Test__Shown__Color)42;
	inner.real = NAN;
	second.real = -INFINITY;
	every.inner = &inner;
	every.inners = inners;
	every.n_inners = 2;
	named[0].key = (char[]){ "k" };
	named[0].value = &second;
	named[1].key = (char[]){ "" };
	every.named = named_list;
	every.n_named = 2;
	numbered.key = -5;
	numbered.value = (char[]){ "five" };
	every.numbered = numbered_list;
	every.n_numbered = 1;
	every.choice_case = TEST__SHOWN__EVERY__CHOICE_OTHER;
	every.other = (char[]){ "this" };
	put(made, TYPE_EVERY, &every.base);
}

static struct made every_file(void)
{
	struct made made = made_open();

	every_put(&made);
	made_finish(&made);
	return made;
}

Test(state, shows_every_kind_of_field_as_text)
{
	static const char *const lines[] = {
		"# Every version 1 at byte ", "\nreal: 0.1\n", "\nsmall_real: 0.1\n", "\ni64: -9223372036854775808\n",
		"\nu64: 18446744073709551615\n", "\ni32: -1\n", "\nf64: 1\n", "\nf32: 4294967295\n", "\ntruth: true\n",
		"\ntext: \"h\xc3\xa9 \\\"\\\\\\n\\033[2J\\342\\200\\256\"\n", "\ndata: \"\\000\\377a\"\n", "\nu32: 5\n",
		"\ncolor: COLOR_RED\n", "\nsf32: -6\n", "\nsf64: -7\n", "\ns32: -2147483648\n", "\ns64: -9\n",
		"\npacked: [1, -2, 300]\n", "\nloose: 7\nloose: 8\n", "\ntexts: \"a\"\ntexts: \"\"\n",
		"\ninner {\n  real: nan\n  color: 42\n}\n", "\ninners {\n  real: -inf\n}\n",
		"\nnamed {\n  key: \"k\"\n  value {\n    real: -inf\n  }\n}\n", "\nnumbered {\n  key: -5\n  value: \"five\"\n}\n",
		"\nother: \"this\"\n",
	};
	struct made made = every_file();

	cr_assert_eq(tell("upgradectl state show %s", &made, NULL), WIRE_EXIT_DONE, "%s", told.err);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		expect_out(lines[i]);
	cr_expect_null(strchr(told.out, '\033'), "no escape reaches the terminal");
	unlink(made.path);
}

static void expect_member(json_t *value, const char *name, const char *expected)
{
	char *text = json_dumps(json_object_get(value, name), JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);

	cr_expect(text && strcmp(text, expected) == 0, "%s is %s, not %s", name, text, expected);
	free(text);
}

Test(state, shows_every_kind_of_field_as_json)
{
	struct made made = every_file();
	json_t *line, *value;

	cr_assert_eq(tell("upgradectl state show -o json %s", &made, NULL), WIRE_EXIT_DONE, "%s", told.err);
	line = line_json(told.out);
	value = json_object_get(line, "value");
	expect_member(line, "type", "\"Every\"");
	expect_member(line, "version", "1");
	expect_member(value, "i64", "\"-9223372036854775808\"");
	expect_member(value, "u64", "\"18446744073709551615\"");
	expect_member(value, "i32", "-1");
	expect_member(value, "f64", "\"1\"");
	expect_member(value, "f32", "4294967295");
	expect_member(value, "truth", "true");
	expect_member(value, "text", "\"h\\u00E9 \\\"\\\\\\n\\u001B[2J\\u202E\"");
	expect_member(value, "data", "\"AP9h\"");
	expect_member(value, "color", "\"COLOR_RED\"");
	expect_member(value, "s32", "-2147483648");
	expect_member(value, "s64", "\"-9\"");
	expect_member(value, "packed", "[1,-2,300]");
	expect_member(value, "loose", "[7,8]");
	expect_member(value, "texts", "[\"a\",\"\"]");
	expect_member(value, "inner", "{\"real\":\"NaN\",\"color\":42}");
	expect_member(value, "inners", "[{\"real\":\"NaN\",\"color\":42},{\"real\":\"-Infinity\"}]");
	expect_member(value, "named", "{\"k\":{\"real\":\"-Infinity\"},\"\":{}}");
	expect_member(value, "numbered", "{\"-5\":\"five\"}");
	expect_member(value, "other", "\"this\"");
	cr_expect(strstr(told.out, "\"real\":0.1,\"small_real\":0.1,"), "%s", told.out);
	cr_expect_null(json_object_get(value, "one"), "what is absent is not there");
	for (const char *c = told.out; *c; c++)
		cr_assert((*c >= 0x20 && *c < 0x7f) || *c == '\n');
	json_decref(line);
	unlink(made.path);
}

/* A record of bytes that no packer would write in this way. */
static struct made raw_file(const ProtobufCMessageDescriptor *type, const void *data, size_t size_bytes)
{
	const struct sf_schema schema = { "raw", 1, type, 0, 0 };
	const struct sf_header header = { .service = "s", .app_version = "v", .schemas = &schema, .n_schemas = 1 };
	ProtobufCMessageUnknownField unknown = { 1, PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, 0, NULL };
	uint8_t *copy = malloc(size_bytes + 1);
	struct made made;
	struct { ProtobufCMessage base; uint8_t room[4096]; } message = { 0 };

	/* As one unknown field, whose tag is the first byte and whose bytes are the rest. */
	cr_assert(copy && type->sizeof_message <= sizeof(message) && size_bytes > 1);
	memcpy(copy, data, size_bytes);
	type->message_init(&message.base);
	unknown.tag = copy[0] >> 3;
	unknown.wire_type = (ProtobufCWireType)(copy[0] & 7);
	unknown.data = copy + 1;
	unknown.len = size_bytes - 1;
	message.base.unknown_fields = &unknown;
	message.base.n_unknown_fields = 1;
	made = made_with(&header, NULL);
	put(&made, 0, &message.base);
	made_finish(&made);
	free(copy);
	return made;
}

#define RAW(type, bytes) raw_file(type, bytes, sizeof(bytes) - 1)

Test(state, fields_that_the_types_do_not_know_are_shown_by_number)
{
	static const char bytes[] = "\x78\x05"			       /* 15: varint */
				    "\x81\x01\x01\0\0\0\0\0\0\0"       /* 16: fixed64 */
				    "\x8d\x01\x02\0\0\0"	       /* 17: fixed32 */
				    "\x92\x01\x02\xff""a";	       /* 18: bytes */
	struct made made = RAW(&test__shown__little__descriptor, bytes);
	json_t *line;

	cr_assert_eq(tell("upgradectl state show %s", &made, NULL), WIRE_EXIT_DONE, "%s", told.err);
	expect_out("\n15: 5\n16: 0x0000000000000001\n17: 0x00000002\n18: \"\\377a\"\n");
	cr_assert_eq(tell("upgradectl state -ojson show %s", &made, NULL), WIRE_EXIT_DONE);
	line = line_json(told.out);
	expect_member(json_object_get(line, "value"), "@unknown",
		      "[{\"number\":15,\"varint\":\"5\"},{\"number\":16,\"fixed64\":\"1\"},{\"number\":17,\"fixed32\":2},"
		      "{\"number\":18,\"bytes\":\"/2E=\"}]");
	json_decref(line);
	unlink(made.path);
}

Test(state, fields_in_no_order_are_put_together_in_json)
{
	static const char bytes[] = "\x28\x07"			/* i32: 7 */
				    "\xa8\x01\x01"		/* loose: 1 */
				    "\xaa\x01\x02\x02\x03"	/* loose, packed after all: 2, 3 */
				    "\xf2\x01\x02\x28\x01"	/* inner { i32: 1 } */
				    "\x28\x08"			/* i32: 8 */
				    "\xf2\x01\x02\x58\x02";	/* inner { u32: 2 } */
	struct made made = RAW(EVERY, bytes);
	json_t *line, *value;

	cr_assert_eq(tell("upgradectl state show -o json %s", &made, NULL), WIRE_EXIT_DONE, "%s", told.err);
	line = line_json(told.out);
	value = json_object_get(line, "value");
	expect_member(value, "loose", "[1,2,3]");
	expect_member(value, "i32", "8");
	expect_member(value, "inner", "{\"i32\":1,\"u32\":2}");
	json_decref(line);
	unlink(made.path);
}

Test(state, text_that_is_not_utf8_is_still_valid_json)
{
	static const char bytes[] = "\x4a\x05" "a\xff\xe2\x80" "b";
	struct made made = RAW(EVERY, bytes);
	json_t *line;

	cr_assert_eq(tell("upgradectl state show -o json %s", &made, NULL), WIRE_EXIT_DONE);
	line = line_json(told.out);
	expect_member(json_object_get(line, "value"), "text", "\"a\\uFFFD\\uFFFD\\uFFFDb\"");
	json_decref(line);
	cr_assert_eq(tell("upgradectl state show %s", &made, NULL), WIRE_EXIT_DONE);
	expect_out("text: \"a\\377\\342\\200b\"\n");
	unlink(made.path);
}

Test(state, a_record_that_is_none_is_shown_as_bytes_and_told)
{
	static const char bytes[] = "\x12\x05" "ab"; /* five bytes of value, of which two are there */
	struct made made = RAW(ITEM, bytes);

	cr_expect_eq(tell("upgradectl state show %s", &made, NULL), WIRE_EXIT_ERROR);
	expect_out("# damaged: \"\\022\\005ab\"");
	cr_expect(strstr(told.err, "record at byte "), "%s", told.err);
	cr_expect(strstr(told.err, "not a protobuf message"), "%s", told.err);
	cr_expect_eq(tell("upgradectl state verify %s", &made, NULL), WIRE_EXIT_ERROR);
	expect_out("not a protobuf message");
	expect_out("intact before it: 0 records");
	unlink(made.path);
}

static struct made items_file(void)
{
	struct made made = made_open();

	for (unsigned i = 0; i < 50; i++) {
		char key[16];

		snprintf(key, sizeof(key), "k%02u", i);
		item_put(&made, key, "value", i);
	}
	every_put(&made);
	made_finish(&made);
	return made;
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

Test(state, picks_by_type_and_limit)
{
	struct made made = items_file();

	cr_assert_eq(tell("upgradectl state show %s", &made, NULL), WIRE_EXIT_DONE);
	cr_expect_eq(count(told.out, "# cached.Item version 3"), 50u);
	cr_assert_eq(tell("upgradectl state show --limit=7 %s", &made, NULL), WIRE_EXIT_DONE);
	cr_expect_eq(count(told.out, "# "), 7u);
	cr_assert_eq(tell("upgradectl state show --type Every %s", &made, NULL), WIRE_EXIT_DONE);
	cr_expect_eq(count(told.out, "# "), 1u);
	cr_assert_eq(tell("upgradectl state show --limit=0 %s", &made, NULL), WIRE_EXIT_DONE);
	cr_expect_str_empty(told.out);
	cr_expect_eq(tell("upgradectl state show --type Nothing %s", &made, NULL), WIRE_EXIT_USAGE);
	cr_expect(strstr(told.err, "no type \"Nothing\""), "%s", told.err);
	unlink(made.path);
}

/* ---- verify ---- */

static void byte_flip(const struct made *made, off_t at)
{
	int fd = open(made->path, O_RDWR);
	uint8_t byte;

	cr_assert_eq(pread(fd, &byte, 1, at), 1);
	byte ^= 1;
	cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static uint64_t member_number(const char *name)
{
	json_t *line = line_json(told.out);
	uint64_t number = (uint64_t)json_integer_value(json_object_get(line, name));

	json_decref(line);
	return number;
}

Test(state, verify_says_how_much_is_intact)
{
	struct made made = items_file();
	uint64_t bytes, frames;
	struct stat status;

	cr_assert_eq(tell("upgradectl state verify -o json %s", &made, NULL), WIRE_EXIT_DONE, "%s%s", told.out, told.err);
	expect_out("\"whole\":true");
	cr_expect_eq(member_number("records"), 51u);
	bytes = member_number("bytes");
	frames = member_number("frames");
	cr_assert_eq(stat(made.path, &status), 0);
	cr_expect_eq(bytes, (uint64_t)status.st_size);
	/* In the trailer: all records are there. */
	byte_flip(&made, status.st_size - 1);
	cr_expect_eq(tell("upgradectl state verify -o json %s", &made, NULL), WIRE_EXIT_ERROR);
	cr_expect_eq(member_number("records"), 51u);
	cr_expect_eq(member_number("frames"), frames - 1);
	cr_expect_eq(member_number("damaged_frame"), frames);
	expect_out("checksum mismatch");
	/* In the middle. */
	byte_flip(&made, status.st_size * 3 / 4);
	cr_expect_eq(tell("upgradectl state verify -o json %s", &made, NULL), WIRE_EXIT_ERROR);
	cr_expect(member_number("records") > 0 && member_number("records") < 51);
	cr_expect_lt(member_number("damaged_at"), (uint64_t)status.st_size * 3 / 4);
	cr_expect_eq(member_number("damaged_at"), member_number("bytes"));
	/* In the header: nothing is. */
	byte_flip(&made, 30);
	cr_expect_eq(tell("upgradectl state verify %s", &made, NULL), WIRE_EXIT_ERROR);
	expect_out("frame 1 (header) at byte 12: checksum mismatch");
	expect_out("intact before it: 0 records");
	unlink(made.path);
}

Test(state, verify_knows_where_a_file_was_cut)
{
	struct made made = items_file();
	struct stat status;

	cr_assert_eq(stat(made.path, &status), 0);
	for (off_t size = status.st_size - 1; size >= 0; size -= 97) {
		cr_assert_eq(truncate(made.path, size), 0);
		cr_expect_eq(tell("upgradectl state verify %s", &made, NULL), WIRE_EXIT_ERROR, "%ld", (long)size);
		expect_out("damaged: ");
		cr_expect_eq(tell("upgradectl state show %s", &made, NULL), WIRE_EXIT_ERROR, "%ld", (long)size);
	}
	unlink(made.path);
}

Test(state, verify_compares_types_with_their_fingerprints)
{
	const struct sf_schema schema = { "item", 1, ITEM, 0x1234, 0 };
	const struct sf_header header = { .service = "s", .app_version = "v", .schemas = &schema, .n_schemas = 1 };
	struct made made = made_with(&header, NULL);

	made_finish(&made);
	cr_expect_eq(tell("upgradectl state verify %s", &made, NULL), WIRE_EXIT_ERROR);
	expect_out("described by test.shown.Item, whose fingerprint is another");
	unlink(made.path);
}

Test(state, a_file_without_a_description_is_whole_and_shown_by_numbers)
{
	const struct sf_schema schema = { "item", 1, NULL, 0, 0 };
	const struct sf_header header = { .service = "s", .app_version = "v", .schemas = &schema, .n_schemas = 1 };
	struct made made = made_with(&header, NULL);

	item_put(&made, "k", "v", 3);
	made_finish(&made);
	cr_expect_eq(tell("upgradectl state verify %s", &made, NULL), WIRE_EXIT_DONE);
	expect_out("it does not describe its types");
	cr_expect_eq(tell("upgradectl state show %s", &made, NULL), WIRE_EXIT_DONE);
	expect_out("\n1: \"k\"\n2: \"v\"\n3: 3\n");
	unlink(made.path);
}

/* ---- stats ---- */

Test(state, stats_count_by_type)
{
	struct made made = items_file();
	json_t *line, *type;

	cr_assert_eq(tell("upgradectl state stats -o json %s", &made, NULL), WIRE_EXIT_DONE);
	line = line_json(told.out);
	expect_member(line, "service", "\"cached\"");
	expect_member(line, "app_version", "\"v3\"");
	expect_member(line, "records", "51");
	type = json_array_get(json_object_get(line, "types"), 0);
	expect_member(type, "type", "\"cached.Item\"");
	expect_member(type, "records", "50");
	expect_member(type, "message", "\"test.shown.Item\"");
	expect_member(type, "min", "12"); /* without flags */
	expect_member(type, "max", "14");
	expect_member(type, "bytes", "698");
	json_decref(line);
	cr_assert_eq(tell("upgradectl state stats %s", &made, NULL), WIRE_EXIT_DONE);
	expect_out("cached.Item       3             50     698 B         12         13         14");
	unlink(made.path);
}

/* ---- diff ---- */

/* A record of 20 MiB; @last is its last byte. */
static struct made large_file(char last)
{
	static const struct sf_schema large = { "cached.Item", 3, ITEM, 0, (20 << 20) + 100 };
	const struct sf_header header = { .service = "cached", .app_version = "v3", .schemas = &large, .n_schemas = 1 };
	struct made made = made_with(&header, NULL);
	char *value = malloc((20 << 20) + 1);

	cr_assert_not_null(value);
	memset(value, 'l', 20 << 20);
	value[(20 << 20) - 1] = last;
	value[20 << 20] = 0;
	item_put(&made, "large", value, 1);
	free(value);
	made_finish(&made);
	return made;
}

Test(state, records_as_large_as_their_type_allows_are_read_and_compared, .timeout = 60)
{
	struct made a = large_file('a'), b = large_file('b');

	cr_expect_eq(tell("upgradectl state verify %s", &a, NULL), WIRE_EXIT_DONE, "%s%s", told.out, told.err);
	cr_expect_eq(tell("upgradectl state show %s", &a, NULL), WIRE_EXIT_DONE, "%s", told.err);
	expect_out("key: \"large\"");
	cr_expect_eq(tell("upgradectl state stats %s", &a, NULL), WIRE_EXIT_DONE, "%s", told.err);
	cr_expect_eq(tell("upgradectl state diff %s %s", &a, &a), WIRE_EXIT_DONE, "%s%s", told.out, told.err);
	cr_expect_eq(tell("upgradectl state diff %s %s", &a, &b), WIRE_EXIT_ERROR);
	expect_out("~ cached.Item key: \"large\" in value (bytes ");
	unlink(a.path);
	unlink(b.path);
}

Test(state, diff_does_not_depend_on_order)
{
	struct made a = made_open(), b = made_open();

	for (unsigned i = 0; i < 300; i++) {
		char key[16];

		snprintf(key, sizeof(key), "k%u", i);
		item_put(&a, key, "v", i);
		snprintf(key, sizeof(key), "k%u", 299 - i);
		item_put(&b, key, "v", 299 - i);
	}
	made_finish(&a);
	made_finish(&b);
	cr_expect_eq(tell("upgradectl state diff %s %s", &a, &b), WIRE_EXIT_DONE, "%s", told.err);
	expect_out("cached.Item: 0 added, 0 removed, 0 changed, 300 the same\n");
	cr_expect_null(strchr(told.out, '~'));
	unlink(a.path);
	unlink(b.path);
}

Test(state, diff_tells_added_removed_and_changed_records)
{
	struct made a = made_open(), b = made_open();
	json_t *line;

	item_put(&a, "same", "v", 1);
	item_put(&a, "gone", "v", 1);
	item_put(&a, "other", "v", 1);
	item_put(&b, "other", "w", 2);
	item_put(&b, "new\033", "v", 1);
	item_put(&b, "same", "v", 1);
	made_finish(&a);
	made_finish(&b);
	cr_expect_eq(tell("upgradectl state diff %s %s", &a, &b), WIRE_EXIT_ERROR);
	expect_out("- cached.Item key: \"gone\" (byte ");
	expect_out("+ cached.Item key: \"new\\033\" (byte ");
	expect_out("~ cached.Item key: \"other\" in value, flags (bytes ");
	expect_out("cached.Item: 1 added, 1 removed, 1 changed, 1 the same\n");
	cr_expect_eq(tell("upgradectl state diff -q %s %s", &a, &b), WIRE_EXIT_ERROR);
	cr_expect_str_empty(told.out);
	cr_expect_eq(tell("upgradectl state diff -o json --type cached.Item --limit 0 %s %s", &a, &b), WIRE_EXIT_ERROR);
	line = line_json(told.out);
	expect_member(line, "summary", "[{\"type\":\"cached.Item\",\"added\":1,\"removed\":1,\"changed\":1,\"same\":1}]");
	json_decref(line);
	unlink(a.path);
	unlink(b.path);
}

Test(state, diff_can_tell_records_apart_by_another_field)
{
	struct made a = made_open(), b = made_open();

	item_put(&a, "x", "id-1", 1);
	item_put(&b, "y", "id-1", 1);
	made_finish(&a);
	made_finish(&b);
	cr_expect_eq(tell("upgradectl state diff %s %s", &a, &b), WIRE_EXIT_ERROR);
	expect_out("1 added, 1 removed, 0 changed");
	cr_expect_eq(tell("upgradectl state diff --key value %s %s", &a, &b), WIRE_EXIT_ERROR);
	expect_out("~ cached.Item value: \"id-1\" in key ");
	cr_expect_eq(tell("upgradectl state diff --key=2 %s %s", &a, &b), WIRE_EXIT_ERROR);
	expect_out("~ cached.Item value: \"id-1\" in key ");
	cr_expect_eq(tell("upgradectl state diff --key=nothing %s %s", &a, &b), WIRE_EXIT_USAGE);
	unlink(a.path);
	unlink(b.path);
}

Test(state, diff_counts_records_that_come_more_than_once)
{
	struct made a = made_open(), b = made_open();

	for (unsigned i = 0; i < 100; i++)
		item_put(&a, "k", "v", 0);
	for (unsigned i = 0; i < 40; i++)
		item_put(&b, "k", "v", 0);
	for (unsigned i = 0; i < 50; i++)
		item_put(&b, "k", "v", 1);
	made_finish(&a);
	made_finish(&b);
	cr_expect_eq(tell("upgradectl state diff %s %s", &a, &b), WIRE_EXIT_ERROR);
	expect_out("cached.Item: 0 added, 10 removed, 50 changed, 40 the same\n");
	unlink(a.path);
	unlink(b.path);
}

/* ---- sorting ---- */

static int entry_compare(const void *a, const void *b)
{
	return sort_entry_compare(a, b);
}

Test(state, sorts_more_than_memory_holds)
{
	static const size_t sizes[] = { 0, 1, 255, 256, 257, 5000, 60000 };

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct sort_entry *entries = calloc(sizes[s] + 1, sizeof(*entries)), entry;
		struct sorter *sorter;
		struct why why = { "" };
		uint64_t random = 88172645463325252u;

		cr_assert_not_null(entries);
		/* Two windows: every pass joins two runs, and 60000 entries take eight passes. */
		cr_assert_eq(sorter_new(256, &sorter, &why), 0);
		for (size_t i = 0; i < sizes[s]; i++) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			entries[i] = (struct sort_entry){ .group = { random % 7, random % 1000, random >> 40 }, .place = i };
			cr_assert_eq(sorter_add(sorter, &entries[i], &why), 0, "%s", why.text);
		}
		qsort(entries, sizes[s], sizeof(*entries), entry_compare);
		cr_assert_eq(sorter_sort(sorter, &why), 0, "%s", why.text);
		for (size_t i = 0; i < sizes[s]; i++) {
			cr_assert_eq(sorter_next(sorter, &entry, &why), 1, "%zu of %zu", i, sizes[s]);
			cr_assert_eq(sort_entry_compare(&entry, &entries[i]), 0, "%zu of %zu", i, sizes[s]);
		}
		cr_expect_eq(sorter_next(sorter, &entry, &why), 0);
		sorter_free(sorter);
		free(entries);
	}
}

/* ---- the command line ---- */

static void misused(const char *line, const char *reason)
{
	cr_expect_eq(tell(line, NULL, NULL), WIRE_EXIT_USAGE, "%s", line);
	cr_expect(strstr(told.err, reason), "%s: said \"%s\", not \"%s\"", line, told.err, reason);
}

Test(state, refuses_what_it_does_not_understand)
{
	misused("upgradectl state", "which verb of state?");
	misused("upgradectl state frob x", "\"frob\" is not a verb of state");
	misused("upgradectl state show", "too few arguments");
	misused("upgradectl state diff a", "too few arguments");
	misused("upgradectl state diff a b c", "too many arguments");
	misused("upgradectl state diff - -", "once only");
	misused("upgradectl state show --limit=x f", "--limit is a number");
	misused("upgradectl state show --limit=-1 f", "--limit is a number");
	misused("upgradectl state show --limit=99999999999999999999 f", "--limit is a number");
	misused("upgradectl state verify --type=x f", "--type has no meaning for state verify");
	misused("upgradectl state show --key=x f", "--key has no meaning for state show");
	misused("upgradectl state show --socket=x f", "no such option");
	misused("upgradectl state show -o xml f", "--output cannot be \"xml\"");
	misused("upgradectl state show /nowhere/at/all", "cannot be opened: No such file or directory");
	misused("upgradectl state stats /", "Is a directory");
}

Test(state, is_told_from_the_other_verbs)
{
	char *yes[] = { (char[]){ "upgradectl" }, (char[]){ "-o" }, (char[]){ "json" }, (char[]){ "state" }, NULL };
	char *no[] = { (char[]){ "upgradectl" }, (char[]){ "status" }, (char[]){ "state" }, NULL };

	cr_expect(args_is_state(4, yes));
	cr_expect_not(args_is_state(3, no));
	cr_expect_not(args_is_state(1, no));
}

/* ---- memory ---- */

#define STREAM_VALUE_BYTES 4000u

static long high_water_kb(pid_t pid)
{
	char path[64], line[128];
	long kb = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "VmHWM: %ld", &kb) == 1)
			break;
	if (file)
		fclose(file);
	return kb;
}

static pid_t tool_start(const char *tool, char *const argv[], int *ret_fd)
{
	posix_spawn_file_actions_t actions;
	int fds[2];
	pid_t pid;

	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[0], 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	cr_assert_eq(posix_spawn(&pid, tool, &actions, NULL, argv, environ), 0, "%s", tool);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[0]);
	*ret_fd = fds[1];
	return pid;
}

static int fd_put(void *arg, const void *data, size_t size_bytes, struct why *why)
{
	const char *at = data;

	while (size_bytes) {
		ssize_t n = write(*(int *)arg, at, size_bytes);

		if (n < 0)
			return why_errno(why, -errno, "write");
		at += n;
		size_bytes -= (size_t)n;
	}
	return 0;
}

/* Feeds @megabytes to a tool; all but the last of them have gone by when its memory is looked at. */
static void stream_through(const char *tool, char *const argv[], size_t megabytes)
{
	const struct sf_header header = { .service = "s", .app_version = "v", .schemas = schemas, .n_schemas = 2 };
	static char value[STREAM_VALUE_BYTES + 1];
	struct sf_writer *writer;
	struct why why = { "" };
	int fd, status;
	pid_t pid = tool_start(tool, argv, &fd);
	long kb;

	memset(value, 'v', STREAM_VALUE_BYTES);
	cr_assert_eq(sf_writer_new(&header, NULL, fd_put, &fd, &writer, &why), 0, "%s", why.text);
	for (size_t i = 0; i < (megabytes << 20) / STREAM_VALUE_BYTES; i++) {
		Test__Shown__Item item = TEST__SHOWN__ITEM__INIT;
		char key[24];

		snprintf(key, sizeof(key), "%zu", i);
		item.key = key;
		item.value = (ProtobufCBinaryData){ STREAM_VALUE_BYTES, (uint8_t *)value };
		cr_assert_eq(sf_writer_put(writer, TYPE_ITEM, &item.base, &why), 0, "%s", why.text);
	}
	kb = high_water_kb(pid);
	cr_expect_eq(sf_writer_finish(writer, NULL, &why), 0, "%s", why.text);
	sf_writer_free(writer);
	close(fd);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s %s: %x", argv[1], argv[2], status);
	cr_expect(kb > 0 && kb < 8 << 10, "%s %s: %ld KiB for a stream of %zu MiB", argv[1], argv[2], kb, megabytes);
}

/* The real program, not the sanitized one, whose memory is mostly the sanitizer's. */
Test(state, a_stream_of_any_length_takes_less_than_8_mib, .timeout = 600)
{
	const char *folder = getenv("UPG_BIN"), *size = getenv("UPG_STATE_STREAM_MIB");
	size_t megabytes = size ? strtoul(size, NULL, 10) : 200;
	char tool[512], name[] = "upgradectl", state[] = "state", dash[] = "-", json[] = "--output=json";
	char show[] = "show", verify[] = "verify", stats[] = "stats";

	snprintf(tool, sizeof(tool), "%s/../upgradectl", folder ? folder : "build/asan");
	if (access(tool, X_OK) < 0)
		cr_skip_test("%s is not built", tool);
	signal(SIGPIPE, SIG_IGN);
	stream_through(tool, (char *[]){ name, state, show, dash, NULL }, megabytes);
	stream_through(tool, (char *[]){ name, state, show, json, dash, NULL }, megabytes);
	stream_through(tool, (char *[]){ name, state, verify, dash, NULL }, megabytes);
	stream_through(tool, (char *[]){ name, state, stats, dash, NULL }, megabytes);
}
