/* SPDX-License-Identifier: MIT */
/* The answer to the request in hand, put together piece by piece behind what the client has yet to be sent. Nobody sees any of it
 * before the request is done. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct upg_conn;

struct answer {
	struct upg_conn *conn;
	size_t size; /* of this request's so far */
	bool failed; /* sticky: memory was out and something is missing; checked once by whoever owns the connection */
};

void answer_put(struct answer *answer, const void *data, size_t size);
void answer_put_text(struct answer *answer, const char *text);
void answer_put_number(struct answer *answer, uint64_t number);
