/* SPDX-License-Identifier: MIT */
/* In JSON the values of a repeated field stand together; in a protobuf message they need not. But writers put fields in the order
 * of their numbers, and such a message is printed in one pass. Another message is indexed first, with 8 bytes for each of its
 * fields, which are given back when it is done.
 */
#include "cli/state_json.h"

#include "cli/json.h"
#include "statefmt/real.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A message that comes in parts is joined up to this size, at each level; of a larger one the last part is printed. No writer makes
 * messages in parts. */
#define JOINED_BYTES ((size_t)1 << 20)

/* ---- scalars ---- */

static void real_print(FILE *out, const struct dyn_scalar *scalar)
{
	char text[SF_REAL_BYTES];

	if (isnan(scalar->real))
		fputs("\"NaN\"", out);
	else if (isinf(scalar->real))
		fputs(scalar->real > 0 ? "\"Infinity\"" : "\"-Infinity\"", out);
	else
		fputs(sf_real_text(text, scalar->real, scalar->is_float), out);
}

/* @as_key: as the key of a map, which is always a string. */
static void scalar_print(FILE *out, const struct schema_field *field, uint64_t bits, bool as_key)
{
	struct dyn_scalar scalar = dyn_scalar(field, bits);
	const struct schema_value *value = NULL;
	const char *quote = scalar.is_wide || as_key ? "\"" : "";

	if (field->enumeration)
		value = schema_value_by_number(field->enumeration, (int32_t)scalar.number);
	if (value)
		fprintf(out, "\"%s\"", value->name);
	else if (scalar.kind == DYN_INT)
		fprintf(out, "%s%" PRId64 "%s", quote, scalar.number, quote);
	else if (scalar.kind == DYN_UINT)
		fprintf(out, "%s%" PRIu64 "%s", quote, scalar.unsigned_number, quote);
	else if (scalar.kind == DYN_BOOL)
		fprintf(out, "%s%s%s", quote, scalar.number ? "true" : "false", quote);
	else
		real_print(out, &scalar);
}

static void unknown_print(FILE *out, const struct dyn_field *field)
{
	static const char *const names[] = {
		[DYN_VARINT] = "varint", [DYN_FIXED64] = "fixed64", [DYN_BYTES] = "bytes", [DYN_FIXED32] = "fixed32",
	};

	fprintf(out, "{\"number\":%" PRIu32 ",\"%s\":", field->number, names[field->wire]);
	if (field->wire == DYN_BYTES)
		json_base64(out, field->data, field->size_bytes);
	else if (field->wire == DYN_FIXED32)
		fprintf(out, "%" PRIu64, field->bits);
	else
		fprintf(out, "\"%" PRIu64 "\"", field->bits);
	fputc('}', out);
}

/* One value that is not packed. */
static void value_print(FILE *out, const struct dyn_field *field, bool as_key)
{
	if (field->field->message)
		json_message(out, field->field->message, field->data, field->size_bytes);
	else if (field->field->type == SCHEMA_STRING)
		json_text(out, field->data, field->size_bytes);
	else if (field->field->type == SCHEMA_BYTES)
		json_base64(out, field->data, field->size_bytes);
	else
		scalar_print(out, field->field, field->bits, as_key);
}

/* ---- maps ---- */

/* The last value of a field, or what it is when it is absent. */
static struct dyn_field last_value(const struct schema_message *entry, const struct schema_field *wanted,
				   const struct dyn_field *whole)
{
	struct dyn_cursor cursor = dyn_open(entry, whole->data, whole->size_bytes);
	struct dyn_field found = { .field = wanted, .number = wanted->number, .data = (const uint8_t *)"" }, field;

	while (dyn_next(&cursor, &field) > 0)
		if (field.field == wanted)
			found = field;
	return found;
}

static void map_entry_print(FILE *out, const struct dyn_field *entry)
{
	const struct schema_message *type = entry->field->message;
	struct dyn_field key = last_value(type, &type->fields[0], entry), value = last_value(type, &type->fields[1], entry);

	value_print(out, &key, true);
	fputc(':', out);
	value_print(out, &value, false);
}

/* ---- fields ---- */

static bool is_map(const struct schema_field *field)
{
	return field->label == SCHEMA_REPEATED && field->message && field->message->map_entry;
}

/* One occurrence of a repeated field: an element, or a packed run of them. */
static void elements_print(FILE *out, const struct dyn_field *field, const char **separator)
{
	struct dyn_cursor cursor = dyn_open(NULL, field->data, field->size_bytes);
	uint64_t bits;

	if (!field->packed) {
		fputs(*separator, out);
		if (is_map(field->field))
			map_entry_print(out, field);
		else
			value_print(out, field, false);
		*separator = ",";
		return;
	}
	while (dyn_packed_next(&cursor, field->field, &bits) > 0) {
		fputs(*separator, out);
		scalar_print(out, field->field, bits, false);
		*separator = ",";
	}
}

void json_field(FILE *out, const struct dyn_field *field)
{
	const char *separator = "";

	if (!field->field) {
		unknown_print(out, field);
		return;
	}
	if (field->field->label != SCHEMA_REPEATED) {
		value_print(out, field, false);
		return;
	}
	fputc(is_map(field->field) ? '{' : '[', out);
	elements_print(out, field, &separator);
	fputc(is_map(field->field) ? '}' : ']', out);
}

/* The state of an object while its fields go by in order. */
struct object {
	FILE *out;
	const struct schema_field *open; /* a repeated field whose array, or object, is not closed yet */
	const char *separator;           /* before the next member */
	const char *element;             /* before the next element of @open */
};

static void repeated_close(struct object *object)
{
	if (object->open)
		fputc(is_map(object->open) ? '}' : ']', object->out);
	object->open = NULL;
}

static void member_print(struct object *object, const struct dyn_field *field)
{
	if (object->open != field->field) {
		repeated_close(object);
		fprintf(object->out, "%s\"%s\":", object->separator, field->field->name);
		object->separator = ",";
		if (field->field->label == SCHEMA_REPEATED) {
			object->open = field->field;
			object->element = "";
			fputc(is_map(field->field) ? '{' : '[', object->out);
		}
	}
	if (object->open)
		elements_print(object->out, field, &object->element);
	else
		value_print(object->out, field, false);
}

/* ---- messages whose fields are in no order ---- */

struct place {
	uint32_t number;
	uint32_t offset;
};

static int place_compare(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

static struct dyn_field field_at(const struct schema_message *message, const uint8_t *data, size_t size_bytes,
				 const struct place *place)
{
	struct dyn_cursor cursor = dyn_open(message, data + place->offset, size_bytes - place->offset);
	struct dyn_field field = { .field = NULL };

	dyn_next(&cursor, &field);
	return field;
}

/* A message that comes in parts is their bytes one after the other. */
static void parts_print(struct object *object, const struct schema_message *message, const uint8_t *data, size_t size_bytes,
			const struct place *places, size_t n)
{
	struct dyn_field whole = field_at(message, data, size_bytes, &places[n - 1]);
	size_t total = 0, at = 0;
	uint8_t *joined;

	for (size_t i = 0; i < n; i++)
		total += field_at(message, data, size_bytes, &places[i]).size_bytes;
	if (!whole.field->message || n == 1 || total > JOINED_BYTES) {
		member_print(object, &whole);
		return;
	}
	joined = malloc(total + 1);
	for (size_t i = 0; joined && i < n; i++) {
		struct dyn_field part = field_at(message, data, size_bytes, &places[i]);

		memcpy(joined + at, part.data, part.size_bytes);
		at += part.size_bytes;
	}
	if (joined) {
		whole.data = joined;
		whole.size_bytes = total;
	}
	member_print(object, &whole);
	free(joined);
}

static void places_print(struct object *object, const struct schema_message *message, const uint8_t *data,
			 size_t size_bytes, const struct place *places, size_t n)
{
	for (size_t first = 0, end; first < n; first = end) {
		struct dyn_field field = field_at(message, data, size_bytes, &places[first]);

		for (end = first + 1; end < n && places[end].number == places[first].number;)
			end++;
		if (field.field->label != SCHEMA_REPEATED) {
			parts_print(object, message, data, size_bytes, places + first, end - first);
			continue;
		}
		for (size_t i = first; i < end; i++) {
			field = field_at(message, data, size_bytes, &places[i]);
			member_print(object, &field);
		}
	}
}

static bool unordered_print(struct object *object, const struct schema_message *message, const uint8_t *data,
			    size_t size_bytes, size_t n_known)
{
	struct place *places = calloc(n_known, sizeof(*places));
	struct dyn_cursor cursor = dyn_open(message, data, size_bytes);
	const uint8_t *start = cursor.at, *at = start;
	struct dyn_field field;
	size_t n = 0;

	if (!places)
		return false;
	while (dyn_next(&cursor, &field) > 0) {
		if (field.field && n < n_known)
			places[n++] = (struct place){ field.number, (uint32_t)(at - start) };
		at = cursor.at;
	}
	qsort(places, n, sizeof(*places), place_compare);
	places_print(object, message, data, size_bytes, places, n);
	free(places);
	return true;
}

/* ---- messages ---- */

struct survey {
	size_t n_known, n_unknown;
	bool in_order; /* numbers only grow, but for the elements of a repeated field */
};

static struct survey message_survey(const struct schema_message *message, const uint8_t *data, size_t size_bytes)
{
	struct dyn_cursor cursor = dyn_open(message, data, size_bytes);
	struct survey survey = { .in_order = true };
	struct dyn_field field;
	uint32_t last = 0;

	while (dyn_next(&cursor, &field) > 0) {
		if (!field.field) {
			survey.n_unknown++;
			continue;
		}
		survey.n_known++;
		if (field.number < last || (field.number == last && field.field->label != SCHEMA_REPEATED))
			survey.in_order = false;
		last = field.number;
	}
	return survey;
}

static void known_print(struct object *object, const struct schema_message *message, const uint8_t *data, size_t size_bytes)
{
	struct dyn_cursor cursor = dyn_open(message, data, size_bytes);
	struct dyn_field field;

	while (dyn_next(&cursor, &field) > 0)
		if (field.field)
			member_print(object, &field);
}

static void unknowns_print(struct object *object, const struct schema_message *message, const uint8_t *data, size_t size_bytes)
{
	struct dyn_cursor cursor = dyn_open(message, data, size_bytes);
	const char *separator = "";
	struct dyn_field field;

	fprintf(object->out, "%s\"@unknown\":[", object->separator);
	while (dyn_next(&cursor, &field) > 0)
		if (!field.field) {
			fputs(separator, object->out);
			unknown_print(object->out, &field);
			separator = ",";
		}
	fputc(']', object->out);
}

void json_message(FILE *out, const struct schema_message *message, const uint8_t *data, size_t size_bytes)
{
	struct survey survey = message_survey(message, data, size_bytes);
	struct object object = { .out = out, .separator = "" };

	fputc('{', out);
	/* Without memory for an index, fields are printed in the order they have: a parser may take the last of two, but none is
	 * left out. */
	if (survey.in_order || !unordered_print(&object, message, data, size_bytes, survey.n_known))
		known_print(&object, message, data, size_bytes);
	repeated_close(&object);
	if (survey.n_unknown)
		unknowns_print(&object, message, data, size_bytes);
	fputc('}', out);
}
