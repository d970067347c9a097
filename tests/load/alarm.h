/* SPDX-License-Identifier: MIT */
/* Moments in the future, by the thousand: a binary heap whose entries live in the objects that wait. (The loop of base/
 * keeps its timers in a list and to the millisecond, which is right for a daemon and not for pacing 20,000 a second.) */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct alarm {
	uint64_t due_us;
	size_t place; /* in the heap, counted from 1; 0: not set */
};

struct alarms {
	struct alarm **heap;
	size_t n, cap;
};

/** alarm_set() - Set, or move. */
void alarm_set(struct alarms *alarms, struct alarm *alarm, uint64_t due_us);

/** alarm_clear() - Fine on one that is not set. */
void alarm_clear(struct alarms *alarms, struct alarm *alarm);

/** alarms_due() - Take out the first one due at @now_us. Return: it, or NULL. */
struct alarm *alarms_due(struct alarms *alarms, uint64_t now_us);

/** alarms_next_us() - When the first is due; UINT64_MAX if none is set. */
uint64_t alarms_next_us(const struct alarms *alarms);
void alarms_done(struct alarms *alarms);
