/* SPDX-License-Identifier: MIT */
/* A connection's bytes: in the library's buffers, or in some of the test's own, of the kind that servers have: one piece of input,
 * and a queue of pieces of output that is sent by writev(). */
#pragma once

#include "shim/upgrade.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum buffers_kind {
	BUFFERS_LIBRARY,  /* upg_conn_receive() */
	BUFFERS_READ,     /* upg_conn_read() */
	BUFFERS_RECEIVED, /* recv() by the test, upg_conn_received() */
	BUFFERS_UNTOLD,   /* recv() by the test, and it dies */
};

struct buffers_piece {
	uint8_t *data;
	size_t size_bytes, sent_bytes;
};

struct buffers {
	struct upg_conn *conn; /* borrowed */
	enum buffers_kind kind;
	/* Of its own. */
	uint8_t *input;
	size_t n_input, input_cap;
	struct buffers_piece *pieces;
	size_t n_done, n_pieces, pieces_cap; /* from n_done on they belong to the request in hand */
};

/** buffers_new() - @conn has its bytes already, if any. */
struct buffers *buffers_new(struct upg_conn *conn, enum buffers_kind kind);
struct buffers *buffers_free(struct buffers *buffers); /* returns NULL */

/** buffers_take() - Go on with what the library brought back, if it did. */
void buffers_take(struct buffers *buffers);

/* As the functions of the library. */
ssize_t buffers_receive(struct buffers *buffers, size_t room_bytes);
const uint8_t *buffers_input(const struct buffers *buffers, size_t *ret_bytes);
void buffers_put(struct buffers *buffers, const void *data, size_t size_bytes);
void buffers_done(struct buffers *buffers, size_t input_bytes);
int buffers_send(struct buffers *buffers);
/** buffers_output() - As upg_conn_output(); to be released with free(). */
uint8_t *buffers_output(const struct buffers *buffers, size_t *ret_bytes);
