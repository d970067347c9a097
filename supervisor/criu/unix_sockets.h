/* SPDX-License-Identifier: MIT */
/* The kernel's list of unix sockets: who is connected to whom, and what they are bound to. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct why;

struct unix_socket {
	unsigned inode;
	unsigned peer;  /* 0: none */
	char *name;     /* as it was bound: a path, perhaps a relative one; "" for an abstract name; NULL: not bound */
};

struct unix_sockets {
	struct unix_socket *sockets; /* in the order of their inodes */
	size_t n, room;
	bool out_of_memory;
};

/** unix_sockets_read() - @ret: zeroed; release with unix_sockets_done() also after a failure. Return: 0 or -errno. */
int unix_sockets_read(struct unix_sockets *ret, struct why *why);
void unix_sockets_done(struct unix_sockets *list);

/** unix_sockets_find() - Return: NULL if there is none with this inode. */
const struct unix_socket *unix_sockets_find(const struct unix_sockets *list, unsigned long long inode);
