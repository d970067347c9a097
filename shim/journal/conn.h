/* SPDX-License-Identifier: MIT */
/* A buffered connection, as the library knows it.
 *
 * Places in the two streams are counted in bytes from where they stood at upg_conn_open(). They only grow, so what is where can be
 * said in a few numbers, and of two sets of them it is plain which is the later.
 */
#pragma once

#include "shim/fds/gaps.h"
#include "shim/state/change.h"
#include "shim/upgrade.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fd_table;
struct journal;
struct journal_record;

/* A piece of a stream in memory. */
struct conn_buffer {
	uint8_t *data; /* NULL: none yet */
	size_t size_bytes;
	uint64_t base; /* where in the stream data[0] is */
	uint64_t at;   /* in the journal; 0: it is ordinary memory */
};

struct upg_conn {
	struct journal *journal;
	struct fd_table *fds;
	int fd;
	/* Of one whose bytes the program holds (is_own), only what the journal has of them. */
	struct conn_buffer input, output;
	bool is_own;
	bool receives; /* by upg_conn_read(), and not the program */
	uint64_t in_done, in_end;            /* between them: received, and not done with */
	uint64_t out_sent, out_done, out_end; /* between them: to be sent, and of the request in hand */
	struct journal_record *record; /* NULL: no journal, or no room in it */
	enum gap gap;                  /* why the journal does not cover it, if that is counted */
	size_t missed_bytes;           /* what it was counted with, if that is for want of room */
	struct changes pending;        /* of the request in hand */
};

/** conn_open() - As upg_conn_open(). */
int conn_open(struct journal *journal, int fd, const char *name, uint64_t tag, struct upg_conn **ret_conn);

/** conn_leave_all() - End the journal, move the buffers of all connections to ordinary memory, and unmap it. All threads stand. */
void conn_leave_all(struct journal *journal);

/** conn_turn_all() - Another journal is attached, and nothing counts in it yet: all connections go into it. What they have lies
 * where it lay before, which may be the memory of the journal before. @keeps_changes: those of requests in hand count. All threads
 * stand. */
void conn_turn_all(struct journal *journal, bool keeps_changes);

/* ---- between the files of this folder ---- */

/** conn_before_input() - Tell what waits to be told, and leave a journal that is over. */
void conn_before_input(struct upg_conn *conn);
/** conn_received(), conn_sent() - So many more bytes were. */
void conn_received(struct upg_conn *conn, size_t bytes);
void conn_sent(struct upg_conn *conn, size_t bytes);

/** own_put() - upg_conn_put() of one whose bytes the program holds. */
void own_put(struct upg_conn *conn, const void *data, size_t size_bytes);
