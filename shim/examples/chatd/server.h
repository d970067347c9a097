/* SPDX-License-Identifier: MIT */
/* What the parts of the server share. */
#pragma once

#include "shim/examples/chatd/chat.h"

#include <pthread.h>
#include <stdatomic.h>

#ifndef CHATD_NAME
#define CHATD_NAME "v0"
#endif

struct upg;

struct options {
	const char *address;
	const char *port;
	unsigned history_max;     /* remarks of each room */
	unsigned connections_max;
};

struct server {
	struct options options;
	struct upg *upg;

	/* One lock for everything that threads share; no one waits for a client while holding it. At an update point a thread
	 * does not hold it, so that whoever saves finds everything whole. */
	pthread_mutex_t lock;
	struct chat chat;
	TAILQ_HEAD(, connection) connections;
	TAILQ_HEAD(, connection) lagging; /* have output their sockets did not take: the flusher's */
	size_t n_connections;

	struct addrinfo *address;         /* of the listener */
	int listener;
	int wake_fd;  /* eventfd: the flusher should look again */
	int spare_fd; /* given up to be able to turn a client away when descriptors have run out */

	/* Threads that have not ended. Not state: it begins anew in each process. */
	pthread_mutex_t crew_lock;
	pthread_cond_t crew_left;
	unsigned crew;
	atomic_bool stopping;
};

/** server_count() - One of the server's numbers, while threads run. */
static inline uint64_t server_count(struct server *server, const size_t *number)
{
	uint64_t count;

	pthread_mutex_lock(&server->lock);
	count = *number;
	pthread_mutex_unlock(&server->lock);
	return count;
}

/* ---- crew.c ---- */

int crew_init(struct server *server);
/** crew_start() - Run @run(@arg) in a thread of its own, which calls crew_leave() as its last act. Return: 0 or -errno. */
int crew_start(struct server *server, void *(*run)(void *arg), void *arg);
void crew_leave(struct server *server);
/** crew_wait() - Until everyone has left. */
void crew_wait(struct server *server);

/* ---- flusher.c ---- */

/** flusher_start() - The thread that sends what sockets did not take at once. */
int flusher_start(struct server *server);
void flusher_wake(const struct server *server);

/* ---- listener.c ---- */

/** listener_find() - Where to listen; before upg_receive(), as clients wait from then on, and names may take their time. Return: 0
 * or -errno, after a word to stderr. */
int listener_find(struct server *server);
/** listener_open() - Listen there, with what the predecessor handed over if it did so, too. Return: 0 or -errno. */
int listener_open(struct server *server);
/** listener_accept() - Take the clients that wait, a bounded number of them. */
void listener_accept(struct server *server);

/* ---- options.c ---- */

/** options_parse() - Return: 0, or 1 after a word to stderr. */
int options_parse(int argc, char **argv, struct options *ret);

int64_t unix_now_ns(void);
