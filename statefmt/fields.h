/* SPDX-License-Identifier: MIT */
/* A packed message as it lies on the wire, field by field, without a type for it. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct field_bytes {
	uint32_t number;
	ProtobufCWireType wire;
	const uint8_t *start, *data, *end; /* its tag; its value: of a length-prefixed field what follows the length; behind it */
	uint64_t bits; /* the value, unless it is length-prefixed */
};

/** fields_varint() - Read a varint of @max_bytes at most, 10 for 64 bits, at *@at and step over it. What does not fit 64 bits is
 * dropped, as everybody does. Return: false: there is none before @end. */
bool fields_varint(const uint8_t **at, const uint8_t *end, unsigned max_bytes, uint64_t *ret_value);

/** fields_fixed() - The same for a little-endian number of @n bytes, 8 at most. */
bool fields_fixed(const uint8_t **at, const uint8_t *end, size_t n, uint64_t *ret_value);

/** fields_next() - Read the field at *@at and step over it. Return: false: what stands there is none; *@at is anywhere then. */
bool fields_next(const uint8_t **at, const uint8_t *end, struct field_bytes *ret_field);
