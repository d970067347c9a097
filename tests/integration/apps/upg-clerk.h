/* SPDX-License-Identifier: MIT */
/* What answers of upg-clerk consist of, for it and for its clients. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CLERK_SIZE_MAX 500000u /* of one answer */
#define CLERK_PATTERN_BYTES (CLERK_SIZE_MAX + 4096u)

static inline void clerk_fill(uint8_t *pattern)
{
	uint32_t x = 1;

	for (size_t i = 0; i < CLERK_PATTERN_BYTES; i++) {
		x = x * 1664525u + 1013904223u;
		pattern[i] = (uint8_t)(x >> 24);
	}
}

/* Where in the pattern the answer to the request that made it @value begins. */
static inline size_t clerk_offset(uint32_t key, uint64_t value)
{
	return (size_t)(value * 97 + key) % 4096;
}
