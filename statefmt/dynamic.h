/* SPDX-License-Identifier: MIT */
/* Records read by a schema set instead of generated code. Nothing is built in memory: a cursor steps over a packed message from
 * field to field. It takes and refuses the same as protobuf-c, with one exception: a message that comes in parts, which no packer
 * writes, is always taken.
 */
#pragma once

#include "statefmt/schema.h"

struct why;

#define DYN_DEPTH_MAX 100u /* messages in each other; as the writer allows */

enum dyn_wire { DYN_VARINT = 0, DYN_FIXED64 = 1, DYN_BYTES = 2, DYN_FIXED32 = 5 };

struct dyn_cursor {
	const struct schema_message *message; /* NULL: of no known type; every field is unknown */
	const uint8_t *at, *end;
};

struct dyn_field {
	const struct schema_field *field; /* NULL: not known, or its wire type does not go with its type */
	uint32_t number;
	enum dyn_wire wire;
	bool mismatch;       /* why @field is NULL: the wire type */
	bool packed;         /* DYN_BYTES that hold a run of scalars: see dyn_packed_next() */
	uint64_t bits;       /* but for DYN_BYTES */
	const uint8_t *data; /* of DYN_BYTES; borrowed from the message */
	size_t size_bytes;
};

enum dyn_kind { DYN_INT, DYN_UINT, DYN_REAL, DYN_BOOL };

struct dyn_scalar {
	enum dyn_kind kind; /* an enum is a DYN_INT */
	bool is_float;      /* a DYN_REAL that was a float */
	bool is_wide;       /* of 64 bits */
	int64_t number;
	uint64_t unsigned_number;
	double real;
};

/** dyn_open() - Make a cursor at the start of a packed message; it borrows all its arguments. */
struct dyn_cursor dyn_open(const struct schema_message *message, const uint8_t *data, size_t size_bytes);

/** dyn_next() - Step to the next field. Return: 1; 0 at the end; -EBADMSG: it is no protobuf message. */
int dyn_next(struct dyn_cursor *cursor, struct dyn_field *ret_field);

/** dyn_packed_next() - Step to the next scalar of a packed field. @cursor: dyn_open() of its data. Return: as dyn_next(). */
int dyn_packed_next(struct dyn_cursor *cursor, const struct schema_field *field, uint64_t *ret_bits);

/** dyn_scalar() - Read @bits as a value of @field, which is neither text nor bytes nor a message. */
struct dyn_scalar dyn_scalar(const struct schema_field *field, uint64_t bits);

/**
 * dyn_check() - Can a record be loaded as a @message? It must be well-formed, have the wire types of its fields and every required
 * field, and nest no deeper than DYN_DEPTH_MAX. With a @message of NULL: is it well-formed?
 *
 * Return: 0; -EBADMSG with the field in @why; -ENOMEM.
 */
int dyn_check(const struct schema_message *message, const uint8_t *data, size_t size_bytes, struct why *why);
