/* SPDX-License-Identifier: MIT */
/* Buffered connections. */
#include "shim/conn.h"

#include "shim/shim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BUFFER_MIN_BYTES 1024u
#define BUFFER_KEEP_BYTES ((size_t)64 << 10) /* an idle connection keeps no larger one */

/* ---- memory ---- */

static size_t size_for(size_t bytes)
{
	size_t size = BUFFER_MIN_BYTES;

	while (size < bytes && size < SIZE_MAX / 2)
		size *= 2;
	return size;
}

static void buffer_drop(struct conn_buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct conn_buffer){ .base = buffer->base };
}

/* What lies from @from to @end moves into a block of its own. */
static int buffer_move(struct conn_buffer *buffer, uint64_t from, uint64_t end, size_t size_bytes)
{
	uint8_t *data = malloc(size_bytes);

	if (!data)
		return -ENOMEM;
	if (end > from)
		memcpy(data, buffer->data + (from - buffer->base), end - from);
	free(buffer->data);
	*buffer = (struct conn_buffer){ data, size_bytes, from };
	return 0;
}

/* Room for @room_bytes behind @end; nothing before @from is needed any more. Return: where, or NULL when memory is out. */
static uint8_t *buffer_room(struct conn_buffer *buffer, uint64_t from, uint64_t end, size_t room_bytes)
{
	size_t used = end - from;

	if (buffer->data && buffer->size_bytes - (end - buffer->base) >= room_bytes)
		return buffer->data + (end - buffer->base);
	if (room_bytes > SIZE_MAX / 4)
		return NULL;
	/* To the front, unless there is so much of it that this would happen again and again. */
	if (buffer->data && used + room_bytes <= buffer->size_bytes && used <= buffer->size_bytes / 2) {
		memmove(buffer->data, buffer->data + (from - buffer->base), used);
		buffer->base = from;
	} else if (buffer_move(buffer, from, end, size_for(used + used / 2 + room_bytes)) < 0) {
		return NULL;
	}
	return buffer->data + used;
}

/* ---- open and close ---- */

int upg_conn_open(struct upg *upg, int fd, const char *name, uint64_t tag, struct upg_conn **ret_conn)
{
	struct upg_conn *conn = calloc(1, sizeof(*conn));
	bool claimed;
	int r;

	if (!conn)
		return -ENOMEM;
	conn->upg = upg;
	conn->fd = fd;
	r = fd_table_put_conn(&upg->fds, fd, name, tag, conn, &claimed);
	if (r < 0) {
		free(conn);
		return r;
	}
	*ret_conn = conn;
	return 0;
}

int upg_conn_restore(struct upg_conn *conn, const void *input, size_t input_bytes, const void *output, size_t output_bytes)
{
	uint8_t *room;

	if (input_bytes) {
		room = buffer_room(&conn->input, conn->in_done, conn->in_end, input_bytes);
		if (!room)
			return -ENOMEM;
		memcpy(room, input, input_bytes);
		conn->in_end += input_bytes;
	}
	if (output_bytes) {
		room = buffer_room(&conn->output, conn->out_sent, conn->out_end, output_bytes);
		if (!room)
			return -ENOMEM;
		memcpy(room, output, output_bytes);
		conn->out_end += output_bytes;
		conn->out_done = conn->out_end;
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
	upg_close(conn->upg, conn->fd, epoll_fd);
	buffer_drop(&conn->input);
	buffer_drop(&conn->output);
	free(conn);
}

/* ---- input ---- */

ssize_t upg_conn_receive(struct upg_conn *conn, size_t room_bytes)
{
	uint8_t *room;
	ssize_t n;

	/* It would look like the end of the stream. */
	if (!room_bytes)
		return -EINVAL;
	room = buffer_room(&conn->input, conn->in_done, conn->in_end, room_bytes);
	if (!room)
		return -ENOMEM;
	n = recv(conn->fd, room, room_bytes, 0);
	if (n > 0)
		conn->in_end += (size_t)n;
	if (n >= 0)
		return n;
	if (errno == EAGAIN && conn->in_done == conn->in_end && conn->input.size_bytes > BUFFER_KEEP_BYTES) {
		buffer_drop(&conn->input);
		return -EAGAIN;
	}
	return -errno;
}

const void *upg_conn_input(const struct upg_conn *conn, size_t *ret_bytes)
{
	*ret_bytes = conn->in_end - conn->in_done;
	return *ret_bytes ? (const void *)(conn->input.data + (conn->in_done - conn->input.base)) : "";
}

/* ---- output ---- */

int upg_conn_put(struct upg_conn *conn, const void *data, size_t size_bytes)
{
	uint8_t *room = buffer_room(&conn->output, conn->out_sent, conn->out_end, size_bytes);

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
	}
	if (conn->out_sent == conn->out_end && conn->output.size_bytes > BUFFER_KEEP_BYTES)
		buffer_drop(&conn->output);
	return 0;
}

const void *upg_conn_output(const struct upg_conn *conn, size_t *ret_bytes)
{
	*ret_bytes = conn->out_done - conn->out_sent;
	return *ret_bytes ? (const void *)(conn->output.data + (conn->out_sent - conn->output.base)) : "";
}

/* ---- changes ---- */

int upg_journal_on(const struct upg *upg)
{
	(void)upg;
	return 0;
}

int upg_changed(struct upg *upg, struct upg_conn *conn, const char *type, enum upg_change change,
		const ProtobufCMessage *message)
{
	(void)upg, (void)conn, (void)type, (void)change, (void)message;
	return 0;
}
