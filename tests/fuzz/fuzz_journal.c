/* SPDX-License-Identifier: MIT */
/* Any bytes as the journal of a program that crashed. The checksums of its transactions are made right first: what lies behind
 * them is to be reached. Nothing outside of the bytes may be read, and whatever is accepted must be consistent in itself. */
#include "shim/journal/view.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink; /* so that what is read is read */

/* The first byte says how far to go: odd ones leave the checksums as they are. */
static void repair(uint8_t *map, size_t size)
{
	struct journal_header *header = (struct journal_header *)(void *)map;
	uint64_t at = header->log_at, end;

	if (at % 8 || at > size)
		return;
	end = atomic_load(&header->log_head) < size - at ? at + atomic_load(&header->log_head) : size;
	while (end - at >= sizeof(struct journal_transaction)) {
		struct journal_transaction *transaction = (struct journal_transaction *)(void *)(map + at);

		if (transaction->size_bytes < sizeof(*transaction) || transaction->size_bytes % 8 ||
		    transaction->size_bytes > end - at)
			return;
		transaction->check = journal_check(transaction, transaction->size_bytes);
		at += transaction->size_bytes;
	}
}

static uint64_t touch(const uint8_t *data, size_t size)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum += data[i];
	return sum;
}

/* Around the place where a connection's bytes are, some of which are there and some not. */
static uint64_t look_at_record(const struct journal_view *view, const struct journal_view_record *record)
{
	static const uint64_t steps[] = { 0, 1, 7, 64, UINT64_MAX };
	uint64_t sum = 0;

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		const uint8_t *input, *output;
		size_t input_bytes, output_bytes;

		if (journal_view_pieces(view, record, record->cursor.input + steps[i], record->cursor.output - steps[i], &input,
					&input_bytes, &output, &output_bytes) < 0)
			continue;
		sum += touch(input, input_bytes) + touch(output, output_bytes);
	}
	return sum;
}

static void look_at_all(const struct journal_view *view)
{
	struct journal_view_place place = { 0 };
	struct journal_view_change change;
	uint64_t sum = 0, n = 0;

	for (; journal_view_next(view, &place, &change); n++) {
		if (change.type >= view->n_types)
			abort();
		sum += strlen(view->types[change.type].name) + touch(change.data, change.size_bytes);
	}
	/* What was counted before anything is applied is what is applied. */
	if (n != view->n_changes)
		abort();
	for (size_t i = 0; i < view->n_records; i++) {
		const struct journal_view_record *record = &view->records[i];

		if (!journal_view_find(view, record->name, record->tag))
			abort();
		sum += look_at_record(view, record);
	}
	sink = sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct journal_view view;
	struct why why = { 0 };
	uint8_t *map;
	int r;

	if (size < 1 || size > (size_t)1 << 20)
		return 0;
	/* Its own block, aligned as a mapping is, and not a byte larger. */
	if (posix_memalign((void **)&map, 64, size))
		return 0;
	memcpy(map, data + 1, size - 1);
	map[size - 1] = 0;
	if (size >= sizeof(struct journal_header) && !(data[0] & 1))
		repair(map, size);
	r = journal_view_open(&view, map, size, &why);
	if (r == JOURNAL_VIEW_OK)
		look_at_all(&view);
	else if (r > 0 && r != JOURNAL_VIEW_VOID)
		abort();
	journal_view_done(&view);
	free(map);
	return 0;
}
