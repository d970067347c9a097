/* SPDX-License-Identifier: MIT */
#include "tests/bench/bench.h"

#include <stdio.h>

void bench_row(struct bench *bench, const char *name, double value, const char *unit, double target, bool at_least)
{
	bool met = at_least ? value >= target : value <= target;

	bench->rows++;
	bench->short_rows += !met;
	printf("%-52s %8.2f %-6s (%s %.2f) %s\n", name, value, unit, at_least ? "at least" : "at most", target,
	       met ? "ok" : "SHORT");
	fflush(stdout);
}

int bench_end(const struct bench *bench)
{
	printf("bench: rows=%u short=%u\n", bench->rows, bench->short_rows);
	return bench->short_rows ? 1 : 0;
}
