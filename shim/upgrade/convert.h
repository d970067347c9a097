/* SPDX-License-Identifier: MIT */
/* What the code of protoc-gen-upgrade(1) is made of. Of use in migrations written by hand, too; no names of yours begin
 * with upg_.
 *
 * A number on its way from one integer type to another is a sign and a magnitude, so that everything from INT64_MIN to
 * UINT64_MAX is one range. All of it is inline: with constant arguments a conversion is a multiplication and a comparison.
 */
#pragma once

#include <upgrade.h>

#include <errno.h>
#include <float.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum upg_rounding { UPG_TOWARD_ZERO, UPG_DOWN, UPG_UP, UPG_NEAREST, UPG_EXACT };
enum upg_overflow { UPG_FAIL, UPG_SATURATE };

struct upg_number {
	uint64_t magnitude;
	bool negative;
	bool too_large; /* the magnitude has more than 64 bits */
	bool inexact;   /* UPG_EXACT was asked for and is not possible */
};

/* Which field of which type is being migrated: for messages. */
struct upg_place {
	const char *type, *field;
	struct upg_number value; /* as it was found */
};

static inline struct upg_number upg_signed(int64_t value)
{
	return (struct upg_number){ .magnitude = value < 0 ? -(uint64_t)value : (uint64_t)value, .negative = value < 0 };
}

static inline struct upg_number upg_unsigned(uint64_t value)
{
	return (struct upg_number){ .magnitude = value };
}

/** upg_bits() - The @width (1..64) bits of @value from bit @shift on. */
static inline uint64_t upg_bits(uint64_t value, unsigned shift, unsigned width)
{
	return value >> shift & UINT64_MAX >> (64 - width);
}

/** upg_scale() - @number * @times / @over, rounded. No intermediate result overflows. */
static inline struct upg_number upg_scale(struct upg_number number, uint32_t times, uint32_t over,
					  enum upg_rounding rounding)
{
	uint64_t whole = number.magnitude / over, rest = number.magnitude % over * times, more;
	bool away = false;

	number.too_large |= __builtin_mul_overflow(whole, times, &whole);
	more = rest / over;
	rest %= over;
	switch (rounding) {
	case UPG_TOWARD_ZERO:
		break;
	case UPG_DOWN:
		away = rest && number.negative;
		break;
	case UPG_UP:
		away = rest && !number.negative;
		break;
	case UPG_NEAREST:
		away = rest >= over - rest;
		break;
	case UPG_EXACT:
		number.inexact |= rest != 0;
		break;
	}
	number.too_large |= __builtin_add_overflow(whole, more + away, &number.magnitude);
	number.negative &= number.magnitude != 0 || number.too_large;
	return number;
}

/** upg_misfit() - Fail the record: @place, its value, and @what is wrong. Return: -EINVAL. */
static inline int upg_misfit(struct upg_step *step, const struct upg_place *place, const char *what)
{
	(void)upg_step_fail(step, "%s: %s = %s%llu %s", place->type, place->field, place->value.negative ? "-" : "",
			    (unsigned long long)place->value.magnitude, what);
	/* Which is what that returns: but here the compiler sees that it is no success. */
	return -EINVAL;
}

/** upg_to_signed() - @number as an integer of @min..@max, by @overflow where it does not fit. Return: 0 or -EINVAL. */
static inline int upg_to_signed(struct upg_step *step, const struct upg_place *place, struct upg_number number, int64_t min,
				int64_t max, enum upg_overflow overflow, int64_t *ret_value)
{
	uint64_t low = min < 0 ? -(uint64_t)min : 0;
	bool below = number.negative && (number.too_large || number.magnitude > low);
	bool above = !number.negative && (number.too_large || number.magnitude > (uint64_t)max);

	if (number.inexact)
		return upg_misfit(step, place, "would have to be rounded");
	if (!below && !above)
		*ret_value = (int64_t)(number.negative ? -number.magnitude : number.magnitude);
	else if (overflow == UPG_SATURATE)
		*ret_value = below ? min : max;
	else
		return upg_misfit(step, place, "does not fit");
	return 0;
}

/** upg_to_unsigned() - As upg_to_signed(), for 0..@max. */
static inline int upg_to_unsigned(struct upg_step *step, const struct upg_place *place, struct upg_number number,
				  uint64_t max,
				  enum upg_overflow overflow, uint64_t *ret_value)
{
	bool above = !number.negative && (number.too_large || number.magnitude > max);

	if (number.inexact)
		return upg_misfit(step, place, "would have to be rounded");
	if (!number.negative && !above)
		*ret_value = number.magnitude;
	else if (overflow == UPG_SATURATE)
		*ret_value = above ? max : 0;
	else
		return upg_misfit(step, place, "does not fit");
	return 0;
}

/** upg_to_float() - @value in single precision; infinities and what is not a number stay what they are. Return: 0 or -EINVAL. */
static inline int upg_to_float(struct upg_step *step, const char *type, const char *field, double value,
			       enum upg_overflow overflow, float *ret_value)
{
	bool finite = value <= DBL_MAX && value >= -DBL_MAX, above = finite && value > (double)FLT_MAX;
	bool below = finite && value < -(double)FLT_MAX;

	if (finite && overflow == UPG_FAIL && (above || below || (double)(float)value != value)) {
		(void)upg_step_fail(step, "%s: %s = %.17g does not fit", type, field, value);
		return -EINVAL;
	}
	*ret_value = above ? FLT_MAX : below ? -FLT_MAX : (float)value;
	return 0;
}

/** upg_to_string() - The bytes as text, which must hold no zero. Return: 0 or -EINVAL. */
static inline int upg_to_string(struct upg_step *step, const char *type, const char *field, ProtobufCBinaryData bytes,
				char **ret_text)
{
	char *text;

	if (bytes.len && memchr(bytes.data, 0, bytes.len)) {
		(void)upg_step_fail(step, "%s: %s = %zu bytes, with a zero among them, cannot become text", type,
				    field, bytes.len);
		return -EINVAL;
	}
	text = (char *)upg_step_alloc(step, bytes.len + 1);
	if (bytes.len)
		memcpy(text, bytes.data, bytes.len);
	*ret_text = text;
	return 0;
}

static inline ProtobufCBinaryData upg_to_bytes(const char *text)
{
	/* protobuf-c has no const variant; nobody writes through it. */
	return (ProtobufCBinaryData){ .len = text ? strlen(text) : 0, .data = (uint8_t *)(uintptr_t)text };
}

/** upg_carry_unknown() - What a nested message holds without its version knowing goes along, as the walk does it for the
 * outermost. @to has no unknown fields yet. */
static inline void upg_carry_unknown(struct upg_step *step, const ProtobufCMessage *from, ProtobufCMessage *to)
{
	if (from->n_unknown_fields == 0)
		return;
	to->unknown_fields = (ProtobufCMessageUnknownField *)upg_step_alloc(step, from->n_unknown_fields *
									    sizeof *to->unknown_fields);
	for (unsigned i = 0; i < from->n_unknown_fields; i++)
		if (!protobuf_c_message_descriptor_get_field(to->descriptor, from->unknown_fields[i].tag))
			to->unknown_fields[to->n_unknown_fields++] = from->unknown_fields[i];
}
