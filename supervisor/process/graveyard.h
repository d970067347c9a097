/* SPDX-License-Identifier: MIT */
/* Processes nobody wants any more. The loop must not wait for the end of a process with a large heap: it is reaped in passing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct child;
struct instance;
struct loop;

/* Instances that were sent SIGKILL and only have to be reaped; and those that serve somebody yet, and were told to end. */
struct graveyard {
	struct loop *loop; /* borrowed. NULL: nobody is given time to end */
	struct buried *first;
	struct buried_child *first_child;
	bool lets_go; /* who is buried from now on goes on without us, as after a SIGKILL; see struct spawner */
};

/** graveyard_bury() - Kill @instance and forget it; it is freed once it was reaped. One whose connections do not move
 * (INSTANCE_CAN_MOVE), and that was not killed, is told to end, and killed after DrainTimeout= of its service file. NULL is
 * allowed. Return: NULL. */
struct instance *graveyard_bury(struct graveyard *graveyard, struct instance *instance);
/** graveyard_drains() - The @i-th process of @service that was told to end. Return: borrowed; NULL: there are not so many. */
const struct instance *graveyard_drains(const struct graveyard *graveyard, const char *service, size_t i);
/** graveyard_hurry() - The service is to stop: what drains of it has until @due_us at most. NULL: all services. */
void graveyard_hurry(struct graveyard *graveyard, const char *service, uint64_t due_us);
/** graveyard_bury_child() - The same for a process that is no instance: it and its group are killed, and @child is as after
 * child_init(). */
void graveyard_bury_child(struct graveyard *graveyard, struct child *child);
/** graveyard_done() - At the daemon's end: waits for whoever is left. */
void graveyard_done(struct graveyard *graveyard);
