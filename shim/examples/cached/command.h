/* SPDX-License-Identifier: MIT */
/* What the requests do: a parsed request against the store, the answer for the client's connection. */
#pragma once

#include "shim/examples/cached/request.h"

struct connection;
struct server;

/** command_run() - Any request but a retrieval and quit, to its end (see connection_done()). */
void command_run(struct server *server, const struct request *request, struct connection *connection, int64_t now_ns);

/** command_retrieve() - One key of get, gets, gat or gats; END is the caller's, and so is what comes after the last key. With gat
 * and gats, which change the item, this part of the request is done when it returns. */
void command_retrieve(struct server *server, const struct request *request, const struct token *key,
		      struct connection *connection, int64_t now_ns);
