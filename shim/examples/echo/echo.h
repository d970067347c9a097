/* SPDX-License-Identifier: MIT */
/* The service is in echo.c: each line of a client is answered with its number on this connection and the line. An event loop says
 * when a client is to be served. There are several to choose from: epoll.c and libevent.c, with worker threads, libuv.c and
 * sd-event.c. */
#pragma once

#include "shim/upgrade.h"

#include <stdint.h>

struct client {
	struct client *next, *prev;
	struct upg_conn *conn; /* NULL: a change has named it, and on_conn() has not yet */
	uint64_t tag, lines;
	unsigned awaited; /* enum await */
	void *watch;      /* the loop's */
};

enum await {
	AWAIT_INPUT = 1,
	AWAIT_ROOM = 2, /* in the socket, for output */
};

/* ---- the loop ---- */

/** loop_watch() - Begin to watch its descriptor, for what is @client->awaited. Another thread may serve it, and free it, from then
 * on. Return: 0; -errno. */
int loop_watch(struct client *client);
/** loop_await() - From now on for what is @client->awaited now. */
void loop_await(struct client *client);
/** loop_unwatch() - Before its descriptor is closed. Also where it was not watched. */
void loop_unwatch(struct client *client);

/* ---- the service ---- */

extern struct upg *upg;

/** echo_open() - upg_open() and upg_become(). @wake: as in struct upg_config, NULL: none. Ends the process if it is not to serve.
 * Return: the listener. */
int echo_open(int argc, char **argv, void (*wake)(struct upg_thread *thread, void *userdata));
/** echo_accept() - One client of the listener @at, if there is one. The thread that dispatches. */
void echo_accept(int at);
/** echo_tell() - After upg_dispatch(): why something failed, if it did. */
void echo_tell(void);
/** client_serve() - It may be gone afterwards. @await: what is there. */
void client_serve(struct client *client, unsigned await);
