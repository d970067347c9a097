/* SPDX-License-Identifier: MIT */
/* state compat, from files of each kind to text, JSON and the exit status. */
#include "base/why.h"
#include "cli/schema_source.h"
#include "cli/state.h"
#include "wire/wire.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[32];

static void folder_make(void)
{
	strcpy(folder, "/tmp/compat.XXXXXX");
	cr_assert_not_null(mkdtemp(folder));
}

static void folder_remove(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	cr_expect_eq(system(command), 0);
}

TestSuite(compat, .init = folder_make, .fini = folder_remove, .timeout = 60);

static const char *path_of(const char *name)
{
	static char paths[8][128];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static const char *file_write(const char *name, const void *data, size_t size)
{
	const char *path = path_of(name);
	FILE *file = fopen(path, "w");

	cr_assert_not_null(file, "%s", path);
	cr_assert_eq(fwrite(data, 1, size, file), size);
	cr_assert_eq(fclose(file), 0);
	return path;
}

static void run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *fmt, ...)
{
	char command[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	cr_assert_eq(system(command), 0, "%s", command);
}

#define HEAD "syntax = \"proto3\"; package p; import \"upgrade/options.proto\"; "
static const char v1[] = HEAD "message One { option (upgrade.type) = { name: \"p.T\" version: 1 }; int32 a = 1; }";
static const char v2[] = HEAD "import public \"v1.proto\"; message Two { option (upgrade.type) = { name: \"p.T\" version: 2 "
	"from: \"p.One\" }; int64 a = 1; }";
static const char v2_lossy[] = HEAD "import public \"v1.proto\"; message Two { option (upgrade.type) = { name: \"p.T\" version: 2 "
	"from: \"p.One\" }; int32 a = 1; int32 b = 2; }";

static const char *proto(const char *name, const char *text)
{
	return file_write(name, text, strlen(text));
}

/* `protoc -o` of a .proto that was written. */
static const char *descriptors(const char *name)
{
	char set[64];

	snprintf(set, sizeof(set), "%s.pb", name);
	run("protoc --proto_path=%s --proto_path=shim --include_imports --descriptor_set_out=%s %s", folder, path_of(set),
	    path_of(name));
	return path_of(set);
}

/* A program with @size_bytes at @blob as its section. */
static const char *program(const char *name, const void *blob, size_t size_bytes)
{
	const char *section = file_write("blob", blob, size_bytes), *path = path_of(name);

	run("objcopy --add-section .upgrade_schema=%s --set-section-flags .upgrade_schema=alloc,readonly,contents /bin/true %s "
	    "2>/dev/null", section, path);
	return path;
}

/* As protoc-gen-upgrade writes it: a mark, a length, descriptors. */
static size_t framed(const char *pb, uint8_t *out, size_t cap)
{
	FILE *file = fopen(pb, "r");
	size_t size;

	cr_assert_not_null(file, "%s", pb);
	memcpy(out, "UPGSCHEM", 8);
	size = fread(out + 12, 1, cap - 12, file);
	fclose(file);
	for (unsigned i = 0; i < 4; i++)
		out[8 + i] = (uint8_t)(size >> 8 * i);
	return size + 12;
}

struct outcome {
	char *out, *err;
	int status;
};

static struct outcome compare(const char *older, const char *newer, bool json)
{
	struct outcome outcome = { 0 };
	char *files[] = { (char *)(uintptr_t)older, (char *)(uintptr_t)newer };
	struct state_call call = { .files = files, .n_files = 2, .json = json, .imports = { "shim" }, .n_imports = 1 };
	struct term out = { 0 }, err = { 0 };
	size_t size;

	out.out = open_memstream(&outcome.out, &size);
	err.out = open_memstream(&outcome.err, &size);
	outcome.status = state_compat(&call, &out, &err);
	fclose(out.out);
	fclose(err.out);
	return outcome;
}

static void expect(const char *older, const char *newer, int status, const char *words)
{
	struct outcome outcome = compare(older, newer, false);

	cr_expect_eq(outcome.status, status, "%s%s", outcome.out, outcome.err);
	cr_expect(strstr(status == WIRE_EXIT_USAGE ? outcome.err : outcome.out, words), "\"%s\" in: %s%s", words,
		  outcome.out, outcome.err);
	free(outcome.out);
	free(outcome.err);
}

Test(compat, passes_and_fails_proto_files)
{
	const char *one = proto("v1.proto", v1), *two = proto("v2.proto", v2);

	expect(one, one, WIRE_EXIT_DONE, "same      p.T  version 1\ncompatible");
	expect(one, two, WIRE_EXIT_DONE, "checked   a  int64, was int32; down: a number that does not fit stops the roll");
	expect(one, proto("v2_lossy.proto", v2_lossy), WIRE_EXIT_ERROR, "loses     b  new; down: version 1 has no place for it");
	expect(two, one, WIRE_EXIT_ERROR, "goes back from version 2 to 1");
}

Test(compat, reads_what_protoc_wrote)
{
	proto("v1.proto", v1);
	proto("v2.proto", v2);
	expect(descriptors("v1.proto"), descriptors("v2.proto"), WIRE_EXIT_DONE, "version 1 to 2");
}

Test(compat, reads_what_programs_carry)
{
	static uint8_t blob[1 << 15];
	size_t one, both;

	proto("v1.proto", v1);
	proto("v2.proto", v2);
	one = framed(descriptors("v1.proto"), blob, sizeof(blob));
	const char *older = program("older", blob, one);
	/* Two object files, with a linker's padding between them, and v1.proto in both. */
	both = one + 13;
	both += framed(descriptors("v2.proto"), blob + both, sizeof(blob) - both);
	expect(older, program("newer", blob, both), WIRE_EXIT_DONE, "version 1 to 2");
}

Test(compat, says_what_is_wrong_with_a_program)
{
	const char *one = proto("v1.proto", v1);
	static const uint8_t cut[] = { 'U', 'P', 'G', 'S', 'C', 'H', 'E', 'M', 9, 0, 0, 0, 1 };

	expect("/bin/true", one, WIRE_EXIT_USAGE, "/bin/true: the program carries no schema (section .upgrade_schema)");
	expect(program("cut", cut, sizeof(cut)), one, WIRE_EXIT_USAGE, "its section .upgrade_schema");
	expect(program("other", "nonsense", 8), one, WIRE_EXIT_USAGE, "its section .upgrade_schema");
	expect(file_write("elf", "\x7f" "ELF and no more", 16), one, WIRE_EXIT_USAGE, "elf: ");
}

Test(compat, says_what_is_wrong_with_a_file)
{
	const char *one = proto("v1.proto", v1);

	expect("/nowhere", one, WIRE_EXIT_USAGE, "/nowhere: No such file");
	expect("/tmp", one, WIRE_EXIT_USAGE, "/tmp: not a file");
	expect(file_write("noise", "\xff\xff\xff", 3), one, WIRE_EXIT_USAGE, "noise: ");
	expect(one, proto("bad.proto", "syntax = \"proto3\"; message {"), WIRE_EXIT_USAGE, "bad.proto: protoc does not take it");
}

Test(compat, says_the_same_in_json)
{
	const char *one = proto("v1.proto", v1), *two = proto("v2_lossy.proto", v2_lossy);
	struct outcome outcome = compare(one, two, true);
	json_t *json = json_loads(outcome.out, 0, NULL), *type, *change;

	cr_assert_not_null(json, "%s", outcome.out);
	cr_expect_eq(outcome.status, WIRE_EXIT_ERROR);
	cr_expect(json_is_false(json_object_get(json, "compatible")));
	type = json_array_get(json_object_get(json, "types"), 0);
	cr_expect_str_eq(json_string_value(json_object_get(type, "type")), "p.T");
	cr_expect_eq(json_integer_value(json_object_get(type, "to")), 2);
	cr_expect_eq(json_integer_value(json_object_get(type, "same")), 1);
	change = json_array_get(json_object_get(type, "changes"), 0);
	cr_expect_str_eq(json_string_value(json_object_get(change, "field")), "b");
	cr_expect_str_eq(json_string_value(json_object_get(change, "verdict")), "loses");
	json_decref(json);
	free(outcome.out);
	free(outcome.err);
}

Test(compat, takes_folders_for_imports_and_no_other_verb_does)
{
	char *good[] = { (char[]){ "upgradectl" }, (char[]){ "state" }, (char[]){ "compat" }, (char[]){ "-Ia" }, (char[]){ "-I" },
			 (char[]){ "b" }, (char[]){ "x" }, (char[]){ "y" }, NULL };
	char *bad[] = { (char[]){ "upgradectl" }, (char[]){ "state" }, (char[]){ "show" }, (char[]){ "-Ia" },
	(char[]){ "x" }, NULL };
	struct why why = { "" };
	struct state_call call;

	cr_assert_eq(state_args_parse(8, good, &call, &why), ARGS_RUN, "%s", why.text);
	cr_assert_eq(call.n_imports, 2);
	cr_expect_str_eq(call.imports[1], "b");
	cr_expect_lt(state_args_parse(5, bad, &call, &why), 0);
	cr_expect(strstr(why.text, "-I has no meaning for state show"), "%s", why.text);
}
