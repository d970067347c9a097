/* SPDX-License-Identifier: MIT */
#include "base/fd_ref.h"

#include "base/closer.h"
#include "base/fd.h"

#include <stdlib.h>

static int let_go(int fd, bool foreign)
{
	return foreign ? fd_give_up(fd) : fd_close(fd);
}

static struct fd_ref *make(int fd, bool foreign)
{
	struct fd_ref *ref = malloc(sizeof(*ref));

	if (ref)
		*ref = (struct fd_ref){ .fd = fd, .owners = 1, .foreign = foreign };
	else
		let_go(fd, foreign);
	return ref;
}

struct fd_ref *fd_ref_new(int fd_consume)
{
	return make(fd_consume, false);
}

struct fd_ref *fd_ref_new_foreign(int fd_consume)
{
	return make(fd_consume, true);
}

struct fd_ref *fd_ref_use(struct fd_ref *ref)
{
	ref->owners++;
	return ref;
}

struct fd_ref *fd_ref_drop(struct fd_ref *ref)
{
	if (ref && --ref->owners == 0) {
		let_go(ref->fd, ref->foreign);
		free(ref);
	}
	return NULL;
}
