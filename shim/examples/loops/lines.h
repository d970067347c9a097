/* SPDX-License-Identifier: MIT */
/* What the servers of this folder have in common: each line of a client is answered with its number on this connection and the
 * line. They differ in the event loop that says when, which is what they are to show: libevent.c (with worker threads), libuv.c,
 * sd-event.c. */
#pragma once

#include "shim/upgrade.h"

#include <stdint.h>

struct client {
	struct client *next, *prev;
	struct upg_conn *conn;
	uint64_t tag, lines;
	void *watch; /* the loop's */
};

enum await {
	AWAIT_INPUT = 1,
	AWAIT_ROOM = 2, /* in the socket, for output */
};

/* ---- the loop, which each server has of its own ---- */

/** loop_watch() - Begin to watch its descriptor, for both: it may have input already that nothing announces. Return: 0; -errno. */
int loop_watch(struct client *client);
/** loop_await() - Call client_serve() when one of these is there. */
void loop_await(struct client *client, unsigned await);
/** loop_unwatch() - Before its descriptor is closed. Also where loop_watch() failed. */
void loop_unwatch(struct client *client);

/* ---- the service ---- */

extern struct upg *upg;

/** lines_open() - upg_open() and upg_become(). @wake: as in struct upg_config, NULL: none. Ends the process if it is not to serve.
 * Return: the listener. */
int lines_open(int argc, char **argv, void (*wake)(struct upg_thread *thread, void *userdata));
/** lines_accept() - One client, if there is one. Main thread. */
void lines_accept(int listener);
/** lines_told() - After upg_dispatch(): why something failed, if it did. */
void lines_told(void);
/** client_serve() - It may be gone afterwards. @await: what is there. */
void client_serve(struct client *client, unsigned await);
