/* SPDX-License-Identifier: MIT */
/* Sockets by which something new comes in, from peers that nobody knows yet. A version that comes back needs all of its own: a
 * connection that is lost costs one client, a door that is lost costs all of them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct sockaddr;

enum door {
	DOOR_NONE,      /* a connection, or no socket at all */
	DOOR_LISTENER,
	DOOR_DATAGRAMS, /* a socket of datagrams that is connected to nobody */
};

/** door_kind() - What is @fd? */
enum door door_kind(int fd);

/** door_is_open() - Can anything still come in by @fd, which was of this kind? Somebody who holds a duplicate may have shut it
 * down. */
bool door_is_open(int fd, enum door kind);

/* A door that is open, so that it can be opened again. */
struct door_place {
	enum door kind;
	_Alignas(8) char at[128]; /* a struct sockaddr */
	unsigned at_bytes;
	int backlog; /* of a listener: how many may wait; where the kernel does not tell, as many as it allows */
};

/** door_note() - Look at @fd. Return: false: it is no door. */
bool door_note(int fd, struct door_place *ret);

/** door_reopen() - A listener that was shut down listens again, at the same place. Return: 0, also if it is open; -errno: it cannot
 * be opened any more. */
int door_reopen(int fd, const struct door_place *place);

/** door_address() - Where it is, for people: "127.0.0.1:80", "/run/web.sock", "@abstract"; "" where there is nothing to say.
 * Return: @buf. */
const char *door_address(int fd, char *buf, size_t size);
/** door_text() - The same for an address. */
const char *door_text(const struct sockaddr *at, unsigned at_bytes, char *buf, size_t size);

/** door_is_reachable() - Does the path at which a unix socket listens still lead to a socket? A version that ends in good order
 * removes its own. Also true for what has no path. */
bool door_is_reachable(int fd);
