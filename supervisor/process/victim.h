/* SPDX-License-Identifier: MIT */
/* Which process the kernel ends first when memory is short (oom_score_adj of proc(5)).
 *
 * During a roll and its bake there are two processes with the state. Left to itself the kernel ends the larger one, which may be
 * the one that counts. So one of them is the victim: until the commit the new version, after it the parked one. The one that counts
 * has the value that the service file gives it.
 *
 * No step asks for a right that the supervisor may not have: raising is always allowed, and so is going back to a value that the
 * process was started with. Only a value of OOMScoreAdjust= below the supervisor's own needs CAP_SYS_RESOURCE; the child asks for
 * it first, so that it fails at the start and not at the commit.
 *
 * Children inherit the value at their birth. Those that a new version starts before the commit are victims as it is, and get the
 * normal value together with it; those of a parked version become victims together with it, if they are to end with it. A process
 * that has set a value of its own keeps it. Not reached: what has detached itself (its parent has ended).
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct why;

struct victim {
	int normal;    /* its value while it counts */
	bool is_first; /* it is the victim */
};

/** victim_own_value() - The value of this process, which its children inherit; 0 if nobody tells. */
int victim_own_value(void);

/** victim_value() - That of a process. Return: 0; -errno. */
int victim_value(pid_t pid, int *ret);

/**
 * victim_mark() - The process is to be the first to go. Notes the value that it has now, to go back to.
 * @pid:           not reaped yet, so that the number is still its own.
 * @with_children: they are to go with it. Children that go on without it count as much as before.
 *
 * Return: 0; -errno with the cause: it is as it was.
 */
int victim_mark(struct victim *victim, pid_t pid, bool with_children, struct why *why);

/** victim_spare() - They get the normal value again. Return: 0, also where it was no victim; -errno: it stays one. */
int victim_spare(struct victim *victim, pid_t pid, struct why *why);

/** victim_restored() - CRIU does not know of the value: a process that comes back from an image has that of the supervisor. Give
 * it its normal one. Return: 0; -errno with the cause. */
int victim_restored(struct victim *victim, pid_t pid, struct why *why);
