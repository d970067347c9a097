/* SPDX-License-Identifier: MIT */
/* State out of this process. */
#pragma once

#include "shim/state/state.h"
#include "shim/upgrade.h"

struct sf_plan;
struct why;

/* What an application's save() is given. Where its messages go is up to @put: into a stream, or into a comparison. It is embedded
 * in what @put needs to know. */
struct upg_saver {
	struct refs *refs;
	struct sf_plan *plan; /* down to what the receiver reads */
	size_t type;          /* being saved: the plan's index */
	size_t stream_type;   /* ... and the stream's */
	int (*put)(struct upg_saver *saver, size_t type, const ProtobufCMessage *message);
	struct why *why;
};

/**
 * state_save() - Write the application's state to @state_fd, down to the versions that the receiver reads.
 * @prepare: which these are, until when, and whether it is for a file.
 *
 * Every registered thread stands. Whatever the supervisor says meanwhile calls the save off.
 * Return: 0; -errno, with state->reader_gone.
 */
int state_save(struct state *state, int state_fd, const Upgraded__Wire__Prepare *prepare, Upgraded__Wire__Totals *ret_totals,
	       struct why *why);
