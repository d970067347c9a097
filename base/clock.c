/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include <limits.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

static _Atomic(const uint64_t *) fake;

uint64_t clock_realtime_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_worked_us(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * USEC_PER_SEC + (uint64_t)used.tv_nsec / 1000;
}

uint64_t clock_now_us(void)
{
	const uint64_t *fake_now_us = atomic_load_explicit(&fake, memory_order_acquire);
	struct timespec now;

	if (fake_now_us)
		return *fake_now_us;
	clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail: the clock exists and &now is ours */
	return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000;
}

void clock_fake(const uint64_t *now_us)
{
	atomic_store_explicit(&fake, now_us, memory_order_release);
}

int clock_timeout_ms(uint64_t due_us)
{
	uint64_t now_us, left_us, left_ms;

	if (due_us == UINT64_MAX)
		return -1;
	now_us = clock_now_us();
	if (due_us <= now_us)
		return 0;
	left_us = due_us - now_us;
	left_ms = left_us / USEC_PER_MSEC + (left_us % USEC_PER_MSEC != 0);
	return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}
