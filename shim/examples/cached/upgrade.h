/* SPDX-License-Identifier: MIT */
/* All of cached's part in being replaced, but for the few calls in main.c, worker.c and listener.c. */
#pragma once

#include "shim/examples/cached/store.h"

struct connection;
struct server;

/** upgrade_open() - upg_open() with cached's types and migrations. Return: 0 or -errno, after a word to stderr. */
int upgrade_open(struct server *server);

/* With a journal, what this process changes outlives it: a predecessor that has to come back takes it over. Hits, the order
 * of use and the counters of requests are left out; they are as they were at the roll. */

/** upgrade_store_changed() - The store's listener. */
void upgrade_store_changed(void *userdata, void *conn, enum store_change change, const struct item *item);

/** upgrade_connection_changed() - Its conversation is another one when what is in hand is done. */
void upgrade_connection_changed(struct server *server, const struct connection *connection);
