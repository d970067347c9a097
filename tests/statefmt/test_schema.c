/* SPDX-License-Identifier: MIT */
/* Descriptors: made of generated code, read again, compared with protoc's own, and refused where they are wrong. */
#include "base/why.h"
#include "statefmt/frame.h"
#include "statefmt/schema.h"
#include "statefmt/statefmt.h"
#include "tests/statefmt/item.pb-c.h"
#include "tests/statefmt/kinds.pb-c.h"
#include "tests/statefmt/kinds2.pb-c.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(statefmt_schema, .timeout = 60);

#define EVERY (&test__kinds__every__descriptor)
#define STRICT (&test__kinds2__strict__descriptor)

static struct schema_set *set_of(const ProtobufCMessageDescriptor *const *roots, size_t n)
{
	struct schema_set *set = NULL;
	struct why why = { "" };
	uint8_t *data = NULL;
	size_t size = 0;

	cr_assert_eq(schema_describe(roots, n, SF_DESCRIPTORS_BYTES, &data, &size, &why), 0, "%s", why.text);
	cr_assert_eq(schema_set_new(data, size, &set, &why), 0, "%s", why.text);
	free(data);
	return set;
}

static struct schema_set *set_of_one(const ProtobufCMessageDescriptor *root)
{
	return set_of(&root, 1);
}

/* What protoc says of a .proto file of this folder. */
static struct schema_set *set_of_file(const char *path)
{
	static uint8_t data[1 << 16];
	struct schema_set *set = NULL;
	struct why why = { "" };
	char command[256];
	size_t size;
	FILE *pipe;

	snprintf(command, sizeof(command), "protoc --include_imports --descriptor_set_out=/dev/stdout %s", path);
	pipe = popen(command, "r");
	cr_assert(pipe);
	size = fread(data, 1, sizeof(data), pipe);
	cr_assert_eq(pclose(pipe), 0, "%s", command);
	cr_assert_eq(schema_set_new(data, size, &set, &why), 0, "%s: %s", path, why.text);
	return set;
}

/* ---- there and back ---- */

Test(statefmt_schema, describes_every_type_that_is_referred_to)
{
	struct schema_set *set = set_of_one(EVERY);
	const struct schema_message *every = schema_find_message(set, "test.kinds.Every");

	cr_assert(every);
	cr_assert_eq(schema_find_message(set, ".test.kinds.Every"), every, "with a leading dot, too");
	cr_expect_eq(every->n_fields, EVERY->n_fields);
	cr_expect(schema_find_message(set, "test.kinds.Every.Inner.Innermost"));
	cr_expect(schema_find_message(set, "test.kinds.Every.NamedEntry")->map_entry);
	cr_expect(schema_find_enum(set, "test.kinds.Color"));
	cr_expect(schema_find_enum(set, "test.kinds.Every.Inner.Mood"));
	cr_expect_null(schema_find_message(set, "test.kinds.Color"), "an enum is no message");
	cr_expect_null(schema_find_enum(set, "test.kinds.Every"));
	cr_expect_null(schema_find_message(set, "test.kinds.UsesKernel"), "nobody refers to it");
	schema_set_free(set);
}

Test(statefmt_schema, nests_types_as_they_were_declared)
{
	struct schema_set *set = set_of_one(EVERY);
	const struct schema_message *innermost = schema_find_message(set, "test.kinds.Every.Inner.Innermost");

	cr_assert(innermost);
	cr_expect_str_eq(innermost->short_name, "Innermost");
	cr_expect_str_eq(innermost->parent->name, "test.kinds.Every.Inner");
	cr_expect_str_eq(innermost->parent->parent->name, "test.kinds.Every");
	cr_expect_null(innermost->parent->parent->parent);
	cr_expect_str_eq(innermost->file->package, "test.kinds");
	cr_expect(innermost->file->proto3);
	cr_expect_eq(innermost->fields[0].message, innermost->parent->parent, "a cycle leads back to the same message");
	schema_set_free(set);
}

Test(statefmt_schema, an_outer_message_that_nobody_uses_stands_there_empty)
{
	struct schema_set *set = set_of_one(&test__kinds__uses_kernel__descriptor);
	const struct schema_message *shell = schema_find_message(set, "test.kinds.Shell");

	cr_assert(shell);
	cr_expect_eq(shell->n_fields, 0u);
	cr_expect_eq(schema_find_message(set, "test.kinds.Shell.Kernel")->parent, shell);
	cr_expect(schema_find_enum(set, "test.kinds.Every.Inner.Mood"));
	schema_set_free(set);
}

Test(statefmt_schema, tells_a_map_from_what_looks_like_one)
{
	struct schema_set *set = set_of_one(&test__kinds__pairs__descriptor);

	cr_expect_not(schema_find_message(set, "test.kinds.Pairs.PairEntry")->map_entry);
	schema_set_free(set);
}

/* Everything that generated code has kept must come out as protoc says it. */
static void fields_compare(const struct schema_field *ours, const struct schema_field *theirs)
{
	cr_expect_eq(ours->number, theirs->number);
	cr_expect_str_eq(ours->name, theirs->name);
	cr_expect_eq(ours->label, theirs->label, "%s", theirs->name);
	cr_expect_eq(ours->type, theirs->type, "%s", theirs->name);
	cr_expect_eq(ours->implicit, theirs->implicit, "%s", theirs->name);
	cr_expect_eq(ours->packed, theirs->packed, "%s", theirs->name);
	cr_expect_eq(ours->deprecated, theirs->deprecated, "%s", theirs->name);
	cr_expect_eq(!ours->oneof, !theirs->oneof, "%s", theirs->name);
	cr_expect_eq(!ours->default_value, !theirs->default_value, "%s", theirs->name);
	if (ours->default_value && theirs->default_value)
		cr_expect_str_eq(ours->default_value, theirs->default_value);
	if (theirs->message && ours->message)
		cr_expect_str_eq(ours->message->name, theirs->message->name);
	if (theirs->enumeration && ours->enumeration)
		cr_expect_str_eq(ours->enumeration->name, theirs->enumeration->name);
}

static void messages_compare(const struct schema_set *ours, const struct schema_set *theirs)
{
	for (size_t i = 0; i < ours->n_messages; i++) {
		const struct schema_message *a = &ours->messages[i], *b = schema_find_message(theirs, a->name);

		cr_assert(b, "%s", a->name);
		cr_assert_eq(a->n_fields, b->n_fields, "%s", a->name);
		cr_expect_eq(a->n_oneofs, b->n_oneofs, "%s", a->name);
		cr_expect_eq(a->map_entry, b->map_entry, "%s", a->name);
		cr_expect_eq(schema_fingerprint(a), schema_fingerprint(b), "%s", a->name);
		for (size_t f = 0; f < a->n_fields; f++)
			fields_compare(&a->fields[f], &b->fields[f]);
	}
}

Test(statefmt_schema, says_of_generated_code_what_protoc_says_of_its_source)
{
	struct schema_set *ours = set_of_one(EVERY), *theirs = set_of_file("tests/statefmt/kinds.proto");

	messages_compare(ours, theirs);
	schema_set_free(ours);
	schema_set_free(theirs);
	ours = set_of_one(STRICT);
	theirs = set_of_file("tests/statefmt/kinds2.proto");
	messages_compare(ours, theirs);
	schema_set_free(ours);
	schema_set_free(theirs);
}

Test(statefmt_schema, what_it_describes_protoc_can_use)
{
	const ProtobufCMessageDescriptor *const roots[] = { EVERY, STRICT, NULL, &test__kinds__uses_kernel__descriptor };
	char path[] = "/tmp/test-schema-XXXXXX", command[256], line[64] = "";
	struct why why = { "" };
	uint8_t *data;
	size_t size;
	int fd = mkstemp(path);
	FILE *pipe;

	cr_assert_geq(fd, 0);
	cr_assert_eq(schema_describe(roots, 4, SF_DESCRIPTORS_BYTES, &data, &size, &why), 0, "%s", why.text);
	cr_assert_eq(write(fd, data, size), (ssize_t)size);
	close(fd);
	free(data);
	snprintf(command, sizeof(command), "printf '\\010\\001\\022\\002\\010\\007' | protoc --descriptor_set_in=%s "
		 "--decode=test.kinds.Every.Inner.Innermost 2>&1", path);
	pipe = popen(command, "r");
	cr_assert(pipe && fgets(line, sizeof(line), pipe));
	cr_expect_eq(pclose(pipe), 0, "%s", line);
	unlink(path);
}

Test(statefmt_schema, has_the_fingerprint_of_the_code)
{
	static const ProtobufCMessageDescriptor *const types[] = {
		EVERY, STRICT, &test__kinds__uses_kernel__descriptor, &test__kinds__pairs__descriptor,
		&test__kinds__every__inner__descriptor, &test__state__item_v1__descriptor, &test__state__item_v3__descriptor,
		&test__state__node__descriptor, &test__state__wide__descriptor, &test__state__shared__descriptor,
		&test__state__split__descriptor, &test__state__loop__descriptor, &test__state__loop_a__descriptor,
		&test__state__loop_c__descriptor,
	};
	struct schema_set *set = set_of(types, sizeof(types) / sizeof(types[0]));

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		cr_expect_eq(schema_fingerprint(schema_find_message(set, types[i]->name)), sf_fingerprint(types[i]), "%s",
			     types[i]->name);
	schema_set_free(set);
}

Test(statefmt_schema, answers_questions_about_fields_and_values)
{
	struct schema_set *set = set_of_file("tests/statefmt/kinds.proto");
	const struct schema_message *every = schema_find_message(set, "test.kinds.Every");
	const struct schema_enum *color = schema_find_enum(set, "test.kinds.Color");

	cr_expect_str_eq(schema_field_by_number(every, 1)->name, "real");
	cr_expect_str_eq(schema_field_by_number(every, 37)->name, "old");
	cr_expect_null(schema_field_by_number(every, 10));
	cr_expect_null(schema_field_by_number(every, 0));
	cr_expect_null(schema_field_by_number(every, 38));
	cr_expect_eq(schema_field_by_name(every, "data")->number, 12u);
	cr_expect_null(schema_field_by_name(every, "nothing"));
	cr_expect_str_eq(schema_value_by_number(color, 1)->name, "COLOR_RED", "the first of two names");
	cr_expect_str_eq(schema_value_by_number(color, -5)->name, "COLOR_DARK");
	cr_expect_null(schema_value_by_number(color, 2));
	cr_expect_str_eq(every->oneofs[0], "first_choice");
	cr_expect_str_eq(schema_type_name(SCHEMA_SFIXED64), "sfixed64");
	cr_expect_not(schema_is_packable(SCHEMA_BYTES));
	schema_set_free(set);
}

Test(statefmt_schema, keeps_what_is_reserved_and_optional)
{
	static const char source[] = "syntax = \"proto3\"; message M { reserved 2, 5 to 7; reserved \"gone\";"
				     " optional int32 maybe = 1; oneof real { int32 x = 3; } }";
	char path[] = "/tmp/test-schema-XXXXXX.proto", command[256];
	struct schema_set *set = NULL;
	static uint8_t data[4096];
	const struct schema_message *message;
	int fd = mkstemps(path, 6);
	FILE *pipe;
	size_t size;

	cr_assert_eq(write(fd, source, sizeof(source) - 1), (ssize_t)sizeof(source) - 1);
	close(fd);
	snprintf(command, sizeof(command), "protoc -I/tmp --descriptor_set_out=/dev/stdout %s", path);
	pipe = popen(command, "r");
	cr_assert(pipe);
	size = fread(data, 1, sizeof(data), pipe);
	pclose(pipe);
	unlink(path);
	cr_assert_eq(schema_set_new(data, size, &set, NULL), 0);
	message = schema_find_message(set, "M");
	cr_assert(message);
	cr_expect(schema_is_reserved(message, 2, NULL) && schema_is_reserved(message, 7, NULL));
	cr_expect_not(schema_is_reserved(message, 8, NULL));
	cr_expect(schema_is_reserved(message, 8, "gone"));
	cr_expect(message->fields[0].proto3_optional && !message->fields[0].implicit && !message->fields[0].oneof);
	cr_expect_eq(message->n_oneofs, 1u);
	cr_expect_str_eq(message->oneofs[0], "real");
	cr_expect_str_eq(message->fields[1].oneof, "real");
	schema_set_free(set);
}

/* ---- in a stream ---- */

static int bytes_append(void *arg, const void *data, size_t size_bytes, struct why *why)
{
	(void)why;
	cr_assert_eq(fwrite(data, 1, size_bytes, arg), size_bytes);
	return 0;
}

static ssize_t bytes_take(void *arg, void *data, size_t size_bytes, struct why *why)
{
	(void)why;
	return (ssize_t)fread(data, 1, size_bytes, arg);
}

/* The header that a reader sees of what a writer wrote with these limits. */
static struct sf_reader *header_through(const struct sf_schema *schemas, size_t n, const struct sf_limits *limits)
{
	const struct sf_header header = { .service = "s", .app_version = "v", .schemas = schemas, .n_schemas = n };
	struct sf_writer *writer = NULL;
	struct sf_reader *reader = NULL;
	struct why why = { "" };
	FILE *file = tmpfile();

	cr_assert_eq(sf_writer_new(&header, limits, bytes_append, file, &writer, &why), 0, "%s", why.text);
	cr_assert_eq(sf_writer_finish(writer, NULL, &why), 0, "%s", why.text);
	sf_writer_free(writer);
	rewind(file);
	cr_assert_eq(sf_reader_new(limits, bytes_take, file, &reader, &why), 0, "%s", why.text);
	fclose(file);
	return reader;
}

Test(statefmt_schema, a_header_describes_its_types)
{
	const struct sf_schema schemas[] = { { "every", 1, EVERY, 0, 0 },
					     { "unknown", 2, NULL, 5, 0 }, { "strict", 3, STRICT, 0, 0 } };
	struct sf_reader *reader = header_through(schemas, 3, NULL);
	const struct sf_header *header = sf_reader_header(reader);
	struct schema_set *set = NULL;

	cr_expect_str_eq(header->messages[0], "test.kinds.Every");
	cr_expect_str_eq(header->messages[1], "");
	cr_expect_str_eq(header->messages[2], "test.kinds2.Strict");
	cr_assert_eq(schema_set_new(header->descriptors, header->descriptors_bytes, &set, NULL), 0);
	cr_expect_eq(schema_fingerprint(schema_find_message(set, header->messages[0])), header->schemas[0].fingerprint);
	schema_set_free(set);
	sf_reader_free(reader);
}

Test(statefmt_schema, a_description_that_does_not_fit_is_left_out)
{
	const struct sf_schema schema = { "every", 1, EVERY, 0, 0 };

	for (uint32_t cap = 60; cap < 2400; cap += 13) {
		const struct sf_limits limits = { .record_bytes = 100, .batch_bytes = 100, .header_bytes = cap, .types = 4 };
		struct sf_reader *reader = header_through(&schema, 1, &limits);
		const struct sf_header *header = sf_reader_header(reader);

		cr_expect_eq(header->descriptors_bytes == 0, header->messages[0][0] == '\0', "all or nothing");
		if (cap == 60)
			cr_expect_eq(header->descriptors_bytes, 0u);
		sf_reader_free(reader);
	}
}

/* ---- what is wrong ---- */

static Google__Protobuf__FieldDescriptorProto field_make(const char *name, int32_t number, int type)
{
	Google__Protobuf__FieldDescriptorProto field;

	google__protobuf__field_descriptor_proto__init(&field);
	field.name = (char *)(uintptr_t)name;
	field.has_number = field.has_type = 1;
	field.number = number;
	field.type = (Google__Protobuf__FieldDescriptorProto__Type)type;
	return field;
}

/* One file with the message "p.M" of up to two fields. */
static int one_message(Google__Protobuf__FieldDescriptorProto *a, Google__Protobuf__FieldDescriptorProto *b,
		       const char *message_name, struct why *why)
{
	Google__Protobuf__FieldDescriptorProto *fields[] = { a, b };
	Google__Protobuf__DescriptorProto message = GOOGLE__PROTOBUF__DESCRIPTOR_PROTO__INIT, *messages[] = { &message };
	Google__Protobuf__FileDescriptorProto file = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT, *files[] = { &file };
	struct schema_set *set = NULL;
	int r;

	message.name = (char *)(uintptr_t)message_name;
	message.field = fields;
	message.n_field = (a ? 1u : 0u) + (b ? 1u : 0u);
	file.name = (char[]){ "f.proto" };
	file.package = (char[]){ "p" };
	file.syntax = (char[]){ "proto3" };
	file.message_type = messages;
	file.n_message_type = 1;
	r = schema_set_from_files(files, 1, &set, why);
	schema_set_free(set);
	return r;
}

static void refused(Google__Protobuf__FieldDescriptorProto a, const Google__Protobuf__FieldDescriptorProto *b, const char *reason)
{
	Google__Protobuf__FieldDescriptorProto other;
	struct why why = { "" };

	if (b)
		other = *b;
	cr_expect_eq(one_message(&a, b ? &other : NULL, "M", &why), -EBADMSG, "%s", reason);
	cr_expect(strstr(why.text, reason), "\"%s\" does not say \"%s\"", why.text, reason);
}

Test(statefmt_schema, refuses_fields_that_cannot_be)
{
	Google__Protobuf__FieldDescriptorProto field = field_make("a", 1, SCHEMA_INT32), other;

	cr_assert_eq(one_message(&field, NULL, "M", NULL), 0);
	refused(field_make("a", 0, SCHEMA_INT32), NULL, "its number 0");
	refused(field_make("a", -1, SCHEMA_INT32), NULL, "its number 0");
	refused(field_make("a", 536870912, SCHEMA_INT32), NULL, "its number 536870912");
	refused(field_make("a", 1, 19), NULL, "no type 19");
	refused(field_make("a", 1, 0), NULL, "no type 0");
	refused(field_make("a\033[2J", 1, SCHEMA_INT32), NULL, "it has no name");
	refused(field_make("", 1, SCHEMA_INT32), NULL, "it has no name");
	refused(field_make("1a", 1, SCHEMA_INT32), NULL, "it has no name");
	refused(field_make("a", 1, SCHEMA_GROUP), NULL, "nor groups");
	other = field_make("b", 1, SCHEMA_INT32);
	refused(field, &other, "its number 1 is taken");
	other = field_make("a", 2, SCHEMA_INT32);
	refused(field, &other, "its name is taken");
	field = field_make("a", 1, SCHEMA_MESSAGE);
	refused(field, NULL, "not a full name");
	field.type_name = (char[]){ ".p.Nowhere" };
	refused(field, NULL, "there is no type p.Nowhere in the set");
	field.type_name = (char[]){ ".p.M" };
	cr_expect_eq(one_message(&field, NULL, "M", NULL), 0, "itself");
	field.type = (Google__Protobuf__FieldDescriptorProto__Type)SCHEMA_ENUM;
	refused(field, NULL, "a message, not an enum");
	field = field_make("a", 1, SCHEMA_INT32);
	field.has_oneof_index = 1;
	refused(field, NULL, "oneof 0 of 0");
}

Test(statefmt_schema, refuses_names_that_are_none)
{
	static const char *const names[] = { "", "1", "a.b", "a b", "a\033", "é", NULL };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct why why = { "" };

		cr_expect_eq(one_message(NULL, NULL, names[i], &why), -EBADMSG, "%zu", i);
		cr_expect(strstr(why.text, "no name of a type"), "%s", why.text);
	}
}

/* A DescriptorProto within a DescriptorProto, @depth times, as a FileDescriptorSet. */
static size_t nested_set(uint8_t *data, size_t cap, unsigned depth)
{
	size_t at = cap;

	for (unsigned i = 0; i < depth + 2; i++) {
		size_t length = cap - at;
		uint8_t head[8] = { i == depth + 1 ? 0x0a : i == depth ? 0x22 : 0x1a };
		size_t n = 1;

		for (; length >= 0x80; length >>= 7)
			head[n++] = (uint8_t)(length | 0x80);
		head[n++] = (uint8_t)length;
		at -= n;
		memcpy(data + at, head, n);
	}
	memmove(data, data + at, cap - at);
	return cap - at;
}

Test(statefmt_schema, messages_declared_in_messages_without_end_do_not_run_the_stack_over)
{
	static uint8_t data[1 << 20];
	static const unsigned depths[] = { 70, 99, 101, 5000, 180000 };

	for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++) {
		struct schema_set *set = NULL;
		struct why why = { "" };
		size_t size = nested_set(data, sizeof(data), depths[i]);

		cr_expect_lt(schema_set_new(data, size, &set, &why), 0, "%u", depths[i]);
		cr_expect(strstr(why.text, "deep"), "%s", why.text);
	}
}

Test(statefmt_schema, what_takes_more_memory_than_it_should_is_refused)
{
	size_t size = 2 << 20;
	uint8_t *data = malloc(size + 12);
	struct schema_set *set = NULL;
	struct why why = { "" };
	uint8_t head[12] = { 0x0a };
	size_t n = 1, length = size;

	/* A file of empty messages: two bytes each, and a struct of a hundred. */
	cr_assert(data);
	for (; length >= 0x80; length >>= 7)
		head[n++] = (uint8_t)(length | 0x80);
	head[n++] = (uint8_t)length;
	memcpy(data, head, n);
	for (size_t i = 0; i < size; i += 2)
		memcpy(data + n + i, "\x22\0", 2);
	cr_expect_eq(schema_set_new(data, size + n, &set, &why), -EMSGSIZE);
	cr_expect(strstr(why.text, "bytes of memory"), "%s", why.text);
	free(data);
}

Test(statefmt_schema, survives_every_cut_and_every_flip)
{
	const ProtobufCMessageDescriptor *root = STRICT;
	uint8_t *data, *copy;
	size_t size;

	cr_assert_eq(schema_describe(&root, 1, SF_DESCRIPTORS_BYTES, &data, &size, NULL), 0);
	copy = malloc(size);
	cr_assert(copy);
	for (size_t cut = 0; cut < size; cut++) {
		struct schema_set *set = NULL;

		memcpy(copy, data, cut);
		if (schema_set_new(copy, cut, &set, NULL) == 0)
			schema_set_free(set);
	}
	for (size_t bit = 0; bit < size * 8; bit++) {
		struct schema_set *set = NULL;
		struct why why = { "" };

		memcpy(copy, data, size);
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (schema_set_new(copy, size, &set, &why) == 0)
			schema_set_free(set);
		else
			cr_expect(why.text[0]);
	}
	free(copy);
	free(data);
}
