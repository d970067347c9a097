/* SPDX-License-Identifier: MIT */
#include "statefmt/fields.h"

#include <string.h>

bool fields_varint(const uint8_t **at, const uint8_t *end, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
		uint8_t byte = *(*at)++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*ret_value = value;
			return true;
		}
	}
	return false;
}

static bool fixed(const uint8_t **at, const uint8_t *end, size_t bytes, uint64_t *ret_bits)
{
	uint64_t bits = 0;

	if (bytes > (size_t)(end - *at))
		return false;
	for (size_t i = bytes; i-- > 0;)
		bits = bits << 8 | (*at)[i];
	*at += bytes;
	*ret_bits = bits;
	return true;
}

static bool prefixed(const uint8_t **at, const uint8_t *end, struct field_bytes *field)
{
	uint64_t n;

	if (!fields_varint(at, end, &n) || n > (uint64_t)(end - *at))
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

	if (!fields_varint(at, end, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX)
		return false;
	field.number = (uint32_t)(tag >> 3);
	field.wire = (ProtobufCWireType)(tag & 7);
	field.data = *at;
	if (field.wire == PROTOBUF_C_WIRE_TYPE_VARINT)
		good = fields_varint(at, end, &field.bits);
	else if (field.wire == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
		good = prefixed(at, end, &field);
	else if (field.wire == PROTOBUF_C_WIRE_TYPE_64BIT)
		good = fixed(at, end, 8, &field.bits);
	else if (field.wire == PROTOBUF_C_WIRE_TYPE_32BIT)
		good = fixed(at, end, 4, &field.bits);
	else
		good = false;
	field.end = *at;
	if (good)
		*ret_field = field;
	return good;
}
