/* SPDX-License-Identifier: MIT */
/*
 * A digest of whole records can only say that two sets differ. To say where, each top-level field of each type has a digest of its
 * own: XXH3-64 of (field number, bytes of the value as on the wire), summed modulo 2^64 over all records. The fields of a record
 * are walked without unpacking. Bytes that are no field, which no packer writes, count as field 0.
 */
#include "statefmt/compare.h"

#include "base/why.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define EXAMPLE_BYTES 256u
#define FIRST_SLOTS 1024u

struct field_sum {
	uint32_t number;
	uint64_t sum[2];
	uint64_t count[2];
};

struct type_sum {
	struct field_sum *fields;
	size_t n_fields;
	uint64_t records[2];
	uint64_t digest[2];
	uint64_t *set; /* hashes of the records before; 0: free */
	size_t n_set, slots;
	uint64_t missing; /* records after that were not there before */
	uint8_t example[EXAMPLE_BYTES];
	size_t example_bytes;
};

struct sf_compare {
	struct type_sum *types;
	size_t n_types;
};

int sf_compare_new(size_t n_types, struct sf_compare **ret_compare)
{
	struct sf_compare *compare = calloc(1, sizeof(*compare));

	if (!compare)
		return -ENOMEM;
	compare->types = calloc(n_types + 1, sizeof(*compare->types));
	compare->n_types = n_types;
	if (!compare->types) {
		free(compare);
		return -ENOMEM;
	}
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

static bool varint(const uint8_t **at, const uint8_t *end, uint64_t *ret)
{
	uint64_t value = 0;

	for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
		uint8_t byte = *(*at)++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*ret = value;
			return true;
		}
	}
	return false;
}

/* Steps over one field. Return: its number, or 0 if what stands there is none. */
static uint32_t next_field(const uint8_t **at, const uint8_t *end)
{
	uint64_t tag, n = 0;

	if (!varint(at, end, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX)
		return 0;
	switch (tag & 7) {
	case PROTOBUF_C_WIRE_TYPE_VARINT:
		if (!varint(at, end, &n))
			return 0;
		n = 0;
		break;
	case PROTOBUF_C_WIRE_TYPE_64BIT:
		n = 8;
		break;
	case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
		if (!varint(at, end, &n))
			return 0;
		break;
	case PROTOBUF_C_WIRE_TYPE_32BIT:
		n = 4;
		break;
	default:
		return 0;
	}
	if (n > (uint64_t)(end - *at))
		return 0;
	*at += n;
	return (uint32_t)(tag >> 3);
}

static struct field_sum *field_of(struct type_sum *type, uint32_t number)
{
	struct field_sum *grown;

	for (size_t i = 0; i < type->n_fields; i++)
		if (type->fields[i].number == number)
			return &type->fields[i];
	grown = realloc(type->fields, (type->n_fields + 1) * sizeof(*grown));
	if (!grown)
		return NULL;
	type->fields = grown;
	grown[type->n_fields] = (struct field_sum){ .number = number };
	return &grown[type->n_fields++];
}

static int add_fields(struct type_sum *type, enum sf_side side, const uint8_t *data, size_t size_bytes)
{
	const uint8_t *at = data, *end = data + size_bytes;

	while (at < end) {
		const uint8_t *start = at;
		uint32_t number = next_field(&at, end);
		struct field_sum *field = field_of(type, number);

		if (!field)
			return -ENOMEM;
		if (!number)
			at = end;
		/* The tag is part of what is hashed. */
		field->sum[side] += XXH3_64bits(start, (size_t)(at - start));
		field->count[side]++;
	}
	return 0;
}

int sf_compare_add(struct sf_compare *compare, enum sf_side side, size_t index, const uint8_t *data, size_t size_bytes)
{
	struct type_sum *type = &compare->types[index];
	uint64_t hash = XXH3_64bits(data, size_bytes);

	hash = hash ? hash : 1;
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
	return add_fields(type, side, data, size_bytes);
}

/* ---- in words ---- */

static void name_fields(const struct type_sum *type, const struct sf_schema *schema, FILE *out)
{
	bool first = true;

	for (size_t i = 0; i < type->n_fields; i++) {
		const struct field_sum *field = &type->fields[i];
		const ProtobufCFieldDescriptor *known = NULL;

		if (field->sum[SF_BEFORE] == field->sum[SF_AFTER] && field->count[SF_BEFORE] == field->count[SF_AFTER])
			continue;
		if (schema->descriptor && field->number)
			known = protobuf_c_message_descriptor_get_field(schema->descriptor, field->number);
		fprintf(out, "%s%s (%u)", first ? ", field " : ", ", known ? known->name : "not known", field->number);
		first = false;
	}
}

/* The bytes of the example's first field, as far as they are text; else in hexadecimal. */
static void show_example(const struct type_sum *type, FILE *out)
{
	const uint8_t *at = type->example, *end = at + type->example_bytes, *start = at;
	uint64_t tag, n;

	if (!type->missing)
		return;
	fputs("; for example the record that begins with ", out);
	if (varint(&at, end, &tag) && (tag & 7) == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED && varint(&at, end, &n)) {
		fputc('"', out);
		for (uint64_t i = 0; i < n && at < end && i < 64; i++, at++)
			fputc(*at >= 0x20 && *at < 0x7f ? *at : '?', out);
		fputc('"', out);
		return;
	}
	for (at = start; at < end && at < start + 16; at++)
		fprintf(out, "%02x", *at);
}

static bool type_is_equal(const struct type_sum *type)
{
	return type->records[0] == type->records[1] && type->digest[0] == type->digest[1];
}

bool sf_compare_explain(const struct sf_compare *compare, const struct sf_schema *schemas, struct why *why)
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
		fprintf(out, "%s: %" PRIu64 " records before, %" PRIu64 " after", schemas[i].name, type->records[0],
			type->records[1]);
		if (type->missing)
			fprintf(out, ", %" PRIu64 " of them changed", type->missing);
		name_fields(type, &schemas[i], out);
		show_example(type, out);
		fputs(". ", out);
	}
	if (out)
		fclose(out);
	text[sizeof(text) - 1] = 0;
	why_set(why, 0, "%s", text);
	return false;
}
