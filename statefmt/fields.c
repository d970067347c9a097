/* SPDX-License-Identifier: MIT */
#include "statefmt/fields.h"

#include <endian.h>
#include <string.h>

#define VARINT_MAX 10u

bool fields_varint(const uint8_t **at, const uint8_t *end, unsigned max_bytes, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < max_bytes && *at < end; i++) {
		uint8_t byte = *(*at)++;

		value |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (!(byte & 0x80)) {
			*ret_value = value;
			return true;
		}
	}
	return false;
}

bool fields_fixed(const uint8_t **at, const uint8_t *end, size_t n, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (n > (size_t)(end - *at))
		return false;
	memcpy(&value, *at, n); /* the low bytes come first */
	*at += n;
	*ret_value = le64toh(value);
	return true;
}

static bool prefixed(const uint8_t **at, const uint8_t *end, struct field_bytes *field)
{
	uint64_t n;

	if (!fields_varint(at, end, VARINT_MAX, &n) || n > (uint64_t)(end - *at))
		return false;
	field->data = *at;
	*at += n;
	return true;
}

bool fields_next(const uint8_t **at, const uint8_t *end, struct field_bytes *ret_field)
{
	struct field_bytes field = { .start = *at };
	uint64_t tag;
	bool good;

	if (!fields_varint(at, end, VARINT_MAX, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX)
		return false;
	field.number = (uint32_t)(tag >> 3);
	field.wire = (ProtobufCWireType)(tag & 7);
	field.data = *at;
	if (field.wire == PROTOBUF_C_WIRE_TYPE_VARINT)
		good = fields_varint(at, end, VARINT_MAX, &field.bits);
	else if (field.wire == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
		good = prefixed(at, end, &field);
	else if (field.wire == PROTOBUF_C_WIRE_TYPE_64BIT)
		good = fields_fixed(at, end, 8, &field.bits);
	else if (field.wire == PROTOBUF_C_WIRE_TYPE_32BIT)
		good = fields_fixed(at, end, 4, &field.bits);
	else
		good = false;
	field.end = *at;
	if (good)
		*ret_field = field;
	return good;
}
