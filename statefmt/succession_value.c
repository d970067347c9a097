/* SPDX-License-Identifier: MIT */
#include "statefmt/succession.h"

enum value_kind value_kind(const struct schema_field *field)
{
	switch (field->type) {
	case SCHEMA_DOUBLE:
	case SCHEMA_FLOAT:
		return VALUE_REAL;
	case SCHEMA_STRING:
		return VALUE_TEXT;
	case SCHEMA_BYTES:
		return VALUE_BYTES;
	case SCHEMA_GROUP:
	case SCHEMA_MESSAGE:
		return VALUE_MESSAGE;
	case SCHEMA_INT64:
	case SCHEMA_UINT64:
	case SCHEMA_INT32:
	case SCHEMA_FIXED64:
	case SCHEMA_FIXED32:
	case SCHEMA_BOOL:
	case SCHEMA_UINT32:
	case SCHEMA_ENUM:
	case SCHEMA_SFIXED32:
	case SCHEMA_SFIXED64:
	case SCHEMA_SINT32:
	case SCHEMA_SINT64:
		break;
	}
	return VALUE_INTEGER;
}

bool value_is_signed(const struct schema_field *field)
{
	return field->type == SCHEMA_INT64 || field->type == SCHEMA_INT32 || field->type == SCHEMA_SFIXED32 ||
	       field->type == SCHEMA_SFIXED64 || field->type == SCHEMA_SINT32 || field->type == SCHEMA_SINT64 ||
	       field->type == SCHEMA_ENUM;
}

unsigned value_bits(const struct schema_field *field)
{
	switch (field->type) {
	case SCHEMA_BOOL:
		return 1;
	case SCHEMA_INT32:
	case SCHEMA_UINT32:
	case SCHEMA_SINT32:
	case SCHEMA_FIXED32:
	case SCHEMA_SFIXED32:
	case SCHEMA_ENUM:
		return 32;
	case SCHEMA_DOUBLE:
	case SCHEMA_FLOAT:
	case SCHEMA_INT64:
	case SCHEMA_UINT64:
	case SCHEMA_FIXED64:
	case SCHEMA_STRING:
	case SCHEMA_GROUP:
	case SCHEMA_MESSAGE:
	case SCHEMA_BYTES:
	case SCHEMA_SFIXED64:
	case SCHEMA_SINT64:
		break;
	}
	return 64;
}

bool value_has_presence(const struct schema_field *field)
{
	return !field->implicit || value_kind(field) == VALUE_MESSAGE || field->oneof;
}

bool enum_lacks(const struct schema_enum *enumeration, const struct schema_value *value)
{
	return !schema_value_by_number(enumeration, value->number);
}
