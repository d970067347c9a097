/* SPDX-License-Identifier: MIT */
/* A program that takes the place of another one by execve(2), and gives way to it if it cannot.
 *
 * Until guard_done() whatever ends this program, or keeps it from getting on, executes the program before once more: a fault
 * (SIGSEGV and the like), abort(3), a deadline that passes, guard_give_way(). The descriptors that were left are there still, and
 * so are the children, as it is the same process. What ends the process at once (SIGKILL) is a crash of the supervisor like any
 * other.
 *
 * One thread; signal handlers are this file's until guard_done().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The environment tells the next program of these. */
#define GUARD_LEFT_ENV "UPGRADED_LEFT"         /* "MEMORY BEFORE SOFT": descriptors of what was left, and of the program before
					      * (-1: none); how many descriptors a child may have, RLIMIT_NOFILE's soft limit */
#define GUARD_GAVE_WAY_ENV "UPGRADED_GAVE_WAY" /* why the program that was to come did not */

/** guard_begin() - First of all in main(). @argv: borrowed for good. Return: the descriptor of what was left (supervisor/carry);
 * -1: nothing was: this is a start like any other. */
int guard_begin(char **argv);

/** guard_gave_way() - Why the program that was to take our place did not. Return: borrowed; NULL: there was none, or it is us. */
const char *guard_gave_way(void);

/** guard_give_way() - Execute the program before. Where there is none, or it cannot be executed: end at once, leaving everything as
 * it is, so that a supervisor that is started anew finds its services. */
void guard_give_way(const char *why) __attribute__((noreturn));

/** guard_done() - This program stays. */
void guard_done(void);

/** guard_is_on() - Has something been left, and guard_done() not been called? */
bool guard_is_on(void);

/* The other side: the program that is to be replaced. */

/**
 * guard_execute() - Execute @program in our place, to take over what lies in @left within @deadline_us (a duration).
 * @left: a descriptor that stays open over execve(2), as do all that are named in there.
 *
 * Return: -errno, with everything as it was: the program could not be executed.
 */
int guard_execute(const char *program, int left, uint64_t deadline_us);
