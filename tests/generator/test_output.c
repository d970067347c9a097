/* SPDX-License-Identifier: MIT */
/* What protoc-gen-upgrade writes, letter for letter, and what it says of schemas that make no sense. */
#include "tests/generator/protoc.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(output, .timeout = 60);

static char *file_read(const char *path)
{
	char *text = NULL;
	size_t size = 0;
	FILE *file = fopen(path, "r");

	cr_assert_not_null(file, "%s", path);
	ssize_t n = getdelim(&text, &size, '\0', file);
	cr_assert_geq(n, 0, "%s", path);
	fclose(file);
	return text;
}

/* But for the descriptors, which protoc has a hand in. */
static char *generated_read(const char *path)
{
	char *text = file_read(path), *end = strstr(text, "/* The types of this file and of those before");

	if (end)
		*end = '\0';
	return text;
}

static void is_golden(const char *name)
{
	char made[256], golden[256];

	snprintf(made, sizeof made, "build/gen/tests/generator/%s", name);
	snprintf(golden, sizeof golden, "tests/generator/golden/%s.golden", name);
	char *is = generated_read(made), *should = file_read(golden);
	cr_expect(strcmp(is, should) == 0, "%s and %s differ: if that is meant, copy the one over the other", made, golden);
	free(is);
	free(should);
}

Test(output, is_golden)
{
	is_golden("thing_v2.upgrade.h");
	is_golden("thing_v2.upgrade.c");
	is_golden("old_v2.upgrade.h");
	is_golden("old_v2.upgrade.c");
	is_golden("thing_v1.upgrade.h");
}

/* ---- schemas that make no sense ---- */

#define HEAD "syntax = \"proto3\"; package p; import \"upgrade/options.proto\"; "
#define OLD "message Old { option (upgrade.type) = { name: \"p.T\" version: 1 }; int32 a = 1; uint64 b = 2; string s = 3; " \
	"Sub sub = 4; } " \
	"message Sub { int32 x = 1; } "
#define NEW "message New { option (upgrade.type) = { name: \"p.T\" version: 2 from: \"p.Old\" }; "

static void complains(const char *schema, const char *words)
{
	struct protoc protoc = protoc_generate(schema, "");

	cr_expect_neq(protoc.status, 0, "%s", schema);
	cr_expect(strstr(protoc.said, words), "\"%s\" in: %s", words, protoc.said);
	protoc_done(&protoc);
}

Test(output, names_the_message_and_field_of_what_makes_no_sense)
{
	complains(HEAD OLD NEW "int32 c = 1 [(upgrade.field).from = \"nope\"]; }", "p.New.c: p.Old has no field \"nope\"");
	complains(HEAD OLD NEW "int32 c = 1 [(upgrade.field).from = \"sub.nope\"]; }",
		  "p.New.c: p.Sub has no field \"nope\"");
	complains(HEAD OLD NEW "int32 c = 1 [(upgrade.field).from = \"a.x\"]; }",
		  "p.New.c: p.Old.a is not a single nested message");
	complains(HEAD OLD NEW "string s = 1 [(upgrade.field).unit.times = 2]; }",
		  "p.New.s: units and bits are of numbers, and it is string");
	complains(HEAD OLD NEW "int32 c = 1 [(upgrade.field) = { from: \"b\" bits: { shift: 60 width: 5 } }]; }",
		  "p.New.c: b has 64 bits, not bit 60 to 64");
	complains(HEAD OLD NEW "int32 c = 1 [(upgrade.field).from = \"a\"]; int32 d = 2 [(upgrade.field).from = \"a\"]; }",

		  "p.New.d: c has taken the same of a");
	complains(HEAD OLD NEW "int32 c = 1 [(upgrade.field) = { from: \"a\" added: true }]; }",
		  "exclude each other");
	complains(HEAD OLD NEW "uint64 c = 1 [(upgrade.field) = { merged: { from: \"a\" } }]; }",
		  "say into which bits a is merged");
	complains(HEAD OLD NEW "int32 c = 1 [(upgrade.field).by_hand = \"a b\"]; }", "cannot be part of a function's name");
	complains(HEAD OLD NEW "int32 c = 1 [(upgrade.field).group = true]; }", "only a single nested message can group fields");
	complains(HEAD OLD NEW "int32 c = 1 [(upgrade.field).default = \"many\"]; }", "p.New.c: default: \"many\" is no int32");
	complains(HEAD OLD NEW "uint32 c = 1 [(upgrade.field).default = \"4294967296\"]; }", "is no uint32");
	complains(HEAD OLD NEW "repeated int32 c = 1 [(upgrade.field).default = \"1\"]; }", "have a default");
}

Test(output, names_what_is_wrong_with_a_type)
{
	complains(HEAD "message New { option (upgrade.type) = { name: \"p.T\" version: 2 from: \"p.Old\" }; }",
		  "p.New: there is no message \"p.Old\" to follow");
	complains(HEAD OLD "message New { option (upgrade.type) = { name: \"p.T\" version: 1 from: \"p.Old\" }; }",
		  "p.New is version 1 of \"p.T\" and cannot follow version 1");
	complains(HEAD OLD "message New { option (upgrade.type) = { name: \"p.U\" version: 2 from: \"p.Old\" }; }",
		  "p.New is \"p.U\", and p.Old, which it follows, is \"p.T\"");
	complains(HEAD "message New { option (upgrade.type) = { name: \"p.T\" version: 65536 }; }", "1 to 65535 are possible");
	complains(HEAD OLD "message New { option (upgrade.type) = { name: \"p.T\" version: 2 from: \"p.Old\" dropped: \"x\" }; }",
		  "dropped: p.Old has no field \"x\"");
}

Test(output, refuses_options_it_does_not_know)
{
	struct protoc protoc = protoc_generate(HEAD OLD, "speed=high");

	cr_expect_neq(protoc.status, 0);
	cr_expect(strstr(protoc.said, "there is no option \"speed=high\""), "%s", protoc.said);
	protoc_done(&protoc);
}

Test(output, puts_a_prefix_before_functions_and_can_leave_the_schema_out)
{
	struct protoc protoc = protoc_generate(HEAD OLD NEW "string a = 1; }", "prefix=my_,no_schema");
	char path[512];

	cr_assert_eq(protoc.status, 0, "%s", protoc.said);
	snprintf(path, sizeof path, "%s/t.upgrade.h", protoc.folder);
	char *header = file_read(path);
	cr_expect(strstr(header, "int my_p_t_1_to_2_a("), "%s", header);
	cr_expect(strstr(header, "int my_p_t_2_to_1(struct upg_step"), "%s", header);
	cr_expect(strstr(header, "undecided: p.Old.sub: nothing follows it"), "%s", header);
	snprintf(path, sizeof path, "%s/t.upgrade.c", protoc.folder);
	char *source = file_read(path);
	cr_expect_null(strstr(source, "upgrade_schema"));
	free(source);
	free(header);
	protoc_done(&protoc);
}

Test(output, is_nothing_for_files_without_annotations)
{
	struct protoc protoc = protoc_generate("syntax = \"proto3\"; message M { int32 a = 1; }", "");
	char path[512];

	cr_assert_eq(protoc.status, 0, "%s", protoc.said);
	snprintf(path, sizeof path, "%s/t.upgrade.c", protoc.folder);
	cr_expect_null(fopen(path, "r"));
	protoc_done(&protoc);
}
