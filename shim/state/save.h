/* SPDX-License-Identifier: MIT */
/* State out of this process. */
#pragma once

#include "shim/state/state.h"

struct why;

/**
 * state_save() - Write the application's state to @state_fd, down to the versions that the receiver reads.
 * @prepare: which these are, until when, and whether it is for a file.
 *
 * Every registered thread stands. Whatever the supervisor says meanwhile calls the save off.
 * Return: 0; -errno, with state->reader_gone.
 */
int state_save(struct state *state, int state_fd, const Upgraded__Wire__Prepare *prepare, Upgraded__Wire__Totals *ret_totals,
	       struct why *why);
