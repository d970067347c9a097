/* SPDX-License-Identifier: MIT */
/* Buffers of connections.
 *
 * A connection has two buffers. Without a journal they are ordinary memory. With a journal they lie in its arena, and a record says
 * at each moment where the bytes are that nobody has dealt with. A buffer moves in three steps: the bytes that are still needed are
 * copied to a place where nothing is needed, the one of the record's two descriptions that does not count is written, and one store
 * makes it the one that counts. A received byte lies where the count of the bytes before it says. So the kernel's count and the
 * description find it, whenever the process crashes.
 *
 * Where the program holds the bytes itself, there are buffers in the journal only, and none where it has no room.
 */
#include "shim/journal/buffer.h"

#include "shim/fds/table.h"
#include "shim/journal/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_KEEP_BYTES ((size_t)64 << 10) /* an idle connection keeps no larger one */

/* ---- what the record says ---- */

/* Write down where @buffer, the input or the output, is from now on. */
static void describe(struct upg_conn *conn, const struct conn_buffer *buffer)
{
	struct journal_record *record = conn->record;
	bool is_input = buffer == &conn->input;
	_Atomic uint32_t *which = is_input ? &record->input_at : &record->output_at;
	struct journal_place *places = is_input ? record->input : record->output;
	uint32_t other = !atomic_load_explicit(which, memory_order_relaxed);

	places[other] = (struct journal_place){
		.at = buffer->at, .size_bytes = buffer->at ? buffer->size_bytes : 0, .base = buffer->base
	};
	/* Sequentially consistent: the next write may go to where the bytes lay before, and must not be seen before this store. */
	atomic_store(which, other);
}

void conn_move_cursor(struct upg_conn *conn)
{
	struct journal_record *record = conn->record;
	uint32_t other = !atomic_load_explicit(&record->cursor_at, memory_order_relaxed);

	record->cursor[other] = (struct journal_cursor){ conn->in_done, conn->out_done };
	atomic_store_explicit(&record->cursor_at, other, memory_order_release);
}

/* ---- memory ---- */

static size_t size_for(size_t bytes)
{
	size_t size = CONN_BUFFER_MIN_BYTES;

	while (size < bytes && size < SIZE_MAX / 2)
		size *= 2;
	return size;
}

static void buffer_free(struct upg_conn *conn, const struct conn_buffer *buffer)
{
	if (buffer->at)
		journal_unblock(conn->journal, buffer->at, buffer->size_bytes);
	else
		free(buffer->data);
}

/* Give the memory of a buffer back, whose bytes nobody needs. */
static void buffer_drop(struct upg_conn *conn, struct conn_buffer *buffer)
{
	struct conn_buffer before = *buffer;

	*buffer = (struct conn_buffer){ .base = before.base };
	if (conn_is_covered(conn))
		describe(conn, buffer);
	buffer_free(conn, &before);
}

static bool buffer_is_idle(struct upg_conn *conn, const struct conn_buffer *buffer)
{
	return buffer->size_bytes > BUFFER_KEEP_BYTES || (buffer->at && journal_is_tight(conn->journal));
}

void conn_free_buffers(struct upg_conn *conn)
{
	buffer_free(conn, &conn->input);
	buffer_free(conn, &conn->output);
}

/* ---- whether the journal covers it ---- */

void conn_miss(struct upg_conn *conn, enum gap gap, size_t bytes)
{
	if (conn->gap == GAP_NONE && journal_miss(conn->journal, gap, bytes))
		conn->gap = gap;
}

void conn_fill_gap(struct upg_conn *conn)
{
	gaps_remove(&conn->fds->gaps, conn->gap);
	conn->gap = GAP_NONE;
}

/* @buffer finds no block of @missed_bytes. */
static void uncover(struct upg_conn *conn, const struct conn_buffer *buffer, size_t missed_bytes)
{
	atomic_fetch_or(&conn->record->flags, JOURNAL_UNCOVERED);
	/* The other buffer needs room as well, to be covered again. */
	if (conn->is_own)
		missed_bytes += buffer == &conn->input ? conn->output.size_bytes : conn->input.size_bytes;
	conn_miss(conn, GAP_ROOM, missed_bytes);
	conn->missed_bytes = missed_bytes;
	if (!conn->is_own)
		return;
	buffer_drop(conn, &conn->input);
	buffer_drop(conn, &conn->output);
}

void conn_note_missed(struct upg_conn *conn)
{
	uint64_t held = conn->in_end - conn->in_done + conn->out_end - conn->out_sent;

	if (conn->gap != GAP_ROOM || held <= conn->missed_bytes)
		return;
	journal_miss_more(conn->journal, size_for(held) - conn->missed_bytes);
	conn->missed_bytes = size_for(held);
}

/* A connection that found no room for its bytes is covered again once it has none, unless room is still short: then it would find
 * none at its next request. */
static void cover_again(struct upg_conn *conn)
{
	if (conn->gap != GAP_ROOM || !conn->record || journal_is_tight(conn->journal))
		return;
	if (conn->in_done != conn->in_end || conn->out_sent != conn->out_end)
		return;
	buffer_drop(conn, &conn->input);
	buffer_drop(conn, &conn->output);
	describe(conn, &conn->input);
	describe(conn, &conn->output);
	atomic_fetch_and(&conn->record->flags, ~(uint32_t)JOURNAL_UNCOVERED);
	conn_fill_gap(conn);
}

void conn_rest_input(struct upg_conn *conn)
{
	if (conn->in_done == conn->in_end && conn->input.data && buffer_is_idle(conn, &conn->input))
		buffer_drop(conn, &conn->input);
	cover_again(conn);
}

void conn_rest(struct upg_conn *conn)
{
	if (conn->out_sent == conn->out_end && conn->output.data && buffer_is_idle(conn, &conn->output))
		buffer_drop(conn, &conn->output);
	/* The input as well: a connection that rests between two requests holds no memory. */
	conn_rest_input(conn);
}

/* ---- room ---- */

/* A block of the journal's. Return: whether there is one. */
static bool find_block(struct upg_conn *conn, struct conn_buffer *ret)
{
	ret->at = journal_block(conn->journal, ret->size_bytes);
	if (ret->at)
		ret->data = conn->journal->map + ret->at;
	return ret->at;
}

/* Move the bytes from @from to @end into the block @after. */
static void buffer_move(struct upg_conn *conn, struct conn_buffer *buffer, struct conn_buffer after, uint64_t from, uint64_t end)
{
	struct conn_buffer before = *buffer;

	if (end > from)
		memcpy(after.data, before.data + (from - before.base), end - from);
	*buffer = after;
	if (conn_is_covered(conn))
		describe(conn, buffer);
	buffer_free(conn, &before);
}

/* Move the bytes from @from to @end to the front of the buffer. Return: false: the two places overlap, and a crash in between
 * would lose bytes. */
static bool buffer_shift(struct upg_conn *conn, struct conn_buffer *buffer, uint64_t from, uint64_t end)
{
	size_t used = end - from, before = from - buffer->base;

	if (conn_is_covered(conn) && used > before)
		return false;
	memmove(buffer->data, buffer->data + before, used);
	buffer->base = from;
	if (conn_is_covered(conn))
		describe(conn, buffer);
	return true;
}

/* Room that @buffer has already. Return: NULL: it has not. */
static uint8_t *room_within(struct upg_conn *conn, struct conn_buffer *buffer, uint64_t from, uint64_t end, size_t room_bytes)
{
	size_t used = end - from;

	if (!buffer->data)
		return NULL;
	if (buffer->size_bytes - (end - buffer->base) >= room_bytes)
		return buffer->data + (end - buffer->base);
	/* To the front, unless there is so much of it that this would happen again and again. */
	if (used + room_bytes <= buffer->size_bytes && used <= buffer->size_bytes / 2 && buffer_shift(conn, buffer, from, end))
		return buffer->data + used;
	return NULL;
}

/* What it would be in, as large as it will soon be. */
static struct conn_buffer larger_buffer(uint64_t from, uint64_t end, size_t room_bytes)
{
	size_t used = end - from;

	return (struct conn_buffer){ .size_bytes = size_for(used + used / 2 + room_bytes), .base = from };
}

uint8_t *conn_room(struct upg_conn *conn, struct conn_buffer *buffer, uint64_t from, uint64_t end, size_t room_bytes)
{
	struct conn_buffer after;
	uint8_t *room;

	if (room_bytes > SIZE_MAX / 4)
		return NULL;
	room = room_within(conn, buffer, from, end, room_bytes);
	if (room)
		return room;
	after = larger_buffer(from, end, room_bytes);
	if (conn_is_covered(conn)) {
		if (!find_block(conn, &after))
			uncover(conn, buffer, after.size_bytes);
	} else if (conn->gap == GAP_ROOM && after.size_bytes > buffer->size_bytes) {
		journal_miss_more(conn->journal, after.size_bytes - buffer->size_bytes);
	}
	if (!after.data && (conn->is_own || !(after.data = malloc(after.size_bytes))))
		return NULL;
	buffer_move(conn, buffer, after, from, end);
	return buffer->data + (end - from);
}

uint8_t *conn_try_room(struct upg_conn *conn, struct conn_buffer *buffer, uint64_t from, uint64_t end, size_t room_bytes)
{
	struct conn_buffer after;
	uint8_t *room = room_within(conn, buffer, from, end, room_bytes);

	if (room)
		return room;
	after = larger_buffer(from, end, room_bytes);
	if (!find_block(conn, &after))
		return NULL;
	buffer_move(conn, buffer, after, from, end);
	return buffer->data + (end - from);
}

/* ---- who holds the bytes ---- */

void conn_hand_over(struct upg_conn *conn)
{
	conn->is_own = true;
	if (!conn->input.at)
		buffer_drop(conn, &conn->input);
	if (!conn->output.at)
		buffer_drop(conn, &conn->output);
	conn_note_missed(conn);
}

static int buffer_leave(struct upg_conn *conn, struct conn_buffer *buffer, uint64_t from, uint64_t end)
{
	struct conn_buffer before = *buffer;
	uint8_t *data = NULL;

	if (!before.at)
		return 0;
	if (end > from && !conn->is_own) {
		data = malloc(before.size_bytes);
		if (!data)
			return -ENOMEM;
		memcpy(data, before.data + (from - before.base), end - from);
	}
	*buffer = (struct conn_buffer){ .data = data, .size_bytes = data ? before.size_bytes : 0, .base = from };
	buffer_free(conn, &before);
	return 0;
}

/* Move the buffers to ordinary memory, and give the record back. Return: 0; -ENOMEM: nothing has changed for the record. */
static int leave_journal(struct upg_conn *conn)
{
	int r = buffer_leave(conn, &conn->input, conn->in_done, conn->in_end);

	if (r == 0)
		r = buffer_leave(conn, &conn->output, conn->out_sent, conn->out_end);
	if (r < 0)
		return r;
	journal_record_give(conn->journal, conn->record);
	conn->record = NULL;
	return 0;
}

void conn_leave_if_over(struct upg_conn *conn)
{
	if (conn->record && !atomic_load_explicit(&conn->journal->usable, memory_order_relaxed))
		leave_journal(conn);
}

void conn_leave_all(struct journal *journal)
{
	const struct fd_table *table = journal->fds;

	journal_end(journal);
	for (size_t i = 0; i < table->n_by_fd; i++) {
		struct upg_conn *conn = table->by_fd[i] ? table->by_fd[i]->conn : NULL;

		/* Out of memory: the connection stays in the journal, and an image is larger for it. */
		if (conn && conn->record)
			leave_journal(conn);
	}
}
