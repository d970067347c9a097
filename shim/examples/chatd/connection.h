/* SPDX-License-Identifier: MIT */
/* One client, and the thread that reads what it says. Between two turns of that thread, all there is of a client is in these
 * fields: half a line, what was not sent yet, who he is. That is what travels. */
#pragma once

#include "shim/examples/chatd/output.h"
#include "shim/examples/chatd/server.h"

#define LINE_BYTES 1024u
#define OUTPUT_LIMIT (256u * 1024u) /* who leaves more than this unread is dropped */

struct connection {
	struct server *server;
	TAILQ_ENTRY(connection) link;
	TAILQ_ENTRY(connection) lagging_link;
	uint64_t tag;
	int fd;

	/* The thread's own. */
	char input[LINE_BYTES];
	size_t n_input;
	bool swallow; /* the rest of a line that was too long */

	/* Under the server's lock. */
	struct user *user; /* NULL: has not said who it is */
	struct output output;
	bool lagging;
	bool quit; /* close once the output is sent */
	bool gone; /* nothing is handled or sent any more; the thread is about to notice */
};

/** connection_new() - Also makes it known to the server. @fd stays the caller's until connection_serve(). Return: NULL when
 * memory is out. */
struct connection *connection_new(struct server *server, int fd, uint64_t tag);

/** connection_free() - Forget it; the descriptor is left alone. */
void connection_free(struct connection *connection);

/** connection_serve() - Start its thread, which owns everything from now on. Return: 0 or -errno. */
int connection_serve(struct connection *connection);

/* All of these: under the server's lock, and none of them blocks. */

/** connection_say() - One line; what does not fit into the socket is queued. */
void connection_say(struct connection *connection, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** connection_flush() - Send what is queued, as far as the socket takes it. */
void connection_flush(struct connection *connection);

/** connection_drop() - It failed, reads too slowly, or the server ends. */
void connection_drop(struct connection *connection);
