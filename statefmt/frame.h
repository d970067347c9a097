/* SPDX-License-Identifier: MIT */
/* Internal to the room: the bytes of a frame, and the rules that writer and reader share. */
#pragma once

#include "statefmt/statefmt.h"

#include <endian.h>
#include <string.h>

#define SF_MAGIC "UPGSTATE"
#define SF_MAGIC_BYTES 8u
#define SF_TEXT_BYTES 255u /* a service, version or type name: these are printed */
#define SF_DEPTH_MAX 100u  /* messages nested in a record; protobuf's own implementations draw the line here as well */

enum sf_frame_kind { SF_FRAME_HEADER = 'H', SF_FRAME_BATCH = 'B', SF_FRAME_TRAILER = 'T' };

static inline void sf_put_le16(uint8_t *at, uint16_t value)
{
	value = htole16(value);
	memcpy(at, &value, sizeof(value));
}

static inline void sf_put_le32(uint8_t *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, sizeof(value));
}

static inline void sf_put_le64(uint8_t *at, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, sizeof(value));
}

static inline uint16_t sf_get_le16(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return le16toh(value);
}

static inline uint32_t sf_get_le32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

/** sf_frame_name() - Name a kind: "header", "batch", "trailer", or "unknown kind". */
const char *sf_frame_name(uint8_t kind);

/** sf_crc32c() - Compute the standard CRC32C of two pieces that follow each other. */
uint32_t sf_crc32c(const uint8_t *first, size_t n_first, const uint8_t *second, size_t n_second);

/** sf_frame_crc() - Compute the CRC of the first 8 bytes of @head and @size_bytes of @payload. */
uint32_t sf_frame_crc(const uint8_t *head, const uint8_t *payload, size_t size_bytes);

/** sf_frame_seal() - Fill in the head of @frame, whose @length bytes of payload already follow it. */
void sf_frame_seal(uint8_t *frame, enum sf_frame_kind kind, uint32_t length);

/** sf_digest_seed() - Compute, once for each type, the seed that makes a record's digest depend on its type's name and version. */
uint64_t sf_digest_seed(const struct sf_schema *schema);

/** sf_digest_add() - Sum one record into @digest, in any order. */
void sf_digest_add(uint64_t digest[2], uint64_t seed, const uint8_t *data, size_t size_bytes);

/** sf_limits_resolve() - Return: @limits or the default ones, cut to the range of the format's fields. */
struct sf_limits sf_limits_resolve(const struct sf_limits *limits);

/** sf_header_check() - Check the rules for a header, written or read. Return: 0; -ENOMEM; @bad, with @why. */
int sf_header_check(const struct sf_header *header, const struct sf_limits *limits, int bad, struct why *why);
