/* SPDX-License-Identifier: MIT */
/* Frame heads, checksums and the digest.
 *
 * Two checks do two jobs. The CRC32C of each frame finds damage where it is, before a byte of the frame is used. The digest in the
 * trailer says that both ends hold the same set of records, in whatever order they were written: each record is hashed by itself,
 * by XXH3-128 with a seed, and the hashes are summed. The seed is XXH3-64 of the version (u32), seeded with XXH3-64 of the type's
 * name and its closing zero. The hashes are summed and not xor'ed: in an exclusive or, a record that comes twice would vanish.
 */
#include "statefmt/frame.h"

#include <isa-l/crc.h>
#define XXH_INLINE_ALL /* a call and its dispatch cost as much as hashing a small record */
#include <xxhash.h>

#define CRC_STEP_BYTES (UINT32_C(1) << 30) /* the library counts in int */

const struct sf_limits sf_limits_default = {
	.record_bytes = 16u << 20,
	.batch_bytes = 256u << 10,
	.header_bytes = 4u << 20,
	.types = 256,
};

struct sf_limits sf_limits_resolve(const struct sf_limits *limits)
{
	struct sf_limits resolved = limits ? *limits : sf_limits_default;

	if (resolved.record_bytes > UINT32_MAX - SF_RECORD_HEAD_BYTES)
		resolved.record_bytes = UINT32_MAX - SF_RECORD_HEAD_BYTES;
	if (resolved.types > UINT16_MAX + 1u)
		resolved.types = UINT16_MAX + 1u;
	return resolved;
}

const char *sf_frame_name(uint8_t kind)
{
	switch (kind) {
	case SF_FRAME_HEADER:
		return "header";
	case SF_FRAME_BATCH:
		return "batch";
	case SF_FRAME_TRAILER:
		return "trailer";
	default:
		return "unknown kind";
	}
}

/* crc32_iscsi() leaves the initial and the final inversion to its caller, so that pieces can be chained. */
static uint32_t crc_more(uint32_t crc, const uint8_t *data, size_t size_bytes)
{
	while (size_bytes) {
		size_t step = size_bytes < CRC_STEP_BYTES ? size_bytes : CRC_STEP_BYTES;

		/* Its prototype lacks a const; it only reads. */
		crc = crc32_iscsi((unsigned char *)(uintptr_t)data, (int)step, crc);
		data += step;
		size_bytes -= step;
	}
	return crc;
}

uint32_t sf_crc32c(const uint8_t *first, size_t n_first, const uint8_t *second, size_t n_second)
{
	return ~crc_more(crc_more(UINT32_MAX, first, n_first), second, n_second);
}

uint32_t sf_frame_crc(const uint8_t *head, const uint8_t *payload, size_t size_bytes)
{
	return sf_crc32c(head, 8, payload, size_bytes);
}

void sf_frame_seal(uint8_t *frame, enum sf_frame_kind kind, uint32_t length)
{
	frame[0] = (uint8_t)kind;
	memset(frame + 1, 0, 3);
	sf_put_le32(frame + 4, length);
	sf_put_le32(frame + 8, sf_frame_crc(frame, frame + SF_FRAME_HEAD_BYTES, length));
}

uint64_t sf_digest_seed(const struct sf_schema *schema)
{
	uint8_t version[4];
	XXH64_hash_t name = XXH3_64bits(schema->name, strlen(schema->name) + 1);

	sf_put_le32(version, schema->version);
	return XXH3_64bits_withSeed(version, sizeof(version), name);
}

void sf_digest_add(uint64_t digest[2], uint64_t seed, const uint8_t *data, size_t size_bytes)
{
	XXH128_hash_t hash = XXH3_128bits_withSeed(data, size_bytes, seed);

	digest[0] += hash.low64;
	digest[1] += hash.high64;
}
