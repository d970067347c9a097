/* SPDX-License-Identifier: MIT */
/* Two sets of records, compared whatever their order and their number.
 *
 * Of each record, 32 bytes are kept: its type and a hash of its key, a hash of all of it, and where it is. Those of both files
 * are sorted (in a temporary file if they are many) and walked side by side. Records of one key that only one side has are
 * paired as changed as far as they go; the rest were added or removed. What is printed of a record is read from its place
 * again. Hashes have a seed of this run, so no file can be made to match another.
 */
#include "cli/state.h"

#include "cli/format.h"
#include "cli/sorter.h"
#include "cli/state_input.h"
#include "cli/state_json.h"
#include "cli/state_record.h"
#include "cli/state_text.h"
#include "wire/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#define ENTRIES_IN_MEMORY ((size_t)32 << 10) /* 1 MiB for each file */
#define PAIRS_MAX 32u /* leftovers of one key that are looked at one by one; all are counted */

struct tally {
	uint64_t added, removed, changed, same;
};

/* One of the two files. */
struct side {
	struct state_input input;
	struct sorter *sorter;
	size_t *types;          /* of the header -> of struct diff */
	struct sort_entry head; /* the next in order */
	bool more;
	struct state_record record; /* the one that is being told of */
};

struct type {
	const char *name;
	struct tally tally;
};

struct diff {
	const struct state_call *call;
	const struct term *out;
	struct side a, b;
	struct type *types; /* of either file, by name */
	size_t n_types;
	uint64_t seed;
	uint64_t printed;
	struct why why;
};

/* ---- reading ---- */

static uint64_t key_number(const struct diff *diff, const struct schema_message *message)
{
	const struct schema_field *field = NULL;
	const char *key = diff->call->key;
	char *end;
	uint64_t number = key ? strtoull(key, &end, 10) : 0;

	if (key && *key >= '0' && *key <= '9' && !*end)
		return number;
	if (key && message)
		field = schema_field_by_name(message, key);
	if (!field && message && message->n_fields)
		field = &message->fields[0];
	return field ? field->number : 1;
}

static XXH128_hash_t key_hash(const struct diff *diff, const struct side *side, const struct sf_record *record)
{
	const struct schema_message *message = side->input.messages[record->type];
	struct dyn_field field;

	/* Absent and zero are one: that is how the wire says zero. */
	if (!state_record_field(message, record->data, record->size_bytes, key_number(diff, message), &field))
		return XXH3_128bits_withSeed("", 0, diff->seed);
	if (field.wire == DYN_BYTES)
		return XXH3_128bits_withSeed(field.data, field.size_bytes, diff->seed);
	return field.bits ? XXH3_128bits_withSeed(&field.bits, sizeof(field.bits), diff->seed) :
			    XXH3_128bits_withSeed("", 0, diff->seed);
}

static int record_add(struct diff *diff, struct side *side, const struct sf_record *record)
{
	XXH128_hash_t key = key_hash(diff, side, record);
	uint64_t type = side->types[record->type];
	struct sort_entry entry = {
		/* The type takes the place of 16 of 128 bits. */
		.group = { type << 48 | key.high64 >> 16, key.low64,
			   XXH3_64bits_withSeed(record->data, record->size_bytes, diff->seed) },
		.place = record->offset,
	};

	return sorter_add(side->sorter, &entry, &diff->why);
}

/* Return: the exit status if it ends here. */
static int side_complain(struct diff *diff, const struct term *err, const char *path, int status)
{
	state_input_complain(err, path, &diff->why);
	return status;
}

static int side_open(struct diff *diff, struct side *side, const char *path, const struct term *err)
{
	int r = state_input_open(path, &side->input, &diff->why);

	if (r == STATE_DAMAGED)
		return side_complain(diff, err, path, WIRE_EXIT_ERROR);
	if (r == STATE_OPEN)
		r = sorter_new(ENTRIES_IN_MEMORY, &side->sorter, &diff->why);
	return r < 0 ? side_complain(diff, err, path, WIRE_EXIT_USAGE) : WIRE_EXIT_DONE;
}

static int types_join(struct diff *diff, struct side *side)
{
	const struct sf_header *header = side->input.header;

	side->types = calloc(header->n_schemas + 1, sizeof(*side->types));
	if (!side->types)
		return -ENOMEM;
	for (size_t i = 0; i < header->n_schemas; i++) {
		size_t at = 0;

		while (at < diff->n_types && strcmp(diff->types[at].name, header->schemas[i].name) != 0)
			at++;
		if (at == diff->n_types)
			diff->types[diff->n_types++].name = header->schemas[i].name;
		side->types[i] = at;
	}
	return 0;
}

static int side_read(struct diff *diff, struct side *side, const struct term *err)
{
	struct sf_record record;
	int r;

	while ((r = state_input_next(&side->input, diff->call->type, &record, &diff->why)) == SF_RECORD) {
		int added = record_add(diff, side, &record);

		if (added < 0)
			return side_complain(diff, err, side->input.path, WIRE_EXIT_USAGE);
	}
	if (r < 0)
		return side_complain(diff, err, side->input.path, WIRE_EXIT_ERROR);
	if (sorter_sort(side->sorter, &diff->why) < 0)
		return side_complain(diff, err, side->input.path, WIRE_EXIT_USAGE);
	return WIRE_EXIT_DONE;
}

/* ---- telling ---- */

static size_t entry_type(const struct sort_entry *entry)
{
	return (size_t)(entry->group[0] >> 48);
}

static void key_print(struct diff *diff, struct side *side)
{
	const struct state_record *record = &side->record;
	const struct schema_message *message = record->message;
	struct dyn_field field;

	if (!record->data || !state_record_field(message, record->data, record->size_bytes, key_number(diff, message), &field)) {
		if (diff->call->json)
			fputs("null", diff->out->out);
		return;
	}
	if (diff->call->json) {
		json_field(diff->out->out, &field);
	} else {
		fputc(' ', diff->out->out);
		text_field(diff->out, &field);
	}
}

static void fields_print(struct diff *diff)
{
	struct state_changes changes;
	const char *separator = "";

	state_record_compare(&diff->a.record, &diff->b.record, &changes);
	if (!diff->call->json && changes.n)
		fputs(" in ", diff->out->out);
	for (size_t i = 0; i < changes.n; i++) {
		fputs(separator, diff->out->out);
		if (!changes.names[i])
			fprintf(diff->out->out, diff->call->json ? "\"%u\"" : "field %u", changes.numbers[i]);
		else
			fprintf(diff->out->out, diff->call->json ? "\"%s\"" : "%s", changes.names[i]);
		separator = diff->call->json ? "," : ", ";
	}
}

static void change_text(struct diff *diff, const struct sort_entry *a, const struct sort_entry *b)
{
	const struct term *out = diff->out;

	term_style(out, a && b ? STYLE_YELLOW : a ? STYLE_RED : STYLE_GREEN);
	fputs(a && b ? "~ " : a ? "- " : "+ ", out->out);
	term_plain(out);
	term_text(out, diff->types[entry_type(a ? a : b)].name, TERM_WHOLE);
	key_print(diff, a ? &diff->a : &diff->b);
	if (a && b)
		fields_print(diff);
	term_style(out, STYLE_DIM);
	if (a && b)
		fprintf(out->out, " (bytes %" PRIu64 ", %" PRIu64 ")", a->place, b->place);
	else
		fprintf(out->out, " (byte %" PRIu64 ")", a ? a->place : b->place);
	term_plain(out);
	fputc('\n', out->out);
}

static void change_json(struct diff *diff, const struct sort_entry *a, const struct sort_entry *b)
{
	FILE *out = diff->out->out;

	fprintf(out, "{\"change\":\"%s\",\"type\":", a && b ? "changed" : a ? "removed" : "added");
	json_name(out, diff->types[entry_type(a ? a : b)].name);
	fputs(",\"key\":", out);
	key_print(diff, a ? &diff->a : &diff->b);
	if (a)
		fprintf(out, ",\"a_offset\":%" PRIu64, a->place);
	if (b)
		fprintf(out, ",\"b_offset\":%" PRIu64, b->place);
	if (a && b) {
		fputs(",\"fields\":[", out);
		fields_print(diff);
		fputc(']', out);
	}
	fputs("}\n", out);
}

/* NULL: that side has none. */
static void change_print(struct diff *diff, const struct sort_entry *a, const struct sort_entry *b)
{
	if (diff->call->quiet || diff->printed >= diff->call->limit)
		return;
	diff->printed++;
	if (a)
		state_record_load(&diff->a.record, &diff->a.input, a->place);
	if (b)
		state_record_load(&diff->b.record, &diff->b.input, b->place);
	if (diff->call->json)
		change_json(diff, a, b);
	else
		change_text(diff, a, b);
}

/* ---- comparing ---- */

/* What one side has of a key and the other has not. */
struct leftovers {
	struct sort_entry kept[PAIRS_MAX];
	uint64_t n;
};

static void leftover_add(struct leftovers *leftovers, const struct sort_entry *entry)
{
	if (leftovers->n < PAIRS_MAX)
		leftovers->kept[leftovers->n] = *entry;
	leftovers->n++;
}

static int side_advance(struct diff *diff, struct side *side)
{
	int r = sorter_next(side->sorter, &side->head, &diff->why);

	side->more = r > 0;
	return r < 0 ? r : 0;
}

static bool is_of_key(const struct side *side, const struct sort_entry *key)
{
	return side->more && side->head.group[0] == key->group[0] && side->head.group[1] == key->group[1];
}

/* Every record of @key, on both sides. */
static int key_walk(struct diff *diff, const struct sort_entry *key, struct leftovers *a, struct leftovers *b, uint64_t *same)
{
	int r = 0;

	for (;;) {
		bool in_a = is_of_key(&diff->a, key), in_b = is_of_key(&diff->b, key);
		int order = in_a && in_b ? sort_entry_compare(&diff->a.head, &diff->b.head) : in_a ? -1 : 1;

		if (r < 0 || (!in_a && !in_b))
			return r;
		if (order == 0)
			(*same)++;
		else if (order < 0)
			leftover_add(a, &diff->a.head);
		else
			leftover_add(b, &diff->b.head);
		if (order <= 0)
			r = side_advance(diff, &diff->a);
		if (order >= 0 && r == 0)
			r = side_advance(diff, &diff->b);
	}
}

static int key_compare(struct diff *diff, const struct sort_entry *key)
{
	struct leftovers a = { .n = 0 }, b = { .n = 0 };
	struct tally *tally = &diff->types[entry_type(key)].tally;
	uint64_t pairs;
	int r = key_walk(diff, key, &a, &b, &tally->same);

	pairs = a.n < b.n ? a.n : b.n;
	tally->changed += pairs;
	tally->removed += a.n - pairs;
	tally->added += b.n - pairs;
	for (uint64_t i = 0; i < PAIRS_MAX && (i < a.n || i < b.n); i++)
		change_print(diff, i < a.n ? &a.kept[i] : NULL, i < b.n ? &b.kept[i] : NULL);
	return r;
}

static int sides_compare(struct diff *diff)
{
	int r = side_advance(diff, &diff->a);

	if (r == 0)
		r = side_advance(diff, &diff->b);
	while (r == 0 && (diff->a.more || diff->b.more) && !ferror(diff->out->out)) {
		bool a_first = diff->a.more && (!diff->b.more || sort_entry_compare(&diff->a.head, &diff->b.head) <= 0);
		struct sort_entry key = a_first ? diff->a.head : diff->b.head;

		r = key_compare(diff, &key);
	}
	return r;
}

/* ---- the sum ---- */

static bool summary_print(struct diff *diff)
{
	FILE *out = diff->out->out;
	bool differs = false, quiet = diff->call->quiet;
	const char *separator = "";
	char added[FORMAT_MAX], removed[FORMAT_MAX], changed[FORMAT_MAX], same[FORMAT_MAX];

	if (!quiet && diff->call->json)
		fputs("{\"summary\":[", out);
	for (size_t i = 0; i < diff->n_types; i++) {
		const struct tally *tally = &diff->types[i].tally;

		differs = differs || tally->added || tally->removed || tally->changed;
		if (quiet || (diff->call->type && strcmp(diff->call->type, diff->types[i].name) != 0))
			continue;
		if (diff->call->json) {
			fprintf(out, "%s{\"type\":", separator);
			json_name(out, diff->types[i].name);
			fprintf(out, ",\"added\":%" PRIu64 ",\"removed\":%" PRIu64 ",\"changed\":%" PRIu64 ",\"same\":%" PRIu64
				"}", tally->added, tally->removed, tally->changed, tally->same);
			separator = ",";
			continue;
		}
		term_text(diff->out, diff->types[i].name, TERM_WHOLE);
		fprintf(out, ": %s added, %s removed, %s changed, %s the same\n",
			format_count(added, sizeof(added), tally->added), format_count(removed, sizeof(removed), tally->removed),
			format_count(changed, sizeof(changed), tally->changed), format_count(same, sizeof(same), tally->same));
	}
	if (!quiet && diff->call->json)
		fputs("]}\n", out);
	return differs;
}

static bool key_is_known(const struct diff *diff, const struct side *side)
{
	const char *key = diff->call->key;

	if (key[0] >= '0' && key[0] <= '9')
		return true;
	for (size_t i = 0; i < side->input.header->n_schemas; i++)
		if (side->input.messages[i] && schema_field_by_name(side->input.messages[i], key))
			return true;
	return false;
}

static int call_check(struct diff *diff, const struct term *err)
{
	const struct state_call *call = diff->call;

	if (call->key && !key_is_known(diff, &diff->a) && !key_is_known(diff, &diff->b)) {
		why_set(&diff->why, 0, "no type has a field \"%.80s\"", call->key);
		return side_complain(diff, err, "--key", WIRE_EXIT_USAGE);
	}
	if (call->type && !state_input_has_type(&diff->a.input, call->type) &&
	    !state_input_has_type(&diff->b.input, call->type)) {
		why_set(&diff->why, 0, "neither file has a type \"%.80s\"", call->type);
		return side_complain(diff, err, "--type", WIRE_EXIT_USAGE);
	}
	return WIRE_EXIT_DONE;
}

static int diff_run(struct diff *diff, const struct term *err)
{
	const struct state_call *call = diff->call;
	int status = side_open(diff, &diff->a, call->files[0], err);

	if (status == WIRE_EXIT_DONE)
		status = side_open(diff, &diff->b, call->files[1], err);
	if (status == WIRE_EXIT_DONE)
		status = call_check(diff, err);
	if (status != WIRE_EXIT_DONE)
		return status;
	diff->types = calloc(diff->a.input.header->n_schemas + diff->b.input.header->n_schemas + 1, sizeof(*diff->types));
	if (!diff->types || types_join(diff, &diff->a) < 0 || types_join(diff, &diff->b) < 0) {
		why_errno(&diff->why, -ENOMEM, "comparing");
		return side_complain(diff, err, call->files[0], WIRE_EXIT_USAGE);
	}
	status = side_read(diff, &diff->a, err);
	if (status == WIRE_EXIT_DONE)
		status = side_read(diff, &diff->b, err);
	if (status != WIRE_EXIT_DONE)
		return status;
	if (sides_compare(diff) < 0)
		return side_complain(diff, err, call->files[0], WIRE_EXIT_USAGE);
	return summary_print(diff) ? WIRE_EXIT_ERROR : WIRE_EXIT_DONE;
}

static void side_close(struct side *side)
{
	state_record_done(&side->record);
	sorter_free(side->sorter);
	free(side->types);
	state_input_close(&side->input);
}

int state_diff(const struct state_call *call, const struct term *out, const struct term *err)
{
	struct diff diff = { .call = call, .out = out, .a.input.fd = -1, .b.input.fd = -1 };
	int status;

	if (getrandom(&diff.seed, sizeof(diff.seed), GRND_NONBLOCK) != (ssize_t)sizeof(diff.seed))
		diff.seed = (uint64_t)(uintptr_t)&diff; /* where the stack lies is random, too */
	status = diff_run(&diff, err);
	side_close(&diff.a);
	side_close(&diff.b);
	free(diff.types);
	return status;
}
