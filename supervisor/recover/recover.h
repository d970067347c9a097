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
	struct timer deadline, again;
	struct why *why;
	int failed; /* while the logbook is read: -errno */
	void (*on_done)(struct recover *recover); /* NULL: it was told */
	void *owner;
	struct carry *carry; /* what the program before has left, while it is being read; NULL: nothing */
};

struct carry;

/**
 * recover_begin() - Get back what the logbook of @spawner knows.
 * @registry: its services are known; they are changed by this.
 * @carry:    what was left; NULL: nothing, the supervisor before has ended. Borrowed for the call.
 * @on_done:  called once, perhaps before this returns: each service has been decided on, or a second is over. What is not decided
 *            by then is waited for on the side.
 *
 * Return: 0; -errno: what lives could not be had back for want of memory, descriptors or the like, or what was left could
 * not be taken; nothing was released then (carry/carry.h), and @on_done is never called. Nothing must be started either, as
 * it could be a second one of its service: the next supervisor may be luckier. recover_done() is wanted all the same.
 */
int recover_begin(struct recover *recover, struct registry *registry, struct spawner *spawner, struct carry *carry,
		  void (*on_done)(struct recover *recover), void *owner, struct why *why);

/** recover_is_over() - Has each service been decided on? Return: false: with which has not. */
bool recover_is_over(const struct recover *recover, struct why *ret_what);

/** recover_give_up() - The supervisor ends: what is not decided is given to its service, to be ended like others. */
void recover_give_up(struct recover *recover);

/** recover_done() - Release; a zeroed one is allowed. */
void recover_done(struct recover *recover);
