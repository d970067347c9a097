/* SPDX-License-Identifier: MIT */
/* One call to the supervisor: connect, send, and receive until the result. */
#pragma once

#include "wire/wire.h"

#include <stdint.h>

struct why;

enum client_outcome {
	CLIENT_ANSWERED = 0,
	CLIENT_UNREACHABLE = 1, /* nobody answers on the socket */
	CLIENT_FORBIDDEN = 2,   /* somebody listens on it, but this user may not connect */
	CLIENT_TIMED_OUT = 3,   /* the request was sent; what it asked for goes on */
	CLIENT_LOST = 4,        /* the request was sent, then the supervisor went away: what became of it is not known */
	CLIENT_INTERRUPTED = 5, /* by Ctrl-C; what was asked for goes on */
};

/* Something that is to be read while the answer is waited for, as the state that a service writes. Embedded in whose it is. */
struct client_feed {
	int fd; /* borrowed; -1: there is nothing more */
	void (*on_readable)(struct client_feed *feed);
};

struct client_call {
	const char *socket_path;
	const char *host;    /* NULL: this one; else its supervisor is reached by ssh(1), and no descriptor can go along */
	const Upgraded__Wire__Request *request;
	uint64_t timeout_us; /* 0: as long as it takes */
	void (*on_progress)(void *data, const Upgraded__Wire__Progress *progress); /* NULL: not wanted */
	void (*on_event)(void *data, const Upgraded__Wire__Event *event); /* NULL: none is expected */
	void *data;
	const int *fds; /* to go with the request; borrowed */
	size_t n_fds;
	struct client_feed *feed; /* borrowed; NULL: none */
};

/**
 * client_call() - Ask, and wait for the answer.
 * @ret_message: holds a result; written only with CLIENT_ANSWERED; release with
 *               upgraded__wire__control_message__free_unpacked().
 *
 * Return: a client_outcome, told in @why unless answered; -errno: the peer does not speak the protocol, or this
 * process is out of something.
 */
int client_call(const struct client_call *call, Upgraded__Wire__ControlMessage **ret_message, struct why *why);
