/* SPDX-License-Identifier: MIT */
/* Which connection a socket is. The kernel finds it by its addresses. */
#pragma once

#include <linux/inet_diag.h>
#include <stdint.h>

#define CONN_NO_TCP 1 /* conn_identify(): some other socket, or none */

/* The inode tells a socket from a later one with the same addresses. */
struct conn_id {
	unsigned long long inode;
	uint8_t family;          /* 0: it has no peer, so there is nothing to find */
	struct inet_diag_sockid addresses;
};

/**
 * conn_identify() - Find out which connection @fd is. Once is enough: the addresses of a connection do not change.
 *
 * Return: 0; CONN_NO_TCP: it is no TCP connection (a listener is none), of @ret_id only the inode is set; -errno.
 */
int conn_identify(int fd, struct conn_id *ret_id);

/** conn_bound_interface() - The interface that @fd is bound to; without it the connection is not found. Return: 0: none. */
uint32_t conn_bound_interface(int fd);
