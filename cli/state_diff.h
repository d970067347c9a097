/* SPDX-License-Identifier: MIT */
/* Internal to `state diff`: what state_diff.c finds out, state_diff_tell.c tells. */
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

/** diff_key_number() - The number of the field that is the key of records of @message (NULL: not described). */
uint64_t diff_key_number(const struct diff *diff, const struct schema_message *message);

/** diff_tell_change() - One record that changed, or, where a side is NULL, was added or removed. */
void diff_tell_change(struct diff *diff, const struct sort_entry *a, const struct sort_entry *b);

/** diff_tell_summary() - The sums. Return: whether anything differs. */
bool diff_tell_summary(struct diff *diff);

/** diff_entry_type() - The index of an entry's type in @diff->types. */
static inline size_t diff_entry_type(const struct sort_entry *entry)
{
	return (size_t)(entry->group[0] >> 48);
}
