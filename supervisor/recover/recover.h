/* SPDX-License-Identifier: MIT */
/* A supervisor that was started anew gets its services back.
 *
 * The logbook says which processes there were. Those that live still are told that we are there. Whatever a supervisor before us
 * had begun, they end by themselves when they notice its end, as the commit word decides: then the one that may serve says so. That
 * one becomes the service's process; the others are of no use any more.
 *
 * Nothing is guessed: a process that says nothing is neither ended nor taken for the one that serves, as long as another one of its
 * service lives. Its service cannot be asked for anything until then.
 */
#pragma once

#include "base/loop.h"
#include "supervisor/service/registry.h"

struct recover {
	struct registry *registry;
	struct spawner *spawner;
	struct returning *first;
	struct timer deadline;
	void (*on_done)(struct recover *recover); /* NULL: it was told */
	void *owner;
};

/**
 * recover_begin() - Get back what the logbook of @spawner knows.
 * @registry: its services are known; they are changed by this.
 * @on_done:  called once, perhaps before this returns: each service has been decided on, or a second is over. What is not decided
 *            by then is waited for on the side.
 */
void recover_begin(struct recover *recover, struct registry *registry, struct spawner *spawner,
		   void (*on_done)(struct recover *recover), void *owner);

/** recover_give_up() - The supervisor ends: what is not decided is given to its service, to be ended like others. */
void recover_give_up(struct recover *recover);

/** recover_done() - Release; a zeroed one is allowed. */
void recover_done(struct recover *recover);
