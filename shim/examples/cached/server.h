/* SPDX-License-Identifier: MIT */
/* What the parts of the server share. */
#pragma once

#include "shim/examples/cached/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef CACHED_NAME
#define CACHED_NAME "v0"
#endif

struct connection;
struct server;
struct upg;

struct options {
	const char *address;
	const char *port;
	unsigned n_workers;
	size_t bytes_max;
	unsigned connections_max;
};

/* A thread with an epoll set and the connections in it. */
struct worker {
	struct server *server;
	unsigned index;
	pthread_t thread;
	int epoll_fd;
	int wake_fd;                    /* eventfd in the set: the worker is to pass its update point */
	pthread_mutex_t lock;           /* protects the list: the main thread adds, the worker removes */
	struct connection *connections;
	struct connection *pending;     /* the worker's own: have work that no event will announce */
};

struct server {
	struct options options;
	struct store store;
	struct upg *upg;
	struct worker *workers;
	pthread_barrier_t gate;         /* workers wait here until the process may serve; twice, see workers_serve() */
	int stop_fd;                    /* eventfd in each worker's set: readable means end */
	int epoll_fd;                   /* the main thread's */
	struct addrinfo *address;       /* of the listener */
	int listener;
	int spare_fd;                   /* given up to be able to turn a client away when descriptors have run out */
	unsigned next_worker;
	int64_t started_ns;             /* of the service; the same */
	_Atomic uint64_t total_connections;
	_Atomic unsigned curr_connections;
};

/** unix_now_ns() - Unix time: the same for all processes that will hold an item. */
int64_t unix_now_ns(void);

/* ---- worker.c ---- */

/** workers_start() - Threads that wait at the gate. Return: 0 or -errno. */
int workers_start(struct server *server);

/** workers_serve() - Open the gate. Returns when each thread is known to the shim. */
void workers_serve(struct server *server);

/** worker_wake() - Have it pass its update point soon. Thread-safe. */
void worker_wake(struct worker *worker);

/** workers_stop() - End the threads of a serving process and close their connections. */
void workers_stop(struct server *server);

/** worker_add() - Give a connection to the next worker, which owns it from then on.
 * Return: 0, or -errno; then @connection is still the caller's. */
int worker_add(struct server *server, struct connection *connection);

/** worker_revisit() - Give each connection of the worker a turn: it may hold other bytes than it remembers. Context: as below. */
void worker_revisit(struct worker *worker);

/** worker_close() - Context: the worker's thread, or any while the worker stands at an update point. */
void worker_close(struct worker *worker, struct connection *connection);

/* ---- listener.c ---- */

/** listener_find() - Where to listen; before upg_receive(), as clients wait from then on, and names may take their time. Return: 0
 * or -errno, after a word to stderr. */
int listener_find(struct server *server);
/** listener_open() - Listen there, with what the predecessor handed over if it did so, too. Return: 0 or -errno. */
int listener_open(struct server *server);

/** listener_accept() - Take the clients that wait, a bounded number of them. */
void listener_accept(struct server *server);
