/* SPDX-License-Identifier: MIT */
/* State into this process. */
#pragma once

#include "shim/state/state.h"
#include "shim/upgrade.h"

struct why;

/* What an application's load() and change() are given. */
struct upg_loader {
	const struct application *application;
	struct fd_table *fds;
	struct refs *refs;
	size_t type; /* being loaded: an index into the application's */
	bool failed; /* @why says why already */
	struct state_came *came; /* of that type; NULL: in change(), where nothing is counted */
	bool skipped; /* upg_load_skip() of the record in hand */
	struct why *why;
};

/* Gets the stream's header, which is borrowed for the call, before the first record is loaded. */
typedef void (*state_header_fn)(void *arg, const struct sf_header *header);

/**
 * state_load() - Load the state that comes by @state_fd, up to the application's versions.
 * @receive:   until when, and whether it comes from a file.
 * @on_header: called with @arg.
 *
 * Return: 0, with state->totals; -errno.
 */
int state_load(struct state *state, int state_fd, const Upgraded__Wire__Receive *receive, state_header_fn on_header, void *arg,
	       struct why *why);

/** state_check() - After state_load(): does the application hold as many objects as were loaded, was every descriptor claimed, and
 * if this was asked for, would going back lose nothing? Return: 0 or -errno. */
int state_check(struct state *state, struct why *why);
