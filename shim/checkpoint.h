/* SPDX-License-Identifier: MIT */
/* A checkpoint: the state as of now, written by a forked child while this process goes on. */
#pragma once

#include "shim/core/upg.h"
#include "wire/app.h"

#include <sys/types.h>

/**
 * checkpoint_fork() - Have a child write the state to @state_fd, and then one message to @report_fd: Saved or Refused.
 * Every thread stands. The child holds no other descriptors but 0 to 2, and ends by itself at @prepare's commit deadline.
 *
 * A child that still writes an earlier one is ended: whoever asks for the next has given that up.
 *
 * Return: 0; -errno with upg_why(): there is no child. In the child it does not return.
 */
int checkpoint_fork(struct upg *upg, const Upgraded__Wire__Prepare *prepare, int state_fd, int report_fd);

/** checkpoint_end() - The supervisor waits for the child no longer. */
void checkpoint_end(struct upg *upg);

/** checkpoint_finish() - The same, and wait for its end: this process is about to lie parked, perhaps in an image. */
void checkpoint_finish(struct upg *upg);

/** checkpoint_reap() - Children that have ended are. Costs nothing if there is none. */
void checkpoint_reap(struct upg *upg);
