/* SPDX-License-Identifier: MIT */
/* Of this room alone: fork, and exec by a child_spec, for child.c. */
#pragma once

#include <sys/types.h>

struct child_spec;
struct child_work;
struct why;

/* A process that was forked and is not its program yet: it looks a user up, or waits for the disk that the program lies on. */
struct spawn;

/**
 * spawn_begin() - Fork a process that is to become the program of @spec.
 * @spec:      borrowed for the call.
 * @ret_pid:   a child of ours that somebody has to reap.
 * @ret_spawn: owned by the caller, release with spawn_free(). Both are written only on success.
 *
 * Return: 0; -errno with the step that failed, and then no process is left.
 */
int spawn_begin(const struct child_spec *spec, pid_t *ret_pid, struct spawn **ret_spawn, struct why *why);

#define SPAWN_PENDING 1

/**
 * spawn_await() - Learn how far it has come.
 * @patience_ms: how long to wait for a process that waits itself; one that only lacks a CPU is waited for ten times as long.
 *
 * Return: 0: it is its program; SPAWN_PENDING; -errno with the step that failed: the process is about to end.
 */
int spawn_await(struct spawn *spawn, int patience_ms, struct why *why);

/** spawn_fd() - Readable when there is something to learn. Borrowed. */
int spawn_fd(const struct spawn *spawn);

/** spawn_doing() - In words, what a process does that is SPAWN_PENDING. Return: @buf. */
const char *spawn_doing(const struct spawn *spawn, char *buf, size_t size);

/** spawn_free() - NULL is allowed. Return: NULL. */
struct spawn *spawn_free(struct spawn *spawn);

/** spawn_work() - Start a copy of this process that does @work, and wait until it has closed what it does not keep. @ret_pid: a
 * child of ours that somebody has to reap. Return: 0 or -errno. */
int spawn_work(const struct child_work *work, pid_t *ret_pid, struct why *why);
