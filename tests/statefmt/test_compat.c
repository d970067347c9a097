/* SPDX-License-Identifier: MIT */
/* What is said of two schemas: each change gets the verdict that its migration deserves. */
#include "base/why.h"
#include "statefmt/compat.h"
#include "statefmt/schema.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(statefmt_compat, .timeout = 120);

#define HEAD "syntax = \"proto3\"; package p; import \"upgrade/options.proto\"; "
/* Versions 1 and 2 of one type, in one set as imports would have it. */
#define V1(fields) "message One { option (upgrade.type) = { name: \"p.T\" version: 1 }; " fields " } "
#define V2(fields) "message Two { option (upgrade.type) = { name: \"p.T\" version: 2 from: \"p.One\" }; " fields " } "
#define V3(fields) "message Three { option (upgrade.type) = { name: \"p.T\" version: 3 from: \"p.Two\" }; " fields " } "

static struct schema_set *set_of(const char *text)
{
	static uint8_t data[1 << 16];
	char folder[] = "/tmp/compat.XXXXXX", path[64], command[256];
	struct schema_set *set = NULL;
	struct why why = { "" };
	FILE *stream;
	size_t size;

	cr_assert_not_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/t.proto", folder);
	stream = fopen(path, "w");
	cr_assert_not_null(stream);
	fputs(text, stream);
	fclose(stream);
	snprintf(command, sizeof(command), "protoc --proto_path=%s --proto_path=shim --include_imports "
		 "--descriptor_set_out=/dev/stdout %s", folder, path);
	stream = popen(command, "r");
	cr_assert_not_null(stream);
	size = fread(data, 1, sizeof(data), stream);
	cr_assert_eq(pclose(stream), 0, "%s", text);
	unlink(path);
	rmdir(folder);
	cr_assert_eq(schema_set_new(data, size, &set, &why), 0, "%s", why.text);
	return set;
}

struct comparison {
	struct schema_set *older, *newer;
	struct compat *compat;
	int rc;
	struct why why;
};

static struct comparison compare(const char *older, const char *newer)
{
	struct comparison comparison = { .older = set_of(older), .newer = set_of(newer) };
	const struct compat_side sides[] = { { comparison.older, NULL }, { comparison.newer, NULL } };

	comparison.rc = compat_new(&sides[0], &sides[1], &comparison.compat, &comparison.why);
	return comparison;
}

static void done(struct comparison *comparison)
{
	compat_free(comparison->compat);
	schema_set_free(comparison->older);
	schema_set_free(comparison->newer);
}

/* What is said of one field; NULL: nothing. */
static const struct compat_finding *finding_of(const struct compat *compat, const char *field)
{
	for (size_t i = 0; i < compat->n_types; i++)
		for (size_t j = 0; j < compat->types[i].n_findings; j++)
			if (strcmp(compat->types[i].findings[j].field, field) == 0)
				return &compat->types[i].findings[j];
	return NULL;
}

/* The change of one field from version 1 to 2, its verdict, and words of what is said. */
static void judges(const char *before, const char *both, const char *field, enum compat_verdict verdict, const char *change,
		   const char *loss)
{
	struct comparison comparison = compare(before, both);
	const struct compat_finding *finding;

	cr_assert_eq(comparison.rc, 0, "%s", comparison.why.text);
	finding = finding_of(comparison.compat, field);
	cr_assert_not_null(finding, "%s in %s", field, both);
	cr_expect_eq(finding->verdict, verdict, "%s: %s, not %s (%s; %s)", field, compat_verdict_name(finding->verdict),
		     compat_verdict_name(verdict), finding->change, finding->loss);
	cr_expect(strstr(finding->change, change), "\"%s\" in: %s", change, finding->change);
	cr_expect(strstr(finding->loss, loss), "\"%s\" in: %s", loss, finding->loss);
	cr_expect_eq(compat_passes(comparison.compat), comparison.compat->verdict < COMPAT_LOSES);
	done(&comparison);
}

#define JUDGES(older, newer, field, verdict, change, loss) \
	judges(HEAD V1(older), HEAD V1(older) V2(newer), field, verdict, change, loss)

static enum compat_verdict verdict_of(const char *older, const char *newer)
{
	struct comparison comparison = compare(older, newer);

	cr_assert_eq(comparison.rc, 0, "%s", comparison.why.text);
	enum compat_verdict verdict = comparison.compat->verdict;
	done(&comparison);
	return verdict;
}

Test(statefmt_compat, finds_nothing_where_nothing_changed)
{
	struct comparison comparison = compare(HEAD V1("int32 a = 1;"), HEAD V1("int32 a = 1;"));

	cr_assert_eq(comparison.rc, 0);
	cr_expect_eq(comparison.compat->verdict, COMPAT_SAME);
	cr_assert_eq(comparison.compat->n_types, 1);
	cr_expect_str_eq(comparison.compat->types[0].name, "p.T");
	cr_expect_eq(comparison.compat->types[0].n_findings, 0);
	done(&comparison);
}

Test(statefmt_compat, lets_pass_what_carries_by_itself)
{
	JUDGES("int32 a = 1;", "int32 b = 1 [(upgrade.field).from = \"a\"];", "b", COMPAT_CARRIES, "from a", "");
	JUDGES("uint32 a = 1; uint32 b = 2;", "uint64 c = 1 [(upgrade.field) = { merged: { from: \"a\" bits: { width: 32 } } "
	       "merged: { from: \"b\" bits: { shift: 32 } } }];", "c", COMPAT_CARRIES, "into bits 0 to 31", "");
	cr_expect_eq(verdict_of(HEAD V1("int32 a = 1;"), HEAD V1("int32 a = 1;") V2("int32 a = 9;")), COMPAT_SAME,
		     "another number is no loss");
}

Test(statefmt_compat, lets_pass_what_is_checked_when_it_happens)
{
	JUDGES("int32 a = 1;", "int64 a = 1;", "a", COMPAT_CHECKED, "int64, was int32", "down: a number that does not fit stops");
	JUDGES("int64 a = 1;", "int32 a = 1;", "a", COMPAT_CHECKED, "int32, was int64", "up: a number that does not fit stops");
	JUDGES("string a = 1;", "bytes a = 1;", "a", COMPAT_CHECKED, "bytes, was string", "down: bytes with a zero");
	JUDGES("float a = 1;", "double a = 1;", "a", COMPAT_CHECKED, "double, was float", "down:");
	JUDGES("bool a = 1;", "uint32 a = 1;", "a", COMPAT_CHECKED, "uint32, was bool", "down:");
}

Test(statefmt_compat, tells_what_is_lost_on_the_way_down)
{
	JUDGES("int32 a = 1;", "int32 a = 1; int32 b = 2;", "b", COMPAT_LOSES, "new", "down: version 1 has no place for it");
	JUDGES("int64 s = 1;", "int64 ms = 1 [(upgrade.field) = { from: \"s\" unit: { times: 1000 round: UP } }];", "ms",
	       COMPAT_LOSES, "from s, times 1000", "down: rounded up");
	JUDGES("int32 a = 1;", "int64 a = 1 [(upgrade.field).overflow = SATURATE];", "a", COMPAT_LOSES, "int64",
	       "down: a number is cut to what fits");
	JUDGES("int32 a = 1;", "oneof k { int32 a = 1; string b = 2; }", "a", COMPAT_LOSES, "can be absent now",
	       "absent and zero become one");
}

Test(statefmt_compat, lets_pass_losses_that_are_accepted)
{
	JUDGES("int32 a = 1;", "int32 a = 1; int32 b = 2 [(upgrade.field).lossy = true];", "b", COMPAT_ACCEPTED, "new", "down:");
	/* Nothing is lost with what changes by itself. */
	JUDGES("int32 a = 1;", "int32 a = 1; int32 b = 2 [(upgrade.field).volatile = true];", "b", COMPAT_ACCEPTED, "new", "down:");
	judges(HEAD V1("int32 a = 1; int32 b = 2;"), HEAD V1("int32 a = 1; int32 b = 2;")
	       "message Two { option (upgrade.type) = { name: \"p.T\" version: 2 from: \"p.One\" dropped: \"b\" }; int32 a = 1; }",
	       "b", COMPAT_ACCEPTED, "dropped", "going down brings nothing back");
}

Test(statefmt_compat, misses_what_nobody_decided)
{
	JUDGES("int32 a = 1;", "string a = 1;", "a", COMPAT_MISSING, "nothing says how", "it was int32 and is string");
	JUDGES("int32 a = 1;", "repeated int32 a = 1;", "a", COMPAT_MISSING, "nothing says how", "it was single and is repeated");
	JUDGES("int32 a = 1; int32 b = 2;", "int32 a = 1;", "b", COMPAT_MISSING, "removed", "write dropped: \"b\"");
	JUDGES("int32 a = 1;", "int32 z = 1;", "a", COMPAT_MISSING, "removed", "annotate that with from: \"a\"");
	JUDGES("int32 a = 1;", "string a = 1 [(upgrade.field).by_hand = \"text\"];", "a", COMPAT_BY_HAND,
	       "from a, by hand: text", "");
	JUDGES("int32 a = 1;", "string a = 1 [(upgrade.field) = { by_hand: \"text\" from: \"a\" }];", "a", COMPAT_BY_HAND,
	       "by hand: text", "");
}

Test(statefmt_compat, looks_into_nested_messages_and_enums)
{
	static const char older[] = "syntax = \"proto3\"; package q.v1; import \"upgrade/options.proto\"; "
		"enum Mood { NONE = 0; GLAD = 1; } message Part { int32 a = 1; Mood mood = 2; } "
		"message T { option (upgrade.type) = { name: \"q.T\" version: 1 }; repeated Part parts = 1; T next = 2; }";
	struct comparison comparison = compare(older, older);

	cr_expect_eq(comparison.compat->verdict, COMPAT_SAME);
	done(&comparison);
	JUDGES("Sub s = 1; } message Sub { int32 x = 1; int32 y = 2;", "int32 x = 1 [(upgrade.field).from = \"s.x\"];", "s.y",
	       COMPAT_MISSING, "removed", "s.y");
	JUDGES("enum E { A = 0; B = 1; } E e = 1;", "enum E { A = 0; C = 2; } E e = 1 [(upgrade.field) = { from: \"e\" }];", "e",
	       COMPAT_MISSING, "nothing says how", "p.Two.E is not known to follow p.One.E");
}

Test(statefmt_compat, walks_the_whole_way_between_versions)
{
	static const char v3[] = HEAD V1("int32 a = 1;") V2("int64 a = 1; int64 b = 2;")
		V3("int64 c = 1 [(upgrade.field).from = \"a\"]; int64 b = 2;");
	struct comparison comparison = compare(HEAD V1("int32 a = 1;"), v3);
	const struct compat_type *type = &comparison.compat->types[0];

	cr_assert_eq(comparison.rc, 0, "%s", comparison.why.text);
	cr_assert_eq(comparison.compat->n_types, 1, "the highest version of a name stands for it");
	cr_expect_eq(type->from, 1);
	cr_expect_eq(type->to, 3);
	cr_assert_eq(type->n_findings, 3);
	cr_expect_eq(type->findings[0].from, 1, "the steps come in the order they are taken");
	cr_expect_eq(type->findings[2].from, 2);
	cr_expect_str_eq(type->findings[2].field, "c");
	done(&comparison);
}

Test(statefmt_compat, misses_steps_and_types)
{
	judges(HEAD V1("int32 a = 1;"),
	       HEAD "message Two { option (upgrade.type) = { name: \"p.T\" version: 2 }; int32 a = 1; }", "",
	       COMPAT_MISSING, "nothing leads from version 1 to 2", "annotate p.Two");
	judges(HEAD V1("int32 a = 1;"), HEAD V1("int64 a = 1;"), "", COMPAT_MISSING, "version 1 has another shape than it had",
	       "a released version was changed");
	judges(HEAD V1("int32 a = 1;") V2("int32 a = 1;"), HEAD V1("int32 a = 1;"), "", COMPAT_MISSING,
	       "goes back from version 2 to 1", "OLD NEW");
	judges(HEAD V1("int32 a = 1;") "message U { option (upgrade.type) = { name: \"p.U\" version: 1 }; }",
	       HEAD V1("int32 a = 1;"),
	       "", COMPAT_MISSING, "removed", "its records have nowhere to go");
	judges(HEAD V1("int32 a = 1;"),
	       HEAD V1("int32 a = 1;") "message U { option (upgrade.type) = { name: \"p.U\" version: 1 }; }",
	       "", COMPAT_LOSES, "new", "the older version cannot take over");
	judges(HEAD V1("int32 a = 1;"),
	       HEAD V1("int32 a = 1;") "message U { option (upgrade.type) = { name: \"p.U\" version: 1 lossy: true }; }",
	       "", COMPAT_ACCEPTED, "new", "the older version cannot take over");
}

Test(statefmt_compat, compares_by_name_what_is_not_annotated)
{
	static const char older[] = "syntax = \"proto3\"; package q.v1; message M { int32 a = 1; }",
			  same[] = "syntax = \"proto3\"; package q.v2; message M { int32 renamed = 1; }",
			  wider[] = "syntax = \"proto3\"; package q.v2; message M { int64 a = 1; }";

	cr_expect_eq(verdict_of(older, same), COMPAT_SAME, "the bytes are the same: it carries over by itself");
	judges(older, wider, "a", COMPAT_CHECKED, "int64, was int32", "down:");
	judges(older, wider, "", COMPAT_MISSING, "nothing says which version it is", "annotate both");
	cr_expect_eq(verdict_of("syntax = \"proto3\"; message A { B b = 1; } message B { A a = 1; }",
				"syntax = \"proto3\"; message A { B b = 1; } message B { A a = 1; int32 x = 2; }"), COMPAT_MISSING,
		     "where each is part of the other, both count");
}

Test(statefmt_compat, survives_messages_that_hold_one_another)
{
	static const char older[] = "syntax = \"proto3\"; package q.v1; import \"upgrade/options.proto\"; "
		"message A { option (upgrade.type) = { name: \"q.A\" version: 1 }; B b = 1; repeated A more = 2; int32 x = 3; } "
		"message B { A a = 1; B b = 2; }";
	/* In one set, the older under another package. */
	static const char newer[] = "syntax = \"proto3\"; package q.v1; import \"upgrade/options.proto\"; "
		"message A { option (upgrade.type) = { name: \"q.A\" version: 1 }; B b = 1; repeated A more = 2; int32 x = 3; } "
		"message B { A a = 1; B b = 2; } "
		"message A2 { option (upgrade.type) = { name: \"q.A\" version: 2 from: \"q.v1.A\" }; B2 b = 1; "
		"repeated A2 more = 2; "
		"int64 x = 3; } message B2 { option (upgrade.type).from = \"q.v1.B\"; A2 a = 1; B2 b = 2; }";
	struct comparison comparison = compare(older, newer);

	cr_assert_eq(comparison.rc, 0, "%s", comparison.why.text);
	cr_expect_eq(comparison.compat->verdict, COMPAT_CHECKED);
	cr_expect_eq(comparison.compat->types[0].n_findings, 1, "told of once");
	done(&comparison);
}

Test(statefmt_compat, refuses_annotations_that_make_no_sense)
{
	struct comparison comparison = compare(HEAD V1("int32 a = 1;"),
					       HEAD V1("int32 a = 1;") V2("int32 b = 1 [(upgrade.field).from = \"x\"];"));

	cr_expect_eq(comparison.rc, -EINVAL);
	cr_expect(strstr(comparison.why.text, "p.Two.b: p.One has no field \"x\""), "%s", comparison.why.text);
	done(&comparison);
	comparison = compare("syntax = \"proto3\"; enum E { A = 0; }", HEAD V1("int32 a = 1;"));
	cr_expect_eq(comparison.rc, -EINVAL);
	cr_expect(strstr(comparison.why.text, "the older side has no message types"), "%s", comparison.why.text);
	done(&comparison);
	comparison = compare(HEAD V1("int32 a = 1;"), HEAD V1("int32 a = 1;")
		"message G { Two t = 1 [(upgrade.field).group = true]; } " V2("G g = 1 [(upgrade.field).group = true];"));
	cr_expect_eq(comparison.rc, -EINVAL);
	cr_expect(strstr(comparison.why.text, "groups fields of p.One within itself"), "%s", comparison.why.text);
	done(&comparison);
}
