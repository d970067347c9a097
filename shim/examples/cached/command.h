/* SPDX-License-Identifier: MIT */
/* What the requests do: a parsed request against the store, the answer appended to a buffer. */
#pragma once

#include "shim/examples/cached/buffer.h"
#include "shim/examples/cached/request.h"

struct server;

/** command_run() - Any request but a retrieval and quit. */
void command_run(struct server *server, const struct request *request, struct buffer *output, int64_t now_ns);

/** command_retrieve() - One key of get, gets, gat or gats; END is the caller's. */
void command_retrieve(struct server *server, const struct request *request, const struct token *key, struct buffer *output,
		      int64_t now_ns);
