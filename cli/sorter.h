/* SPDX-License-Identifier: MIT */
/* Sorts any number of small entries in memory of a fixed size: sorted runs go to a nameless file in $TMPDIR and are merged. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct why;

struct sort_entry {
	uint64_t group[3]; /* by these, the first counting most */
	uint64_t place;    /* not compared */
};

struct sorter;

/** sorter_new() - @capacity: entries to hold in memory, at least 256. A file is made only when there are more. */
int sorter_new(size_t capacity, struct sorter **ret_sorter, struct why *why);
struct sorter *sorter_free(struct sorter *sorter); /* NULL allowed; returns NULL */

int sorter_add(struct sorter *sorter, const struct sort_entry *entry, struct why *why);

/** sorter_sort() - Sort the entries; all have been added. */
int sorter_sort(struct sorter *sorter, struct why *why);

/** sorter_next() - Get the next entry in order. Return: 1; 0 after the last; -errno. */
int sorter_next(struct sorter *sorter, struct sort_entry *ret_entry, struct why *why);

int sort_entry_compare(const struct sort_entry *a, const struct sort_entry *b);
