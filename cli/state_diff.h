/* SPDX-License-Identifier: MIT */
/* Internal to `state diff`: state_diff.c finds the differences, state_diff_tell.c prints them. */
#pragma once

#include "cli/sorter.h"
#include "cli/state.h"
#include "cli/state_input.h"
#include "cli/state_record.h"

struct tally {
	uint64_t added, removed, changed, same;
};

/* One of the two files. */
struct side {
	struct state_input input;
	struct sorter *sorter;
	size_t *types;          /* of the header -> of struct diff */
	struct sort_entry head; /* the next in order */
	bool more;
	struct state_record record; /* the one that is being told of */
};

struct type {
	const char *name;
	struct tally tally;
};

struct diff {
	const struct state_call *call;
	const struct term *out;
	struct side a, b;
	struct type *types; /* of either file, by name */
	size_t n_types;
	uint64_t seed;
	uint64_t printed;
	struct why why;
};

/** diff_key_number() - Find the field that is the key of records of @message (NULL: not described). Return: its number. */
uint64_t diff_key_number(const struct diff *diff, const struct schema_message *message);

/** diff_tell_change() - Print a record that changed, or, where a side is NULL, was added or removed. */
void diff_tell_change(struct diff *diff, const struct sort_entry *a, const struct sort_entry *b);

/** diff_tell_summary() - Print the sums. Return: whether anything differs. */
bool diff_tell_summary(struct diff *diff);

/** diff_entry_type() - Return: the index of an entry's type in @diff->types. */
static inline size_t diff_entry_type(const struct sort_entry *entry)
{
	return (size_t)(entry->group[0] >> 48);
}
