/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/connection.h"

#include "shim/examples/cached/command.h"
#include "shim/examples/cached/server.h"
#include "shim/examples/cached/upgrade.h"
#include "shim/upgrade.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define RECEIVE_BYTES (16u * 1024u)

struct connection *connection_new(struct upg_conn *conn, uint64_t id)
{
	struct connection *connection = calloc(1, sizeof *connection);

	if (connection) {
		connection->conn = connection->answer.conn = conn;
		connection->id = id;
	}
	return connection;
}

struct connection *connection_free(struct connection *connection)
{
	free(connection);
	return NULL;
}

size_t connection_input(const struct connection *connection)
{
	size_t size;

	upg_conn_input(connection->conn, &size);
	return size;
}

size_t connection_output(const struct connection *connection)
{
	size_t size;

	upg_conn_output(connection->conn, &size);
	return size + connection->answer.size;
}

static bool conversation_is(const struct conversation *a, const struct conversation *b)
{
	return a->swallow_bytes == b->swallow_bytes && a->answered == b->answered && a->swallow_line == b->swallow_line &&
	       a->quit == b->quit;
}

void connection_done(struct connection *connection, struct server *server, size_t size)
{
	if (!conversation_is(&connection->now, &connection->noted))
		upgrade_connection_changed(server, connection);
	connection->noted = connection->now;
	upg_conn_done(connection->conn, size);
	connection->answer.size = 0;
}

/* Drop the input that belongs to a rejected request. Return: whether there is input behind it. */
static bool swallow(struct connection *connection, struct server *server)
{
	struct conversation *now = &connection->now;
	size_t size, used = 0;
	const char *front = upg_conn_input(connection->conn, &size);

	if (now->swallow_bytes) {
		used = size < now->swallow_bytes ? size : (size_t)now->swallow_bytes;
		now->swallow_bytes -= used;
	}
	if (now->swallow_line && used < size) {
		const char *newline = memchr(front + used, '\n', size - used);
		now->swallow_line = !newline;
		used = newline ? (size_t)(newline - front) + 1 : size;
	}
	if (used)
		connection_done(connection, server, used);
	return size > used;
}

static void reject(struct connection *connection, struct server *server, const struct request *request, int64_t now)
{
	store_lock(&server->store, connection->conn, now);
	if (request->drop_key)
		store_delete(&server->store, request->key.text, request->key.size, now);
	if (!request->noreply) {
		answer_put_text(&connection->answer, request->error);
		answer_put_text(&connection->answer, "\r\n");
	}
	connection->now.swallow_bytes = request->swallow_bytes;
	connection->now.swallow_line = request->swallow_line;
	connection_done(connection, server, request->size);
	store_unlock(&server->store);
}

/* A retrieval of many keys is handled key by key and may stop in between. Return: whether it is done. */
static bool retrieve(struct connection *connection, struct server *server, const struct request *request, unsigned *budget,
		     int64_t now)
{
	size_t size;
	const char *line = upg_conn_input(connection->conn, &size);
	size_t at = connection->now.answered ? connection->now.answered : request->keys;
	struct token key;

	while ((at = request_next_key(request, line, at, &key)) != 0) {
		connection->now.answered = at;
		command_retrieve(server, request, &key, connection, now);
		*budget -= 1;
		if (*budget == 0 || connection_output(connection) > OUTPUT_LIMIT) {
			connection_done(connection, server, 0);
			return false;
		}
	}
	answer_put_text(&connection->answer, "END\r\n");
	connection->now.answered = 0;
	connection_done(connection, server, request->size);
	return true;
}

/* Return: false if the turn ends with this request unfinished. */
static bool run(struct connection *connection, struct server *server, const struct request *request, unsigned *budget,
		int64_t now)
{
	switch (request->verb) {
	case VERB_GET:
	case VERB_GETS:
	case VERB_GAT:
	case VERB_GATS:
		return retrieve(connection, server, request, budget, now);
	case VERB_QUIT:
		connection->now.quit = true;
		connection_done(connection, server, request->size);
		break;
	case VERB_SET:
	case VERB_ADD:
	case VERB_REPLACE:
	case VERB_APPEND:
	case VERB_PREPEND:
	case VERB_CAS:
	case VERB_DELETE:
	case VERB_INCR:
	case VERB_DECR:
	case VERB_TOUCH:
	case VERB_FLUSH_ALL:
	case VERB_STATS:
	case VERB_VERSION:
	case VERB_VERBOSITY:
		command_run(server, request, connection, now);
		break;
	}
	return true;
}

static int handle_one(struct connection *connection, struct server *server, unsigned *budget, int64_t now)
{
	struct request request;
	const char *front;
	size_t size;

	if (connection->now.quit)
		return CONNECTION_ENDED;
	if (connection_output(connection) > OUTPUT_LIMIT)
		return CONNECTION_FULL;
	if (*budget == 0)
		return CONNECTION_MORE;
	if (!swallow(connection, server) || connection_input(connection) < connection->wanted)
		return connection->eof ? CONNECTION_ENDED : CONNECTION_IDLE;

	connection->wanted = 0;
	front = upg_conn_input(connection->conn, &size);
	switch (request_parse(front, size, &request)) {
	case REQUEST_WHOLE:
		if (run(connection, server, &request, budget, now))
			*budget -= *budget > 0;
		return CONNECTION_MORE;
	case REQUEST_PART:
		connection->wanted = request.wanted;
		return connection->eof ? CONNECTION_ENDED : CONNECTION_IDLE;
	case REQUEST_BAD:
		reject(connection, server, &request, now);
		*budget -= 1;
		return CONNECTION_MORE;
	case REQUEST_HOPELESS:
		connection->now.quit = true;
		reject(connection, server, &request, now);
		return CONNECTION_ENDED;
	}
	return CONNECTION_ENDED;
}

int connection_handle(struct connection *connection, struct server *server, int64_t now)
{
	unsigned budget = REQUESTS_PER_TURN;
	int outcome;

	do
		outcome = handle_one(connection, server, &budget, now);
	while (outcome == CONNECTION_MORE && budget > 0);
	return connection->answer.failed ? -ENOMEM : outcome;
}

static bool wants_input(const struct connection *connection)
{
	return !connection->now.quit && !connection->eof && connection_output(connection) <= OUTPUT_LIMIT;
}

int connection_receive(struct connection *connection)
{
	size_t size = RECEIVE_BYTES, have = connection_input(connection);
	ssize_t n;

	if (!wants_input(connection))
		return 0;
	/* A large data block goes straight to where it will be parsed. */
	if (connection->wanted > have + size)
		size = connection->wanted - have;
	n = upg_conn_receive(connection->conn, size);
	if (n < 0)
		return n == -EAGAIN || n == -EINTR ? 0 : (int)n;
	connection->eof = n == 0;
	return 0;
}

int connection_send(struct connection *connection)
{
	int rc = upg_conn_send(connection->conn);

	return rc < 0 ? rc : 0;
}

uint32_t connection_events(const struct connection *connection)
{
	uint32_t events = 0;

	if (wants_input(connection))
		events |= EPOLLIN;
	if (connection_output(connection))
		events |= EPOLLOUT;
	return events;
}
