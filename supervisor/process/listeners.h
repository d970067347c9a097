/* SPDX-License-Identifier: MIT */
/* The listeners that we hold for a service (Listen=), so that its clients wait while no process of it is there.
 *
 * We open them, and give duplicates to a process that starts without a predecessor, and of those that no version had before to one
 * that is rolled to. Whatever else moves by the roll itself. So each is one socket, in our hands and in those of whoever serves,
 * and what waits in its queue outlives the process.
 */
#pragma once

#include "base/fd_ref.h"
#include "base/why.h"
#include "supervisor/carry/carry.pb-c.h"
#include "supervisor/process/socket_file.h"
#include "supervisor/unit/unit.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct activation;
struct carry;
struct instance;

struct listener {
	struct unit_listen place; /* of systemd:NAME, with the address that it has */
	struct fd_ref *ref;       /* NULL: it is not held, as @why says */
	unsigned long long inode;
	struct why why;
	struct socket_file file;  /* of a path: which one it is. @inode 0: we did not make it */
	bool shared; /* a process may have it: it was given to one, or comes from there */
	bool unused; /* who serves has not taken it */
};

/* Those of two versions, while both may serve yet. A zeroed one has none. */
struct listeners {
	struct listener *list;
	size_t n;
	const struct activation *activation; /* what systemd has opened; NULL: nothing */
};

/**
 * listeners_open() - Hold all that @unit names; what is held already stays.
 * @anew: also what no version that was started had a use for.
 * @serving: NULL, or a process of the service: what it listens at itself is taken from it. One that cannot be taken is not held,
 *           and that is no failure.
 * @ret_failed: where @unit says so, if the address cannot be had; else NULL.
 *
 * Return: 0; -EADDRINUSE or another -errno with file and line in @why, and then nothing was opened.
 */
int listeners_open(struct listeners *listeners, const struct unit *unit, bool anew, const struct instance *serving,
		   const struct unit_listen **ret_failed, struct why *why);

/** listeners_regain() - Hold what @unit names and @serving has, as a supervisor before this one opened it. Nothing is opened. */
void listeners_regain(struct listeners *listeners, const struct unit *unit, const struct instance *serving);

/** listeners_keep() - Close all that none of the @n @units names. NULL among them is allowed. */
void listeners_keep(struct listeners *listeners, const struct unit *const *units, size_t n);

/** listeners_give() - @to, which was just started with @unit, gets duplicates of what @unit names when it stands by; but for those
 * that @serving (NULL: nobody) has, which moves by the roll. */
void listeners_give(struct listeners *listeners, const struct unit *unit, const struct instance *serving, struct instance *to);

/** listeners_settle() - @serving serves: close what @unit names and it does not have, as clients would wait for ever there. Paths
 * are made its user's own. */
void listeners_settle(struct listeners *listeners, const struct unit *unit, const struct instance *serving);

/**
 * listeners_put() - Leave those that are held to the program that takes our place, so that nobody who waits there is lost.
 * @left: gets the list, borrowing from @listeners; release it with listeners_packed_done().
 */
void listeners_put(const struct listeners *listeners, struct carry *carry, Upgraded__Carry__Service *left);
void listeners_packed_done(Upgraded__Carry__Service *left);

/** listeners_take_left() - Hold those that the program before has left. One that cannot be had is left out. */
void listeners_take_left(struct listeners *listeners, struct carry *carry, const Upgraded__Carry__Service *left);

/** listeners_clear() - Close all, and release the list. */
void listeners_clear(struct listeners *listeners);
