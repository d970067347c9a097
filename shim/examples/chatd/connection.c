/* SPDX-License-Identifier: MIT */
/* A thread that blocks in read() most of the time. The library's nudge makes that return EINTR, and the thread passes by its
 * update point: this is all it takes to bring it to stand still. */
#include "shim/examples/chatd/connection.h"

#include "shim/examples/chatd/command.h"
#include "shim/upgrade.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct connection *connection_new(struct server *server, int fd, uint64_t tag)
{
	struct connection *connection = calloc(1, sizeof *connection);

	if (!connection)
		return NULL;
	connection->server = server;
	connection->fd = fd;
	connection->tag = tag;
	pthread_mutex_lock(&server->lock);
	TAILQ_INSERT_TAIL(&server->connections, connection, link);
	server->n_connections++;
	pthread_mutex_unlock(&server->lock);
	return connection;
}

/* Lock held. */
static void set_lagging(struct connection *connection, bool lagging)
{
	struct server *server = connection->server;

	if (connection->lagging == lagging)
		return;
	connection->lagging = lagging;
	if (lagging) {
		TAILQ_INSERT_TAIL(&server->lagging, connection, lagging_link);
		flusher_wake(server);
	} else {
		TAILQ_REMOVE(&server->lagging, connection, lagging_link);
	}
}

void connection_free(struct connection *connection)
{
	struct server *server = connection->server;

	pthread_mutex_lock(&server->lock);
	set_lagging(connection, false);
	if (connection->user)
		chat_remove_user(&server->chat, connection->user);
	TAILQ_REMOVE(&server->connections, connection, link);
	server->n_connections--;
	pthread_mutex_unlock(&server->lock);
	output_done(&connection->output);
	free(connection);
}

/* ---- output ---- */

void connection_drop(struct connection *connection)
{
	if (connection->gone)
		return;
	connection->gone = true;
	set_lagging(connection, false);
	output_done(&connection->output);
	/* This ends the read() of the connection's thread. That thread closes: nobody else knows when it has left read(). */
	shutdown(connection->fd, SHUT_RDWR);
}

void connection_flush(struct connection *connection)
{
	struct output *output = &connection->output;

	while (!connection->gone && output_size(output)) {
		ssize_t n = send(connection->fd, output_front(output), output_size(output), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n >= 0)
			output_consume(output, (size_t)n);
		else if (errno == EAGAIN)
			break;
		else if (errno != EINTR)
			connection_drop(connection);
	}
	if (output_size(output) > OUTPUT_LIMIT)
		connection_drop(connection);
	set_lagging(connection, output_size(output) > 0);
}

void connection_say(struct connection *connection, const char *fmt, ...)
{
	char line[LINE_BYTES + 128];
	va_list args;

	va_start(args, fmt);
	int size = vsnprintf(line, sizeof line - 1, fmt, args);
	va_end(args);
	if (size < 0 || connection->gone)
		return;
	if ((size_t)size > sizeof line - 2)
		size = (int)sizeof line - 2;
	line[size++] = '\n';
	if (!output_put(&connection->output, line, (size_t)size))
		connection_drop(connection);
	/* While something is queued before it, the socket has no room: the flusher sends it. */
	else if (!connection->lagging || output_size(&connection->output) > OUTPUT_LIMIT)
		connection_flush(connection);
}

/* ---- input ---- */

static void handle_line(struct connection *connection, char *line, size_t size)
{
	struct server *server = connection->server;

	if (size && line[size - 1] == '\r')
		size--;
	line[size] = '\0';
	pthread_mutex_lock(&server->lock);
	if (connection->gone || connection->quit)
		;
	else if (memchr(line, '\0', size))
		connection_say(connection, "ERR a line is text");
	else
		command_run(server, connection, line);
	pthread_mutex_unlock(&server->lock);
}

static void refuse_long_line(struct connection *connection)
{
	struct server *server = connection->server;

	connection->n_input = 0;
	if (connection->swallow)
		return;
	connection->swallow = true;
	pthread_mutex_lock(&server->lock);
	connection_say(connection, "ERR a line has at most %u bytes", LINE_BYTES - 1);
	pthread_mutex_unlock(&server->lock);
}

/* Whole lines are handled; half a one is kept. */
static void handle_input(struct connection *connection)
{
	char *at = connection->input, *end = at + connection->n_input, *newline;

	while (at < end && (newline = memchr(at, '\n', (size_t)(end - at)))) {
		if (!connection->swallow)
			handle_line(connection, at, (size_t)(newline - at));
		connection->swallow = false;
		at = newline + 1;
	}
	connection->n_input = (size_t)(end - at);
	memmove(connection->input, at, connection->n_input);
	if (connection->n_input == LINE_BYTES)
		refuse_long_line(connection);
}

/* Return: false at the end. */
static bool receive(struct connection *connection)
{
	ssize_t n = read(connection->fd, connection->input + connection->n_input, LINE_BYTES - connection->n_input);

	if (n < 0)
		return errno == EINTR; /* a nudge: on to the update point */
	connection->n_input += (size_t)n;
	handle_input(connection);
	return n > 0;
}

/* ---- the thread ---- */

enum todo { TODO_READ, TODO_DRAIN, TODO_END };

static enum todo what_to_do(struct connection *connection)
{
	enum todo todo = TODO_READ;

	pthread_mutex_lock(&connection->server->lock);
	if (connection->gone)
		todo = TODO_END;
	else if (connection->quit)
		todo = output_size(&connection->output) ? TODO_DRAIN : TODO_END;
	pthread_mutex_unlock(&connection->server->lock);
	return todo;
}

static bool drain(struct connection *connection)
{
	struct pollfd fd = { .fd = connection->fd, .events = POLLOUT };

	if (poll(&fd, 1, -1) < 0)
		return errno == EINTR;
	pthread_mutex_lock(&connection->server->lock);
	connection_flush(connection);
	pthread_mutex_unlock(&connection->server->lock);
	return true;
}

static bool turn(struct connection *connection)
{
	switch (what_to_do(connection)) {
	case TODO_READ:
		return receive(connection);
	case TODO_DRAIN:
		return drain(connection);
	case TODO_END:
		break;
	}
	return false;
}

static void *run(void *arg)
{
	struct connection *connection = arg;
	struct server *server = connection->server;
	char name[32];

	snprintf(name, sizeof name, "client %" PRIu64, connection->tag);
	struct upg_thread *self = upg_thread_enter(server->upg, name, NULL);
	if (!self) {
		/* Unknown to the shim, this thread could change state while it is saved. */
		fprintf(stderr, "chatd: %s: out of memory\n", name);
		abort();
	}
	bool ended = false; /* or else another process serves: the client is its business */
	while (!ended && upg_point(self) == UPG_GO_ON)
		ended = !turn(connection);
	if (ended) {
		int fd = connection->fd;
		connection_free(connection);
		upg_close(server->upg, fd, -1);
	}
	upg_thread_leave(self);
	crew_leave(server);
	return NULL;
}

int connection_serve(struct connection *connection)
{
	return crew_start(connection->server, run, connection);
}
