/* SPDX-License-Identifier: MIT */
/* Memory that is there or ends the program, and a seeded generator of numbers. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** mem_new() - Zeroed memory. A client that has run out of it can prove nothing more: it says so and exits with 3. */
void *mem_new(size_t size_bytes);

/** mem_resize() - As realloc(3), with the same end. */
void *mem_resize(void *memory, size_t size_bytes);

/** rng_next() - 64 random bits (splitmix64). Any @state is a good seed. */
uint64_t rng_next(uint64_t *state);

/** rng_below() - A number in 0..@n-1; @n must not be 0. */
uint64_t rng_below(uint64_t *state, uint64_t n);

/** rng_between() - A number in @min..@max. */
uint64_t rng_between(uint64_t *state, uint64_t min, uint64_t max);
