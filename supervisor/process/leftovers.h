/* SPDX-License-Identifier: MIT */
/* What processes of services leave behind that goes on (Children=): their child processes, and the pipe that these print to.
 *
 * As a subreaper this process inherits them. Those in the process group of who has ended are held by pidfd, so that they can be
 * ended with their service and nobody else is taken for them. One that has made itself a session of its own is on its own. */
#pragma once

#include <stdbool.h>

struct instance;
struct leftovers;
#include "supervisor/carry/carry.h"

struct loop;
struct output;
struct why;

/** leftovers_new() - Return: NULL if memory is out. */
struct leftovers *leftovers_new(struct loop *loop);

/** leftovers_free() - Those that are to end with their service end; the others are let go. NULL is allowed. Return: NULL. */
struct leftovers *leftovers_free(struct leftovers *leftovers);

/**
 * leftovers_keep() - The process of @instance was reaped, and its process group spared.
 * @output_consume: its pipe: read until nobody can write to it any more.
 */
void leftovers_keep(struct leftovers *leftovers, const struct instance *instance, struct output *output_consume);

/** leftovers_end() - Of a service: SIGKILL to those that are to end with it. */
void leftovers_end(struct leftovers *leftovers, const char *service);

/** leftovers_keeps() - Does something of @service go on that is not to end with it (Children=keep)? */
bool leftovers_keeps(const struct leftovers *leftovers, const char *service);

/** leftovers_bury() - The process of @instance was reaped, and its process group killed: reap whom that met, and log it. */
void leftovers_bury(struct leftovers *leftovers, const struct instance *instance);

/** leftovers_put() - Leave all of them to the program that takes our place by execve(2): they stay children of this process. */
void leftovers_put(const struct leftovers *leftovers, struct carry *carry);
/** leftovers_take() - Go on with one that the program before has left. Return: 0; -errno. */
int leftovers_take(struct leftovers *leftovers, struct carry *carry, const Upgraded__Carry__Leftover *left, struct why *why);
