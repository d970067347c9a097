/* SPDX-License-Identifier: MIT */
/* A worker's turn: an update point, a wait, and a bounded amount of work for each connection that has some. At the update point
 * the worker holds no lock, and each of its connections is nothing but the fields of struct connection. */
#include "shim/examples/cached/breakage.h"
#include "shim/examples/cached/connection.h"
#include "shim/examples/cached/server.h"
#include "shim/upgrade.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_PER_TURN 64

int64_t unix_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

static void list_add(struct worker *worker, struct connection *connection)
{
	connection->worker = worker;
	connection->next = worker->connections;
	if (connection->next)
		connection->next->prev = connection;
	worker->connections = connection;
}

static void list_remove(struct worker *worker, struct connection *connection)
{
	if (connection->prev)
		connection->prev->next = connection->next;
	else
		worker->connections = connection->next;
	if (connection->next)
		connection->next->prev = connection->prev;
	connection->prev = connection->next = NULL;
}

static void pending_add(struct worker *worker, struct connection *connection)
{
	if (connection->pending)
		return;
	connection->pending = true;
	connection->next_pending = worker->pending;
	worker->pending = connection;
}

static void pending_remove(struct worker *worker, struct connection *connection)
{
	struct connection **link = &worker->pending;

	if (!connection->pending)
		return;
	while (*link != connection)
		link = &(*link)->next_pending;
	*link = connection->next_pending;
	connection->pending = false;
}

void worker_revisit(struct worker *worker)
{
	for (struct connection *connection = worker->connections; connection; connection = connection->next) {
		connection->eof = false;
		connection->wanted = 0;
		pending_add(worker, connection);
	}
}

int worker_add(struct server *server, struct connection *connection)
{
	struct worker *worker = &server->workers[server->next_worker++ % server->options.n_workers];
	struct epoll_event event = { .events = connection_events(connection), .data.ptr = connection };
	int rc = 0;

	connection->events = event.events;
	pthread_mutex_lock(&worker->lock);
	list_add(worker, connection);
	/* A connection that came from another process may have requests in its input that no event will announce. The main thread
	 * adds it here, but then no worker runs yet. */
	if (connection_input(connection) || connection->now.quit)
		pending_add(worker, connection);
	if (epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, upg_conn_fd(connection->conn), &event) < 0) {
		rc = -errno;
		pending_remove(worker, connection);
		list_remove(worker, connection);
	} else {
		atomic_fetch_add(&server->curr_connections, 1);
	}
	pthread_mutex_unlock(&worker->lock);
	return rc;
}

void worker_close(struct worker *worker, struct connection *connection)
{
	pthread_mutex_lock(&worker->lock);
	list_remove(worker, connection);
	pthread_mutex_unlock(&worker->lock);
	pending_remove(worker, connection);
	upg_conn_close(connection->conn, worker->epoll_fd);
	connection_free(connection);
	atomic_fetch_sub(&worker->server->curr_connections, 1);
}

static int update_events(struct worker *worker, struct connection *connection)
{
	struct epoll_event event = { .events = connection_events(connection), .data.ptr = connection };

	if (event.events == connection->events)
		return 0;
	connection->events = event.events;
	return epoll_ctl(worker->epoll_fd, EPOLL_CTL_MOD, upg_conn_fd(connection->conn), &event) < 0 ? -errno : 0;
}

/* Handle what there is, send what can be sent, and wait for what the connection needs next. Return: negative: close it. */
static int serve(struct worker *worker, struct connection *connection, int64_t now)
{
	int outcome = connection_handle(connection, worker->server, now);

	if (outcome < 0)
		return outcome;
	int rc = connection_send(connection);
	if (rc < 0)
		return rc;
	if (outcome == CONNECTION_ENDED && connection_output(connection) == 0)
		return -EPIPE;
	if (outcome == CONNECTION_MORE ||
	    (outcome == CONNECTION_FULL && connection_output(connection) <= OUTPUT_LIMIT))
		pending_add(worker, connection);
	return update_events(worker, connection);
}

static void handle_event(struct worker *worker, struct connection *connection, uint32_t events, int64_t now)
{
	int rc = 0;

	/* A connection that is pending has its turn anyway, and must handle what it has before it receives more. */
	if (connection->pending && !(events & (EPOLLERR | EPOLLHUP)))
		return;
	if (events & EPOLLERR)
		rc = -EIO;
	else if (events & (EPOLLIN | EPOLLHUP))
		rc = connection_receive(connection);
	if (rc == 0)
		rc = serve(worker, connection, now);
	if (rc < 0)
		worker_close(worker, connection);
}

static void handle_pending(struct worker *worker, int64_t now)
{
	struct connection *connection = worker->pending;

	worker->pending = NULL;
	while (connection) {
		struct connection *next = connection->next_pending;
		connection->pending = false;
		if (serve(worker, connection, now) < 0)
			worker_close(worker, connection);
		connection = next;
	}
}

/* Return: whether to go on. */
static bool turn(struct worker *worker)
{
	struct epoll_event events[EVENTS_PER_TURN];
	int n = epoll_wait(worker->epoll_fd, events, EVENTS_PER_TURN, worker->pending ? 0 : -1);
	int64_t now = unix_now_ns();
	bool go_on = true;
	eventfd_t ignored;

	for (int i = 0; i < n; i++) {
		if (!events[i].data.ptr)
			go_on = false; /* stop_fd */
		else if (events[i].data.ptr == worker)
			eventfd_read(worker->wake_fd, &ignored); /* on to the update point */
		else
			handle_event(worker, events[i].data.ptr, events[i].events, now);
	}
	handle_pending(worker, now);
	return go_on;
}

static void *worker_run(void *arg)
{
	struct worker *worker = arg;
	struct server *server = worker->server;
	char name[24];

	snprintf(name, sizeof name, "worker %u", worker->index);
	pthread_barrier_wait(&server->gate);
	struct upg_thread *self = upg_thread_enter(server->upg, name, worker);
	pthread_barrier_wait(&server->gate);
	if (!self) {
		/* Unknown to the shim, this thread could change state while it is saved. */
		fprintf(stderr, "cached: %s: out of memory\n", name);
		abort();
	}
	/* UPG_LEAVE: another process serves, and what this one holds is its business. */
	while (upg_point(self) == UPG_GO_ON) {
		break_on_turn();
		if (!turn(worker))
			break;
	}
	upg_thread_leave(self);
	return NULL;
}

void worker_wake(struct worker *worker)
{
	eventfd_write(worker->wake_fd, 1);
}

static int worker_start(struct server *server, unsigned index)
{
	struct worker *worker = &server->workers[index];
	struct epoll_event stop = { .events = EPOLLIN, .data.ptr = NULL }, wake = { .events = EPOLLIN, .data.ptr = worker };

	worker->server = server;
	worker->index = index;
	pthread_mutex_init(&worker->lock, NULL);
	worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (worker->epoll_fd < 0 || worker->wake_fd < 0 ||
	    epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, server->stop_fd, &stop) < 0 ||
	    epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, worker->wake_fd, &wake) < 0)
		return -errno;
	return -pthread_create(&worker->thread, NULL, worker_run, worker);
}

int workers_start(struct server *server)
{
	int rc = -pthread_barrier_init(&server->gate, NULL, server->options.n_workers + 1);

	if (rc < 0)
		return rc;
	server->workers = calloc(server->options.n_workers, sizeof *server->workers);
	if (!server->workers)
		return -ENOMEM;
	server->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->stop_fd < 0)
		return -errno;
	for (unsigned i = 0; i < server->options.n_workers && rc == 0; i++)
		rc = worker_start(server, i);
	return rc;
}

void workers_serve(struct server *server)
{
	pthread_barrier_wait(&server->gate); /* they may make themselves known... */
	pthread_barrier_wait(&server->gate); /* ...and all have, before a roll can begin */
}

void workers_stop(struct server *server)
{
	eventfd_write(server->stop_fd, 1);
	for (unsigned i = 0; i < server->options.n_workers; i++)
		pthread_join(server->workers[i].thread, NULL);
	for (unsigned i = 0; i < server->options.n_workers; i++) {
		struct worker *worker = &server->workers[i];
		while (worker->connections)
			worker_close(worker, worker->connections);
		close(worker->epoll_fd);
		close(worker->wake_fd);
		pthread_mutex_destroy(&worker->lock);
	}
	free(server->workers);
	close(server->stop_fd);
	pthread_barrier_destroy(&server->gate);
}
