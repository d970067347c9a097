/* SPDX-License-Identifier: MIT */
/* The buffers of a connection, and whether the journal covers it. Context, for all of it: the thread that is at this connection. */
#pragma once

#include "shim/journal/conn.h"
#include "shim/journal/layout.h"

#include <stdbool.h>

#define CONN_BUFFER_MIN_BYTES 1024u

/** conn_is_covered() - Are its buffers in the journal, and found there? */
static inline bool conn_is_covered(const struct upg_conn *conn)
{
	return conn->record && !(atomic_load_explicit(&conn->record->flags, memory_order_relaxed) & JOURNAL_UNCOVERED);
}

/** conn_move_cursor() - Write down how far requests have taken it. There is a record. */
void conn_move_cursor(struct upg_conn *conn);

/** conn_miss() - It is not covered, for this reason. @bytes: of the journal's, which would do; 0: it is not for want of room. */
void conn_miss(struct upg_conn *conn, enum gap gap, size_t bytes);
/** conn_fill_gap() - It is covered now, or closes. */
void conn_fill_gap(struct upg_conn *conn);

/**
 * conn_room() - Make room for @room_bytes behind @end in @buffer, the input or the output; nothing before @from is needed any more.
 * A journal without room does not cover it any more.
 * Return: where; NULL: memory is out, or the program holds the bytes itself and the journal has no room.
 */
uint8_t *conn_room(struct upg_conn *conn, struct conn_buffer *buffer, uint64_t from, uint64_t end, size_t room_bytes);

/** conn_try_room() - The same for a connection that is covered, and whose bytes the program holds; but where the journal has no
 * room, nothing happens. */
uint8_t *conn_try_room(struct upg_conn *conn, struct conn_buffer *buffer, uint64_t from, uint64_t end, size_t room_bytes);

/** conn_rest() - Give back the memory of what is empty, and have the journal cover it again, if it can. */
void conn_rest(struct upg_conn *conn);
/** conn_rest_input() - The same while a request may be in hand: its output keeps its memory. */
void conn_rest_input(struct upg_conn *conn);

/** conn_hand_over() - From now on the program holds the bytes itself. What the journal has of them stays. */
void conn_hand_over(struct upg_conn *conn);
/** conn_note_missed() - The program holds its bytes itself, and has received or put some: if the journal does not cover it for
 * want of room, it would take more now. */
void conn_note_missed(struct upg_conn *conn);

/** conn_leave_if_over() - When the journal is over or void, nobody will look for these bytes any more: move them to ordinary
 * memory. */
void conn_leave_if_over(struct upg_conn *conn);

/** conn_free_buffers() - It closes. */
void conn_free_buffers(struct upg_conn *conn);
