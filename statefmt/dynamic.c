/* SPDX-License-Identifier: MIT */
#include "statefmt/dynamic.h"

#include "base/why.h"
#include "statefmt/fields.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static enum dyn_wire type_wire(enum schema_type type)
{
	switch (type) {
	case SCHEMA_DOUBLE:
	case SCHEMA_FIXED64:
	case SCHEMA_SFIXED64:
		return DYN_FIXED64;
	case SCHEMA_FLOAT:
	case SCHEMA_FIXED32:
	case SCHEMA_SFIXED32:
		return DYN_FIXED32;
	case SCHEMA_STRING:
	case SCHEMA_BYTES:
	case SCHEMA_MESSAGE:
	case SCHEMA_GROUP:
		return DYN_BYTES;
	case SCHEMA_INT64:
	case SCHEMA_UINT64:
	case SCHEMA_INT32:
	case SCHEMA_BOOL:
	case SCHEMA_UINT32:
	case SCHEMA_ENUM:
	case SCHEMA_SINT32:
	case SCHEMA_SINT64:
	default:
		return DYN_VARINT;
	}
}

struct dyn_cursor dyn_open(const struct schema_message *message, const uint8_t *data, size_t size_bytes)
{
	/* An empty message may come without an address. */
	static const uint8_t nothing[1];

	if (!size_bytes)
		data = nothing;
	return (struct dyn_cursor){ .message = message, .at = data, .end = data + size_bytes };
}

static bool value_read(struct dyn_cursor *cursor, struct dyn_field *field)
{
	switch (field->wire) {
	case DYN_VARINT:
		return fields_varint(&cursor->at, cursor->end, 10, &field->bits);
	case DYN_FIXED64:
		return fields_fixed(&cursor->at, cursor->end, 8, &field->bits);
	case DYN_FIXED32:
		return fields_fixed(&cursor->at, cursor->end, 4, &field->bits);
	case DYN_BYTES:
		if (!fields_varint(&cursor->at, cursor->end, 5, &field->bits) || field->bits > (uint64_t)(cursor->end - cursor->at))
			return false;
		field->data = cursor->at;
		field->size_bytes = (size_t)field->bits;
		cursor->at += field->size_bytes;
		return true;
	default: /* groups, which generated code does not read, and what is nothing */
		return false;
	}
}

int dyn_next(struct dyn_cursor *cursor, struct dyn_field *ret_field)
{
	struct dyn_field field = { .field = NULL };
	uint64_t tag;

	if (cursor->at == cursor->end)
		return 0;
	/* As protobuf-c does it: number zero is refused if it has one byte. In more bytes it is an unknown field, and so is a
	 * number above those that fields can have. */
	if ((*cursor->at & 0xf8) == 0 || !fields_varint(&cursor->at, cursor->end, 5, &tag))
		return -EBADMSG;
	field.number = (uint32_t)(tag >> 3);
	field.wire = (enum dyn_wire)(tag & 7);
	if (!value_read(cursor, &field))
		return -EBADMSG;
	if (cursor->message)
		field.field = schema_field_by_number(cursor->message, field.number);
	if (field.field && field.wire != type_wire(field.field->type)) {
		field.packed = field.wire == DYN_BYTES && field.field->label == SCHEMA_REPEATED &&
			       schema_is_packable(field.field->type);
		field.mismatch = !field.packed;
		if (field.mismatch)
			field.field = NULL;
	}
	*ret_field = field;
	return 1;
}

int dyn_packed_next(struct dyn_cursor *cursor, const struct schema_field *field, uint64_t *ret_bits)
{
	enum dyn_wire wire = type_wire(field->type);

	if (cursor->at == cursor->end)
		return 0;
	if (wire == DYN_VARINT ? fields_varint(&cursor->at, cursor->end, 10, ret_bits) :
				 fields_fixed(&cursor->at, cursor->end, wire == DYN_FIXED64 ? 8 : 4, ret_bits))
		return 1;
	return -EBADMSG;
}

static double real_from(uint64_t bits, bool is_float)
{
	uint32_t low = (uint32_t)bits;
	double real;
	float small;

	if (is_float) {
		memcpy(&small, &low, sizeof(small));
		return (double)small;
	}
	memcpy(&real, &bits, sizeof(real));
	return real;
}

struct dyn_scalar dyn_scalar(const struct schema_field *field, uint64_t bits)
{
	struct dyn_scalar scalar = { .kind = DYN_INT };

	switch (field->type) {
	case SCHEMA_DOUBLE:
	case SCHEMA_FLOAT:
		scalar.kind = DYN_REAL;
		scalar.is_float = field->type == SCHEMA_FLOAT;
		scalar.real = real_from(bits, scalar.is_float);
		break;
	case SCHEMA_INT64:
	case SCHEMA_SFIXED64:
		scalar.is_wide = true;
		scalar.number = (int64_t)bits;
		break;
	case SCHEMA_SINT64:
		scalar.is_wide = true;
		scalar.number = (int64_t)(bits >> 1 ^ -(bits & 1));
		break;
	case SCHEMA_SINT32:
		scalar.number = (int32_t)((uint32_t)bits >> 1 ^ -((uint32_t)bits & 1));
		break;
	case SCHEMA_UINT64:
	case SCHEMA_FIXED64:
		scalar.kind = DYN_UINT;
		scalar.is_wide = true;
		scalar.unsigned_number = bits;
		break;
	case SCHEMA_UINT32:
	case SCHEMA_FIXED32:
		scalar.kind = DYN_UINT;
		scalar.unsigned_number = (uint32_t)bits;
		break;
	case SCHEMA_BOOL:
		scalar.kind = DYN_BOOL;
		scalar.number = bits != 0;
		break;
	case SCHEMA_INT32:
	case SCHEMA_SFIXED32:
	case SCHEMA_ENUM:
	case SCHEMA_STRING:
	case SCHEMA_BYTES:
	case SCHEMA_MESSAGE:
	case SCHEMA_GROUP:
	default:
		scalar.number = (int32_t)(uint32_t)bits;
		break;
	}
	return scalar;
}

/* ---- the check ---- */

static const char *message_name(const struct schema_message *message)
{
	return message ? message->name : "a record of no known type";
}

static int packed_check(const struct schema_message *message, const struct dyn_field *field, struct why *why)
{
	struct dyn_cursor cursor = dyn_open(NULL, field->data, field->size_bytes);
	uint64_t bits;
	int r;

	while ((r = dyn_packed_next(&cursor, field->field, &bits)) > 0)
		;
	return r < 0 ? why_set(why, r, "%s: the packed values of %s end within one", message->name, field->field->name) : 0;
}

static int message_check(const struct schema_message *message, const uint8_t *data, size_t size_bytes, unsigned depth,
			 struct why *why);

static int field_check(const struct dyn_cursor *cursor, const struct dyn_field *field, unsigned depth, struct why *why)
{
	if (field->mismatch)
		return why_set(why, -EBADMSG, "%s: field %u has wire type %d, which its type does not", cursor->message->name,
			       field->number, (int)field->wire);
	if (!field->field)
		return 0;
	if (field->packed)
		return packed_check(cursor->message, field, why);
	if (field->field->message)
		return message_check(field->field->message, field->data, field->size_bytes, depth + 1, why);
	return 0;
}

static int required_check(const struct schema_message *message, const bool *seen, struct why *why)
{
	for (size_t i = 0; i < message->n_fields; i++)
		if (message->fields[i].label == SCHEMA_REQUIRED && !seen[i])
			return why_set(why, -EBADMSG, "%s: the required field %s is not there", message->name,
				       message->fields[i].name);
	return 0;
}

static int fields_check(const struct schema_message *message, const uint8_t *data, size_t size_bytes, unsigned depth,
			bool *seen, struct why *why)
{
	struct dyn_cursor cursor = dyn_open(message, data, size_bytes);
	struct dyn_field field;
	int r;

	while ((r = dyn_next(&cursor, &field)) > 0) {
		if (seen && field.field)
			seen[field.field - message->fields] = true;
		r = field_check(&cursor, &field, depth, why);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return why_set(why, r, "%s: not a protobuf message: it breaks %zu bytes before its end",
			       message_name(message), (size_t)(cursor.end - cursor.at));
	return seen ? required_check(message, seen, why) : 0;
}

/* Calls itself at most DYN_DEPTH_MAX deep. */
static int message_check(const struct schema_message *message, const uint8_t *data, size_t size_bytes, unsigned depth,
			 struct why *why)
{
	bool *seen = NULL;
	int r;

	if (depth > DYN_DEPTH_MAX)
		return why_set(why, -EBADMSG, "%s: messages are nested more than %u deep", message_name(message), DYN_DEPTH_MAX);
	if (message && message->n_required) {
		seen = calloc(message->n_fields, sizeof(*seen));
		if (!seen)
			return why_errno(why, -ENOMEM, "checking a record");
	}
	r = fields_check(message, data, size_bytes, depth, seen, why);
	free(seen);
	return r;
}

int dyn_check(const struct schema_message *message, const uint8_t *data, size_t size_bytes, struct why *why)
{
	return message_check(message, data, size_bytes, 1, why);
}
