/* SPDX-License-Identifier: MIT */
/* The run folder: the lock in it, which keeps a second daemon out, and the control socket. Somebody may remove either, or the whole
 * folder: a cleaner of temporary files, or a person. Then both are made anew, since nobody could reach the daemon otherwise. */
#pragma once

#include "supervisor/carry/carry.h"

#include <stdbool.h>

struct answer;
struct registry;
struct run_folder;
struct why;

/**
 * run_folder_new() - Make the folder if it is missing, and take its lock.
 * @dir: borrowed until run_folder_free(). Only those who are trusted (base/trust.h) may be able to write to it.
 * @carry: what the program before has left, borrowed for the call; the lock is in there, and the socket that listens. NULL: nothing
 * was.
 *
 * Return: 0; -EPERM; -EWOULDBLOCK: another upgraded runs in it; -errno.
 */
int run_folder_new(const char *dir, struct carry *carry, struct run_folder **ret_folder, struct why *why);

/** run_folder_open() - Listen on the control socket, and watch that it stays. @registry: borrowed until run_folder_shut(). Return:
 * 0; as run_folder_new() and control_open(): to be shut all the same. */
int run_folder_open(struct run_folder *folder, struct registry *registry, struct why *why);

/** run_folder_may_leave(), run_folder_put() - Leave lock, socket and clients to the next program: see control.h. */
bool run_folder_may_leave(const struct run_folder *folder);
void run_folder_put(const struct run_folder *folder, struct carry *carry, Upgraded__Carry__Folders *left);

/** run_folder_send_off() - See control_send_off(). */
void run_folder_send_off(const struct run_folder *folder);

/** run_folder_take_clients() - After run_folder_open(): those of the program before. Who asked for us gets @answer. */
void run_folder_take_clients(struct run_folder *folder, struct carry *carry, const struct answer *answer);

/** run_folder_look() - Look whether everything is in its place, and mend what is not. What went wrong is logged. Nothing happens
 * before run_folder_open(). */
void run_folder_look(struct run_folder *folder);

/** run_folder_shut() - Hear nobody any more; the lock stays. Safe on one that is not open, and on NULL. */
void run_folder_shut(struct run_folder *folder);

/** run_folder_free() - Shut it, remove the control socket, give up the lock. NULL is allowed. Return: NULL. */
struct run_folder *run_folder_free(struct run_folder *folder);
