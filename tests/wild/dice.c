/* SPDX-License-Identifier: MIT */
#include "tests/wild/dice.h"

/* splitmix64: any seed will do, and neighbouring ones have nothing in common. */
uint64_t dice_any(struct dice *dice)
{
	uint64_t z = dice->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void dice_init(struct dice *dice, uint64_t seed, uint64_t who)
{
	dice->state = seed;
	dice->state = dice_any(dice) ^ who;
	dice_any(dice);
}

uint64_t dice_name(const char *text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return hash;
}

size_t dice_below(struct dice *dice, size_t n)
{
	return n ? (size_t)(dice_any(dice) % n) : 0;
}

bool dice_percent(struct dice *dice, unsigned percent)
{
	return dice_below(dice, 100) < percent;
}

void dice_fill(struct dice *dice, void *bytes, size_t size)
{
	unsigned char *at = bytes;

	for (size_t i = 0; i < size; i++)
		at[i] = (unsigned char)dice_any(dice);
}
