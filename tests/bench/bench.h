/* SPDX-License-Identifier: MIT */
/* Rows of a benchmark: what was measured, against which target. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct bench {
	unsigned rows, short_rows;
};

/** bench_row() - Print one row. @value is to be at least (@at_least) or at most @target. */
void bench_row(struct bench *bench, const char *name, double value, const char *unit, double target, bool at_least);

/** bench_note() - Print a figure that has no target. */
void bench_note(const char *name, double value, const char *unit);

/** bench_end() - Print the closing line. Return: exit status: 0 if no row is short. */
int bench_end(const struct bench *bench);

/** bench_median() - Of @n figures, which are sorted in place. */
double bench_median(double *figures, size_t n);
/** bench_worst() - The largest of @n figures. */
double bench_worst(const double *figures, size_t n);
