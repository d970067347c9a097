/* SPDX-License-Identifier: MIT */
/* The journal in the process that writes it: its memory mapped and divided, blocks for buffers, records for connections, and when
 * it counts. Thread-safe, except for init, done, attach, bind and begin, which belong to the thread that called upg_open(). */
#pragma once

#include "shim/fds/gaps.h"
#include "shim/journal/layout.h"
#include "shim/state/change.h"
#include "wire/app.h"

#include <pthread.h>
#include <stdbool.h>

struct channel;
struct fd_table;

#define JOURNAL_ORDERS 32u

struct journal {
	const struct application *application;
	struct channel *channel; /* where the supervisor is told that the journal has failed */
	struct fd_table *fds;    /* announces what is opened, while the journal is on */
	/* What the version before cannot do, as the supervisor said. */
	bool is_own_way;   /* who would go on from it is of this very version, and that it is half full is told */
	bool no_newcomers; /* go on with a connection that this process accepted */
	bool *unapplied;   /* apply changes of a type, by type of the application; NULL: it can apply all */
	/* What upg_journal_on() looks at. */
	atomic_int on;
	atomic_bool usable;      /* mapped, laid out, not void, not over */
	atomic_bool full_untold; /* the channel had no room for JournalFull. Set under the lock, looked at also without it */
	atomic_bool half_untold; /* likewise, that half of the log is used up */
	/* The way to what the predecessor holds. Set before the journal is on, and there until journal_done(): other
	 * threads may be at it when the journal ends. */
	struct change_ways ways;
	/* Guards all that follows, and the memory. The lock of the channel may be taken under it, and no other. */
	pthread_mutex_t lock; /* that of the gaps may be taken under it, too */
	bool is_over; /* it ended, or failed: which is told once */
	char reason[128]; /* why it failed; "": it is full */
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
	uint64_t missed_bytes;       /* what was wanted of it and not to be had, while there are gaps */
	struct journal_blocks {
		uint64_t *at;
		size_t n, cap;
	} blocks[JOURNAL_ORDERS];
	/* The log. */
	uint64_t log_head, log_touched;
	uint64_t log_half; /* to be told when the head comes by; 0: it need not be, or was */
	struct changes loose; /* of no connection */
};

void journal_init(struct journal *journal, const struct application *application, struct channel *channel, struct fd_table *fds);
void journal_done(struct journal *journal);

/** journal_attach() - Write into the memfd @fd (borrowed) from journal_begin() on. A failure is told to the supervisor and
 * changes nothing else: there is no journal then. */
void journal_attach(struct journal *journal, int fd);
/** journal_limit() - Note what the version before cannot take back from a journal, as the Receive says. */
void journal_limit(struct journal *journal, const Upgraded__Wire__Receive *receive);
/** journal_bind() - The state's header (borrowed) is known: note what the predecessor holds, and the way down to it. */
void journal_bind(struct journal *journal, const struct sf_header *header);
/** journal_lay_out() - The first half of journal_bind(); journal_say_bound() is the second: from here on whoever reads it
 * takes it for a journal. */
void journal_lay_out(struct journal *journal, const struct sf_header *header);
void journal_say_bound(struct journal *journal);
/** journal_begin() - From now on everything counts. Called right before the commit. */
void journal_begin(struct journal *journal);
/** journal_attach_own() - As journal_attach() and journal_limit(), where a process of this very version would go on from it. */
void journal_attach_own(struct journal *journal, int fd);
/** journal_turn() - All threads stand: from here on all goes into the memfd @fd (borrowed), from which a process of this
 * very version would go on. What is open is in it from the beginning, and nothing is written any more to the one before, if
 * there was any. A failure is told to the supervisor: there is no journal then. */
void journal_turn(struct journal *journal, int fd);
/** journal_end() - The bake is over: nothing counts any more. Connections leave at their next move. */
void journal_end(struct journal *journal);
/** journal_fail() - Make the journal void. @fmt: why. */
void journal_fail(struct journal *journal, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** journal_tell() - Tell the supervisor what its channel had no room for, if it has room now. Costs one load if there is
 * nothing. */
void journal_tell(struct journal *journal);

/* ---- between the files of this folder ---- */

/** journal_block() - Give a block of @size_bytes out, a power of two. Return: where it is from the beginning of the journal; 0:
 * there is no room. */
uint64_t journal_block(struct journal *journal, size_t size_bytes);
void journal_unblock(struct journal *journal, uint64_t at, size_t size_bytes);
/** journal_is_tight() - Should idle connections give their blocks back? */
static inline bool journal_is_tight(struct journal *journal)
{
	return atomic_load_explicit(&journal->arena_left, memory_order_relaxed) < journal->header->arena_bytes / 2;
}

/** journal_record_take() - Give a record out, not in effect until *@ret_serial is stored in it. Return: NULL: no journal, or no
 * room. */
struct journal_record *journal_record_take(struct journal *journal, uint64_t *ret_serial);
/** journal_miss() - A connection found no record, or no @bytes for a buffer: count it as a gap. Return: false: there is no
 * journal any more that it could miss. */
bool journal_miss(struct journal *journal, enum gap gap, size_t bytes);

/** journal_miss_more() - A connection that found no room for a buffer has one that is @bytes larger now. */
void journal_miss_more(struct journal *journal, size_t bytes);

/** journal_record_give() - Take a record back, and release the journal's memory when it was the last one and nothing counts any
 * more. */
void journal_record_give(struct journal *journal, struct journal_record *record);

/* The memory of a journal that another one has taken the place of. */
struct journal_former {
	uint8_t *map; /* NULL: there was none */
	size_t size_bytes;
};

/** journal_take_off() - Leave its memory as it is, to be released with journal_former_done(), and be as before
 * journal_attach(). */
struct journal_former journal_take_off(struct journal *journal);
void journal_former_done(struct journal_former *former);

/** journal_fail_locked() - Lock held: make the journal void. @text: why; NULL: it is full. The caller calls journal_tell()
 * without the lock. */
void journal_fail_locked(struct journal *journal, const char *text);
/** journal_touch() - Have the pages there, which are about to be written. */
void journal_touch(struct journal *journal, uint64_t at, uint64_t bytes);
/** journal_unmap_if_unused() - Lock held: unmap once the last connection has left and none will come. */
void journal_unmap_if_unused(struct journal *journal);
/** journal_log_near() - Lock held. What comes next in the log is fresh memory: to be touched, without the lock, with
 * journal_log_touch(). Return: NULL: not yet, or somebody else is at it. */
uint8_t *journal_log_near(struct journal *journal);
void journal_log_touch(uint8_t *near);
