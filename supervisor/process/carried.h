/* SPDX-License-Identifier: MIT */
/* Processes on their way from the program that a supervisor is to the one that takes its place by execve(2). They notice nothing of
 * it: their channels, their output and what waits for them go along. */
#pragma once

#include "supervisor/carry/carry.h"
#include "supervisor/machine/sockets_of.h"
#include "supervisor/process/origin.h"

/** carried_put() - Leave @instance to the next program, whether it runs or has ended. Return: its id; 0: there is none (NULL), or
 * it is of a kind that has nothing to leave. */
uint64_t carried_put(struct instance *instance, struct carry *carry);

/**
 * carried_take() - Go on with a process that the program before has left.
 * @ret_instance: owned by the caller, by whose instance_own() events are heard.
 *
 * Return: 0; -errno with words: it cannot be had. Then nothing was released, as the program before needs all of it when it is
 * executed again: the caller's process ends, one way or the other.
 */
int carried_take(struct spawner *spawner, struct carry *carry, const Upgraded__Carry__Process *process,
		 struct instance **ret_instance, struct why *why);

/**
 * carried_find() - Before anything is said to @holder: it may hold the channel to @instance, a process that lies parked since a
 * supervisor before, and could not say hello. What that one knew of it, @process, holds still.
 *
 * Return: 0: it can be spoken to; -errno with words.
 */
int carried_find(struct instance *instance, struct instance *holder, const Upgraded__Carry__Process *process, struct why *why);

/* Descriptors that a process of ours has: each socket that a supervisor before has kept as well is there once more. */
struct carried_finder {
	struct carry_finder finder;
	struct instance *of;
	struct sockets_of sockets;
	bool looked;
};

/** carried_finder_init() - @of: borrowed. Release with carried_finder_done(). */
void carried_finder_init(struct carried_finder *finder, struct instance *of);
void carried_finder_done(struct carried_finder *finder);
