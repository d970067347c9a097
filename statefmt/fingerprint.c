/* SPDX-License-Identifier: MIT */
/* A hash of a message's shape.
 *
 * Two types have the same fingerprint when no sequence of fields leads to a difference in number, type or label. Names do not
 * matter, nor whether two fields share one nested type or have one each of the same shape. Cycles need no special care: every type
 * starts with the same hash, and in each round gets the hash of its fields and of their types' hashes from the round before. After
 * k rounds the hashes of two types differ if the types differ within k levels. The number of rounds is fixed: it is part of the
 * result.
 *
 * Fingerprints are kept in files, so nothing here may change without a new format version.
 */
#include "statefmt/frame.h"
#include "statefmt/shape.h"

#include <xxhash.h>

#define ROUNDS 64u

static uint64_t type_hash(const struct sf_shape *shape, const uint64_t *last, const ProtobufCMessageDescriptor *type)
{
	uint64_t hash = type->n_fields;

	for (unsigned f = 0; f < type->n_fields; f++) { /* sorted by number */
		const ProtobufCFieldDescriptor *field = &type->fields[f];
		const ProtobufCMessageDescriptor *sub = sf_field_message(field);
		uint8_t bytes[20];

		sf_put_le32(bytes, field->id);
		sf_put_le32(bytes + 4, (uint32_t)field->type);
		sf_put_le32(bytes + 8, (uint32_t)field->label);
		sf_put_le64(bytes + 12, sub ? last[sf_shape_find(shape, sub)] : 0);
		hash = XXH3_64bits_withSeed(bytes, sizeof(bytes), hash);
	}
	return hash;
}

uint64_t sf_fingerprint(const ProtobufCMessageDescriptor *descriptor)
{
	uint64_t hashes[2][SF_SHAPE_TYPES + 1] = { { 0 }, { 0 } }; /* the last of each: types beyond the limit */
	struct sf_shape shape;
	uint64_t result;

	sf_shape_init(&shape, descriptor);
	for (unsigned round = 0; round < ROUNDS; round++)
		for (size_t i = 0; i < shape.n; i++)
			hashes[(round + 1) % 2][i] = type_hash(&shape, hashes[round % 2], shape.types[i]);
	result = hashes[ROUNDS % 2][0];
	return result ? result : 1;
}
