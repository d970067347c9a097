/* SPDX-License-Identifier: MIT */
/* Clients that read slowly. Who says something in a room must not wait for the slowest of its members, and a client's own
 * thread sits in read(): what a socket does not take at once is sent by this one thread, which waits for all of those. */
#include "shim/examples/chatd/connection.h"
#include "shim/upgrade.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

struct waiting {
	struct pollfd *fds;
	nfds_t n, capacity;
};

void flusher_wake(const struct server *server)
{
	eventfd_write(server->wake_fd, 1);
}

static bool add(struct waiting *waiting, int fd, short events)
{
	if (waiting->n == waiting->capacity) {
		nfds_t capacity = waiting->capacity ? waiting->capacity * 2 : 16;
		struct pollfd *fds = realloc(waiting->fds, capacity * sizeof *fds);

		if (!fds)
			return false;
		waiting->fds = fds;
		waiting->capacity = capacity;
	}
	waiting->fds[waiting->n++] = (struct pollfd){ .fd = fd, .events = events };
	return true;
}

/* Send what can be sent, and note what has to be waited for. */
static void flush_all(struct server *server, struct waiting *waiting)
{
	struct connection *connection, *next;

	pthread_mutex_lock(&server->lock);
	for (connection = TAILQ_FIRST(&server->lagging); connection; connection = next) {
		next = TAILQ_NEXT(connection, lagging_link);
		connection_flush(connection);
		if (connection->lagging && !add(waiting, connection->fd, POLLOUT))
			connection_drop(connection);
	}
	pthread_mutex_unlock(&server->lock);
}

static void *run(void *arg)
{
	struct server *server = arg;
	struct upg_thread *self = upg_thread_enter(server->upg, "flusher", NULL);
	struct waiting waiting = { 0 };
	eventfd_t ignored;

	if (!self || !add(&waiting, server->wake_fd, POLLIN)) {
		fputs("chatd: flusher: out of memory\n", stderr);
		abort();
	}
	while (!atomic_load(&server->stopping) && upg_point(self) == UPG_GO_ON) {
		waiting.n = 1;
		flush_all(server, &waiting);
		/* A descriptor that was closed meanwhile, even one that is another client's by now, costs a turn and no more. */
		if (poll(waiting.fds, waiting.n, -1) > 0 && waiting.fds[0].revents)
			eventfd_read(server->wake_fd, &ignored);
	}
	free(waiting.fds);
	upg_thread_leave(self);
	crew_leave(server);
	return NULL;
}

int flusher_start(struct server *server)
{
	return crew_start(server, run, server);
}
