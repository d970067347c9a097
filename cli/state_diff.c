/* SPDX-License-Identifier: MIT */
/* Compares two sets of records, whatever their order and their number.
 *
 * 32 bytes are kept of each record: its type and a hash of its key, a hash of the whole record, and its place in the file. The
 * entries of both files are sorted, in a temporary file if they are many, and walked side by side. Of a key's records that only one
 * side has, as many as possible are paired as changed; the rest were added or removed. To print a record it is read from its place
 * again. Hashes have a seed of this run, so nobody can make a file that seems to match another.
 */
#include "cli/state_diff.h"

#include "wire/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#define ENTRIES_IN_MEMORY ((size_t)32 << 10) /* 1 MiB for each file */
#define PAIRS_MAX 32u /* leftovers of one key that are looked at one by one; all are counted */

/* ---- reading ---- */

static XXH128_hash_t key_hash(const struct diff *diff, const struct side *side, const struct sf_record *record)
{
	const struct schema_message *message = side->input.messages[record->type];
	struct dyn_field field;

	/* An absent field is zero: so protobuf writes a zero. */
	if (!state_record_field(message, record->data, record->size_bytes, diff_key_number(diff, message), &field))
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

/* Complain about a side. Return: the exit status. */
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

/* ---- comparing ---- */

/* The records of a key that one side has and the other has not. */
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

/* Walk over every record of @key, on both sides. */
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
	struct tally *tally = &diff->types[diff_entry_type(key)].tally;
	uint64_t pairs;
	int r = key_walk(diff, key, &a, &b, &tally->same);

	pairs = a.n < b.n ? a.n : b.n;
	tally->changed += pairs;
	tally->removed += a.n - pairs;
	tally->added += b.n - pairs;
	for (uint64_t i = 0; i < PAIRS_MAX && (i < a.n || i < b.n); i++)
		diff_tell_change(diff, i < a.n ? &a.kept[i] : NULL, i < b.n ? &b.kept[i] : NULL);
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

/* ---- all of it ---- */

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
	return diff_tell_summary(diff) ? WIRE_EXIT_ERROR : WIRE_EXIT_DONE;
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
