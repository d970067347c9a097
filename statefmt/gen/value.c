/* SPDX-License-Identifier: MIT */
/* Writes the conversion of one value to another type. If every value of the one type is a value of the other, it is a plain
 * assignment; else the helpers of <upgrade/convert.h> check the value, and fail the record or saturate. */
#include "statefmt/gen/gen.h"

#include "base/why.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const roundings[] = { "UPG_TOWARD_ZERO", "UPG_DOWN", "UPG_UP", "UPG_NEAREST", "UPG_EXACT" };

/* What numbers an end can hold. */
struct range {
	bool is_signed;
	unsigned bits;
};

static struct range range_of(const struct end *end)
{
	if (end->bits.width)
		return (struct range){ false, end->bits.width };
	return (struct range){ value_is_signed(end->field), value_bits(end->field) };
}

static bool range_holds(struct range outer, struct range inner)
{
	if (outer.is_signed == inner.is_signed)
		return outer.bits >= inner.bits;
	return outer.is_signed && outer.bits > inner.bits;
}

static const char *min_of(struct range range)
{
	return range.bits == 32 ? "INT32_MIN" : "INT64_MIN";
}

static const char *max_of(struct code *buffer, struct range range)
{
	if (range.is_signed)
		return range.bits == 32 ? "INT32_MAX" : "INT64_MAX";
	if (range.bits == 64)
		return "UINT64_MAX";
	if (range.bits == 32)
		return "UINT32_MAX";
	snprintf(buffer->text, sizeof(buffer->text), "UINT64_C(%" PRIu64 ")", (UINT64_C(1) << range.bits) - 1);
	return buffer->text;
}

/* The integer that is read: the field, or some of its bits. */
static const char *integer_read(struct code *buffer, const struct end *end, const char *source)
{
	if (!end->bits.width)
		snprintf(buffer->text, sizeof(buffer->text), "%.1500s", source);
	else if (value_bits(end->field) == 32)
		snprintf(buffer->text, sizeof(buffer->text), "upg_bits((uint32_t)%.1500s, %u, %u)", source, end->bits.shift,
			 end->bits.width);
	else if (value_is_signed(end->field))
		snprintf(buffer->text, sizeof(buffer->text), "upg_bits((uint64_t)%.1500s, %u, %u)", source, end->bits.shift,
			 end->bits.width);
	else
		snprintf(buffer->text, sizeof(buffer->text), "upg_bits(%.1500s, %u, %u)", source, end->bits.shift,
			 end->bits.width);
	return buffer->text;
}

/* @value, known to fit, into the field or into some of its bits. */
static void integer_write(const struct route *route, const struct end *end, const char *target, const char *value,
			  const char *indent)
{
	struct name buffer;
	const char *type = name_c_type(&buffer, end->field);
	bool is_64 = value_bits(end->field) == 64;
	char shift[16] = "";

	if (end->bits.shift)
		snprintf(shift, sizeof(shift), " << %u", end->bits.shift);
	if (!end->bits.width)
		fprintf(route->out, "%s%s = (%s)%s;\n", indent, target, type, value);
	else if (!value_is_signed(end->field) && is_64)
		fprintf(route->out, "%s%s |= (uint64_t)%s%s;\n", indent, target, value, shift);
	else
		fprintf(route->out, "%s%s = (%s)((%s)%s | (%s)%s%s);\n", indent, target, type,
			is_64 ? "uint64_t" : "uint32_t",
			target, is_64 ? "uint64_t" : "uint32_t", value, shift);
}

static const char *overflow_name(const struct succession_link *link)
{
	return link->overflow == UPGRADE__OVERFLOW__SATURATE ? "UPG_SATURATE" : "UPG_FAIL";
}

static const char *place_name(const struct route *route, const struct succession_link *link)
{
	return route->up ? link->from.name : link->field->name;
}

static void place_write(const struct route *route, const struct succession_link *link, bool is_signed, const char *value,
			const char *indent)
{
	fprintf(route->out, "%sconst struct upg_place place = { \"%s\", \"%s\", upg_%s(%s) };\n", indent,
		route_source(route)->name, place_name(route, link), is_signed ? "signed" : "unsigned", value);
}

/* Is every number of the source one of the target? */
static bool integer_is_plain(const struct route *route, const struct succession_link *link)
{
	const struct end from = end_source(route, link), to = end_target(route, link);

	return link->times == 1 && link->over == 1 && range_holds(range_of(&to), range_of(&from));
}

static void integer_convert(const struct route *route, const struct succession_link *link, const char *source,
			    const char *target, const char *indent)
{
	const struct end from = end_source(route, link), to = end_target(route, link);
	struct range have = range_of(&from), want = range_of(&to);
	uint32_t times = route->up ? link->times : link->over, over = route->up ? link->over : link->times;
	bool scaled = times != 1 || over != 1;
	struct code buffer, number, max;
	const char *value = integer_read(&buffer, &from, source);

	if (integer_is_plain(route, link)) {
		integer_write(route, &to, target, value, indent);
		return;
	}
	place_write(route, link, have.is_signed, value, indent);
	snprintf(number.text, sizeof(number.text), "place.value");
	if (scaled)
		snprintf(number.text, sizeof(number.text), "upg_scale(place.value, %uu, %uu, %s)", times, over,
			 roundings[link->rounding]);
	fprintf(route->out, "%s%s fitting;\n\n", indent, want.is_signed ? "int64_t" : "uint64_t");
	if (want.is_signed)
		fprintf(route->out, "%src = upg_to_signed(step, &place, %s,\n%s\t\t   %s, %s, %s, &fitting);\n",
			indent, number.text,
			indent, min_of(want), max_of(&max, want), overflow_name(link));
	else
		fprintf(route->out, "%src = upg_to_unsigned(step, &place, %s,\n%s\t\t     %s, %s, &fitting);\n", indent,
			number.text, indent, max_of(&max, want), overflow_name(link));
	fprintf(route->out, "%sif (rc < 0)\n%s\treturn rc;\n", indent, indent);
	integer_write(route, &to, target, "fitting", indent);
}

/* Handle the values that only the version they come from knows. A value that neither knows comes from elsewhere, and is passed
 * on. */
static void enum_convert(const struct route *route, const struct succession_link *link, const char *source,
			 const char *target, const char *indent)
{
	const struct end from = end_source(route, link), to = end_target(route, link);
	const struct schema_enum *have = from.field->enumeration, *want = to.field->enumeration;
	struct name type;
	bool some = false;

	name_type(&type, want->name);
	for (size_t i = 0; i < have->n_values; i++) {
		/* An alias was named already. */
		if (!enum_lacks(want, &have->values[i]) ||
		    schema_value_by_number(have, have->values[i].number) != &have->values[i])
			continue;
		if (some)
			fputs(" || ", route->out);
		else
			fprintf(route->out, "%sif (", indent);
		fprintf(route->out, "(int)%s == %d", source, have->values[i].number);
		some = true;
	}
	if (some && link->overflow == UPGRADE__OVERFLOW__SATURATE)
		fprintf(route->out, ")\n%s\t%s = (%s)0;\n%selse\n%s\t%s = (%s)%s;\n", indent, target, type.text,
		indent, indent, target,
			type.text, source);
	else if (some)
		fprintf(route->out,
			")\n%s\treturn upg_misfit(step, &(const struct upg_place){ \"%s\", \"%s\", upg_signed(%s) },\n"
			"%s\t\t\t  \"is not known to %s\");\n%s%s = (%s)%s;\n", indent, route_source(route)->name,
			place_name(route, link), source, indent, want->name, indent, target, type.text, source);
	else
		fprintf(route->out, "%s%s = (%s)%s;\n", indent, target, type.text, source);
}

static void real_convert(const struct route *route, const struct succession_link *link, const char *source,
			 const char *target, const char *indent)
{
	const struct end to = end_target(route, link), from = end_source(route, link);
	uint32_t times = route->up ? link->times : link->over, over = route->up ? link->over : link->times;
	bool scaled = times != 1 || over != 1;
	struct code value;
	char factor[32];

	if (times == 1)
		snprintf(factor, sizeof(factor), " / %u", over);
	else if (over == 1)
		snprintf(factor, sizeof(factor), " * %u", times);
	else
		snprintf(factor, sizeof(factor), " * %u / %u", times, over);
	if (scaled)
		snprintf(value.text, sizeof(value.text), "(double)%.1500s%s", source, factor);
	else
		snprintf(value.text, sizeof(value.text), "%.1500s", source);
	if (to.field->type == SCHEMA_DOUBLE) {
		fprintf(route->out, "%s%s = %s;\n", indent, target, value.text);
		return;
	}
	/* A product is rounded anyway; of a float that only changed its unit nobody expects every bit back. */
	fprintf(route->out,
		"%src = upg_to_float(step, \"%s\", \"%s\", %s, %s, &%s);\n%sif (rc < 0)\n%s\treturn rc;\n", indent,
		route_source(route)->name, place_name(route, link), value.text,
		from.field->type == SCHEMA_FLOAT ? "UPG_SATURATE" : overflow_name(link), target, indent, indent);
}

static void message_convert(const struct route *route, const struct succession_link *link, const char *source,
			    const char *target, const char *indent)
{
	const struct schema_message *made = end_target(route, link).field->message;
	struct name type, lower, function;

	fprintf(route->out, "%s%s *made = upg_step_alloc(step, sizeof(*made));\n\n", indent, name_type(&type, made->name));
	fprintf(route->out, "%sprotobuf_c_message_init(&%s__descriptor, made);\n", indent, name_lower(&lower, made->name));
	fprintf(route->out, "%src = %s(step, %s, made);\n%sif (rc != 0)\n%s\treturn rc;\n", indent,
		pair_function(&function, link->inner, route->up), source, indent, indent);
	if (link->kind != SUCCESSION_GROUPS)
		fprintf(route->out, "%supg_carry_unknown(step, &%s->base, &made->base);\n", indent, source);
	fprintf(route->out, "%s%s = made;\n", indent, target);
}

void value_write(const struct route *route, const struct succession_link *link, const char *source, const char *target,
		 const char *indent)
{
	const struct end from = end_source(route, link), to = end_target(route, link);

	if (link->same) {
		fprintf(route->out, "%s%s = %s;\n", indent, target, source);
		return;
	}
	switch (value_kind(to.field)) {
	case VALUE_INTEGER:
		if (from.field->enumeration && to.field->enumeration)
			enum_convert(route, link, source, target, indent);
		else
			integer_convert(route, link, source, target, indent);
		return;
	case VALUE_REAL:
		real_convert(route, link, source, target, indent);
		return;
	case VALUE_TEXT:
		fprintf(route->out,
			"%src = upg_to_string(step, \"%s\", \"%s\", %s, &%s);\n%sif (rc < 0)\n%s\treturn rc;\n", indent,
			route_source(route)->name, place_name(route, link), source, target, indent, indent);
		return;
	case VALUE_BYTES:
		fprintf(route->out, "%s%s = upg_to_bytes(%s);\n", indent, target, source);
		return;
	case VALUE_MESSAGE:
		break;
	}
	message_convert(route, link, source, target, indent);
}

bool value_declares(const struct route *route, const struct succession_link *link)
{
	const struct schema_field *from = end_source(route, link).field, *to = end_target(route, link).field;

	if (link->same)
		return false;
	if (value_kind(to) == VALUE_MESSAGE)
		return true;
	return value_kind(to) == VALUE_INTEGER && !(from->enumeration && to->enumeration) && !integer_is_plain(route, link);
}

const char *value_nonzero(struct code *buffer, const struct schema_field *field, const char *value)
{
	switch (value_kind(field)) {
	case VALUE_INTEGER:
	case VALUE_REAL:
		snprintf(buffer->text, sizeof(buffer->text), "%.1000s != 0", value);
		break;
	case VALUE_TEXT:
		snprintf(buffer->text, sizeof(buffer->text), "%.1000s && *%.1000s", value, value);
		break;
	case VALUE_BYTES:
		snprintf(buffer->text, sizeof(buffer->text), "%.1000s.len", value);
		break;
	case VALUE_MESSAGE:
		snprintf(buffer->text, sizeof(buffer->text), "%.1000s", value);
		break;
	}
	return buffer->text;
}

/* ---- defaults ---- */

static int integer_default(struct code *buffer, const struct schema_field *field, const char *text)
{
	uint64_t most = value_bits(field) == 64 ? UINT64_MAX : UINT32_MAX;
	bool is_signed = value_is_signed(field), negative = text[0] == '-';
	char *end = NULL;

	if (strspn(text + negative, "0123456789") != strlen(text + negative) || !text[negative] || (negative && !is_signed))
		return -EINVAL;
	errno = 0;
	uint64_t magnitude = strtoull(text + negative, &end, 10);
	if (errno || magnitude > (is_signed ? most / 2 + negative : most))
		return -EINVAL;
	/* C has no literal for the most negative number, so it is written as one less than its neighbour. */
	if (negative && magnitude)
		snprintf(buffer->text, sizeof(buffer->text), "-INT64_C(%" PRIu64 ") - 1", magnitude - 1);
	else
		snprintf(buffer->text, sizeof(buffer->text), "%s(%" PRIu64 ")", is_signed ? "INT64_C" : "UINT64_C",
			 magnitude);
	return 0;
}

static int enum_default(struct code *buffer, const struct schema_field *field, const char *text)
{
	const struct schema_enum *enumeration = field->enumeration;
	struct name type;

	for (size_t i = 0; i < enumeration->n_values; i++) {
		if (strcmp(enumeration->values[i].name, text) != 0)
			continue;
		snprintf(buffer->text, sizeof(buffer->text), "(%s)%d", name_type(&type, enumeration->name),
			 enumeration->values[i].number);
		return 0;
	}
	return -EINVAL;
}

static int real_default(struct code *buffer, const char *text)
{
	char *end = NULL;
	double value = strtod(text, &end);

	if (!*text || *end || value - value != 0)
		return -EINVAL;
	snprintf(buffer->text, sizeof(buffer->text), "%.17g", value);
	return 0;
}

/* As a C string; octal, because it ends by itself after three digits. */
static int text_quote(char *out, size_t size, const char *text)
{
	size_t at = 0;

	out[at++] = '"';
	for (; *text; text++) {
		if (at + 6 > size)
			return -EINVAL;
		if (*text < ' ' || *text > '~' || *text == '"' || *text == '\\' || *text == '?')
			at += (size_t)snprintf(out + at, size - at, "\\%03o", (unsigned)(unsigned char)*text);
		else
			out[at++] = *text;
	}
	out[at++] = '"';
	out[at] = '\0';
	return 0;
}

int value_default(struct code *buffer, const struct schema_field *field, const char *text, struct why *why)
{
	struct code quoted;
	int r = 0;

	if (field->enumeration) {
		r = enum_default(buffer, field, text);
	} else if (field->type == SCHEMA_BOOL) {
		r = strcmp(text, "true") == 0 || strcmp(text, "false") == 0 ? 0 : -EINVAL;
		snprintf(buffer->text, sizeof(buffer->text), "%d", text[0] == 't');
	} else if (value_kind(field) == VALUE_INTEGER) {
		r = integer_default(buffer, field, text);
	} else if (value_kind(field) == VALUE_REAL) {
		r = real_default(buffer, text);
	} else if (field->type == SCHEMA_STRING) {
		r = text_quote(buffer->text, sizeof(buffer->text), text);
	} else {
		r = text_quote(quoted.text, sizeof(quoted.text) - 32, text);
		snprintf(buffer->text, sizeof(buffer->text), "upg_to_bytes(%.2000s)", quoted.text);
	}
	if (r < 0)
		return why_set(why, r, "default: \"%.80s\" is no %s", text, schema_type_name(field->type));
	return 0;
}
