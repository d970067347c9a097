/* SPDX-License-Identifier: MIT */
/* Taking the place of a process that ended outside of a roll: what it has done since its checkpoint is in its journals. */
#pragma once

#include "wire/app.h"

#include <stddef.h>

struct held;
struct journal;
struct why;

/** held_new() - Look at the journals @fds (borrowed), the oldest first, before anything is loaded. Ones of no use are no
 * failure: then the checkpoint alone is what counts, and held_tell() says why. @own is what connections are opened with,
 * borrowed. Return: 0 or -ENOMEM. */
int held_new(struct journal *own, const int *fds, size_t n, struct held **ret_held, struct why *why);
struct held *held_free(struct held *held); /* NULL allowed; returns NULL */

/** held_take_fd() - One descriptor that it had: the checkpoint's load may claim it, or it waits for held_apply(). Return: as
 * fds_take_fn. */
int held_take_fd(struct held *held, const Upgraded__Wire__FdInfo *info, int fd, struct why *why);

/** held_apply() - The checkpoint is loaded: apply the changes, give the connections their bytes, hand over those that were
 * accepted since. Return: 0; -errno: the application's state is of no use. */
int held_apply(struct held *held, struct why *why);

/** held_tell() - For the supervisor. @ret: borrowed until held_free(). */
void held_tell(const struct held *held, Upgraded__Wire__Replayed *ret);
