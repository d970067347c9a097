/* SPDX-License-Identifier: MIT */
/* What the threads of a process do, and where they wait: for whoever wants to know why one does not answer. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#define THREADS_MAX 64u
#define THREAD_BYTES 120u

struct threads {
	char text[THREADS_MAX][THREAD_BYTES]; /* "worker (tid 12) waits in futex_wait_queue", tame */
	unsigned n, more; /* ... and so many more are left out */
};

/** threads_look() - Read only what the kernel gives without waiting for the process: names, states, and the kernel function that
 * each waits in. */
void threads_look(pid_t pid, struct threads *ret);
