/* SPDX-License-Identifier: MIT */
#include "tests/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>

void bench_row(struct bench *bench, const char *name, double value, const char *unit, double target, bool at_least)
{
	bool met = at_least ? value >= target : value <= target;

	bench->rows++;
	bench->short_rows += !met;
	printf("%-52s %8.2f %-6s (%s %.2f) %s\n", name, value, unit, at_least ? "at least" : "at most", target,
	       met ? "ok" : "SHORT");
	fflush(stdout);
}

void bench_note(const char *name, double value, const char *unit)
{
	printf("%-52s %8.2f %s\n", name, value, unit);
	fflush(stdout);
}

int bench_end(const struct bench *bench)
{
	printf("bench: rows=%u short=%u\n", bench->rows, bench->short_rows);
	return bench->short_rows ? 1 : 0;
}

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

double bench_median(double *figures, size_t n)
{
	qsort(figures, n, sizeof(*figures), compare);
	return n % 2 ? figures[n / 2] : (figures[n / 2 - 1] + figures[n / 2]) / 2;
}

double bench_worst(const double *figures, size_t n)
{
	double worst = 0;

	for (size_t i = 0; i < n; i++)
		worst = figures[i] > worst ? figures[i] : worst;
	return worst;
}
