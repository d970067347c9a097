/* SPDX-License-Identifier: MIT */
/*
 * The two numbers, from what the kernel tells of a connection:
 *
 *     consumed = tcpi_bytes_received - rqueue     all that came in order, less what still lies unread
 *     written  = tcpi_bytes_acked + wqueue        all that the peer has, plus what still lies unsent or unacknowledged
 *
 * rqueue is rcv_nxt - copied_seq and bytes_received follows rcv_nxt, so what the peer sends cancels out and only a read by
 * the application moves `consumed`; likewise for `written`. SYN and FIN count as a byte in both halves or from the start, so the
 * sums are off by a constant, which does not matter: they are only ever compared. A FIN of our own moves `written`, which
 * is right, as the stream has an end then; reading the peer's end-of-file moves `consumed`, right too.
 */
#include "supervisor/conntable.h"

#include "base/clock.h"
#include "base/why.h"
#include "supervisor/sockdiag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/tcp.h> /* not netinet/tcp.h: its struct tcp_info ends before the byte counts */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define READINGS_MAX 16u

/* Of the kernel's TCP states, those that a descriptor can stand behind, without listeners (10). What waits out its time
 * (6) or is still shaking hands (12) belongs to no process yet or any more. */
#define STATES_WANTED (0xfffu & ~(1u << 6) & ~(1u << 10))

#define END_OF(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

struct conntable {
	struct sockdiag *diag; /* NULL after a failure; opened again by the next sample */
};

struct reading {
	struct conn *conn;
	size_t n;
	bool counters_missing;
};

int conntable_new(struct conntable **ret_table, struct why *why)
{
	struct conntable *table = calloc(1, sizeof(*table));
	int r;

	if (!table)
		return why_errno(why, -ENOMEM, "table of connections");
	r = sockdiag_new(&table->diag, why);
	if (r < 0) {
		free(table);
		return r;
	}
	*ret_table = table;
	return 0;
}

struct conntable *conntable_free(struct conntable *table)
{
	if (table)
		sockdiag_free(table->diag);
	free(table);
	return NULL;
}

static int conn_compare(const void *a, const void *b)
{
	const struct conn *x = a, *y = b;

	return (x->inode > y->inode) - (x->inode < y->inode);
}

static struct conn *conn_find(struct conn *conn, size_t n, unsigned long long inode)
{
	struct conn key = { .inode = inode };

	return n ? bsearch(&key, conn, n, sizeof(*conn), conn_compare) : NULL;
}

static void peer_print(struct conn *conn, const struct inet_diag_msg *entry)
{
	char address[INET6_ADDRSTRLEN] = "?";

	inet_ntop(entry->idiag_family, entry->id.idiag_dst, address, sizeof(address));
	snprintf(conn->peer, sizeof(conn->peer), entry->idiag_family == AF_INET6 ? "[%s]:%u" : "%s:%u", address,
		 (unsigned)ntohs(entry->id.idiag_dport));
}

static void on_entry(const void *data, size_t size, void *userdata)
{
	struct reading *reading = userdata;
	const struct inet_diag_msg *entry = data;
	struct tcp_info info = { 0 };
	const void *attribute;
	struct conn *conn;
	size_t length = 0;

	if (size < sizeof(*entry))
		return;
	conn = entry->idiag_inode ? conn_find(reading->conn, reading->n, entry->idiag_inode) : NULL;
	if (!conn)
		return;
	attribute = sockdiag_attribute(data, size, sizeof(*entry), INET_DIAG_INFO, &length);
	/* The kernel's structure may be older and shorter than ours, or newer and longer. */
	if (!attribute || length < END_OF(struct tcp_info, tcpi_bytes_received)) {
		reading->counters_missing = true;
		return;
	}
	memcpy(&info, attribute, length < sizeof(info) ? length : sizeof(info));
	conn->present = true;
	conn->state = entry->idiag_state;
	conn->consumed = info.tcpi_bytes_received - entry->idiag_rqueue;
	conn->written = info.tcpi_bytes_acked + entry->idiag_wqueue;
	if (!conn->peer[0])
		peer_print(conn, entry);
}

static int read_family(struct conntable *table, uint8_t family, struct reading *reading, struct why *why)
{
	struct inet_diag_req_v2 request = { .sdiag_family = family, .sdiag_protocol = IPPROTO_TCP,
					    .idiag_ext = 1u << (INET_DIAG_INFO - 1), .idiag_states = STATES_WANTED };

	return sockdiag_dump(table->diag, &request, sizeof(request), on_entry, reading, why);
}

/* A list that changed while it was read is fine: what was changed in it is not stable, and is read again. */
static int read_once(struct conntable *table, struct reading *reading, struct why *why)
{
	int r = 0;

	if (!table->diag)
		r = sockdiag_new(&table->diag, why);
	if (r == 0)
		r = read_family(table, AF_INET, reading, why);
	if (r == 0 || r == -EINTR)
		r = read_family(table, AF_INET6, reading, why);
	if (r < 0 && r != -EINTR) {
		table->diag = sockdiag_free(table->diag);
		return r;
	}
	if (reading->counters_missing)
		return why_set(why, -ENOTSUP, "this kernel does not count the bytes of a connection (Linux 4.1 does)");
	return 0;
}

static bool conn_agrees(const struct conn *a, const struct conn *b)
{
	if (!a->present || !b->present)
		return a->present == b->present;
	return a->consumed == b->consumed && a->written == b->written;
}

/* What agreed once is settled: that the application may go on with it later is not this sample's matter. Return: how many
 * are not settled yet. */
static size_t settle(struct conn_sample *sample, const struct conn *fresh)
{
	size_t open = 0;

	for (size_t i = 0; i < sample->n; i++) {
		struct conn *conn = &sample->conn[i];

		if (conn->stable)
			continue;
		conn->stable = sample->readings > 1 && conn_agrees(conn, &fresh[i]);
		conn->present = fresh[i].present;
		conn->state = fresh[i].state;
		conn->consumed = fresh[i].consumed;
		conn->written = fresh[i].written;
		memcpy(conn->peer, fresh[i].peer, sizeof(conn->peer));
		open += !conn->stable;
	}
	return open;
}

static void conn_list(struct conn_sample *sample, const unsigned long long *inodes, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		sample->conn[i].inode = inodes[i];
	qsort(sample->conn, n, sizeof(*sample->conn), conn_compare);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || sample->conn[kept - 1].inode != sample->conn[i].inode)
			sample->conn[kept++].inode = sample->conn[i].inode;
	sample->n = kept;
}

static int sample_fill(struct conntable *table, struct conn_sample *sample, struct conn *fresh, uint64_t deadline_us,
		       struct why *why)
{
	struct reading reading = { .conn = fresh, .n = sample->n };
	size_t open;
	int r;

	do {
		for (size_t i = 0; i < sample->n; i++)
			fresh[i] = (struct conn){ .inode = sample->conn[i].inode };
		r = read_once(table, &reading, why);
		if (r < 0)
			return r;
		sample->readings++;
		open = settle(sample, fresh);
	} while (open > 0 && sample->readings < READINGS_MAX && clock_now_us() < deadline_us);
	return 0;
}

int conntable_sample(struct conntable *table, const unsigned long long *inodes, size_t n, uint64_t deadline_us,
		     struct conn_sample *ret_sample, struct why *why)
{
	struct conn_sample sample = { 0 };
	struct conn *fresh;
	int r = 0;

	sample.conn = calloc(n + 1, sizeof(*sample.conn));
	fresh = calloc(n + 1, sizeof(*fresh));
	if (!sample.conn || !fresh) {
		r = why_errno(why, -ENOMEM, "table of %zu connections", n);
	} else if (n > 0) {
		conn_list(&sample, inodes, n);
		r = sample_fill(table, &sample, fresh, deadline_us, why);
	}
	free(fresh);
	if (r < 0) {
		conn_sample_done(&sample);
		return r;
	}
	sample.taken_us = clock_now_us();
	*ret_sample = sample;
	return 0;
}

void conn_sample_done(struct conn_sample *sample)
{
	free(sample->conn);
	*sample = (struct conn_sample){ 0 };
}

const struct conn *conn_sample_find(const struct conn_sample *sample, unsigned long long inode)
{
	return conn_find(sample->conn, sample->n, inode);
}

enum conn_change conntable_compare(const struct conn_sample *before, const struct conn_sample *after,
				   unsigned long long inode)
{
	const struct conn *was = conn_sample_find(before, inode);
	const struct conn *is = conn_sample_find(after, inode);

	if (is && is->stable && !is->present)
		return CONN_GONE;
	if (!was || !was->stable || !was->present || !is)
		return CONN_UNKNOWN;
	/* Not stable is in motion: somebody reads or writes right now. */
	if (!is->stable || was->consumed != is->consumed || was->written != is->written)
		return CONN_MOVED;
	return CONN_SAME;
}
