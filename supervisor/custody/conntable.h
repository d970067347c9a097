/* SPDX-License-Identifier: MIT */
/* How far each TCP connection has been read and written, as the kernel counts it.
 *
 * At commit the supervisor notes this for the connections it hands over. If the earlier version has to take over again, a
 * connection on which nothing moved since can go on; on the others the failed version has already read or answered, and
 * those bytes are not there for anybody else to interpret.
 */
#pragma once

#include <linux/inet_diag.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conntable;
struct why;

#define CONN_PEER_MAX 56u /* "[IPv6]:port" */
#define CONN_NO_TCP 1     /* conn_identify(): some other socket, or none */

/* Which socket is meant: the kernel finds it by its addresses, and its inode tells it from another with the same. */
struct conn_id {
	unsigned long long inode;
	uint8_t family;          /* 0: it has no peer, so there is nothing to find */
	struct inet_diag_sockid addresses;
};

struct conn {
	unsigned long long inode;
	uint64_t consumed;       /* bytes the application has read, up to a constant */
	uint64_t written;        /* bytes the application has written, up to a constant */
	bool present;            /* false: the kernel has no such connection (any more), e.g. after a reset */
	bool stable;             /* no packet came between the halves of a sum; only then do the numbers mean anything */
	uint8_t state;           /* TCP_ESTABLISHED, TCP_CLOSE_WAIT, ... of <netinet/tcp.h> */
};

/* One entry for each connection asked for, by ascending inode. */
struct conn_sample {
	struct conn *conn;
	size_t n;
	unsigned readings;       /* of each connection, at most */
	uint64_t taken_us;       /* CLOCK_MONOTONIC, when it was done */
};

/* How a connection compares between two samples. */
enum conn_change {
	CONN_SAME,               /* nothing was read from it or written to it */
	CONN_MOVED,
	CONN_GONE,               /* it ended: there is nothing to go on with */
	CONN_UNKNOWN,            /* unstable or missing in the earlier sample; treat it as moved */
};

/** conntable_new() - Return: 0; -errno if the kernel offers no sock_diag. */
int conntable_new(struct conntable **ret_table, struct why *why);

/** conntable_free() - Return: NULL. */
struct conntable *conntable_free(struct conntable *table);

/**
 * conn_identify() - What conntable_sample() has to know of @fd; once, as the addresses of a connection do not change.
 *
 * Return: 0; CONN_NO_TCP: it is no TCP connection (a listener is none), of @ret_id only the inode is set; -errno.
 */
int conn_identify(int fd, struct conn_id *ret_id);

/** conn_bound_interface() - The interface that @fd is bound to, without which its connection cannot be found; 0: none. */
uint32_t conn_bound_interface(int fd);

/** conn_peer() - The other end, for people. Return: @buf. */
const char *conn_peer(const struct conn_id *id, char buf[static CONN_PEER_MAX]);

/**
 * conntable_sample() - Look at some connections.
 * @ids:         of the sockets, in any order. Twice the same counts once.
 * @deadline_us: monotonic. When it passes, what is not stable by then is left marked so.
 * @ret_sample:  release with conn_sample_done().
 *
 * The kernel reads a connection's counters one after the other, and a packet may come between two of them, so each that was not
 * quiet is read until two readings agree, within a bound.
 *
 * Sees the network namespace that the calling process was in at conntable_new().
 *
 * Return: 0; -errno. Never waits for a peer; less than 1 us for each connection and reading.
 */
int conntable_sample(struct conntable *table, const struct conn_id *ids, size_t n, uint64_t deadline_us,
		     struct conn_sample *ret_sample, struct why *why);

/** conn_sample_done() - Safe on a zeroed one. */
void conn_sample_done(struct conn_sample *sample);

/** conn_sample_find() - Return: borrowed from @sample; NULL if it was not asked about. */
const struct conn *conn_sample_find(const struct conn_sample *sample, unsigned long long inode);

/** conntable_compare() - What happened to @inode between two samples. */
enum conn_change conntable_compare(const struct conn_sample *before, const struct conn_sample *after,
				   unsigned long long inode);
