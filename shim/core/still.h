/* SPDX-License-Identifier: MIT */
/* A parked process is still: no signal handler runs in it, no signal ends it, and the supervisor may stop it as a whole. */
#pragma once

#include <signal.h>
#include <stdbool.h>

struct still {
	bool on;
	sigset_t mask;                     /* of the calling thread, from before */
	sigset_t set_aside;                /* whose disposition is in @actions */
	struct sigaction actions[_NSIG];
	int parent_death;                  /* the signal that the process wants when its parent ends, from before */
};

/** still_block() - Block signals in the calling thread, but for those that a fault of its own raises. @ret_before: for
 * still_unblock(). */
void still_block(sigset_t *ret_before);
void still_unblock(const sigset_t *before);

/**
 * still_begin() - Keep signals from handlers and from ending the process, in all threads, until still_end().
 *
 * Every other thread that the library knows has called still_block(). Threads that it does not know are reached by the
 * dispositions, which are the process's: signals are ignored there. Children are reaped as before.
 */
void still_begin(struct still *still);

/** still_end() - As it was before. What timers and children raised meanwhile comes now, each signal once; what somebody sent is
 * dropped. Nothing if it did not begin. */
void still_end(struct still *still);

/** still_can_be_stopped() - Would this process go on if the supervisor, which holds the other end of @channel, ended while the
 * process is stopped? It does where the supervisor is its parent: still_begin() asks for SIGCONT then. */
bool still_can_be_stopped(int channel);
