/* SPDX-License-Identifier: MIT */
#include "cli/state_text.h"

#include "statefmt/real.h"

#include <inttypes.h>

static void indent_print(const struct term *out, unsigned indent)
{
	for (unsigned i = 0; i < indent; i++)
		fputs("  ", out->out);
}

static void scalar_print(const struct term *out, const struct schema_field *field, uint64_t bits)
{
	struct dyn_scalar scalar = dyn_scalar(field, bits);
	const struct schema_value *value = NULL;
	char real[SF_REAL_BYTES];

	if (field->enumeration)
		value = schema_value_by_number(field->enumeration, (int32_t)scalar.number);
	if (value)
		fputs(value->name, out->out);
	else if (scalar.kind == DYN_INT)
		fprintf(out->out, "%" PRId64, scalar.number);
	else if (scalar.kind == DYN_UINT)
		fprintf(out->out, "%" PRIu64, scalar.unsigned_number);
	else if (scalar.kind == DYN_BOOL)
		fputs(scalar.number ? "true" : "false", out->out);
	else
		fputs(sf_real_text(real, scalar.real, scalar.is_float), out->out);
}

/* Print a field that the types do not know, by its number, as protoc --decode does. */
static void unknown_print(const struct term *out, const struct dyn_field *field)
{
	fprintf(out->out, "%" PRIu32 ": ", field->number);
	switch (field->wire) {
	case DYN_VARINT:
		fprintf(out->out, "%" PRIu64, field->bits);
		break;
	case DYN_FIXED64:
		fprintf(out->out, "0x%016" PRIx64, field->bits);
		break;
	case DYN_FIXED32:
		fprintf(out->out, "0x%08" PRIx64, field->bits);
		break;
	case DYN_BYTES:
	default:
		term_quoted(out, field->data, field->size_bytes, false);
		break;
	}
}

static void packed_print(const struct term *out, const struct dyn_field *field)
{
	struct dyn_cursor cursor = dyn_open(NULL, field->data, field->size_bytes);
	const char *separator = "";
	uint64_t bits;

	fprintf(out->out, "%s: [", field->field->name);
	while (dyn_packed_next(&cursor, field->field, &bits) > 0) {
		fputs(separator, out->out);
		scalar_print(out, field->field, bits);
		separator = ", ";
	}
	fputc(']', out->out);
}

/* Print a value that is no message. */
static void value_print(const struct term *out, const struct dyn_field *field)
{
	if (!field->field) {
		unknown_print(out, field);
	} else if (field->packed) {
		packed_print(out, field);
	} else {
		fprintf(out->out, "%s: ", field->field->name);
		if (field->wire == DYN_BYTES)
			term_quoted(out, field->data, field->size_bytes, field->field->type == SCHEMA_STRING);
		else
			scalar_print(out, field->field, field->bits);
	}
}

void text_field(const struct term *out, const struct dyn_field *field)
{
	struct dyn_cursor cursor;
	struct dyn_field inner;

	if (!field->field || !field->field->message) {
		value_print(out, field);
		return;
	}
	fprintf(out->out, "%s {", field->field->name);
	cursor = dyn_open(field->field->message, field->data, field->size_bytes);
	while (dyn_next(&cursor, &inner) > 0) {
		fputc(' ', out->out);
		text_field(out, &inner);
	}
	fputs(" }", out->out);
}

void text_message(const struct term *out, const struct schema_message *message, const uint8_t *data, size_t size_bytes,
		  unsigned indent)
{
	struct dyn_cursor cursor = dyn_open(message, data, size_bytes);
	struct dyn_field field;

	while (dyn_next(&cursor, &field) > 0) {
		indent_print(out, indent);
		if (field.field && field.field->message) {
			fprintf(out->out, "%s {\n", field.field->name);
			text_message(out, field.field->message, field.data, field.size_bytes, indent + 1);
			indent_print(out, indent);
			fputs("}\n", out->out);
		} else {
			value_print(out, &field);
			fputc('\n', out->out);
		}
	}
}
