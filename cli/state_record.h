/* SPDX-License-Identifier: MIT */
/* Single records of a state file, read again from their place, and the differences between two. */
#pragma once

#include "cli/state_input.h"
#include "statefmt/dynamic.h"

struct state_record {
	const struct schema_message *message; /* NULL: not described */
	uint8_t *data;     /* NULL: it could not be read again, as from a pipe */
	size_t size_bytes;
	size_t room;
};

/** state_record_load() - Read the record at @offset, as the reader told it, in place of the one that @record holds. */
void state_record_load(struct state_record *record, const struct state_input *input, uint64_t offset);
void state_record_done(struct state_record *record);

/** state_record_field() - Find the last field of that number. Return: whether there is one. */
bool state_record_field(const struct schema_message *message, const uint8_t *data, size_t size_bytes, uint64_t number,
			struct dyn_field *ret_field);

#define STATE_CHANGES_MAX 64u

struct state_changes {
	size_t n;
	uint32_t numbers[STATE_CHANGES_MAX];
	const char *names[STATE_CHANGES_MAX]; /* NULL: not known by name */
};

/** state_record_compare() - Find the first STATE_CHANGES_MAX fields, by number, in which two records of a type differ. */
void state_record_compare(const struct state_record *a, const struct state_record *b, struct state_changes *ret_changes);
