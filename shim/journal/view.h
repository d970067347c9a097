/* SPDX-License-Identifier: MIT */
/* Reading the journal of a program that has crashed. Perhaps it crashed because it wrote where it should not, and perhaps it wrote
 * there, too: nothing is believed. */
#pragma once

#include "shim/journal/layout.h"
#include "shim/upgrade.h"

#include "base/why.h"

#include <stdbool.h>

struct journal_view_record {
	uint32_t flags;
	uint64_t serial, tag;
	char name[JOURNAL_NAME_BYTES + 1];
	struct journal_cursor cursor;
	uint64_t received, sent;
	uint64_t read_base, written_base, start_output;
	struct journal_place input, output;
};

struct journal_view {
	const uint8_t *map; /* for the bytes of connections only; all else is copied, and the copy was checked */
	size_t size_bytes;
	uint8_t *log;
	uint64_t log_head;
	struct journal_type *types;
	size_t n_types;
	struct journal_view_record *records; /* sorted by name and tag */
	size_t n_records;
	uint64_t n_changes;
};

enum journal_view_outcome {
	JOURNAL_VIEW_OK = 0,
	JOURNAL_VIEW_VOID = 1, /* it says so itself, or was never begun */
};

/**
 * journal_view_open() - Look at a journal and check all that can be without its types: bounds, order, checksums.
 * @map: borrowed, aligned to 8. A forked child of the failed program may still write there.
 * @ret_view: released with journal_view_done(), also after a failure.
 *
 * Return: enum journal_view_outcome, void with the reason in @why; -EBADMSG: damaged; -ENOMEM.
 */
int journal_view_open(struct journal_view *ret_view, const void *map, size_t size_bytes, struct why *why);
void journal_view_done(struct journal_view *view);

struct journal_view_change {
	size_t type;
	enum upg_change change;
	const uint8_t *data;
	size_t size_bytes;
};

/* Begin with zeroes. */
struct journal_view_place {
	uint64_t at, left; /* in the log; of the transaction in hand */
};

/** journal_view_next() - Changes in the order of their effects. Return: whether there was one. */
bool journal_view_next(const struct journal_view *view, struct journal_view_place *place,
		       struct journal_view_change *ret_change);

/** journal_view_find() - Return: NULL if there is none. */
const struct journal_view_record *journal_view_find(const struct journal_view *view, const char *name, uint64_t tag);

/** journal_view_pieces() - The input and output that lie there, if @received and @sent is how far the connection was read and
 * written. Return: 0; -EBADMSG: this cannot be. */
int journal_view_pieces(const struct journal_view *view, const struct journal_view_record *record, uint64_t received,
			uint64_t sent, const uint8_t **ret_input, size_t *ret_input_bytes, const uint8_t **ret_output,
			size_t *ret_output_bytes);
