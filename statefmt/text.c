/* SPDX-License-Identifier: MIT */
#include "statefmt/text.h"

#include "statefmt/fields.h"
#include "statefmt/real.h"

#include <inttypes.h>
#include <string.h>

#define DEPTH_MAX 16u

static void print_quoted(const uint8_t *data, const uint8_t *end, FILE *out)
{
	fputc('"', out);
	for (; data < end; data++) {
		if (*data == '"' || *data == '\\')
			fprintf(out, "\\%c", *data);
		else if (*data >= 0x20 && *data < 0x7f)
			fputc(*data, out);
		else
			fprintf(out, "\\%03o", *data);
	}
	fputc('"', out);
}

static void print_real(const ProtobufCFieldDescriptor *field, uint64_t bits, FILE *out)
{
	uint32_t half = (uint32_t)bits;
	char text[SF_REAL_BYTES];
	double value;
	float single;

	memcpy(&value, &bits, sizeof(value));
	memcpy(&single, &half, sizeof(single));
	if (field->type == PROTOBUF_C_TYPE_FLOAT)
		fputs(sf_real_text(text, (double)single, true), out);
	else
		fputs(sf_real_text(text, value, false), out);
}

static void print_enum(const ProtobufCFieldDescriptor *field, uint64_t bits, FILE *out)
{
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(field->descriptor, (int32_t)bits);

	if (value)
		fputs(value->name, out);
	else
		fprintf(out, "%" PRId32, (int32_t)bits);
}

static int64_t zigzag(uint64_t bits)
{
	return (int64_t)(bits >> 1 ^ -(bits & 1));
}

static void print_scalar(const ProtobufCFieldDescriptor *field, uint64_t bits, FILE *out)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		fprintf(out, "%" PRId32, (int32_t)bits);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		fprintf(out, "%" PRId64, (int64_t)bits);
		break;
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SINT64:
		fprintf(out, "%" PRId64, zigzag(bits));
		break;
	case PROTOBUF_C_TYPE_BOOL:
		fputs(bits ? "true" : "false", out);
		break;
	case PROTOBUF_C_TYPE_ENUM:
		print_enum(field, bits, out);
		break;
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_DOUBLE:
		print_real(field, bits, out);
		break;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_MESSAGE:
	default:
		fprintf(out, "%" PRIu64, bits);
		break;
	}
}

/* Return: how many bytes a packed number of the field takes; 0: it is a varint. */
static size_t fixed_bytes(const ProtobufCFieldDescriptor *field)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
		return 4;
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_BOOL:
	case PROTOBUF_C_TYPE_ENUM:
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_MESSAGE:
	default:
		return 0;
	}
}

static void print_packed(const ProtobufCFieldDescriptor *field, const uint8_t *at, const uint8_t *end, FILE *out)
{
	size_t bytes = fixed_bytes(field);
	const char *separator = "";

	fputc('[', out);
	while (at < end) {
		uint64_t bits = 0;

		if (bytes ? !fields_fixed(&at, end, bytes, &bits) : !fields_varint(&at, end, 10, &bits))
			break;
		fputs(separator, out);
		print_scalar(field, bits, out);
		separator = ", ";
	}
	fputc(']', out);
}

static void print_message(const ProtobufCMessageDescriptor *descriptor, const uint8_t *at, const uint8_t *end, unsigned depth,
			  FILE *out);

static void print_prefixed(const ProtobufCFieldDescriptor *field, const struct field_bytes *bytes, unsigned depth, FILE *out)
{
	if (!field || field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_BYTES) {
		fputs(": ", out);
		print_quoted(bytes->data, bytes->end, out);
	} else if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
		fputs(": ", out);
		print_packed(field, bytes->data, bytes->end, out);
	} else if (depth >= DEPTH_MAX) {
		fputs(" { ... }", out);
	} else {
		fputs(" { ", out);
		print_message(field->descriptor, bytes->data, bytes->end, depth + 1, out);
		fputs(bytes->data < bytes->end ? " }" : "}", out);
	}
}

static void print_field(const ProtobufCFieldDescriptor *field, const struct field_bytes *bytes, unsigned depth, FILE *out)
{
	if (field)
		fputs(field->name, out);
	else
		fprintf(out, "%" PRIu32, bytes->number);
	if (bytes->wire == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) {
		print_prefixed(field, bytes, depth, out);
		return;
	}
	fputs(": ", out);
	if (field)
		print_scalar(field, bytes->bits, out);
	else
		fprintf(out, "%" PRIu64, bytes->bits);
}

static void print_message(const ProtobufCMessageDescriptor *descriptor, const uint8_t *at, const uint8_t *end, unsigned depth,
			  FILE *out)
{
	const char *separator = "";

	while (at < end) {
		const ProtobufCFieldDescriptor *field = NULL;
		struct field_bytes bytes;

		fputs(separator, out);
		separator = " ";
		if (!fields_next(&at, end, &bytes)) {
			fputs("...", out);
			return;
		}
		if (descriptor)
			field = protobuf_c_message_descriptor_get_field(descriptor, bytes.number);
		print_field(field, &bytes, depth, out);
	}
}

void sf_text_print(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t size_bytes, FILE *out)
{
	print_message(descriptor, data, data + size_bytes, 0, out);
}
