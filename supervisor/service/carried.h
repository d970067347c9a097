/* SPDX-License-Identifier: MIT */
/* A service on its way from the program that a supervisor is to the one that takes its place by execve(2). */
#pragma once

#include "supervisor/carry/carry.h"
#include "supervisor/service/service.h"

/** service_may_be_left() - Is nothing under way but, perhaps, a bake? Return: true; false with what is, in words. */
bool service_may_be_left(struct service *service, struct why *ret_what);

/** service_put() - Leave it, its processes and its bake to the next program. */
void service_put(struct service *service, struct carry *carry);

/** service_hold_still(), service_go_on() - Before the next program is executed, and after it could not be: see roll_hold_still().
 * */
void service_hold_still(struct service *service);
void service_go_on(struct service *service);

/* How a process that was left is found by its id: each once. NULL: there is none. */
struct left_processes {
	struct instance *(*take)(struct left_processes *left, uint64_t id);
};

/**
 * service_take_left() - Go on with what the program before has left. What the logbook has of it was read.
 * @item: of the service.
 *
 * Return: 0; -errno with words. Nothing is released then.
 */
int service_take_left(struct service *service, struct carry *carry, const Upgraded__Carry__Item *item,
		      struct left_processes *processes, struct why *why);

/** service_waits_for() - Does @asker wait for the end of a roll of @service, or its commit, and for nothing else? */
bool service_waits_for(const struct service *service, const struct asker *asker);

/* ---- baking.c: a bake whose supervisor was killed ---- */

/**
 * service_open_bake() - What that one has written down of it.
 * @finder: as of carry_open_file().
 *
 * Return: 0, and there is a roll in it; -ENOENT: there is none; -errno with words.
 */
int service_open_bake(const struct service *service, struct carry_finder *finder, struct carry **ret_carry, struct why *why);

/** service_bake_on() - Go on with it. @old, @new: owned by the service from here on. Return: 0; -errno with words: both are the
 * caller's still, and the bake is over. */
int service_bake_on(struct service *service, struct carry *carry, struct instance *old, struct instance *new, struct why *why);

/** service_forget_bake() - None is on. */
void service_forget_bake(const struct service *service);
