/* SPDX-License-Identifier: MIT */
/* How a journal is divided, and which size would do. */
#include "shim/journal/divide.h"
#include "shim/journal/layout.h"
#include "wire/journal.h"

#include <criterion/criterion.h>
#include <errno.h>

TestSuite(shim_divide, .timeout = 60);

#define K (UINT64_C(1) << 10)
#define M (UINT64_C(1) << 20)

static struct journal_division divide(uint64_t size_bytes, uint64_t n_registered, uint64_t n_files_max)
{
	struct journal_wish wish = { .n_types = 3, .n_registered = n_registered, .n_files_max = n_files_max };
	struct journal_division division;

	cr_assert_eq(journal_divide(size_bytes, &wish, &division), 0);
	return division;
}

Test(shim_divide, parts_follow_each_other_and_fill_the_journal)
{
	for (uint64_t size = JOURNAL_BYTES_MIN; size <= 1024 * M; size = size * 3 / 2 & ~UINT64_C(7)) {
		struct journal_division d = divide(size, 500, 1000);

		cr_assert_geq(d.types_at, sizeof(struct journal_header));
		cr_assert_geq(d.records_at, d.types_at + 3 * sizeof(struct journal_type));
		cr_assert_geq(d.arena_at, d.records_at + d.n_records * sizeof(struct journal_record));
		cr_assert_eq(d.log_at, d.arena_at + d.arena_bytes);
		cr_assert_leq(d.log_at + d.log_bytes, size);
		cr_assert_gt(d.log_at + d.log_bytes, size - 4096);
		cr_assert(d.types_at % 4096 == 0 && d.records_at % 4096 == 0 && d.arena_at % 4096 == 0 && d.log_at % 4096 == 0);
		cr_assert_gt(d.arena_bytes, 0);
	}
}

Test(shim_divide, records_get_a_sixteenth_if_nobody_needs_more)
{
	cr_assert_eq(divide(256 * M, 10, 1024).n_records, 256 * M / 16 / sizeof(struct journal_record));
}

Test(shim_divide, there_are_records_for_what_was_handed_over_and_more)
{
	cr_assert_geq(divide(1 * M, 400, 1024).n_records, 500);
	cr_assert_geq(divide(64 * M, 60000, 1024).n_records, 75000);
}

Test(shim_divide, there_are_records_for_what_may_be_opened_within_an_eighth)
{
	cr_assert_eq(divide(64 * M, 10, 20000).n_records, 20000);
	cr_assert_eq(divide(64 * M, 10, 1000000).n_records, 8 * M / sizeof(struct journal_record));
}

Test(shim_divide, records_never_get_more_than_half)
{
	cr_assert_eq(divide(1 * M, 100000, 1024).n_records, 512 * K / sizeof(struct journal_record));
	cr_assert_eq(divide(JOURNAL_BYTES_MAX, UINT32_MAX, UINT32_MAX).n_records, JOURNAL_RECORDS_MAX);
}

Test(shim_divide, one_that_is_too_small_is_none)
{
	struct journal_wish wish = { .n_types = 3 };
	struct journal_division division;

	cr_assert_eq(journal_divide(16 * K, &wish, &division), -ENOSPC);
	wish.n_types = JOURNAL_TYPES_MAX;
	cr_assert_eq(journal_divide(128 * K, &wish, &division), -ENOSPC);
}

/* What is said to do does. */
Test(shim_divide, the_size_that_would_do_has_room_for_all_and_the_half_of_it_has_not)
{
	static const uint64_t connections[] = { 1, 300, 4000, 50000, 1000000 }, arenas[] = { 0, 100 * K, 30 * M };

	for (unsigned i = 0; i < 15; i++) {
		uint64_t n = connections[i / 3], arena = arenas[i % 3];
		uint64_t size = journal_size_for(4 * K, 3, n, arena);
		struct journal_division d = divide(size, n, 0);
		struct journal_wish wish = { .n_types = 3, .n_registered = n };

		cr_assert_geq(d.n_records, n);
		cr_assert_geq(d.arena_bytes, arena + arena / 4);
		if (journal_divide(size / 2, &wish, &d) == 0)
			cr_assert(d.n_records < n || d.arena_bytes < arena + arena / 4);
	}
}

Test(shim_divide, a_size_that_would_do_is_larger_than_what_there_is)
{
	cr_assert_eq(journal_size_for(1 * M, 3, 1, 0), 2 * M);
	cr_assert_eq(journal_size_for(3 * M / 2, 3, 1, 0), 2 * M);
}

Test(shim_divide, where_no_size_would_do_there_is_none)
{
	cr_assert_eq(journal_size_for(1 * M, 3, JOURNAL_RECORDS_MAX + 1, 0), 0);
	cr_assert_eq(journal_size_for(1 * M, 3, 1, UINT64_MAX), 0);
	cr_assert_eq(journal_size_for(JOURNAL_BYTES_MAX, 3, 1, 0), 0);
}
