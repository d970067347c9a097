/* SPDX-License-Identifier: MIT */
/* Chance that can be repeated: every decision of a run follows from one seed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dice {
	uint64_t state;
};

/** dice_init() - The same @seed and @who give the same throws; another @who gives others. */
void dice_init(struct dice *dice, uint64_t seed, uint64_t who);

/** dice_name() - A text as a number, for dice_init()'s @who. */
uint64_t dice_name(const char *text);

uint64_t dice_any(struct dice *dice);
/** dice_below() - 0..@n - 1; 0 if @n is 0. */
size_t dice_below(struct dice *dice, size_t n);
bool dice_percent(struct dice *dice, unsigned percent);
/** dice_fill() - @size random bytes. */
void dice_fill(struct dice *dice, void *bytes, size_t size);
