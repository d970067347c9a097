/* SPDX-License-Identifier: MIT */
#include "tests/ways-back/seed.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

static unsigned state;

unsigned seed_begin(const char *suite)
{
	const char *text = getenv("UPG_SEED");

	state = text ? (unsigned)strtoul(text, NULL, 0) : (unsigned)clock_now_us();
	fprintf(stderr, "%s: UPG_SEED=%u\n", suite, state);
	return state;
}

unsigned seed_below(unsigned n)
{
	state = state * 1103515245u + 12345u;
	return (state >> 8) % n;
}
