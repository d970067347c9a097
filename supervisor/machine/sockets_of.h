/* SPDX-License-Identifier: MIT */
/* All sockets that a process has, found by their inodes: many of them are looked for at once. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct sockets_of {
	struct socket_of {
		unsigned long long inode;
		int number;
	} *sockets; /* by ascending inode */
	size_t n, room;
};

/** sockets_of_read() - Those of @pid with a number @below this one. Return: 0; -errno. @ret: released with sockets_of_done(), also
 * after a failure. */
int sockets_of_read(pid_t pid, int below, struct sockets_of *ret);

/** sockets_of_find() - Return: its number in the process, as it was when it was read; -1: it has none. */
int sockets_of_find(const struct sockets_of *sockets, unsigned long long inode);

/** sockets_of_done() - Safe on a zeroed one. */
void sockets_of_done(struct sockets_of *sockets);
