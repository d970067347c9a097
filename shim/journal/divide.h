/* SPDX-License-Identifier: MIT */
/* How a journal is divided: its size, the types and the connections say what lies where. Nothing but numbers. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* What the process that writes the journal would like to have. */
struct journal_wish {
	size_t n_types;
	uint64_t n_registered; /* descriptors that it was handed: each may be a connection */
	uint64_t n_files_max;  /* it may open so many (RLIMIT_NOFILE) */
};

/* Bytes from the beginning of the journal. */
struct journal_division {
	uint64_t types_at, records_at, n_records, arena_at, arena_bytes, log_at, log_bytes;
};

/**
 * journal_divide() - Divide a journal of @size_bytes.
 *
 * Records get a sixteenth. They get up to an eighth if the process may open so many files, and up to a half if it was handed so
 * many: a connection without a record is lost for sure, a smaller log only becomes full earlier.
 * Return: 0; -ENOSPC: it is too small.
 */
int journal_divide(uint64_t size_bytes, const struct journal_wish *wish, struct journal_division *ret);

/** journal_size_for() - The least JournalSize=, a power of two larger than @size_bytes, that has records for @n_connections and
 * @arena_bytes for their buffers, with a quarter to spare. Return: 0: none has. */
uint64_t journal_size_for(uint64_t size_bytes, size_t n_types, uint64_t n_connections, uint64_t arena_bytes);
