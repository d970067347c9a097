/* SPDX-License-Identifier: MIT */
/* Of this room alone: fork and exec by a child_spec, for child.c. */
#pragma once

#include <sys/types.h>

struct child_spec;
struct why;

/**
 * spawn_process() - Start the program of @spec and wait until it was exec'd.
 * @ret_pid: a child of ours that somebody has to reap; written only on success.
 *
 * Return: 0; -errno with the step that failed in @why, and then no process is left.
 */
int spawn_process(const struct child_spec *spec, pid_t *ret_pid, struct why *why);
