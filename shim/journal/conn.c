/* SPDX-License-Identifier: MIT */
/* Buffered connections.
 *
 * A connection has two buffers. Without a journal they are ordinary memory. With a journal they lie in its arena, and a record says
 * at each moment where the bytes are that nobody has dealt with. A buffer moves in three steps: the bytes that are still needed are
 * copied to a place where nothing is needed, the one of the record's two descriptions that does not count is written, and one store
 * makes it the one that counts. A received byte lies where the count of the bytes before it says. So the kernel's count and the
 * description find it, whenever the process crashes.
 */
#include "shim/journal/conn.h"

#include "shim/core/upg.h"
#include "shim/fds/announce.h"
#include "shim/journal/counters.h"
#include "shim/journal/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BUFFER_MIN_BYTES 1024u
#define BUFFER_KEEP_BYTES ((size_t)64 << 10) /* an idle connection keeps no larger one */

/* ---- what the record says ---- */

static bool is_covered(const struct upg_conn *conn)
{
	return conn->record && !(atomic_load_explicit(&conn->record->flags, memory_order_relaxed) & JOURNAL_UNCOVERED);
}

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

static void move_cursor(struct journal_record *record, struct journal_cursor cursor)
{
	uint32_t other = !atomic_load_explicit(&record->cursor_at, memory_order_relaxed);

	record->cursor[other] = cursor;
	atomic_store_explicit(&record->cursor_at, other, memory_order_release);
}

/* ---- whether the journal covers it ---- */

/* @bytes: of the journal's, which would do; 0: it is not for want of room. */
static void miss(struct upg_conn *conn, enum gap gap, size_t bytes)
{
	if (conn->gap == GAP_NONE && journal_miss(conn->journal, gap, bytes))
		conn->gap = gap;
}

static void fill_gap(struct upg_conn *conn)
{
	gaps_remove(&conn->fds->gaps, conn->gap);
	conn->gap = GAP_NONE;
}

/* ---- memory ---- */

static size_t size_for(size_t bytes)
{
	size_t size = BUFFER_MIN_BYTES;

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

/* Give the memory of an empty buffer back. */
static void buffer_drop(struct upg_conn *conn, struct conn_buffer *buffer)
{
	struct conn_buffer before = *buffer;

	*buffer = (struct conn_buffer){ .base = before.base };
	if (is_covered(conn))
		describe(conn, buffer);
	buffer_free(conn, &before);
}

static bool buffer_is_idle(struct upg_conn *conn, const struct conn_buffer *buffer)
{
	return buffer->size_bytes > BUFFER_KEEP_BYTES || (buffer->at && journal_is_tight(conn->journal));
}

static void uncover(struct upg_conn *conn, size_t missed_bytes)
{
	atomic_fetch_or(&conn->record->flags, JOURNAL_UNCOVERED);
	miss(conn, GAP_ROOM, missed_bytes);
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
	fill_gap(conn);
}

/* Move the bytes from @from to @end into a new block. Return: 0 or -ENOMEM. */
static int buffer_move(struct upg_conn *conn, struct conn_buffer *buffer, uint64_t from, uint64_t end, size_t size_bytes)
{
	struct conn_buffer before = *buffer, after = { .size_bytes = size_bytes, .base = from };

	if (is_covered(conn)) {
		after.at = journal_block(conn->journal, size_bytes);
		if (after.at)
			after.data = conn->journal->map + after.at;
		else
			uncover(conn, size_bytes);
	} else if (conn->gap == GAP_ROOM && size_bytes > before.size_bytes) {
		journal_miss_more(conn->journal, size_bytes - before.size_bytes);
	}
	assert(size_bytes > 0);
	if (!after.data && !(after.data = malloc(size_bytes)))
		return -ENOMEM;
	if (end > from)
		memcpy(after.data, before.data + (from - before.base), end - from);
	*buffer = after;
	if (is_covered(conn))
		describe(conn, buffer);
	buffer_free(conn, &before);
	return 0;
}

/* Move the bytes from @from to @end to the front of the buffer. Return: false: the two places overlap, and a crash in between
 * would lose bytes. */
static bool buffer_shift(struct upg_conn *conn, struct conn_buffer *buffer, uint64_t from, uint64_t end)
{
	size_t used = end - from, before = from - buffer->base;

	if (is_covered(conn) && used > before)
		return false;
	memmove(buffer->data, buffer->data + before, used);
	buffer->base = from;
	if (is_covered(conn))
		describe(conn, buffer);
	return true;
}

/* Make room for @room_bytes behind @end; nothing before @from is needed any more. Return: where, or NULL when memory is out. */
static uint8_t *buffer_room(struct upg_conn *conn, struct conn_buffer *buffer, uint64_t from, uint64_t end,
			    size_t room_bytes)
{
	size_t used = end - from;

	if (buffer->data && buffer->size_bytes - (end - buffer->base) >= room_bytes)
		return buffer->data + (end - buffer->base);
	if (room_bytes > SIZE_MAX / 4)
		return NULL;
	/* To the front, unless there is so much of it that this would happen again and again. */
	if (buffer->data && used + room_bytes <= buffer->size_bytes && used <= buffer->size_bytes / 2 &&
	    buffer_shift(conn, buffer, from, end))
		return buffer->data + used;
	if (buffer_move(conn, buffer, from, end, size_for(used + used / 2 + room_bytes)) < 0)
		return NULL;
	return buffer->data + used;
}

static int buffer_leave(struct upg_conn *conn, struct conn_buffer *buffer, uint64_t from, uint64_t end)
{
	struct conn_buffer before = *buffer;
	uint8_t *data = NULL;

	if (!before.at)
		return 0;
	if (end > from) {
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

/* When the journal is over or void, nobody will look for these bytes any more. */
static void leave_if_over(struct upg_conn *conn)
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

/* ---- open and close ---- */

/* Write down which connection this is and where the kernel's counters stand. */
static void enter_journal(struct upg_conn *conn, const char *name, uint64_t tag, bool claimed)
{
	struct counters counters = { 0 };
	struct journal_record *record;
	uint32_t flags = claimed ? 0 : JOURNAL_FRESH;
	uint64_t serial;
	int r = counters_read(conn->fd, &counters);

	record = journal_record_take(conn->journal, &serial);
	if (!record) {
		miss(conn, GAP_RECORD, 2 * BUFFER_MIN_BYTES);
		return;
	}
	if (r == 0)
		flags |= JOURNAL_COUNTED;
	else if (r != -EOPNOTSUPP)
		flags |= JOURNAL_UNCOVERED;
	if (flags & JOURNAL_UNCOVERED)
		miss(conn, GAP_UNCOUNTED, 0);
	if (!claimed && conn->journal->no_newcomers)
		miss(conn, GAP_UNWANTED, 0);
	/* The name fits: a longer one is not registered. */
	memcpy(record->name, name, strlen(name));
	record->tag = tag;
	record->read_base = counters.read;
	record->written_base = counters.written;
	atomic_store(&record->flags, flags);
	atomic_store_explicit(&record->serial, serial, memory_order_release);
	conn->record = record;
}

int conn_open(struct journal *journal, int fd, const char *name, uint64_t tag, struct upg_conn **ret_conn)
{
	struct upg_conn *conn = calloc(1, sizeof(*conn));
	bool claimed;
	int r;

	if (!conn)
		return -ENOMEM;
	conn->journal = journal;
	conn->fds = journal->fds;
	conn->fd = fd;
	changes_init(&conn->pending, sizeof(struct journal_transaction));
	r = fd_table_put_conn(conn->fds, fd, name, tag, conn, &claimed);
	if (r < 0) {
		free(conn);
		return r;
	}
	if (atomic_load_explicit(&journal->usable, memory_order_relaxed))
		enter_journal(conn, name, tag, claimed);
	if (!claimed && fd_table_announce(conn->fds, fd) < 0)
		miss(conn, GAP_UNTOLD, 0);
	*ret_conn = conn;
	return 0;
}

int upg_conn_open(struct upg *upg, int fd, const char *name, uint64_t tag, struct upg_conn **ret_conn)
{
	return conn_open(upg->journal, fd, name, tag, ret_conn);
}

int upg_conn_new(struct upg *upg, int fd, const char *name, uint64_t *ret_tag, struct upg_conn **ret_conn)
{
	uint64_t tag = fd_table_new_tag(upg->fds, name);
	int r = conn_open(upg->journal, fd, name, tag, ret_conn);

	if (r == 0)
		*ret_tag = tag;
	return r;
}

int upg_conn_restore(struct upg_conn *conn, const void *input, size_t input_bytes, const void *output, size_t output_bytes)
{
	uint8_t *room;

	if (input_bytes) {
		room = buffer_room(conn, &conn->input, conn->in_done, conn->in_end, input_bytes);
		if (!room)
			return -ENOMEM;
		memcpy(room, input, input_bytes);
		conn->in_end += input_bytes;
	}
	if (output_bytes) {
		room = buffer_room(conn, &conn->output, conn->out_sent, conn->out_end, output_bytes);
		if (!room)
			return -ENOMEM;
		memcpy(room, output, output_bytes);
		conn->out_end += output_bytes;
		conn->out_done = conn->out_end;
	}
	if (conn->record) {
		conn->record->read_base -= input_bytes;
		atomic_store(&conn->record->received, conn->in_end);
		conn->record->start_output += output_bytes;
		move_cursor(conn->record, (struct journal_cursor){ conn->in_done, conn->out_done });
	}
	return 0;
}

int upg_conn_fd(const struct upg_conn *conn)
{
	return conn->fd;
}

void upg_conn_close(struct upg_conn *conn, int epoll_fd)
{
	if (!conn)
		return;
	if (conn->record)
		atomic_fetch_or(&conn->record->flags, JOURNAL_CLOSED);
	fill_gap(conn);
	fd_table_close(conn->fds, conn->fd, epoll_fd);
	buffer_free(conn, &conn->input);
	buffer_free(conn, &conn->output);
	if (conn->record)
		journal_record_give(conn->journal, conn->record);
	changes_done(&conn->pending);
	free(conn);
}

/* ---- input ---- */

ssize_t upg_conn_receive(struct upg_conn *conn, size_t room_bytes)
{
	uint8_t *room;
	ssize_t n;

	/* recv() would return 0, which looks like the end of the stream. */
	if (!room_bytes)
		return -EINVAL;
	if (conn->record)
		leave_if_over(conn);
	if (atomic_load_explicit(&conn->fds->n_fresh, memory_order_relaxed))
		fd_table_tell(conn->fds);
	gaps_tell(&conn->fds->gaps);
	room = buffer_room(conn, &conn->input, conn->in_done, conn->in_end, room_bytes);
	if (!room)
		return -ENOMEM;
	n = recv(conn->fd, room, room_bytes, 0);
	if (n < 0) {
		int error = -errno;

		if (conn->in_done == conn->in_end && buffer_is_idle(conn, &conn->input))
			buffer_drop(conn, &conn->input);
		cover_again(conn);
		return error;
	}
	conn->in_end += (size_t)n;
	if (conn->record)
		atomic_store_explicit(&conn->record->received, conn->in_end, memory_order_release);
	return n;
}

const void *upg_conn_input(const struct upg_conn *conn, size_t *ret_bytes)
{
	*ret_bytes = conn->in_end - conn->in_done;
	return *ret_bytes ? (const void *)(conn->input.data + (conn->in_done - conn->input.base)) : "";
}

/* ---- output ---- */

int upg_conn_put(struct upg_conn *conn, const void *data, size_t size_bytes)
{
	uint8_t *room = buffer_room(conn, &conn->output, conn->out_sent, conn->out_end, size_bytes);

	if (!room)
		return -ENOMEM;
	if (size_bytes)
		memcpy(room, data, size_bytes);
	conn->out_end += size_bytes;
	return 0;
}

int upg_conn_done(struct upg_conn *conn, size_t input_bytes)
{
	if (input_bytes > conn->in_end - conn->in_done)
		return -EINVAL;
	conn->in_done += input_bytes;
	conn->out_done = conn->out_end;
	if (conn->pending.n)
		journal_publish(conn->journal, &conn->pending, conn->record,
				(struct journal_cursor){ conn->in_done, conn->out_done });
	else if (conn->record)
		move_cursor(conn->record, (struct journal_cursor){ conn->in_done, conn->out_done });
	return 0;
}

int upg_conn_send(struct upg_conn *conn)
{
	while (conn->out_sent < conn->out_done) {
		ssize_t n = send(conn->fd, conn->output.data + (conn->out_sent - conn->output.base),
				 conn->out_done - conn->out_sent, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 1 : -errno;
		conn->out_sent += (size_t)n;
		if (conn->record)
			atomic_store_explicit(&conn->record->sent, conn->out_sent, memory_order_release);
	}
	if (conn->out_sent == conn->out_end && buffer_is_idle(conn, &conn->output))
		buffer_drop(conn, &conn->output);
	/* The input as well: a connection that rests between two requests holds no memory. */
	if (conn->in_done == conn->in_end && conn->input.data && buffer_is_idle(conn, &conn->input))
		buffer_drop(conn, &conn->input);
	cover_again(conn);
	return 0;
}

const void *upg_conn_output(const struct upg_conn *conn, size_t *ret_bytes)
{
	*ret_bytes = conn->out_done - conn->out_sent;
	return *ret_bytes ? (const void *)(conn->output.data + (conn->out_sent - conn->output.base)) : "";
}
