/* SPDX-License-Identifier: MIT */
/* A descriptor with several owners: what waits to be sent owns what it will send, also when whoever queued it has let go. The last
 * owner closes it. Of one thread. */
#pragma once

#include <stdbool.h>

struct fd_ref {
	int fd;
	unsigned owners;
	bool foreign; /* came from a peer that is not trusted: it is given up, see closer.h */
};

/** fd_ref_new() - @fd_consume with one owner, the caller. Return: NULL if memory is out; @fd_consume is closed then. */
struct fd_ref *fd_ref_new(int fd_consume);
/** fd_ref_new_foreign() - The same for a descriptor that somebody sent us. */
struct fd_ref *fd_ref_new_foreign(int fd_consume);

/** fd_ref_use() - One owner more. Return: @ref. */
struct fd_ref *fd_ref_use(struct fd_ref *ref);
/** fd_ref_drop() - One owner less. NULL is allowed. Return: NULL. */
struct fd_ref *fd_ref_drop(struct fd_ref *ref);
