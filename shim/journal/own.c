/* SPDX-License-Identifier: MIT */
/* Connections whose bytes the program holds in buffers of its own.
 *
 * The library counts, as for others. Only while the journal covers the connection it has a copy of what is not done with and of
 * what is not sent. Input is received into the journal first and copied to the program then: in the other order, a crash between
 * the two would lose bytes that the kernel has counted as read.
 */
#include "shim/journal/buffer.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define RECEIVE_BYTES_MAX ((size_t)1 << 30)

void upg_conn_own(struct upg_conn *conn)
{
	if (conn->is_own)
		return;
	conn_hand_over(conn);
	/* Before anybody receives: nobody knows yet who will. */
	if (conn->record)
		atomic_fetch_or(&conn->record->flags, JOURNAL_NOTED);
}

int upg_conn_is_own(const struct upg_conn *conn)
{
	return conn->is_own;
}

/* ---- input ---- */

/* Room was short, and may be there again. */
static void before_input(struct upg_conn *conn)
{
	conn_before_input(conn);
	if (conn->gap == GAP_ROOM)
		conn_rest_input(conn);
}

/* Where in the journal to receive. Where room is short for all of *@room_bytes, for as much as waits in the socket. Return: NULL:
 * the journal does not cover it. */
static uint8_t *receive_room(struct upg_conn *conn, size_t *room_bytes)
{
	uint8_t *room = conn_try_room(conn, &conn->input, conn->in_done, conn->in_end, *room_bytes);
	int waiting;

	if (room)
		return room;
	if (ioctl(conn->fd, FIONREAD, &waiting) == 0 && (size_t)waiting < *room_bytes)
		*room_bytes = waiting > 0 ? (size_t)waiting : 1;
	return conn_room(conn, &conn->input, conn->in_done, conn->in_end, *room_bytes);
}

/* From now on all that the kernel counts as read is in the journal. */
static void receives_itself(struct upg_conn *conn)
{
	if (conn->receives)
		return;
	conn->receives = true;
	if (conn->record)
		atomic_fetch_and(&conn->record->flags, ~(uint32_t)JOURNAL_NOTED);
}

ssize_t upg_conn_read(struct upg_conn *conn, void *to, size_t room_bytes)
{
	uint8_t *room = NULL;
	ssize_t n;

	if (!room_bytes || !conn->is_own)
		return -EINVAL;
	if (room_bytes > RECEIVE_BYTES_MAX)
		room_bytes = RECEIVE_BYTES_MAX;
	before_input(conn);
	receives_itself(conn);
	if (conn_is_covered(conn))
		room = receive_room(conn, &room_bytes);
	n = recv(conn->fd, room ? room : to, room_bytes, 0);
	if (n < 0) {
		int error = -errno;

		conn_rest_input(conn);
		return error;
	}
	if (room)
		memcpy(to, room, (size_t)n);
	conn_received(conn, (size_t)n);
	conn_note_missed(conn);
	return n;
}

/* Copy what the program has at the end of @buffer into it, if the journal covers the connection. */
static void keep(struct upg_conn *conn, struct conn_buffer *buffer, uint64_t from, uint64_t end, const void *data,
		 size_t size_bytes)
{
	uint8_t *room = NULL;

	if (conn_is_covered(conn))
		room = conn_room(conn, buffer, from, end, size_bytes);
	if (room)
		memcpy(room, data, size_bytes);
}

int upg_conn_received(struct upg_conn *conn, const void *data, size_t size_bytes)
{
	/* Both on one connection: then nobody could say whether a byte that was read and not noted is in the journal. */
	if (!conn->is_own || conn->receives)
		return -EINVAL;
	before_input(conn);
	if (!size_bytes)
		return 0;
	keep(conn, &conn->input, conn->in_done, conn->in_end, data, size_bytes);
	conn_received(conn, size_bytes);
	conn_note_missed(conn);
	return 0;
}

/* ---- output ---- */

void own_put(struct upg_conn *conn, const void *data, size_t size_bytes)
{
	if (!size_bytes)
		return;
	keep(conn, &conn->output, conn->out_sent, conn->out_end, data, size_bytes);
	conn->out_end += size_bytes;
	conn_note_missed(conn);
}

int upg_conn_sent(struct upg_conn *conn, size_t size_bytes)
{
	if (!conn->is_own || size_bytes > conn->out_done - conn->out_sent)
		return -EINVAL;
	conn_sent(conn, size_bytes);
	if (conn->out_sent == conn->out_end)
		conn_rest(conn);
	return 0;
}
