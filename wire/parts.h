/* SPDX-License-Identifier: MIT */
/* An answer of the control socket that does not fit into one message travels in parts: its bytes, one piece after the other. */
#pragma once

#include "wire/wire.h"

struct why;

#define PARTS_BYTES_MAX (12u << 20) /* of an answer; less than may wait for a client */

/**
 * parts_send() - Call @send for each message that a result takes: one with the result, or several with a part each.
 * @send: packs or copies the message before it returns. Return: 0; another value ends the sending.
 *
 * Return: 0; what @send returned; -EMSGSIZE: it is larger than PARTS_BYTES_MAX; -ENOMEM. In these two cases nothing was sent.
 */
int parts_send(const Upgraded__Wire__Result *result,
	       int (*send)(void *arg, const Upgraded__Wire__ControlMessage *message), void *arg, struct why *why);

/* What came so far. */
struct parts {
	uint8_t *data;
	size_t n;
};

enum parts_outcome { PARTS_WHOLE = 0, PARTS_MORE = 1 };

/** parts_take() - One more part. *@ret_result is released with upgraded__wire__result__free_unpacked().
 * Return: PARTS_WHOLE: @ret_result was written; PARTS_MORE; -EMSGSIZE; -ENOMEM; -EBADMSG: these bytes are no result. */
int parts_take(struct parts *parts, const Upgraded__Wire__ResultPart *part, Upgraded__Wire__Result **ret_result, struct why *why);
void parts_done(struct parts *parts);
