/* SPDX-License-Identifier: MIT */
#include "tests/shim/buffers.h"

#include "tests/shim/app.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define AT_ONCE 16u /* pieces in one writev() */

static void *grown(void *memory, size_t *cap, size_t wanted, size_t size_bytes)
{
	if (wanted <= *cap)
		return memory;
	*cap = wanted * 2;
	memory = realloc(memory, *cap * size_bytes);
	APP_MUST(memory);
	return memory;
}

static void add_input(struct buffers *buffers, const void *data, size_t size_bytes)
{
	buffers->input = grown(buffers->input, &buffers->input_cap, buffers->n_input + size_bytes, 1);
	if (size_bytes) {
		APP_MUST(buffers->input);
		memcpy(buffers->input + buffers->n_input, data, size_bytes);
	}
	buffers->n_input += size_bytes;
}

static void add_piece(struct buffers *buffers, const void *data, size_t size_bytes)
{
	struct buffers_piece piece = { .data = malloc(size_bytes + 1), .size_bytes = size_bytes };

	APP_MUST(piece.data);
	memcpy(piece.data, data, size_bytes);
	buffers->pieces = grown(buffers->pieces, &buffers->pieces_cap, buffers->n_pieces + 1, sizeof(piece));
	buffers->pieces[buffers->n_pieces++] = piece;
}

static void drop_pieces(struct buffers *buffers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(buffers->pieces[i].data);
	buffers->n_pieces -= n;
	if (n)
		memmove(buffers->pieces, buffers->pieces + n, buffers->n_pieces * sizeof(*buffers->pieces));
}

void buffers_take(struct buffers *buffers)
{
	const void *input, *output;
	size_t input_bytes, output_bytes;

	if (buffers->kind == BUFFERS_LIBRARY || upg_conn_is_own(buffers->conn))
		return;
	input = upg_conn_input(buffers->conn, &input_bytes);
	output = upg_conn_output(buffers->conn, &output_bytes);
	buffers->n_input = 0;
	add_input(buffers, input, input_bytes);
	drop_pieces(buffers, buffers->n_pieces);
	if (output_bytes)
		add_piece(buffers, output, output_bytes);
	buffers->n_done = buffers->n_pieces;
	upg_conn_own(buffers->conn);
	APP_MUST(upg_conn_is_own(buffers->conn));
}

struct buffers *buffers_new(struct upg_conn *conn, enum buffers_kind kind)
{
	struct buffers *buffers = calloc(1, sizeof(*buffers));

	APP_MUST(buffers);
	buffers->conn = conn;
	buffers->kind = kind;
	buffers_take(buffers);
	return buffers;
}

struct buffers *buffers_free(struct buffers *buffers)
{
	if (!buffers)
		return NULL;
	drop_pieces(buffers, buffers->n_pieces);
	free(buffers->pieces);
	free(buffers->input);
	free(buffers);
	return NULL;
}

ssize_t buffers_receive(struct buffers *buffers, size_t room_bytes)
{
	ssize_t n;

	if (buffers->kind == BUFFERS_LIBRARY)
		return upg_conn_receive(buffers->conn, room_bytes);
	buffers->input = grown(buffers->input, &buffers->input_cap, buffers->n_input + room_bytes, 1);
	if (buffers->kind == BUFFERS_READ) {
		n = upg_conn_read(buffers->conn, buffers->input + buffers->n_input, room_bytes);
	} else {
		n = recv(upg_conn_fd(buffers->conn), buffers->input + buffers->n_input, room_bytes, 0);
		n = n < 0 ? -errno : n;
		if (n > 0 && buffers->kind == BUFFERS_UNTOLD)
			raise(SIGKILL);
		APP_MUST(n < 0 || upg_conn_received(buffers->conn, buffers->input + buffers->n_input, (size_t)n) == 0);
	}
	buffers->n_input += n > 0 ? (size_t)n : 0;
	return n;
}

const uint8_t *buffers_input(const struct buffers *buffers, size_t *ret_bytes)
{
	if (buffers->kind == BUFFERS_LIBRARY)
		return upg_conn_input(buffers->conn, ret_bytes);
	*ret_bytes = buffers->n_input;
	return buffers->input;
}

void buffers_put(struct buffers *buffers, const void *data, size_t size_bytes)
{
	APP_MUST(upg_conn_put(buffers->conn, data, size_bytes) == 0);
	if (buffers->kind != BUFFERS_LIBRARY)
		add_piece(buffers, data, size_bytes);
}

void buffers_done(struct buffers *buffers, size_t input_bytes)
{
	APP_MUST(upg_conn_done(buffers->conn, input_bytes) == 0);
	if (buffers->kind == BUFFERS_LIBRARY)
		return;
	buffers->n_done = buffers->n_pieces;
	buffers->n_input -= input_bytes;
	memmove(buffers->input, buffers->input + input_bytes, buffers->n_input);
}

/* @n bytes from the front are sent. */
static void take_off(struct buffers *buffers, size_t n)
{
	size_t i = 0;

	APP_MUST(upg_conn_sent(buffers->conn, n) == 0);
	while (i < buffers->n_done) {
		struct buffers_piece *piece = &buffers->pieces[i];
		size_t left = piece->size_bytes - piece->sent_bytes;

		if (n < left) {
			piece->sent_bytes += n;
			break;
		}
		n -= left;
		i++;
	}
	drop_pieces(buffers, i);
	buffers->n_done -= i;
}

int buffers_send(struct buffers *buffers)
{
	if (buffers->kind == BUFFERS_LIBRARY)
		return upg_conn_send(buffers->conn);
	while (buffers->n_done) {
		struct iovec vectors[AT_ONCE];
		struct msghdr message = { .msg_iov = vectors };
		ssize_t n;

		for (size_t i = 0; i < buffers->n_done && i < AT_ONCE; i++)
			vectors[message.msg_iovlen++] = (struct iovec){
				.iov_base = buffers->pieces[i].data + buffers->pieces[i].sent_bytes,
				.iov_len = buffers->pieces[i].size_bytes - buffers->pieces[i].sent_bytes,
			};
		n = sendmsg(upg_conn_fd(buffers->conn), &message, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 1 : -errno;
		take_off(buffers, (size_t)n);
	}
	return 0;
}

uint8_t *buffers_output(const struct buffers *buffers, size_t *ret_bytes)
{
	size_t n = 0;
	uint8_t *all;

	if (buffers->kind == BUFFERS_LIBRARY) {
		const void *output = upg_conn_output(buffers->conn, ret_bytes);

		all = malloc(*ret_bytes + 1);
		APP_MUST(all);
		memcpy(all, output, *ret_bytes);
		return all;
	}
	for (size_t i = 0; i < buffers->n_done; i++)
		n += buffers->pieces[i].size_bytes - buffers->pieces[i].sent_bytes;
	all = malloc(n + 1);
	APP_MUST(all);
	*ret_bytes = 0;
	for (size_t i = 0; i < buffers->n_done; i++) {
		const struct buffers_piece *piece = &buffers->pieces[i];

		memcpy(all + *ret_bytes, piece->data + piece->sent_bytes, piece->size_bytes - piece->sent_bytes);
		*ret_bytes += piece->size_bytes - piece->sent_bytes;
	}
	return all;
}
