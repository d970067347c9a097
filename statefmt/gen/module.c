/* SPDX-License-Identifier: MIT */
/* Writes the code for one .proto file: for each pair of messages a function up and one down, for each record type an entry of the
 * application's table, and a declaration for each function that a person has to write. */
#include "statefmt/gen/gen.h"

#include "base/why.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct writing {
	const struct module *module;
	struct succession_book *book;
	struct succession_step *steps;
	size_t n_steps;
	size_t n_records; /* annotated as record types, whether or not they follow others */
	FILE *out;
	struct why *why;
};

/* ---- names ---- */

const char *pair_function(struct name *buffer, const struct succession *pair, bool up)
{
	struct name from, to;
	char suffix[32] = "";

	if (*pair->taken)
		snprintf(suffix, sizeof(suffix), "_%zu", pair->index);
	name_lower(&from, (up ? pair->older : pair->newer)->name);
	name_lower(&to, (up ? pair->newer : pair->older)->name);
	snprintf(buffer->text, sizeof(buffer->text), "%.900s_to_%.900s%s%s", from.text, to.text,
		 pair->group ? "_group" : "", suffix);
	return buffer->text;
}

static const char *step_function(const struct writing *writing, struct name *buffer,
				 const struct succession_step *step, bool up)
{
	struct name plain;

	snprintf(buffer->text, sizeof(buffer->text), "%.200s%.900s_%u_to_%u", writing->module->options->prefix,
		 name_plain(&plain, step->type), up ? step->from : step->to, up ? step->to : step->from);
	return buffer->text;
}

/* Name the function by the record type and its versions, if it is about a record type, as people do. */
static const char *hand_function(const struct writing *writing, struct name *buffer, const struct succession *pair, bool up,
				 const char *hand)
{
	struct name base, from, to;

	for (size_t i = 0; i < writing->n_steps; i++) {
		if (writing->steps[i].succession != pair)
			continue;
		snprintf(buffer->text, sizeof(buffer->text), "%.1000s_%.500s",
			 step_function(writing, &base, &writing->steps[i], up),
			 hand);
		return buffer->text;
	}
	name_plain(&from, (up ? pair->older : pair->newer)->name);
	name_plain(&to, (up ? pair->newer : pair->older)->name);
	snprintf(buffer->text, sizeof(buffer->text), "%.200s%.500s_to_%.500s_%.500s",
		 writing->module->options->prefix, from.text,
		 to.text, hand);
	return buffer->text;
}

/* Is it the first link of its name that is left to a person? All links of one name share one function. */
static bool is_hand(const struct succession *pair, size_t index)
{
	const struct succession_link *link = &pair->links[index];

	if (link->kind != SUCCESSION_BY_HAND && link->kind != SUCCESSION_UNDECIDED)
		return false;
	for (size_t i = 0; i < index; i++)
		if (pair->links[i].hand && strcmp(pair->links[i].hand, link->hand) == 0)
			return false;
	return true;
}

/* "DIR_CACHED_V2" of dir/cached-v2: the file's name alone, without its folders. */
static const char *macro_name(const struct writing *writing, struct name *buffer)
{
	const char *base = strrchr(writing->module->stem, '/');
	size_t at = 0;

	for (base = base ? base + 1 : writing->module->stem; *base && at + 1 < sizeof(buffer->text); base++)
		buffer->text[at++] = isalnum((unsigned char)*base) ? (char)toupper((unsigned char)*base) : '_';
	buffer->text[at] = '\0';
	return buffer->text;
}

/* ---- functions ---- */

static void signature_write(FILE *out, const struct succession *pair, bool up)
{
	struct name function, from, to;

	fprintf(out, "static int %s(struct upg_step *step, const %s *from,\n\t%s *to)", pair_function(&function, pair, up),
		name_type(&from, (up ? pair->older : pair->newer)->name), name_type(&to,
										    (up ? pair->newer : pair->older)->name));
}

static int body_links(const struct writing *writing, const struct route *route)
{
	const struct succession *pair = route->pair;

	bits_check_write(route);
	for (size_t pass = 0; pass < 2; pass++) {
		if (pass == 1 && !route->up)
			containers_write(route);
		/* Fields of nested messages are written after those messages were made. */
		for (size_t i = 0; i < pair->n_links; i++) {
			bool deep = !route->up && pair->links[i].from.n > 1;
			int r = deep == (pass == 1) ? link_write(route, &pair->links[i], writing->why) : 0;

			if (r < 0)
				return r;
		}
	}
	for (size_t i = 0; i < pair->n_links; i++) {
		struct name function;

		if (is_hand(pair, i))
			fprintf(route->out, "\trc = %s(step, from, to);\n\tif (rc != 0)\n\t\treturn rc;\n",
				hand_function(writing, &function, pair, route->up, pair->links[i].hand));
	}
	return 0;
}

/* The body is written first, to find out what it makes use of. */
static int function_write(const struct writing *writing, const struct succession *pair, bool up)
{
	char *body = NULL;
	size_t size = 0;
	struct route route = { .out = open_memstream(&body, &size), .pair = pair, .up = up };
	int r;

	if (!route.out)
		return why_errno(writing->why, -ENOMEM, "writing code");
	r = body_links(writing, &route);
	if (fclose(route.out) != 0 && r == 0)
		r = why_errno(writing->why, -ENOMEM, "writing code");
	if (r == 0) {
		signature_write(writing->out, pair, up);
		fputs("\n{\n", writing->out);
		fputs(strstr(body, "rc = ") ? "\tint rc;\n\n" : "", writing->out);
		fputs(strstr(body, "step") ? "" : "\t(void)step;\n", writing->out);
		fputs(strstr(body, "from") ? "" : "\t(void)from;\n", writing->out);
		fputs(strstr(body, "to->") || strstr(body, ", to)") ? "" : "\t(void)to;\n", writing->out);
		fprintf(writing->out, "%s\treturn 0;\n}\n\n", body);
	}
	free(body);
	return r;
}

static void entry_write(const struct writing *writing, const struct succession_step *step, bool up)
{
	const struct succession *pair = step->succession;
	struct name function, inner, from, to;

	fprintf(writing->out, "int %s(struct upg_step *step, const ProtobufCMessage *from, ProtobufCMessage *to)\n{\n",
		step_function(writing, &function, step, up));
	fprintf(writing->out, "\treturn %s(step, (const %s *)from, (%s *)to);\n}\n\n", pair_function(&inner, pair, up),
		name_type(&from, (up ? pair->older : pair->newer)->name), name_type(&to,
										    (up ? pair->newer : pair->older)->name));
}

static int functions_write(const struct writing *writing)
{
	int r = 0;

	for (size_t i = 0; i < succession_count(writing->book); i++) {
		for (int up = 1; up >= 0; up--) {
			signature_write(writing->out, succession_at(writing->book, i), up);
			fputs(";\n", writing->out);
		}
	}
	fputs("\n", writing->out);
	for (size_t i = 0; i < succession_count(writing->book) && r == 0; i++)
		for (int up = 1; up >= 0 && r == 0; up--)
			r = function_write(writing, succession_at(writing->book, i), up);
	for (size_t i = 0; i < writing->n_steps && r == 0; i++)
		for (int up = 1; up >= 0; up--)
			entry_write(writing, &writing->steps[i], up);
	return r;
}

/* ---- the schema as a section of its own ---- */

/* The linker puts the schemas of a program's files one after the other, perhaps with padding, so each begins with a mark and its
 * length. cli/schema_source.c reads them. */
static void schema_write(const struct writing *writing)
{
	const struct schema_bytes *schema = &writing->module->schema;
	uint32_t length = (uint32_t)schema->size_bytes;

	fputs("/* The types of this file and of those before, for `upgradectl state compat`. */\n"
	      "#if defined(__has_attribute)\n#if __has_attribute(retain)\n#define KEPT retain,\n#endif\n#endif\n"
	      "#ifndef KEPT\n#define KEPT\n#endif\n"
	      "__attribute__((KEPT used, section(\".upgrade_schema\"), aligned(1)))\n"
	      "static const unsigned char upgrade_schema[] = {\n"
	      "\t'U', 'P', 'G', 'S', 'C', 'H', 'E', 'M',", writing->out);
	for (unsigned i = 0; i < 4; i++)
		fprintf(writing->out, " 0x%02x,", (unsigned)(length >> 8 * i & 0xff));
	for (size_t i = 0; i < schema->size_bytes; i++)
		fprintf(writing->out, "%s0x%02x,", i % 20 ? " " : "\n\t", schema->data[i]);
	fputs("\n};\n", writing->out);
}

/* ---- the two files ---- */

static void head_write(const struct writing *writing)
{
	fprintf(writing->out, "/* Generated by protoc-gen-upgrade(1) from %s: change that, not this. */\n",
		writing->module->file->name);
}

static bool file_seen(const struct writing *writing, const struct schema_file *file, size_t before)
{
	for (size_t i = 0; i < before; i++) {
		const struct succession *pair = succession_at(writing->book, i);

		if (pair->older->file == file || pair->newer->file == file)
			return true;
	}
	return file == writing->module->file;
}

static void include_write(const struct writing *writing, const struct schema_file *file)
{
	size_t length = strlen(file->name);

	if (length > 6 && strcmp(file->name + length - 6, ".proto") == 0)
		length -= 6;
	fprintf(writing->out, "#include \"%.*s.pb-c.h\"\n", (int)length, file->name);
}

static void includes_write(const struct writing *writing)
{
	include_write(writing, writing->module->file);
	for (size_t i = 0; i < succession_count(writing->book); i++) {
		const struct succession *pair = succession_at(writing->book, i);

		if (!file_seen(writing, pair->newer->file, i))
			include_write(writing, pair->newer->file);
		if (pair->older->file != pair->newer->file && !file_seen(writing, pair->older->file, i))
			include_write(writing, pair->older->file);
	}
}

static void hand_declare(const struct writing *writing, const struct succession *pair, const struct succession_link *link)
{
	struct name function, from, to;

	fprintf(writing->out, "\n/* %s", link->kind == SUCCESSION_BY_HAND ? "by hand: " : "undecided: ");
	if (link->field)
		fprintf(writing->out, "%s.%s", pair->newer->name, link->field->name);
	else
		fprintf(writing->out, "%s.%s", pair->older->name, link->from.name);
	fprintf(writing->out, "%s%s */\n", link->reason ? ": " : "", link->reason ? link->reason : "");
	for (int up = 1; up >= 0; up--)
		fprintf(writing->out, "int %s(struct upg_step *step,\n\tconst %s *from, %s *to);\n",
			hand_function(writing, &function, pair, up, link->hand),
			name_type(&from, (up ? pair->older : pair->newer)->name),
			name_type(&to, (up ? pair->newer : pair->older)->name));
}

static size_t hands_declare(const struct writing *writing)
{
	size_t n = 0;

	for (size_t i = 0; i < succession_count(writing->book); i++) {
		const struct succession *pair = succession_at(writing->book, i);

		for (size_t j = 0; j < pair->n_links; j++) {
			if (!is_hand(pair, j))
				continue;
			if (n++ == 0)
				fputs("\n/* ---- yours to write: `to` is filled already, but for what the function "
				      "is named after ---- */\n", writing->out);
			hand_declare(writing, pair, &pair->links[j]);
		}
	}
	return n;
}

static void table_entry_write(const struct writing *writing, const struct succession_step *step, bool up, bool last)
{
	const struct succession *pair = step->succession;
	struct name function, from, to;

	fprintf(writing->out, "\t{ .type = \"%s\", .from = %u, .to = %u, \\\n", step->type, up ? step->from : step->to,
		up ? step->to : step->from);
	fprintf(writing->out, "\t  .from_descriptor = &%s__descriptor, \\\n",
		name_lower(&from, (up ? pair->older : pair->newer)->name));
	fprintf(writing->out, "\t  .to_descriptor = &%s__descriptor, \\\n",
		name_lower(&to, (up ? pair->newer : pair->older)->name));
	fprintf(writing->out, "\t  .migrate = %s }%s\n", step_function(writing, &function, step, up), last ? "" : ", \\");
}

static void table_write(const struct writing *writing)
{
	struct name macro, function;

	fputs("\n/* ---- for the array of struct upg_migration that upg_open() is given ---- */\n\n", writing->out);
	for (size_t i = 0; i < writing->n_steps; i++)
		for (int up = 1; up >= 0; up--)
			fprintf(writing->out,
				"int %s(struct upg_step *step, const ProtobufCMessage *from, ProtobufCMessage *to);\n",
				step_function(writing, &function, &writing->steps[i], up));
	fprintf(writing->out, "\n#define %s_MIGRATIONS \\\n", macro_name(writing, &macro));
	for (size_t i = 0; i < writing->n_steps; i++)
		for (int up = 1; up >= 0; up--)
			table_entry_write(writing, &writing->steps[i], up, i + 1 == writing->n_steps && !up);
}

static int volatile_table_write(const struct writing *writing)
{
	char macro[sizeof(struct name) + 32];
	struct name stem;

	snprintf(macro, sizeof(macro), "%s_VOLATILE_FIELDS", macro_name(writing, &stem));
	return volatile_write(writing->module, writing->book, macro, writing->out, writing->why);
}

static int header_write(const struct writing *writing)
{
	int r;

	head_write(writing);
	fputs("#pragma once\n\n#include <upgrade.h>\n\n", writing->out);
	includes_write(writing);
	fputs("\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n", writing->out);
	hands_declare(writing);
	if (writing->n_steps)
		table_write(writing);
	r = volatile_table_write(writing);
	fputs("\n#ifdef __cplusplus\n}\n#endif\n", writing->out);
	return r;
}

static int source_write(const struct writing *writing)
{
	int r = 0;

	head_write(writing);
	fprintf(writing->out, "#include \"%s.upgrade.h\"\n\n", writing->module->stem);
	if (writing->n_steps) {
		fputs("#include <upgrade/convert.h>\n\n", writing->out);
		r = functions_write(writing);
	}
	if (r == 0 && !writing->module->options->no_schema)
		schema_write(writing);
	return r;
}

/* ---- what there is to write ---- */

static int steps_collect(struct writing *writing)
{
	const struct schema_set *set = writing->module->set;

	for (size_t i = 0; i < set->n_messages; i++) {
		struct succession_step step;
		const char *type;
		uint32_t version;
		int r;

		if (set->messages[i].file != writing->module->file)
			continue;
		r = succession_record(writing->book, &set->messages[i], &type, &version, writing->why);
		if (r < 0)
			return r;
		writing->n_records += r == 0;
		r = succession_step_of(writing->book, set, &set->messages[i], &step, writing->why);
		if (r < 0)
			return r;
		if (r == 0)
			writing->steps[writing->n_steps++] = step;
	}
	return 0;
}

static int part_write(struct writing *writing, int (*write)(const struct writing *writing), char **ret_text)
{
	char *text = NULL;
	size_t size = 0;
	int r;

	writing->out = open_memstream(&text, &size);
	if (!writing->out)
		return why_errno(writing->why, -ENOMEM, "writing code");
	r = write(writing);
	if (fclose(writing->out) != 0 && r == 0)
		r = why_errno(writing->why, -ENOMEM, "writing code");
	if (r < 0)
		free(text);
	else
		*ret_text = text;
	return r;
}

int module_write(const struct module *module, char **ret_header, char **ret_source, struct why *why)
{
	struct writing writing = { .module = module, .why = why };
	char *header = NULL, *source = NULL;
	int r = succession_book_new(&writing.book, why);

	if (r < 0)
		return r;
	writing.steps = calloc(module->set->n_messages + 1, sizeof(*writing.steps));
	if (!writing.steps)
		r = why_errno(why, -ENOMEM, "%s", module->file->name);
	if (r == 0)
		r = steps_collect(&writing);
	if (r == 0 && !writing.n_records)
		r = 1;
	if (r == 0)
		r = part_write(&writing, header_write, &header);
	if (r == 0)
		r = part_write(&writing, source_write, &source);
	free(writing.steps);
	succession_book_free(writing.book);
	if (r != 0) {
		free(header);
		return r;
	}
	*ret_header = header;
	*ret_source = source;
	return 0;
}
