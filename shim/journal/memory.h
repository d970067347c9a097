/* SPDX-License-Identifier: MIT */
/* The journal: what the new version of a service has done since the commit, in memory that outlives it.
 *
 * A sealed memfd of the supervisor's, which new maps and writes, and old reads when new has died:
 *
 *     header | types | records of connections | arena, for their buffers | log
 *
 * The process may be killed between any two instructions, the machine is not: so nothing tears, nothing need be flushed,
 * and the order of stores is all that counts. What is in effect is said by single words, stored last with release:
 *
 *   - log_head: how much of the log counts. A transaction holds a request's changes and how far the request took its connection.
 *   - cursor_at, input_at, output_at of a record: which one of two descriptions counts. The other one is written, then this.
 *   - serial of a record: it stands for a connection; 0: for none.
 *
 * How far a connection has come is the further one of its cursor and its last transaction, for both only grow. How much
 * was received and sent is not noted but computed from the kernel's counters: a crash can come between recv() and any
 * note of it.
 *
 * Changes are stored in the versions that the predecessor holds, migrated down by who wrote them: a program that crashed
 * is not needed to read them. Who reads believes nothing of all this: see journal_view.c.
 */
#pragma once

#include "base/why.h"
#include "shim/upgrade.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct conn_buffer;
struct fd_table;
struct sf_header;
struct sf_plan;

/* ---- layout ---- */

#define JOURNAL_MAGIC UINT64_C(0x31304c4e52554f4a) /* "JOURNL01" */
#define JOURNAL_FORMAT 1u
#define JOURNAL_NAME_BYTES 64u
#define JOURNAL_TYPES_MAX 1024u
#define JOURNAL_RECORDS_MAX 65536u

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

struct journal_transaction {
	uint32_t size_bytes; /* with its changes; a multiple of 8 */
	uint32_t check;      /* of what follows */
	uint32_t record;     /* from 1; 0: of no connection */
	uint32_t n_changes;
	uint64_t serial; /* the record's */
	struct journal_cursor cursor;
};

/* Then @size_bytes of protobuf, and zeros up to a multiple of 8. */
struct journal_change {
	uint16_t type;
	uint8_t change, zero;
	uint32_t size_bytes;
};

/** journal_check() - The checksum of a transaction of @size_bytes in all. */
uint32_t journal_check(const struct journal_transaction *transaction, size_t size_bytes);

static inline size_t journal_padded(size_t bytes)
{
	return (bytes + 7) & ~(size_t)7;
}

/* ---- journal.c, journal_log.c: writing ---- */

#define JOURNAL_ORDERS 32u

struct journal {
	struct fd_table *fds;
	/* What upg_journal_on() looks at. */
	atomic_int on;
	atomic_bool usable; /* mapped, laid out, not void, not over */
	bool is_over; /* it ended, or failed: which is told once */
	pthread_mutex_t lock;
	uint8_t *map;
	size_t size_bytes;
	struct journal_header *header;
	struct journal_record *records;
	size_t n_attached; /* records in use */
	uint32_t *free_records;
	size_t n_free_records;
	uint64_t serial;
	/* The arena: blocks of powers of two, never merged. */
	uint64_t arena_top, arena_end;
	_Atomic uint64_t arena_left; /* not given out; a hint */
	struct journal_blocks {
		uint64_t *at;
		size_t n, cap;
	} blocks[JOURNAL_ORDERS];
	/* The log. */
	uint64_t log_head, log_touched;
	/* By type of the application: where it is in the journal (-1: the predecessor has none), the way down (NULL: as it is). */
	int *types;
	struct sf_plan **plans;
	char **names; /* plans refer to them */
	size_t n_names;
	struct journal_pending {
		uint8_t *data; /* a transaction in the making */
		size_t used, cap;
		uint32_t n_changes;
	} loose;          /* of no connection; of who holds the lock */
	bool full_untold; /* the channel had no room for JournalFull */
};

struct upg;

void journal_init(struct journal *journal, struct fd_table *fds);
void journal_done(struct upg *upg);

/** journal_attach() - Write into the memfd @fd (borrowed) from journal_begin() on. Failing is told to the supervisor and changes
 * nothing else: there is no journal then. */
void journal_attach(struct upg *upg, int fd);
/** journal_bind() - The state's header is known: what the predecessor holds, and the way down to it. */
void journal_bind(struct upg *upg, const struct sf_header *header);
/** journal_begin() - From now on everything counts. Right before the commit. */
void journal_begin(struct upg *upg);
/** journal_end() - Nothing counts any more: the bake is over. Connections leave at their next move. */
void journal_end(struct upg *upg);
/** journal_fail() - The journal is void from now on. @fmt: why. */
void journal_fail(struct upg *upg, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** journal_tell() - What the channel had no room for. */
void journal_tell(struct upg *upg);

/** journal_block() - @size_bytes, a power of two. Return: where it is from the beginning of the journal; 0: there is no room. */
uint64_t journal_block(struct journal *journal, size_t size_bytes);
void journal_unblock(struct journal *journal, uint64_t at, size_t size_bytes);
/** journal_is_tight() - Idle connections should give their blocks back. */
static inline bool journal_is_tight(struct journal *journal)
{
	return atomic_load_explicit(&journal->arena_left, memory_order_relaxed) < journal->header->arena_bytes / 2;
}

/** journal_record_take() - A record, not in effect until *@ret_serial is stored in it. Return: NULL: no journal, or no room. */
struct journal_record *journal_record_take(struct upg *upg, uint64_t *ret_serial);
/** journal_record_give() - And the journal's memory, when it was the last one and nothing counts any more. */
void journal_record_give(struct upg *upg, struct journal_record *record);

/* Of journal.c, for journal_log.c. */
void journal_fail_locked(struct journal *journal, const char *text); /* the caller calls journal_tell() without the lock */
/** journal_log_near() - Lock held. What comes next in the log is fresh memory: to be touched, without the lock, with
 * journal_touch(). Return: NULL: not yet, or somebody else is at it. */
uint8_t *journal_log_near(struct journal *journal);
void journal_log_touch(uint8_t *near);

/** journal_publish() - Put @pending (may be NULL: no changes) into the log, in the name of @record (may be NULL). */
void journal_publish(struct upg *upg, struct journal_pending *pending, const struct journal_record *record,
		     struct journal_cursor cursor);
void journal_pending_done(struct journal_pending *pending);

/** journal_leave_all() - All threads stand: connections go back to ordinary memory, and nothing is mapped any more. */
void journal_leave_all(struct upg *upg);

/* ---- journal_view.c: reading ---- */

struct journal_view_record {
	uint32_t index, flags;
	uint64_t serial, tag;
	char name[JOURNAL_NAME_BYTES + 1];
	struct journal_cursor cursor;
	uint64_t received, sent;
	uint64_t read_base, written_base, start_output;
	struct journal_place input, output;
};

struct journal_view {
	const uint8_t *map;
	size_t size_bytes;
	uint64_t log_at, log_head;
	const struct journal_type *types; /* in the map; checked */
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
 * @map: borrowed, aligned to 8; nobody writes there. @ret_view is released with journal_view_done(), also after a failure.
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
