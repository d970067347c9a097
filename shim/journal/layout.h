/* SPDX-License-Identifier: MIT */
/* The journal: what the new version of a service has done since the commit, in memory that outlives its process.
 *
 * It is a sealed memfd of the supervisor's. The new version maps and writes it, and the old version reads it when the new one has
 * died:
 *
 *     header | types | records of connections | arena, for their buffers | log
 *
 * The process may be killed between any two instructions, the machine is not: so nothing tears, nothing need be flushed, and the
 * order of stores is all that counts. Single words say what is in effect. They are stored last, with release:
 *
 *   - log_head: how much of the log counts. A transaction holds a request's changes and how far the request took its connection.
 *   - cursor_at, input_at, output_at of a record: which one of its two descriptions counts. The other one is written first.
 *   - serial of a record: which connection it stands for; 0: none.
 *
 * A connection has come as far as the further one of its cursor and its last transaction says, for both only grow. How much was
 * received and sent is not noted but computed from the kernel's counters: a crash can come between recv() and any note of it.
 * But where the program lets others receive (JOURNAL_NOTED), what the counters say beyond the note is nowhere.
 *
 * Changes are stored in the versions that the predecessor holds, see state/change.h. The reader believes nothing of all this, see
 * view.h.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_MAGIC UINT64_C(0x31304c4e52554f4a) /* "JOURNL01" */
#define JOURNAL_FORMAT 1u
#define JOURNAL_NAME_BYTES 64u
#define JOURNAL_TYPES_MAX 1024u
#define JOURNAL_RECORDS_MAX (1u << 20)

struct journal_header {
	_Atomic uint64_t magic; /* stored when all of this holds */
	uint32_t format;
	uint32_t n_types;
	uint64_t size_bytes; /* of the whole */
	uint64_t types_at, records_at, n_records, arena_at, arena_bytes, log_at, log_bytes;
	char reason[128]; /* why it is void */
	_Alignas(64) _Atomic uint64_t log_head; /* bytes of the log that count */
	_Atomic uint32_t is_void;
	_Atomic uint32_t n_used; /* no record from here on was ever used */
};

/* In the order of the state stream's header; a change names its type by index. */
struct journal_type {
	char name[112];
	uint32_t version, zero;
	uint64_t fingerprint;
};

/* A piece of a stream, in the arena. */
struct journal_place {
	uint64_t at, size_bytes; /* at: from the beginning of the journal */
	uint64_t base;           /* where in the stream its first byte is */
};

/* How far requests have taken a connection: input that is done with, output that may be sent. */
struct journal_cursor {
	uint64_t input, output;
};

enum journal_flags {
	JOURNAL_COUNTED = 1,   /* a TCP socket: the kernel counts; else the notes here do */
	JOURNAL_UNCOVERED = 2, /* its buffers found no room: only its cursor holds */
	JOURNAL_CLOSED = 4,
	JOURNAL_FRESH = 8, /* accepted by who writes; else it came from the predecessor */
	JOURNAL_NOTED = 16, /* others received for it: only what was noted is in its input */
};

struct journal_record {
	_Alignas(64) _Atomic uint64_t serial;
	_Atomic uint32_t flags, cursor_at;
	struct journal_cursor cursor[2];
	_Atomic uint64_t received, sent; /* notes */
	_Atomic uint32_t input_at, output_at;
	struct journal_place input[2], output[2];
	uint64_t read_base, written_base; /* the kernel's counters where our counting begins */
	uint64_t tag;
	uint64_t start_output; /* what a predecessor had left unsent: a cursor at (0, this) says that nothing was done since */
	char name[JOURNAL_NAME_BYTES];
};

/* Its changes follow, each with a struct change_head. */
struct journal_transaction {
	uint32_t size_bytes; /* with its changes; a multiple of 8 */
	uint32_t check;      /* of what follows */
	uint32_t record;     /* from 1; 0: of no connection */
	uint32_t n_changes;
	uint64_t serial; /* the record's */
	struct journal_cursor cursor;
};

/** journal_check() - The checksum of a transaction of @size_bytes in all. */
uint32_t journal_check(const struct journal_transaction *transaction, size_t size_bytes);
