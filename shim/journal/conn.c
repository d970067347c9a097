/* SPDX-License-Identifier: MIT */
/* Buffered connections. Their buffers, and what the journal knows of them, are in buffer.c. */
#include "shim/journal/conn.h"

#include "shim/core/upg.h"
#include "shim/fds/announce.h"
#include "shim/journal/buffer.h"
#include "shim/journal/counters.h"
#include "shim/journal/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

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
		conn_miss(conn, GAP_RECORD, 2 * CONN_BUFFER_MIN_BYTES);
		return;
	}
	if (r == 0)
		flags |= JOURNAL_COUNTED;
	else if (r != -EOPNOTSUPP)
		flags |= JOURNAL_UNCOVERED;
	if (flags & JOURNAL_UNCOVERED)
		conn_miss(conn, GAP_UNCOUNTED, 0);
	if (!claimed && conn->journal->no_newcomers)
		conn_miss(conn, GAP_UNWANTED, 0);
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
		conn_miss(conn, GAP_UNTOLD, 0);
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

	if (conn->is_own)
		return -EINVAL;
	if (input_bytes) {
		room = conn_room(conn, &conn->input, conn->in_done, conn->in_end, input_bytes);
		if (!room)
			return -ENOMEM;
		memcpy(room, input, input_bytes);
		conn->in_end += input_bytes;
	}
	if (output_bytes) {
		room = conn_room(conn, &conn->output, conn->out_sent, conn->out_end, output_bytes);
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
		conn_move_cursor(conn);
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
	conn_fill_gap(conn);
	fd_table_close(conn->fds, conn->fd, epoll_fd);
	conn_free_buffers(conn);
	if (conn->record)
		journal_record_give(conn->journal, conn->record);
	changes_done(&conn->pending);
	free(conn);
}

/* ---- input ---- */

void conn_before_input(struct upg_conn *conn)
{
	if (conn->record)
		conn_leave_if_over(conn);
	if (atomic_load_explicit(&conn->fds->n_fresh, memory_order_relaxed))
		fd_table_tell(conn->fds);
	gaps_tell(&conn->fds->gaps);
}

void conn_received(struct upg_conn *conn, size_t bytes)
{
	conn->in_end += bytes;
	if (conn->record)
		atomic_store_explicit(&conn->record->received, conn->in_end, memory_order_release);
}

void conn_sent(struct upg_conn *conn, size_t bytes)
{
	conn->out_sent += bytes;
	if (conn->record)
		atomic_store_explicit(&conn->record->sent, conn->out_sent, memory_order_release);
}

ssize_t upg_conn_receive(struct upg_conn *conn, size_t room_bytes)
{
	uint8_t *room;
	ssize_t n;

	/* recv() would return 0, which looks like the end of the stream. */
	if (!room_bytes || conn->is_own)
		return -EINVAL;
	conn_before_input(conn);
	room = conn_room(conn, &conn->input, conn->in_done, conn->in_end, room_bytes);
	if (!room)
		return -ENOMEM;
	n = recv(conn->fd, room, room_bytes, 0);
	if (n < 0) {
		int error = -errno;

		conn_rest_input(conn);
		return error;
	}
	conn_received(conn, (size_t)n);
	return n;
}

const void *upg_conn_input(const struct upg_conn *conn, size_t *ret_bytes)
{
	*ret_bytes = conn->is_own ? 0 : conn->in_end - conn->in_done;
	return *ret_bytes ? (const void *)(conn->input.data + (conn->in_done - conn->input.base)) : "";
}

/* ---- output ---- */

int upg_conn_put(struct upg_conn *conn, const void *data, size_t size_bytes)
{
	uint8_t *room;

	if (conn->is_own) {
		own_put(conn, data, size_bytes);
		return 0;
	}
	room = conn_room(conn, &conn->output, conn->out_sent, conn->out_end, size_bytes);
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
		conn_move_cursor(conn);
	return 0;
}

int upg_conn_send(struct upg_conn *conn)
{
	if (conn->is_own)
		return -EINVAL;
	while (conn->out_sent < conn->out_done) {
		ssize_t n = send(conn->fd, conn->output.data + (conn->out_sent - conn->output.base),
				 conn->out_done - conn->out_sent, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 1 : -errno;
		conn_sent(conn, (size_t)n);
	}
	conn_rest(conn);
	return 0;
}

const void *upg_conn_output(const struct upg_conn *conn, size_t *ret_bytes)
{
	*ret_bytes = conn->is_own ? 0 : conn->out_done - conn->out_sent;
	return *ret_bytes ? (const void *)(conn->output.data + (conn->out_sent - conn->output.base)) : "";
}
