/* SPDX-License-Identifier: MIT */
/* How much of the loop's time one peer may take by what it says: a burst, and from then on a part of the time, so that there is
 * always time left for the others. */
#pragma once

#include <stdint.h>

#define SHARE_BURST_US 200000u
#define SHARE_PARTS 4u /* one of so many is its own */

struct share {
	uint64_t used_us; /* at @at_us, and less with each moment since */
	uint64_t at_us;
};

/** share_use() - Hearing the peer took @used_us, up to @now_us. Return: for how long nobody is to listen to it; 0: go on. */
uint64_t share_use(struct share *share, uint64_t now_us, uint64_t used_us);
