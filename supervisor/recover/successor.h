/* SPDX-License-Identifier: MIT */
/* upgraded upgrades itself: another program takes its place by execve(2), with its children, descriptors, parked processes and
 * bakes.
 *
 *   1. The program is run and asked whether it could: does it read this logbook and what is left, does it speak to these libraries?
 *   2. What is under way comes to its end, or to its bake: all of that is bounded.
 *   3. All that is in memory alone is left to it (carry/carry.h), and it is executed. It gives way if it cannot (guard.h).
 */
#pragma once

#include "base/child.h"
#include "base/loop.h"
#include "supervisor/carry/carry.h"
#include "supervisor/health/last_line.h"
#include "supervisor/service/registry.h"

#include <limits.h>
#include <sys/stat.h>

struct recover;

#define SUCCESSOR_COULD "could take over: " /* how the line of a program begins that could */

struct successor {
	struct registry *registry;
	const struct recover *recover;
	struct spawner *spawner;
	const char *state_dir;
	/* What is the daemon's: false while something is under way there, in words; and what it leaves. */
	bool (*may_leave)(void *daemon, struct why *ret_what);
	void (*put)(void *daemon, struct carry *carry);
	void *daemon;

	struct asker *asker; /* NULL: it has gone, or nothing is under way */
	bool busy;
	char program[PATH_MAX];
	struct stat asked_st;  /* of it, when it was asked */
	struct child child;  /* the check */
	struct last_line_pipe output;
	struct timer timer;  /* the check's deadline; then the next look whether all is at rest */
	uint64_t due_us;     /* until then it is waited for */
	struct why waits_for;
};

/** successor_init() - @successor: all borrowed fields are set; they outlive it. */
void successor_init(struct successor *successor);

/** successor_begin() - Let @program (NULL or "": the file that we were started from, as it is now) take our place. @asker is
 * answered if that does not come to be; else by the program that comes. */
void successor_begin(struct successor *successor, const char *program, struct asker *asker);

/** successor_at_rest() - Is nothing under way but, perhaps, bakes? Return: true; false with what is, in words. */
bool successor_at_rest(const struct successor *successor, struct why *ret_what);

/** successor_forget() - @asker has gone. What it asked for goes on. */
void successor_forget(struct successor *successor, const struct asker *asker);

/** successor_done() - Break it off. */
void successor_done(struct successor *successor);

/**
 * successor_check() - The question that the program is asked, as it is run by the one before: `upgraded --could-take-over FACTS`.
 * @facts: "carry=FORMAT,protocol=NUMBER".
 *
 * Prints one line. Return: the exit status.
 */
int successor_check(const char *facts, const char *state_dir, const char *version);
