/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/connection.h"

#include "shim/examples/cached/command.h"
#include "shim/examples/cached/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define RECEIVE_BYTES (16u * 1024u)

struct connection *connection_new(int fd, uint64_t id)
{
	struct connection *connection = calloc(1, sizeof *connection);

	if (connection) {
		connection->fd = fd;
		connection->id = id;
	}
	return connection;
}

struct connection *connection_free(struct connection *connection)
{
	if (connection) {
		buffer_done(&connection->input);
		buffer_done(&connection->output);
		free(connection);
	}
	return NULL;
}

/* Drop what belongs to a rejected request. Return: whether input is left that does not. */
static bool swallow(struct connection *connection)
{
	struct buffer *input = &connection->input;

	if (connection->swallow_bytes) {
		size_t size = buffer_size(input);
		if (size > connection->swallow_bytes)
			size = (size_t)connection->swallow_bytes;
		buffer_consume(input, size);
		connection->swallow_bytes -= size;
	}
	if (connection->swallow_line && buffer_size(input)) {
		const char *front = buffer_front(input);
		const char *newline = memchr(front, '\n', buffer_size(input));
		connection->swallow_line = !newline;
		buffer_consume(input, newline ? (size_t)(newline - front) + 1 : buffer_size(input));
	}
	return buffer_size(input) > 0;
}

static void reject(struct connection *connection, struct server *server, const struct request *request, int64_t now)
{
	if (request->drop_key)
		store_delete(&server->store, request->key.text, request->key.size, now);
	if (!request->noreply) {
		buffer_put_text(&connection->output, request->error);
		buffer_put_text(&connection->output, "\r\n");
	}
	connection->swallow_bytes = request->swallow_bytes;
	connection->swallow_line = request->swallow_line;
	buffer_consume(&connection->input, request->size);
}

/* A retrieval of many keys is handled key by key and may stop in between. Return: whether it is done. */
static bool retrieve(struct connection *connection, struct server *server, const struct request *request, unsigned *budget,
		     int64_t now)
{
	const char *line = buffer_front(&connection->input);
	size_t at = connection->answered ? connection->answered : request->keys;
	struct token key;

	while ((at = request_next_key(request, line, at, &key)) != 0) {
		command_retrieve(server, request, &key, &connection->output, now);
		connection->answered = at;
		*budget -= 1;
		if (*budget == 0 || buffer_size(&connection->output) > OUTPUT_LIMIT)
			return false;
	}
	buffer_put_text(&connection->output, "END\r\n");
	connection->answered = 0;
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
		if (!retrieve(connection, server, request, budget, now))
			return false;
		break;
	case VERB_QUIT:
		connection->quit = true;
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
		command_run(server, request, &connection->output, now);
		break;
	}
	buffer_consume(&connection->input, request->size);
	return true;
}

static int handle_one(struct connection *connection, struct server *server, unsigned *budget, int64_t now)
{
	struct request request;

	if (connection->quit)
		return CONNECTION_ENDED;
	if (buffer_size(&connection->output) > OUTPUT_LIMIT)
		return CONNECTION_FULL;
	if (*budget == 0)
		return CONNECTION_MORE;
	if (!swallow(connection) || buffer_size(&connection->input) < connection->wanted)
		return connection->eof ? CONNECTION_ENDED : CONNECTION_IDLE;

	connection->wanted = 0;
	switch (request_parse(buffer_front(&connection->input), buffer_size(&connection->input), &request)) {
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
		reject(connection, server, &request, now);
		connection->quit = true;
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
	return connection->output.failed ? -ENOMEM : outcome;
}

static bool wants_input(const struct connection *connection)
{
	return !connection->quit && !connection->eof && buffer_size(&connection->output) <= OUTPUT_LIMIT;
}

int connection_receive(struct connection *connection)
{
	size_t size = RECEIVE_BYTES, have = buffer_size(&connection->input);

	if (!wants_input(connection))
		return 0;
	/* A large data block goes straight to where it will be parsed. */
	if (connection->wanted > have + size)
		size = connection->wanted - have;
	char *room = buffer_reserve(&connection->input, size);
	if (!room)
		return -ENOMEM;
	ssize_t n = recv(connection->fd, room, size, 0);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	connection->eof = n == 0;
	buffer_grow(&connection->input, (size_t)n);
	return 0;
}

int connection_send(struct connection *connection)
{
	struct buffer *output = &connection->output;

	while (buffer_size(output)) {
		ssize_t n = send(connection->fd, buffer_front(output), buffer_size(output), MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		buffer_consume(output, (size_t)n);
	}
	return 0;
}

uint32_t connection_events(const struct connection *connection)
{
	uint32_t events = 0;

	if (wants_input(connection))
		events |= EPOLLIN;
	if (buffer_size(&connection->output))
		events |= EPOLLOUT;
	return events;
}
