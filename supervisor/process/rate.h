/* SPDX-License-Identifier: MIT */
/* So many a second, and some seconds' worth at once: a token bucket. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define RATE_BURST_S 5u /* what was not used is kept for so long */

struct rate {
	uint64_t per_second; /* 0: no limit */
	uint64_t left;       /* in millionths */
	uint64_t at_us;
};

/** rate_init() - Full. */
void rate_init(struct rate *rate, uint64_t per_second, uint64_t now_us);

/** rate_has() - Could @n be taken now? */
bool rate_has(struct rate *rate, uint64_t n, uint64_t now_us);

/** rate_take() - Take @n. Return: false if they are not there; then nothing was taken. */
bool rate_take(struct rate *rate, uint64_t n, uint64_t now_us);
