/* SPDX-License-Identifier: MIT */
/* Clients that come one after the other, as many at once as there are callers: each connects, asks, and is answered, and then there
 * is the next one. Where Listen= holds the listener, none of them is ever refused. */
#pragma once

#include <stdint.h>
#include <sys/socket.h>

/* Of all callers together. */
struct callers_report {
	unsigned answered;
	unsigned refused;      /* a connect() that failed; it was tried again */
	unsigned cut;          /* it was connected, and got no answer: whoever had taken it died; it came again */
	uint64_t worst_us;     /* from the first try to the answer */
};

struct callers;

/** callers_start() - @n of them, who come to @address and send @request; what answers it begins with @answer. Borrows the texts. */
struct callers *callers_start(unsigned n, const struct sockaddr *address, socklen_t bytes, const char *request, const char *answer);

/** callers_answered() - So many were answered so far. */
unsigned callers_answered(const struct callers *callers);

/** callers_await() - Until @more were answered, within 20 s. Who was answered before anything happened knows the way. */
void callers_await(const struct callers *callers, unsigned more);

/** callers_stop() - After each was answered once more. @callers is gone then. */
struct callers_report callers_stop(struct callers *callers);
