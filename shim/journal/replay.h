/* SPDX-License-Identifier: MIT */
/* The journal of a successor that failed, taken over by the version that resumes. Its registered threads stand all the while. */
#pragma once

#include "shim/upgrade.h"
#include "wire/wire.h"

#include <stdint.h>

struct journal;
struct replay;
struct shed;
struct why;

/** replay_new() - Look at the journal @fd (borrowed) before anything is touched. One that is of no use is no failure: then
 * *@ret_replay resumes without it, and replay_unused() says why. @own is what connections are opened with; it and @shed are
 * borrowed. Return: 0 or -ENOMEM. */
int replay_new(struct journal *own, struct shed *shed, int fd, struct replay **ret_replay, struct why *why);
struct replay *replay_free(struct replay *replay); /* NULL allowed; returns NULL */

/** replay_unused() - Why nothing is taken from the journal; "": it is used. */
const char *replay_unused(const struct replay *replay);

/** replay_take_fd() - Keep one descriptor of the Resume for now, or put it back at its number. Return: 0: @fd is kept or
 * closed; FDS_NOT_KEPT; -errno. */
int replay_take_fd(struct replay *replay, const Upgraded__Wire__FdInfo *info, int fd, struct why *why);

/** replay_apply() - Every descriptor has come: apply the changes, give the connections their bytes, hand over those that are new.
 * Return: 0; -errno: the application's state is of no use any more. */
int replay_apply(struct replay *replay, struct why *why);

/** replay_counts() - For the report: changes applied, connections adopted, connections reset. */
void replay_counts(const struct replay *replay, uint64_t *ret_changes, uint64_t *ret_adopted, uint64_t *ret_reset);
