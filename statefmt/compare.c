/* SPDX-License-Identifier: MIT */
/*
 * A digest of whole records can only say that two sets differ. To say where, each field of each type has a digest of its own:
 * XXH3-64 of (field number, bytes of the value as on the wire), summed modulo 2^64 over all records. The fields of a record are
 * walked without unpacking, those of nested messages, too, where the C struct is known: a field is a path then. A message that is
 * nested deeper, or holds itself, is taken as a whole from FIELD_DEPTH on, and no type has more than FIELDS_MAX paths. Bytes
 * that are no field, which no packer writes, count as field 0.
 */
#include "statefmt/compare.h"

#include "base/why.h"
#include "statefmt/fields.h"
#include "statefmt/text.h"
#include "statefmt/volatile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define EXAMPLE_BYTES 256u
#define EXAMPLE_TEXT 200u
#define FIELD_DEPTH 6u
#define FIELDS_MAX 512u
#define FIRST_SLOTS 1024u

#define OUTERMOST SIZE_MAX

struct field_sum {
	size_t parent; /* the field of the message that it is in; OUTERMOST: the record */
	uint32_t number;
	const ProtobufCFieldDescriptor *known; /* NULL: it is not */
	uint64_t sum[2];
	uint64_t count[2];
};

struct type_sum {
	struct field_sum *fields;
	size_t n_fields;
	size_t guess; /* where the next field is likely to be: they come in the same order in each record */
	uint64_t records[2];
	uint64_t digest[2];
	uint64_t *set; /* hashes of the records before; 0: free */
	size_t n_set, slots;
	uint64_t missing; /* records after that were not there before */
	uint8_t example[EXAMPLE_BYTES];
	size_t example_bytes;
};

struct sf_compare {
	const struct sf_schema *schemas;
	struct type_sum *types;
	size_t n_types;
	struct sf_volatile *left_out;
};

int sf_compare_new(const struct sf_schema *schemas, size_t n_types, const char *const *volatile_fields,
		   struct sf_compare **ret_compare)
{
	struct sf_compare *compare = calloc(1, sizeof(*compare));

	if (!compare)
		return -ENOMEM;
	compare->types = calloc(n_types + 1, sizeof(*compare->types));
	compare->schemas = schemas;
	if (!compare->types || sf_volatile_new(volatile_fields, &compare->left_out) < 0) {
		free(compare->types);
		free(compare);
		return -ENOMEM;
	}
	compare->n_types = n_types;
	*ret_compare = compare;
	return 0;
}

struct sf_compare *sf_compare_free(struct sf_compare *compare)
{
	if (!compare)
		return NULL;
	for (size_t i = 0; i < compare->n_types; i++) {
		free(compare->types[i].fields);
		free(compare->types[i].set);
	}
	free(compare->types);
	sf_volatile_free(compare->left_out);
	free(compare);
	return NULL;
}

/* ---- the set of records before ---- */

static bool set_put(uint64_t *set, size_t slots, uint64_t hash)
{
	size_t i = hash & (slots - 1);

	while (set[i] && set[i] != hash)
		i = (i + 1) & (slots - 1);
	if (set[i])
		return false;
	set[i] = hash;
	return true;
}

static int set_grow(struct type_sum *type)
{
	size_t slots = type->slots ? type->slots * 2 : FIRST_SLOTS;
	uint64_t *set = calloc(slots, sizeof(*set));

	if (!set)
		return -ENOMEM;
	for (size_t i = 0; i < type->slots; i++)
		if (type->set[i])
			set_put(set, slots, type->set[i]);
	free(type->set);
	type->set = set;
	type->slots = slots;
	return 0;
}

static bool set_has(const struct type_sum *type, uint64_t hash)
{
	if (!type->slots)
		return false;
	for (size_t i = hash & (type->slots - 1); type->set[i]; i = (i + 1) & (type->slots - 1))
		if (type->set[i] == hash)
			return true;
	return false;
}

/* ---- fields on the wire ---- */

static bool is_field(const struct field_sum *field, size_t parent, uint32_t number)
{
	return field->parent == parent && field->number == number;
}

/* Return: its index; FIELDS_MAX: there are too many; -1: memory is out. */
static long field_of(struct type_sum *type, size_t parent, uint32_t number)
{
	struct field_sum *grown;

	if (type->guess < type->n_fields && is_field(&type->fields[type->guess], parent, number))
		return (long)type->guess++;
	for (size_t i = 0; i < type->n_fields; i++) {
		if (!is_field(&type->fields[i], parent, number))
			continue;
		type->guess = i + 1;
		return (long)i;
	}
	if (type->n_fields == FIELDS_MAX)
		return FIELDS_MAX;
	grown = reallocarray(type->fields, type->n_fields + 1, sizeof(*grown));
	if (!grown)
		return -1;
	type->fields = grown;
	grown[type->n_fields] = (struct field_sum){ .parent = parent, .number = number };
	type->guess = type->n_fields + 1;
	return (long)type->n_fields++;
}

static const ProtobufCFieldDescriptor *known_field(const ProtobufCMessageDescriptor *descriptor, uint32_t number)
{
	return descriptor && number ? protobuf_c_message_descriptor_get_field(descriptor, number) : NULL;
}

/* @descriptor: of the message; NULL: not known. */
static int add_fields(struct type_sum *type, enum sf_side side, const ProtobufCMessageDescriptor *descriptor, size_t parent,
		      unsigned depth, const uint8_t *at, const uint8_t *end)
{
	int r = 0;

	while (r == 0 && at < end) {
		struct field_bytes bytes = { .start = at, .end = end };
		const ProtobufCFieldDescriptor *known;
		long index;

		if (!fields_next(&at, end, &bytes))
			at = end;
		index = field_of(type, parent, bytes.number);
		if (index < 0)
			return -ENOMEM;
		/* What is inside of one that differs and has no place is told by the message around it. */
		if (index == FIELDS_MAX)
			continue;
		known = known_field(descriptor, bytes.number);
		type->fields[index].known = known;
		/* The tag is part of what is hashed. */
		type->fields[index].sum[side] += XXH3_64bits(bytes.start, (size_t)(bytes.end - bytes.start));
		type->fields[index].count[side]++;
		if (known && known->type == PROTOBUF_C_TYPE_MESSAGE && bytes.wire == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED &&
		    depth < FIELD_DEPTH)
			r = add_fields(type, side, known->descriptor, (size_t)index, depth + 1, bytes.data, bytes.end);
	}
	return r;
}

int sf_compare_add(struct sf_compare *compare, enum sf_side side, size_t index, const uint8_t *data, size_t size_bytes)
{
	const ProtobufCMessageDescriptor *descriptor = compare->schemas[index].descriptor;
	struct type_sum *type = &compare->types[index];
	uint64_t hash;

	if (sf_volatile_strip(compare->left_out, descriptor, &data, &size_bytes) < 0)
		return -ENOMEM;
	hash = XXH3_64bits(data, size_bytes);
	hash = hash ? hash : 1;
	type->guess = 0;
	type->records[side]++;
	type->digest[side] += hash;
	if (side == SF_AFTER) {
		if (!set_has(type, hash) && type->missing++ == 0) {
			type->example_bytes = size_bytes < EXAMPLE_BYTES ? size_bytes : EXAMPLE_BYTES;
			memcpy(type->example, data, type->example_bytes);
		}
	} else {
		if (2 * (type->n_set + 1) > type->slots && set_grow(type) < 0)
			return -ENOMEM;
		type->n_set += set_put(type->set, type->slots, hash);
	}
	return add_fields(type, side, descriptor, OUTERMOST, 0, data, data + size_bytes);
}

/* ---- in words ---- */

static bool differs(const struct field_sum *field)
{
	return field->sum[SF_BEFORE] != field->sum[SF_AFTER] || field->count[SF_BEFORE] != field->count[SF_AFTER];
}

/* Is there a field in it that says more exactly where the difference is? */
static bool differs_inside(const struct type_sum *type, size_t index)
{
	for (size_t i = 0; i < type->n_fields; i++)
		if (type->fields[i].parent == index && differs(&type->fields[i]))
			return true;
	return false;
}

/* "usage.hits (4.1)" */
static void name_field(const struct type_sum *type, const struct field_sum *field, FILE *out)
{
	const struct field_sum *path[FIELD_DEPTH + 1];
	size_t n = 0;

	for (path[n++] = field; n <= FIELD_DEPTH && field->parent != OUTERMOST; path[n++] = field)
		field = &type->fields[field->parent];
	for (size_t i = n; i-- > 0;)
		fprintf(out, "%s%s", path[i]->known ? path[i]->known->name : "not known", i ? "." : " (");
	for (size_t i = n; i-- > 0;)
		fprintf(out, "%" PRIu32 "%s", path[i]->number, i ? "." : ")");
}

static void name_fields(const struct type_sum *type, FILE *out)
{
	bool first = true;

	for (size_t i = 0; i < type->n_fields; i++) {
		if (!differs(&type->fields[i]) || differs_inside(type, i))
			continue;
		fputs(first ? ", field " : ", ", out);
		name_field(type, &type->fields[i], out);
		first = false;
	}
}

/* As text, so much of it as a message has room for. */
static void show_example(const struct type_sum *type, const struct sf_schema *schema, FILE *out)
{
	char text[EXAMPLE_TEXT] = "";
	FILE *example;

	if (!type->missing)
		return;
	example = fmemopen(text, sizeof(text), "w");
	if (!example)
		return;
	sf_text_print(schema->descriptor, type->example, type->example_bytes, example);
	fclose(example);
	text[sizeof(text) - 1] = 0;
	fprintf(out, "; for example the record that begins with %s", text);
}

static bool type_is_equal(const struct type_sum *type)
{
	return type->records[0] == type->records[1] && type->digest[0] == type->digest[1];
}

bool sf_compare_explain(const struct sf_compare *compare, struct why *why)
{
	char text[sizeof(why->text)];
	FILE *out;
	bool equal = true;

	for (size_t i = 0; i < compare->n_types; i++)
		equal &= type_is_equal(&compare->types[i]);
	if (equal)
		return true;
	text[0] = 0;
	out = fmemopen(text, sizeof(text), "w");
	for (size_t i = 0; out && i < compare->n_types; i++) {
		const struct type_sum *type = &compare->types[i];

		if (type_is_equal(type))
			continue;
		fprintf(out, "%s: %" PRIu64 " records before, %" PRIu64 " after", compare->schemas[i].name, type->records[0],
			type->records[1]);
		if (type->missing)
			fprintf(out, ", %" PRIu64 " of them changed", type->missing);
		name_fields(type, out);
		show_example(type, &compare->schemas[i], out);
		fputs(". ", out);
	}
	if (out)
		fclose(out);
	text[sizeof(text) - 1] = 0;
	why_set(why, 0, "%s", text);
	return false;
}
