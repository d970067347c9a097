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
#include "base/fd.h"
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
	struct inet_diag_req_v2 *requests; /* for those that are not settled yet */
	size_t *which;                     /* the connection that each request is for */
	size_t n;                          /* requests */
	bool counters_missing;
};

static void no_entry(const void *entry, size_t size, void *userdata)
{
	(void)entry;
	(void)size;
	(void)userdata;
}

int conntable_new(struct conntable **ret_table, struct why *why)
{
	struct conntable *table = calloc(1, sizeof(*table));
	/* A list of sockets in no state at all costs nothing, and tells whether the kernel knows of TCP here: asked for a single
	 * socket, it would only say that there is no such one. */
	const struct inet_diag_req_v2 none = { .sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP };
	int r;

	if (!table)
		return why_errno(why, -ENOMEM, "table of connections");
	r = sockdiag_new(&table->diag, why);
	if (r == 0)
		r = sockdiag_dump(table->diag, &none, sizeof(none), no_entry, NULL, why);
	if (r < 0) {
		conntable_free(table);
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

/* ---- which connection ---- */

static int address_put(const struct sockaddr_storage *address, __be16 *ret_port, __be32 ret_address[4], __u32 *interface)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;

	if (address->ss_family == AF_INET) {
		*ret_port = v4->sin_port;
		ret_address[0] = v4->sin_addr.s_addr;
		return 0;
	}
	if (address->ss_family != AF_INET6)
		return -EAFNOSUPPORT;
	*ret_port = v6->sin6_port;
	memcpy(ret_address, &v6->sin6_addr, sizeof(v6->sin6_addr));
	if (v6->sin6_scope_id)
		*interface = v6->sin6_scope_id;
	return 0;
}

static bool is_listener(int fd)
{
	int listening = 0;
	socklen_t size = sizeof(listening);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening;
}

int conn_identify(int fd, struct conn_id *ret_id)
{
	struct conn_id id = { .addresses = { .idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE } } };
	struct inet_diag_sockid *addresses = &id.addresses;
	struct sockaddr_storage own, peer;
	socklen_t size = sizeof(int);
	int protocol, r = fd_inode(fd, &id.inode);

	if (r < 0)
		return r;
	ret_id->inode = id.inode;
	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) < 0 || protocol != IPPROTO_TCP)
		return CONN_NO_TCP;
	size = sizeof(peer);
	if (getpeername(fd, (struct sockaddr *)&peer, &size) < 0) {
		if (is_listener(fd))
			return CONN_NO_TCP;
		*ret_id = id; /* it has ended */
		return 0;
	}
	size = sizeof(own);
	if (getsockname(fd, (struct sockaddr *)&own, &size) < 0)
		return -errno;
	if (address_put(&own, &addresses->idiag_sport, addresses->idiag_src, &addresses->idiag_if) < 0 ||
	    address_put(&peer, &addresses->idiag_dport, addresses->idiag_dst, &addresses->idiag_if) < 0)
		return CONN_NO_TCP;
	id.family = (uint8_t)own.ss_family;
	*ret_id = id;
	return 0;
}

uint32_t conn_bound_interface(int fd)
{
	int interface = 0;
	socklen_t size = sizeof(interface);

	return getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &interface, &size) == 0 && interface > 0 ? (uint32_t)interface : 0;
}

const char *conn_peer(const struct conn_id *id, char buf[static CONN_PEER_MAX])
{
	char address[INET6_ADDRSTRLEN] = "?";

	inet_ntop(id->family, id->addresses.idiag_dst, address, sizeof(address));
	snprintf(buf, CONN_PEER_MAX, id->family == AF_INET6 ? "[%s]:%u" : "%s:%u", address,
		 (unsigned)ntohs(id->addresses.idiag_dport));
	return buf;
}

/* ---- readings ---- */

static void on_entry(size_t i, const void *data, size_t size, void *userdata)
{
	struct reading *reading = userdata;
	struct conn *conn = &reading->conn[reading->which[i]];
	const struct inet_diag_msg *entry = data;
	struct tcp_info info = { 0 };
	const void *attribute;
	size_t length = 0;

	/* Another one answers in its stead when it has ended: its listener, or a later connection from the same place. */
	if (size < sizeof(*entry) || entry->idiag_inode != (uint32_t)conn->inode || !(STATES_WANTED & 1u << entry->idiag_state))
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
}

static void reading_prepare(struct reading *reading, const struct conn_sample *sample)
{
	reading->n = 0;
	for (size_t i = 0; i < sample->n; i++) {
		const struct conn *conn = &sample->conn[i];

		reading->conn[i] = (struct conn){ .inode = conn->inode };
		if (conn->stable || !conn->id.family)
			continue;
		reading->requests[reading->n] = (struct inet_diag_req_v2){
			.sdiag_family = conn->id.family,
			.sdiag_protocol = IPPROTO_TCP,
			.idiag_ext = 1u << (INET_DIAG_INFO - 1),
			.idiag_states = STATES_WANTED,
			.id = conn->id.addresses,
		};
		reading->which[reading->n++] = i;
	}
}

static int read_once(struct conntable *table, struct reading *reading, struct why *why)
{
	int r = 0;

	if (!table->diag)
		r = sockdiag_new(&table->diag, why);
	if (r == 0)
		r = sockdiag_ask(table->diag, reading->requests, sizeof(*reading->requests), reading->n, on_entry, reading, why);
	if (r < 0) {
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
		open += !conn->stable;
	}
	return open;
}

static void conn_list(struct conn_sample *sample, const struct conn_id *ids, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		sample->conn[i].inode = ids[i].inode;
		sample->conn[i].id = ids[i];
	}
	qsort(sample->conn, n, sizeof(*sample->conn), conn_compare);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || sample->conn[kept - 1].inode != sample->conn[i].inode)
			sample->conn[kept++] = sample->conn[i];
	sample->n = kept;
}

static int sample_fill(struct conntable *table, struct conn_sample *sample, struct reading *reading, uint64_t deadline_us,
		       struct why *why)
{
	size_t open;
	int r;

	do {
		reading_prepare(reading, sample);
		r = read_once(table, reading, why);
		if (r < 0)
			return r;
		sample->readings++;
		open = settle(sample, reading->conn);
	} while (open > 0 && sample->readings < READINGS_MAX && clock_now_us() < deadline_us);
	return 0;
}

int conntable_sample(struct conntable *table, const struct conn_id *ids, size_t n, uint64_t deadline_us,
		     struct conn_sample *ret_sample, struct why *why)
{
	struct conn_sample sample = { .conn = calloc(n + 1, sizeof(*sample.conn)) };
	struct reading reading = {
		.conn = calloc(n + 1, sizeof(*reading.conn)),
		.requests = calloc(n + 1, sizeof(*reading.requests)),
		.which = calloc(n + 1, sizeof(*reading.which)),
	};
	int r = 0;

	if (!sample.conn || !reading.conn || !reading.requests || !reading.which) {
		r = why_errno(why, -ENOMEM, "table of %zu connections", n);
	} else if (n > 0) {
		conn_list(&sample, ids, n);
		r = sample_fill(table, &sample, &reading, deadline_us, why);
	}
	free(reading.conn);
	free(reading.requests);
	free(reading.which);
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
