/* SPDX-License-Identifier: MIT */
/* Listeners that the supervisor has opened for the service (Listen=), on their way to upg_listen(). */
#pragma once

#include "wire/app.h"
#include "wire/name.h"

#include <stddef.h>

struct channel;
struct fd_table;
struct why;

#define FD_GIVEN_MAX 64u

/* Between their message and the moment in which all else is there, too. A zeroed one holds nothing. */
struct fd_given {
	struct {
		int fd;
		char name[WIRE_NAME_MAX + 1]; /* by the service file; "": none */
	} list[FD_GIVEN_MAX];
	size_t n;
};

/** fd_given_take() - Take the descriptors of the message in hand. Return: 0; -EPROTO: not as many came as are named. */
int fd_given_take(struct fd_given *given, struct channel *channel, const Upgraded__Wire__Listeners *message, struct why *why);

/** fd_given_put() - Into the table, under the names that the service file gives them, or under
 * those that upg_listen() finds; nobody need claim them. @given is empty then. Return:
 * 0 or -ENOMEM. Context: the thread that opened the handle, after what a predecessor handed over was put there. */
int fd_given_put(struct fd_given *given, struct fd_table *table, struct why *why);

/** fd_given_done() - Close what was not put anywhere. */
void fd_given_done(struct fd_given *given);
