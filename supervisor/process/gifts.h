/* SPDX-License-Identifier: MIT */
/* What a process is started with besides its output: its channel, or what programs know that know nothing of us. */
#pragma once

#include "base/child.h"
#include "supervisor/unit/unit.h"

#include <stdbool.h>
#include <stddef.h>

struct spawned;

struct gifts {
	struct child_fd fds[2 + UNIT_LISTENS_MAX];
	size_t n_fds;
	char texts[4][64 + UNIT_LISTENS_MAX * (UNIT_NAME_MAX + 1)]; /* of variables */
	const char *more[4];
	size_t n_more;
	unsigned long long listeners[UNIT_LISTENS_MAX];
	size_t n_listeners;
	bool named; /* LISTEN_PID goes along */
};

/** gifts_make() - For a process of @unit that is about to be started. @channel: the end that it gets; -1: none. */
void gifts_make(const struct spawned *spawned, const struct unit *unit, int channel, struct gifts *ret);
