/* SPDX-License-Identifier: MIT */
#include "shim/journal/divide.h"

#include "shim/journal/layout.h"
#include "wire/journal.h"

#include <errno.h>

#define PAGE_BYTES ((uint64_t)4096)
#define LEAST_BYTES (4 * PAGE_BYTES) /* for buffers and log together */
#define SPARE_RECORDS 16u

static uint64_t rounded(uint64_t bytes)
{
	return (bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t and_a_quarter(uint64_t n)
{
	return n + n / 4;
}

static uint64_t records_for(uint64_t size_bytes, const struct journal_wish *wish)
{
	uint64_t all = size_bytes / sizeof(struct journal_record), n = all / 16;
	uint64_t may_open = less(wish->n_files_max, all / 8);
	uint64_t has_open = less(and_a_quarter(wish->n_registered) + SPARE_RECORDS, all / 2);

	if (n < may_open)
		n = may_open;
	if (n < has_open)
		n = has_open;
	return less(n, JOURNAL_RECORDS_MAX);
}

int journal_divide(uint64_t size_bytes, const struct journal_wish *wish, struct journal_division *ret)
{
	uint64_t at = rounded(sizeof(struct journal_header)), left;

	ret->types_at = at;
	at = rounded(at + wish->n_types * sizeof(struct journal_type));
	ret->records_at = at;
	ret->n_records = records_for(size_bytes, wish);
	at = rounded(at + ret->n_records * sizeof(struct journal_record));
	if (at + LEAST_BYTES > size_bytes)
		return -ENOSPC;
	left = size_bytes - at;
	ret->arena_at = at;
	ret->arena_bytes = left / 8 * 3 & ~(PAGE_BYTES - 1);
	ret->log_at = at + ret->arena_bytes;
	ret->log_bytes = (size_bytes - ret->log_at) & ~(PAGE_BYTES - 1);
	return 0;
}

uint64_t journal_size_for(uint64_t size_bytes, size_t n_types, uint64_t n_connections, uint64_t arena_bytes)
{
	/* As the next roll will find it: all of them are handed over then. */
	struct journal_wish wish = { .n_types = n_types, .n_registered = n_connections };

	if (n_connections > JOURNAL_RECORDS_MAX || arena_bytes > JOURNAL_BYTES_MAX / 4)
		return 0;
	for (uint64_t size = PAGE_BYTES; size <= JOURNAL_BYTES_MAX; size *= 2) {
		struct journal_division division;

		if (size > size_bytes && journal_divide(size, &wish, &division) == 0 && division.n_records >= n_connections &&
		    division.arena_bytes >= and_a_quarter(arena_bytes))
			return size;
	}
	return 0;
}
