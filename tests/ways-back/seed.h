/* SPDX-License-Identifier: MIT */
/* Choices by chance that a run can repeat. */
#pragma once

/** seed_begin() - From UPG_SEED, or the clock; it is printed for @suite. Return: it. */
unsigned seed_begin(const char *suite);

/** seed_below() - The next choice: 0 to @n - 1. */
unsigned seed_below(unsigned n);
