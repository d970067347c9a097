/* SPDX-License-Identifier: MIT */
/* One client: bytes received and not handled, bytes answered and not sent, and where in its conversation it is. That is all there
 * is between two turns of its worker, and so it is what travels when the process is replaced. */
#pragma once

#include "shim/examples/cached/answer.h"
#include "shim/examples/cached/request.h"

#include <stdatomic.h>

#define OUTPUT_LIMIT (1024u * 1024u) /* with more than this unsent, nothing is received or handled */
#define REQUESTS_PER_TURN 64u        /* so that a pipelining client keeps no worker from its update point */

struct server;
struct upg_conn;
struct worker;

/* What a connection is beyond its bytes. */
struct conversation {
	uint64_t swallow_bytes; /* of a rejected data block, yet to be dropped */
	uint64_t answered;      /* bytes of the retrieval at the front of the input that are answered */
	bool swallow_line;      /* drop up to and including the next newline */
	bool quit;              /* close once the output is sent */
};

struct connection {
	struct connection *prev, *next; /* the worker's list */
	struct connection *next_pending;
	struct worker *worker;
	bool pending;
	uint32_t events;                /* as in the epoll set */

	uint64_t id;
	struct upg_conn *conn;          /* the socket, and the bytes of both directions */
	struct conversation now, noted; /* @noted: as of the last request that was done */
	struct answer answer;

	bool eof;                       /* the rest need not travel: it is found out again */
	size_t wanted;                  /* bytes of input before the next request can be whole; 0: try */
};

enum connection_outcome {
	CONNECTION_IDLE = 0,  /* needs input */
	CONNECTION_MORE = 1,  /* the turn is over, there is more to handle */
	CONNECTION_FULL = 2,  /* needs its output sent */
	CONNECTION_ENDED = 3, /* nothing will be handled any more */
};

/** connection_new() - @conn is borrowed until worker_add(). Return: NULL when memory is out. */
struct connection *connection_new(struct upg_conn *conn, uint64_t id);

/** connection_free() - Leaves the upg_conn alone. Return: NULL. */
struct connection *connection_free(struct connection *connection);

/** connection_handle() - Turn input into output, at most REQUESTS_PER_TURN requests. No system calls on the socket.
 * Return: an outcome, or -ENOMEM. */
int connection_handle(struct connection *connection, struct server *server, int64_t now_ns);

/** connection_done() - @size bytes of input are handled: their effects and their answer take place. Context: the store's lock, if
 * anything in the store was changed. */
void connection_done(struct connection *connection, struct server *server, size_t size);

/** connection_receive() - Once. Return: 0 (also when there was nothing; sets @eof), or -errno: close it. */
int connection_receive(struct connection *connection);

/** connection_send() - As much as the socket takes. Return: 0 or -errno: close it. */
int connection_send(struct connection *connection);

/** connection_input(), connection_output() - How many bytes of either wait. */
size_t connection_input(const struct connection *connection);
size_t connection_output(const struct connection *connection);

/** connection_events() - What to wait for now. */
uint32_t connection_events(const struct connection *connection);
