/* SPDX-License-Identifier: MIT */
#include "supervisor/process/rate.h"

#include "base/clock.h"

#define ONE UINT64_C(1000000) /* of @left: what one a second brings in a microsecond is one millionth */
#define PER_SECOND_MAX (UINT64_MAX / ONE / (RATE_BURST_S + 1))

static uint64_t room(const struct rate *rate)
{
	return rate->per_second * RATE_BURST_S * ONE;
}

void rate_init(struct rate *rate, uint64_t per_second, uint64_t now_us)
{
	*rate = (struct rate){ .per_second = per_second < PER_SECOND_MAX ? per_second : PER_SECOND_MAX, .at_us = now_us };
	rate->left = room(rate);
}

static void refill(struct rate *rate, uint64_t now_us)
{
	uint64_t passed = now_us > rate->at_us ? now_us - rate->at_us : 0;

	if (passed >= RATE_BURST_S * USEC_PER_SEC || rate->left + passed * rate->per_second > room(rate))
		rate->left = room(rate);
	else
		rate->left += passed * rate->per_second;
	rate->at_us = now_us;
}

bool rate_has(struct rate *rate, uint64_t n, uint64_t now_us)
{
	if (!rate->per_second)
		return true;
	refill(rate, now_us);
	return n <= rate->left / ONE;
}

bool rate_take(struct rate *rate, uint64_t n, uint64_t now_us)
{
	if (!rate_has(rate, n, now_us))
		return false;
	if (rate->per_second)
		rate->left -= n * ONE;
	return true;
}
