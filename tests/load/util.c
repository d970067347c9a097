/* SPDX-License-Identifier: MIT */
#include "tests/load/util.h"

#include <stdio.h>
#include <stdlib.h>

static void *mem_checked(void *memory, size_t size_bytes)
{
	if (memory)
		return memory;
	fprintf(stderr, "upg-load: no memory for %zu bytes; use fewer connections or smaller values\n", size_bytes);
	exit(3);
}

void *mem_new(size_t size_bytes)
{
	size_t size = size_bytes ? size_bytes : 1;

	return mem_checked(calloc(1, size), size);
}

void *mem_resize(void *memory, size_t size_bytes)
{
	size_t size = size_bytes ? size_bytes : 1;

	return mem_checked(realloc(memory, size), size);
}

uint64_t rng_next(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t rng_below(uint64_t *state, uint64_t n)
{
	return rng_next(state) % n;
}

uint64_t rng_between(uint64_t *state, uint64_t min, uint64_t max)
{
	return max <= min ? min : min + rng_below(state, max - min + 1);
}
