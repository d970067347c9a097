/* SPDX-License-Identifier: MIT */
/* A journal that somebody still writes to while it is read: a forked child of the version that failed. */
#include "shim/journal/divide.h"
#include "shim/journal/view.h"
#include "shim/state/change.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(shim_view, .timeout = 60);

#define SIZE ((size_t)64 << 10)

static uint8_t *map;
static struct journal_view view;

/* One type, one connection whose input is "hello", one change "payload!". */
static void write_journal(void)
{
	struct journal_wish wish = { .n_types = 1 };
	struct journal_division division;
	struct journal_header *header;
	struct journal_record *record;
	struct journal_transaction *transaction;
	struct change_head head = { .type = 0, .change = UPG_PUT, .size_bytes = 8 };

	map = aligned_alloc(64, SIZE);
	memset(map, 0, SIZE);
	cr_assert_eq(journal_divide(SIZE, &wish, &division), 0);
	header = (struct journal_header *)(void *)map;
	*header = (struct journal_header){
		.magic = JOURNAL_MAGIC, .format = JOURNAL_FORMAT, .n_types = 1, .size_bytes = SIZE,
		.types_at = division.types_at, .records_at = division.records_at, .n_records = division.n_records,
		.arena_at = division.arena_at, .arena_bytes = division.arena_bytes, .log_at = division.log_at,
		.log_bytes = division.log_bytes, .n_used = 1,
	};
	strcpy(((struct journal_type *)(void *)(map + division.types_at))->name, "test.Note");
	record = (struct journal_record *)(void *)(map + division.records_at);
	record->serial = 1;
	record->tag = 7;
	strcpy(record->name, "link");
	record->input[0] = (struct journal_place){ .at = division.arena_at, .size_bytes = 1024 };
	memcpy(map + division.arena_at, "hello", 5);
	transaction = (struct journal_transaction *)(void *)(map + division.log_at);
	transaction->size_bytes = sizeof(*transaction) + sizeof(head) + 8;
	transaction->n_changes = 1;
	memcpy(transaction + 1, &head, sizeof(head));
	memcpy((uint8_t *)(transaction + 1) + sizeof(head), "payload!", 8);
	transaction->check = journal_check(transaction, transaction->size_bytes);
	header->log_head = transaction->size_bytes;
}

static void setup(void)
{
	struct why why = { 0 };

	write_journal();
	cr_assert_eq(journal_view_open(&view, map, SIZE, &why), JOURNAL_VIEW_OK, "%s", why.text);
}

static void teardown(void)
{
	journal_view_done(&view);
	free(map);
}

static void sees_what_was_checked(void)
{
	struct journal_view_place place = { 0 };
	struct journal_view_change change;
	const struct journal_view_record *record;
	const uint8_t *input, *output;
	size_t input_bytes, output_bytes;

	cr_assert_eq(view.n_types, 1);
	cr_assert_str_eq(view.types[0].name, "test.Note");
	cr_assert(journal_view_next(&view, &place, &change));
	cr_assert(change.type == 0 && change.change == UPG_PUT && change.size_bytes == 8);
	cr_assert_eq(memcmp(change.data, "payload!", 8), 0);
	cr_assert_not(journal_view_next(&view, &place, &change));
	record = journal_view_find(&view, "link", 7);
	cr_assert_not_null(record);
	cr_assert_eq(journal_view_pieces(&view, record, 5, 0, &input, &input_bytes, &output, &output_bytes), 0);
	cr_assert_eq(input_bytes, 5);
	cr_assert(input >= map && input + input_bytes <= map + SIZE);
}

Test(shim_view, reads_what_was_written, .init = setup, .fini = teardown)
{
	sees_what_was_checked();
}

/* Sizes, types, names, places: whatever is scribbled over after the check has no effect. */
Test(shim_view, is_what_was_checked_whatever_is_written_later, .init = setup, .fini = teardown)
{
	static const int bytes[] = { 0xff, 0x00, 0x7f, 0x80 };

	for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
		memset(map, bytes[i], SIZE);
		sees_what_was_checked();
	}
}
