/* SPDX-License-Identifier: MIT */
#include "tests/load/alarm.h"

#include "tests/load/util.h"

#include <stdlib.h>

static void heap_put(struct alarms *alarms, struct alarm *alarm, size_t place)
{
	alarms->heap[place - 1] = alarm;
	alarm->place = place;
}

static void heap_settle(struct alarms *alarms, struct alarm *alarm, size_t place)
{
	struct alarm **heap = alarms->heap;

	while (place > 1 && heap[place / 2 - 1]->due_us > alarm->due_us) {
		heap_put(alarms, heap[place / 2 - 1], place);
		place /= 2;
	}
	for (size_t child = place * 2; child <= alarms->n; child = place * 2) {
		if (child < alarms->n && heap[child]->due_us < heap[child - 1]->due_us)
			child++;
		if (heap[child - 1]->due_us >= alarm->due_us)
			break;
		heap_put(alarms, heap[child - 1], place);
		place = child;
	}
	heap_put(alarms, alarm, place);
}

void alarm_set(struct alarms *alarms, struct alarm *alarm, uint64_t due_us)
{
	alarm_clear(alarms, alarm);
	if (alarms->n == alarms->cap) {
		alarms->cap = alarms->cap ? alarms->cap * 2 : 64;
		alarms->heap = mem_resize(alarms->heap, alarms->cap * sizeof(struct alarm *));
	}
	alarm->due_us = due_us;
	alarms->n++;
	heap_settle(alarms, alarm, alarms->n);
}

void alarm_clear(struct alarms *alarms, struct alarm *alarm)
{
	size_t place = alarm->place;
	struct alarm *last;

	if (!place)
		return;
	alarm->place = 0;
	last = alarms->heap[--alarms->n];
	if (last != alarm)
		heap_settle(alarms, last, place);
}

struct alarm *alarms_due(struct alarms *alarms, uint64_t now_us)
{
	struct alarm *first = alarms->n ? alarms->heap[0] : NULL;

	if (!first || first->due_us > now_us)
		return NULL;
	alarm_clear(alarms, first);
	return first;
}

uint64_t alarms_next_us(const struct alarms *alarms)
{
	return alarms->n ? alarms->heap[0]->due_us : UINT64_MAX;
}

void alarms_done(struct alarms *alarms)
{
	free(alarms->heap);
	*alarms = (struct alarms){ 0 };
}
