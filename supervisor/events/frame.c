/* SPDX-License-Identifier: MIT */
#include "supervisor/events/frame.h"

#include <endian.h>
#include <string.h>
#include <xxhash.h>

#define MAGIC 0x1e475055u /* no text, and no beginning of a message either */
#define LENGTH_AT 4u
#define CHECK_AT 8u

void frame_seal(uint8_t *frame, size_t length)
{
	uint32_t magic = htole32(MAGIC), size = htole32((uint32_t)length);
	uint64_t check = htole64(XXH3_64bits_withSeed(frame + FRAME_HEAD_BYTES, length, length));

	memcpy(frame, &magic, sizeof(magic));
	memcpy(frame + LENGTH_AT, &size, sizeof(size));
	memcpy(frame + CHECK_AT, &check, sizeof(check));
}

static bool frame_get(const uint8_t *data, size_t size_bytes, struct frame *ret)
{
	uint32_t magic, length;
	uint64_t check;

	if (size_bytes < FRAME_HEAD_BYTES)
		return false;
	memcpy(&magic, data, sizeof(magic));
	memcpy(&length, data + LENGTH_AT, sizeof(length));
	memcpy(&check, data + CHECK_AT, sizeof(check));
	length = le32toh(length);
	if (le32toh(magic) != MAGIC || length < 1 || length > FRAME_PAYLOAD_MAX || length > size_bytes - FRAME_HEAD_BYTES)
		return false;
	if (le64toh(check) != XXH3_64bits_withSeed(data + FRAME_HEAD_BYTES, length, length))
		return false;
	*ret = (struct frame){ data + FRAME_HEAD_BYTES, length };
	return true;
}

bool frame_next(const uint8_t *data, size_t size_bytes, size_t *at, struct frame *ret)
{
	while (*at < size_bytes && !frame_get(data + *at, size_bytes - *at, ret))
		++*at;
	if (*at >= size_bytes)
		return false;
	*at += FRAME_HEAD_BYTES + ret->length;
	return true;
}
