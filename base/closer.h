/* SPDX-License-Identifier: MIT */
/* Descriptors whose close(2) may take its time, closed by threads.
 *
 * Closing a socket that lingers waits for its peer, closing a file of a FUSE file system waits for whoever serves that file system,
 * and a socket from which nobody took a message closes what lies in that message. Whoever sent us such a descriptor chooses how
 * long that takes. So what came from a peer that is not trusted is given up and not closed: a thread does the rest.
 *
 * One closer in a process. Where none was started, giving up is closing.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** closer_start() - From here on fd_give_up() leaves closing to threads. Signals must be blocked as they are to be in these.
 * Return: 0 or -errno. */
int closer_start(void);

/** closer_stop() - Wait until everything is closed, until @deadline_us (monotonic) at most; from then on giving up is closing
 * again. Return: how many are not closed. */
size_t closer_stop(uint64_t deadline_us);

/** closer_waiting() - How many were given up and are not closed yet. */
size_t closer_waiting(void);

/** closer_given() - How many were given up ever. */
uint64_t closer_given(void);

/** closer_hold(), closer_release() - Around a fork: a child that closes its copies must not become the last owner of what a thread
 * is closing, as it would wait in our place. Waits a millisecond at most. Calls nest. */
void closer_hold(void);
void closer_release(void);

/** fd_give_up() - As fd_close(), but without a wait. Takes SO_LINGER away where it has a time. Return: -1. */
int fd_give_up(int fd);

/** fd_give_up_all() - The same for @n descriptors; those below 0 are left out. May sort @fds. */
void fd_give_up_all(int *fds, size_t n);
