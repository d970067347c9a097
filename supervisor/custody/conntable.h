/* SPDX-License-Identifier: MIT */
/* How far each TCP connection has been read and written, as the kernel counts it.
 *
 * Before the commit the supervisor notes this for the connections that it hands over. If the old version has to take over again, a
 * connection on which nothing moved since can go on. From the others the failed version has read bytes that nobody else has, or it
 * has written to them.
 */
#pragma once

#include "supervisor/custody/conn_id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conntable;
struct why;

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
 * conntable_sample() - Read the counters of some connections.
 * @ids:         in any order. One that is there twice counts once.
 * @deadline_us: monotonic. Connections that are not stable by then are left marked so.
 * @ret_sample:  release with conn_sample_done().
 *
 * The kernel reads a connection's counters one after the other, and a packet may come in between. So a connection that was not
 * quiet is read until two readings agree, up to a number of times.
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

/** conntable_compare() - Tell what happened to @inode between two samples. */
enum conn_change conntable_compare(const struct conn_sample *before, const struct conn_sample *after,
				   unsigned long long inode);
