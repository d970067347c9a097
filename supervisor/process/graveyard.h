/* SPDX-License-Identifier: MIT */
/* Processes nobody wants any more. The loop must not wait for the end of a process with a large heap: it is reaped in passing. */
#pragma once

#include <stdbool.h>

struct child;
struct instance;

/* Instances that were sent SIGKILL and only have to be reaped. */
struct graveyard {
	struct buried *first;
	struct buried_child *first_child;
	bool lets_go; /* who is buried from now on goes on without us, as after a SIGKILL; see struct spawner */
};

/** graveyard_bury() - Kill @instance and forget it; it is freed once it was reaped. NULL is allowed. Return: NULL. */
struct instance *graveyard_bury(struct graveyard *graveyard, struct instance *instance);
/** graveyard_bury_child() - The same for a process that is no instance: it and its group are killed, and @child is as after
 * child_init(). */
void graveyard_bury_child(struct graveyard *graveyard, struct child *child);
/** graveyard_done() - At the daemon's end: waits for whoever is left. */
void graveyard_done(struct graveyard *graveyard);
