/* SPDX-License-Identifier: MIT */
/* Custody on its way from the program that a supervisor is to the one that takes its place by execve(2). */
#pragma once

#include "supervisor/carry/carry.h"
#include "supervisor/custody/custody.h"
#include "supervisor/custody/names.h"

/** custody_put() - Leave all of @custody to the next program, behind its roll. */
void custody_put(const struct custody *custody, struct carry *carry);

/**
 * custody_take_left() - What the program before has left.
 * @from: its roll: it has the descriptors that follow, up to the next roll or service.
 * @custody: empty.
 *
 * Return: 0; -EBADMSG: one of them is gone, and it matters; -ENOMEM. Nothing is released then.
 */
int custody_take_left(struct custody *custody, struct carry *carry, const Upgraded__Carry__Item *from, struct why *why);

/** conn_sample_put() - @ret borrows the memory that is returned, to be freed once it is packed. NULL: memory is out, or there is
 * nothing to put. */
void *conn_sample_put(const struct conn_sample *sample, Upgraded__Carry__Sample *ret);
/** conn_sample_take() - Return: 0; -EBADMSG; -ENOMEM. @ret is released with conn_sample_done(). */
int conn_sample_take(const Upgraded__Carry__Sample *sample, struct conn_sample *ret);

/* Names as they are packed. */
struct fd_names_packed {
	Upgraded__Carry__Names names;
	Upgraded__Carry__Name *each, **list;
};

/** fd_names_put() - @ret borrows from @names; release with fd_names_packed_done(). Where memory is out, it is cut. */
void fd_names_put(const struct fd_names *names, struct fd_names_packed *ret);
void fd_names_packed_done(struct fd_names_packed *packed);
/** fd_names_take() - Return: 0 or -ENOMEM. @ret: released with fd_names_done(). */
int fd_names_take(const Upgraded__Carry__Names *names, struct fd_names *ret);
