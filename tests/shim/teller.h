/* SPDX-License-Identifier: MIT */
/* A client of the ledger, in a process of its own: many connections, requests in flight all the time, and every answer checked. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

struct teller {
	pid_t pid;
	/* Shared with its process. */
	struct teller_shared {
		uint16_t port;
		unsigned n_connections;
		atomic_bool stop;
		atomic_ulong n_answers, n_ended; /* connections that came to their planned end */
		/* Connections that ended before any answer: accepted in the very moment of a crash. */
		atomic_ulong n_unheard;
	} *shared;
};

void teller_start(struct teller *teller, uint16_t port, unsigned n_connections, unsigned seed);
/** teller_finish() - Everything in flight is answered, and the sums agree. Return: exit status; 0: all was well, else it has said
 * what was not. */
int teller_finish(struct teller *teller);
