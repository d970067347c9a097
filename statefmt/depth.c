/* SPDX-License-Identifier: MIT */
/* How deep a packed message nests.
 *
 * To unpack a message inside a message, protobuf-c calls itself, without a limit: a few kilobytes of a deeply nested recursive type
 * overflow any stack. So records of recursive types are walked here first, without recursion. The walk reads the wire as protobuf-c
 * does, and refuses what protobuf-c would refuse.
 */
#include "statefmt/fields.h"
#include "statefmt/frame.h"
#include "statefmt/shape.h"

struct cursor {
	const uint8_t *at, *end;
};

static bool bytes_skip(struct cursor *cursor, uint64_t n)
{
	if (n > (uint64_t)(cursor->end - cursor->at))
		return false;
	cursor->at += n;
	return true;
}

/* Step over one field, or into it if it is a message whose type is known: then *@ret_message tells its type and end. */
static bool field_step(struct cursor *cursor, const ProtobufCMessageDescriptor *descriptor,
		       const ProtobufCMessageDescriptor **ret_message, const uint8_t **ret_end)
{
	const ProtobufCFieldDescriptor *field;
	uint64_t tag, value;

	*ret_message = NULL;
	if (!fields_varint(&cursor->at, cursor->end, 5, &tag))
		return false;
	switch (tag & 7) {
	case PROTOBUF_C_WIRE_TYPE_VARINT:
		return fields_varint(&cursor->at, cursor->end, 10, &value);
	case PROTOBUF_C_WIRE_TYPE_64BIT:
		return bytes_skip(cursor, 8);
	case PROTOBUF_C_WIRE_TYPE_32BIT:
		return bytes_skip(cursor, 4);
	case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
		break;
	default:
		return false;
	}
	if (!fields_varint(&cursor->at, cursor->end, 5, &value) || value > (uint64_t)(cursor->end - cursor->at))
		return false;
	field = protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(tag >> 3));
	if (field)
		*ret_message = sf_field_message(field);
	if (*ret_message)
		*ret_end = cursor->at + value;
	else
		cursor->at += value;
	return true;
}

bool sf_depth_check(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t size_bytes)
{
	struct {
		const ProtobufCMessageDescriptor *descriptor;
		const uint8_t *end;
	} levels[SF_DEPTH_MAX];
	struct cursor cursor = { .at = data };
	size_t depth = 0;

	if (size_bytes == 0)
		return true;
	levels[0].descriptor = descriptor;
	levels[0].end = data + size_bytes;
	for (;;) {
		const ProtobufCMessageDescriptor *message;
		const uint8_t *end = NULL;

		while (cursor.at == levels[depth].end)
			if (depth-- == 0)
				return true;
		cursor.end = levels[depth].end;
		if (!field_step(&cursor, levels[depth].descriptor, &message, &end))
			return false;
		if (!message)
			continue;
		if (++depth == SF_DEPTH_MAX)
			return false;
		levels[depth].descriptor = message;
		levels[depth].end = end;
	}
}
