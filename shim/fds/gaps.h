/* SPDX-License-Identifier: MIT */
/* Connections that the journal does not cover. They are counted while the journal is written, and the supervisor is told of each
 * change of the count at once: what a failure would cost is known before it comes.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct channel;

/* Why a connection is not covered. */
enum gap {
	GAP_NONE,
	GAP_RECORD,     /* there is no record left for it */
	GAP_ROOM,       /* its buffers find no room */
	GAP_UNBUFFERED, /* the application registered it, and does not buffer it with upg_conn_open() */
	GAP_UNWANTED,   /* accepted since the commit, and the version before has no on_conn() */
	GAP_UNCOUNTED,  /* the kernel does not say how far it was read and written */
	GAP_UNTOLD,     /* no duplicate of it could be sent */
	GAPS,
};

struct gaps {
	struct channel *channel;
	atomic_bool untold; /* the channel had no room for the last change */
	pthread_mutex_t lock; /* guards what follows. The lock of the channel may be taken under it, and no other */
	bool tells;
	uint32_t n[GAPS];
	uint64_t size_would_do;
};

void gaps_init(struct gaps *gaps, struct channel *channel);
void gaps_done(struct gaps *gaps);

/** gaps_begin() - From now on changes are told; so is what was counted before. */
void gaps_begin(struct gaps *gaps);
/** gaps_end() - Nothing is told any more: the journal is over, and its end is told elsewhere. */
void gaps_end(struct gaps *gaps);

/** gaps_add() - Count a connection. @size_would_do: the JournalSize= that would have room for it; 0: none, or it is not for want of
 * room. Context: any thread, with any lock but that of the channel. */
void gaps_add(struct gaps *gaps, enum gap gap, uint64_t size_would_do);
/** gaps_resize() - The ones that there are for want of room would take more. Context: as gaps_add(). */
void gaps_resize(struct gaps *gaps, uint64_t size_would_do);
/** gaps_remove() - It is covered now, or closed. GAP_NONE: nothing is done. Context: as gaps_add(). */
void gaps_remove(struct gaps *gaps, enum gap gap);

/** gaps_count() - How many there are for this reason. */
uint32_t gaps_count(struct gaps *gaps, enum gap gap);

/** gaps_tell() - Tell what the channel had no room for, if it has room now. Costs one load if there is nothing. */
void gaps_tell(struct gaps *gaps);
