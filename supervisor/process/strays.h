/* SPDX-License-Identifier: MIT */
/* The dead that nobody waits for. As a subreaper this process inherits whom its children leave behind; as nobody watches
 * those, they would stay zombies for as long as the daemon runs. */
#pragma once

#include "base/loop.h"

#include <sys/types.h>

struct strays {
	struct loop *loop;  /* borrowed */
	struct timer timer;
	pid_t seen;         /* dead, and nobody's at the last look; 0: none */
};

/** strays_look() - Somebody died (SIGCHLD). */
void strays_look(struct strays *strays);
void strays_done(struct strays *strays);
