/* SPDX-License-Identifier: MIT */
/* Of this room alone: fork, and exec by a child_spec, for child.c. */
#pragma once

#include <sys/types.h>

struct child_spec;
struct child_work;
struct why;

/**
 * spawn_process() - Start the program of @spec and wait until it was exec'd.
 * @ret_pid: a child of ours that somebody has to reap; written only on success.
 *
 * Return: 0; -errno with the step that failed in @why, and then no process is left.
 */
int spawn_process(const struct child_spec *spec, pid_t *ret_pid, struct why *why);

/** spawn_work() - Start a copy of this process that does @work, and wait until it has closed what it does not keep. As for
 * spawn_process(), @ret_pid is somebody's to reap. Return: 0 or -errno. */
int spawn_work(const struct child_work *work, pid_t *ret_pid, struct why *why);

/** spawn_reap() - Wait for the end of @pid, a child of ours that nobody else waits for. */
void spawn_reap(pid_t pid);
