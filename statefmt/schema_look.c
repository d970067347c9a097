/* SPDX-License-Identifier: MIT */
/* Questions about message types that a schema set has; see schema.h. */
#include "statefmt/schema.h"

#include "statefmt/frame.h"
#include "statefmt/shape.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

const struct schema_field *schema_field_by_number(const struct schema_message *message, uint32_t number)
{
	size_t low = 0, high = message->n_fields;

	/* Most types number their fields from 1 on. */
	if (number && number <= high && message->fields[number - 1].number == number)
		return &message->fields[number - 1];
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (message->fields[middle].number == number)
			return &message->fields[middle];
		if (message->fields[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

const struct schema_field *schema_field_by_name(const struct schema_message *message, const char *name)
{
	for (size_t i = 0; i < message->n_fields; i++)
		if (strcmp(message->fields[i].name, name) == 0)
			return &message->fields[i];
	return NULL;
}

const struct schema_value *schema_value_by_number(const struct schema_enum *enumeration, int32_t number)
{
	for (size_t i = 0; i < enumeration->n_values; i++)
		if (enumeration->values[i].number == number)
			return &enumeration->values[i];
	return NULL;
}

bool schema_is_reserved(const struct schema_message *message, uint32_t number, const char *name)
{
	for (size_t i = 0; i < message->n_reserved; i++)
		if (number >= message->reserved[i].first && number <= message->reserved[i].last)
			return true;
	for (size_t i = 0; name && i < message->n_reserved_names; i++)
		if (strcmp(message->reserved_names[i], name) == 0)
			return true;
	return false;
}

const char *schema_type_name(enum schema_type type)
{
	static const char *const names[] = {
		[SCHEMA_DOUBLE] = "double",	[SCHEMA_FLOAT] = "float",	[SCHEMA_INT64] = "int64",
		[SCHEMA_UINT64] = "uint64",	[SCHEMA_INT32] = "int32",	[SCHEMA_FIXED64] = "fixed64",
		[SCHEMA_FIXED32] = "fixed32",	[SCHEMA_BOOL] = "bool",		[SCHEMA_STRING] = "string",
		[SCHEMA_GROUP] = "group",	[SCHEMA_MESSAGE] = "message",	[SCHEMA_BYTES] = "bytes",
		[SCHEMA_UINT32] = "uint32",	[SCHEMA_ENUM] = "enum",		[SCHEMA_SFIXED32] = "sfixed32",
		[SCHEMA_SFIXED64] = "sfixed64", [SCHEMA_SINT32] = "sint32",	[SCHEMA_SINT64] = "sint64",
	};

	return (size_t)type < sizeof(names) / sizeof(names[0]) && names[type] ? names[type] : "unknown type";
}

bool schema_is_packable(enum schema_type type)
{
	return type != SCHEMA_STRING && type != SCHEMA_BYTES && type != SCHEMA_MESSAGE && type != SCHEMA_GROUP;
}

/* ---- the fingerprint, as fingerprint.c makes it of generated code ---- */

#define ROUNDS 64u

struct reach {
	const struct schema_message *types[SF_SHAPE_TYPES];
	size_t n;
	uint16_t slots[SF_SHAPE_SLOTS];
};

static size_t reach_slot(const struct reach *reach, const struct schema_message *message)
{
	size_t at = (size_t)(message->index * 0x9e3779b1u) % SF_SHAPE_SLOTS;

	while (reach->slots[at] && reach->types[reach->slots[at] - 1] != message)
		at = (at + 1) % SF_SHAPE_SLOTS;
	return at;
}

static void reach_add(struct reach *reach, const struct schema_message *message)
{
	size_t slot = reach_slot(reach, message);

	if (reach->slots[slot] || reach->n == SF_SHAPE_TYPES)
		return;
	reach->types[reach->n++] = message;
	reach->slots[slot] = (uint16_t)reach->n;
}

static size_t reach_find(const struct reach *reach, const struct schema_message *message)
{
	size_t slot = reach_slot(reach, message);

	return reach->slots[slot] ? reach->slots[slot] - 1u : reach->n;
}

static void reach_init(struct reach *reach, const struct schema_message *message)
{
	*reach = (struct reach){ .n = 0 };
	reach_add(reach, message);
	for (size_t i = 0; i < reach->n; i++)
		for (size_t f = 0; f < reach->types[i]->n_fields; f++)
			if (reach->types[i]->fields[f].message)
				reach_add(reach, reach->types[i]->fields[f].message);
}

/* protoc-c's labels and types, which have numbers of their own. */
static ProtobufCLabel code_label(const struct schema_message *message, const struct schema_field *field)
{
	if (field->label == SCHEMA_REPEATED)
		return PROTOBUF_C_LABEL_REPEATED;
	if (field->label == SCHEMA_REQUIRED)
		return PROTOBUF_C_LABEL_REQUIRED;
	return message->file->proto3 && !field->proto3_optional ? PROTOBUF_C_LABEL_NONE : PROTOBUF_C_LABEL_OPTIONAL;
}

static ProtobufCType code_type(enum schema_type type)
{
	static const ProtobufCType types[] = {
		[SCHEMA_DOUBLE] = PROTOBUF_C_TYPE_DOUBLE,     [SCHEMA_FLOAT] = PROTOBUF_C_TYPE_FLOAT,
		[SCHEMA_INT64] = PROTOBUF_C_TYPE_INT64,	      [SCHEMA_UINT64] = PROTOBUF_C_TYPE_UINT64,
		[SCHEMA_INT32] = PROTOBUF_C_TYPE_INT32,	      [SCHEMA_FIXED64] = PROTOBUF_C_TYPE_FIXED64,
		[SCHEMA_FIXED32] = PROTOBUF_C_TYPE_FIXED32,   [SCHEMA_BOOL] = PROTOBUF_C_TYPE_BOOL,
		[SCHEMA_STRING] = PROTOBUF_C_TYPE_STRING,     [SCHEMA_GROUP] = PROTOBUF_C_TYPE_MESSAGE,
		[SCHEMA_MESSAGE] = PROTOBUF_C_TYPE_MESSAGE,   [SCHEMA_BYTES] = PROTOBUF_C_TYPE_BYTES,
		[SCHEMA_UINT32] = PROTOBUF_C_TYPE_UINT32,     [SCHEMA_ENUM] = PROTOBUF_C_TYPE_ENUM,
		[SCHEMA_SFIXED32] = PROTOBUF_C_TYPE_SFIXED32, [SCHEMA_SFIXED64] = PROTOBUF_C_TYPE_SFIXED64,
		[SCHEMA_SINT32] = PROTOBUF_C_TYPE_SINT32,     [SCHEMA_SINT64] = PROTOBUF_C_TYPE_SINT64,
	};

	return types[type];
}

static uint64_t message_hash(const struct reach *reach, const uint64_t *last, const struct schema_message *message)
{
	uint64_t hash = message->n_fields;

	for (size_t f = 0; f < message->n_fields; f++) {
		const struct schema_field *field = &message->fields[f];
		uint8_t bytes[20];

		sf_put_le32(bytes, field->number);
		sf_put_le32(bytes + 4, (uint32_t)code_type(field->type));
		sf_put_le32(bytes + 8, (uint32_t)code_label(message, field));
		sf_put_le64(bytes + 12, field->message ? last[reach_find(reach, field->message)] : 0);
		hash = XXH3_64bits_withSeed(bytes, sizeof(bytes), hash);
	}
	return hash;
}

uint64_t schema_fingerprint(const struct schema_message *message)
{
	uint64_t hashes[2][SF_SHAPE_TYPES + 1] = { { 0 }, { 0 } };
	struct reach reach;
	uint64_t result;

	reach_init(&reach, message);
	for (unsigned round = 0; round < ROUNDS; round++)
		for (size_t i = 0; i < reach.n; i++)
			hashes[(round + 1) % 2][i] = message_hash(&reach, hashes[round % 2], reach.types[i]);
	result = hashes[ROUNDS % 2][0];
	return result ? result : 1;
}
