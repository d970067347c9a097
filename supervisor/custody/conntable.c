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
 *
 * The kernel reads the two halves of a sum one after the other, and a packet may come in between; then the sum is wrong by its
 * length. So a connection is read again until two readings agree: to deceive, packets of the same length would have to hit
 * the same instant of both. One reading is enough where the kernel itself says that there was no packet: it notes when data
 * and when an acknowledgement came last, in the same step that moves the counters, and tells both together with the later
 * half of the sums. A connection that was quiet for longer than that clock's grain cannot have been hit.
 *
 * A read or a write of the application cannot come between two readings: samples are taken while the old version stands still, or
 * when the new one is dead.
 */
#include "supervisor/custody/conntable.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/why.h"
#include "supervisor/custody/sockdiag.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/tcp.h> /* not netinet/tcp.h: its struct tcp_info ends before the byte counts */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define READINGS_MAX 16u
#define QUIET_MS 30u /* three ticks of the kernel's slowest clock */

/* The kernel's TCP states of a connection that a descriptor can belong to: all but listeners (10), those that wait out their time
 * (6) and those that still shake hands (12). */
#define STATES_WANTED (0xfffu & ~(1u << 6) & ~(1u << 10))

#define END_OF(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

/* The answer to one question. */
struct reading {
	uint64_t consumed, written;
	bool present;
	bool quiet; /* no packet can have come between the two halves of a sum */
	uint8_t state;
};

/* A connection that is asked for, before they are in order. */
struct wanted {
	unsigned long long inode;
	const struct conn_id *id;
};

struct conntable {
	struct sockdiag *diag; /* NULL after a failure; opened again by the next sample */
	/* For a sample of @cap connections. Kept for the next sample, which is in a hurry: fresh memory is slow. */
	struct wanted *wanted;
	struct inet_diag_req_v2 *requests; /* for those that are not settled yet */
	struct reading *readings;          /* one for each request */
	size_t *which;                     /* the connection that each request is for */
	size_t cap, n_which;
	const struct conn_sample *sample;
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
	/* Does the kernel tell of TCP sockets at all? The list of those in no state is empty and costs nothing. Asked for a single
	 * socket, the kernel would only say that there is no such one. */
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
	if (!table)
		return NULL;
	sockdiag_free(table->diag);
	free(table->wanted);
	free(table->requests);
	free(table->readings);
	free(table->which);
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

static uint32_t time_at(const void *info, size_t offset)
{
	uint32_t time;

	memcpy(&time, (const char *)info + offset, sizeof(time));
	return time;
}

static uint64_t count_at(const void *info, size_t offset)
{
	uint64_t count;

	memcpy(&count, (const char *)info + offset, sizeof(count));
	return count;
}

static void on_entry(size_t i, const void *data, size_t size, void *userdata)
{
	struct conntable *table = userdata;
	const struct conn *conn = &table->sample->conn[table->which[i]];
	const struct inet_diag_msg *entry = data;
	struct reading *now = &table->readings[i];
	const void *info;
	size_t length = 0;

	/* When the connection has ended, another socket answers: its listener, or a later connection from the same address. */
	if (size < sizeof(*entry) || entry->idiag_inode != (uint32_t)conn->inode || !(STATES_WANTED & 1u << entry->idiag_state))
		return;
	info = sockdiag_attribute(data, size, sizeof(*entry), INET_DIAG_INFO, &length);
	/* The kernel's structure may be older and shorter than ours, or newer and longer. */
	if (!info || length < END_OF(struct tcp_info, tcpi_bytes_received)) {
		table->counters_missing = true;
		return;
	}
	now->present = true;
	now->quiet = time_at(info, offsetof(struct tcp_info, tcpi_last_data_recv)) >= QUIET_MS &&
		      time_at(info, offsetof(struct tcp_info, tcpi_last_ack_recv)) >= QUIET_MS;
	now->state = entry->idiag_state;
	now->consumed = count_at(info, offsetof(struct tcp_info, tcpi_bytes_received)) - entry->idiag_rqueue;
	now->written = count_at(info, offsetof(struct tcp_info, tcpi_bytes_acked)) + entry->idiag_wqueue;
}

static void round_prepare(struct conntable *table, struct conn_sample *sample)
{
	table->n_which = 0;
	for (size_t i = 0; i < sample->n; i++) {
		const struct conn_id *id = table->wanted[i].id;

		if (!id->family)
			sample->conn[i].stable = true; /* nothing to ask for: it has ended */
		if (sample->conn[i].stable)
			continue;
		table->readings[table->n_which] = (struct reading){ .present = false };
		table->requests[table->n_which] = (struct inet_diag_req_v2){
			.sdiag_family = id->family,
			.sdiag_protocol = IPPROTO_TCP,
			.idiag_ext = 1u << (INET_DIAG_INFO - 1),
			.idiag_states = STATES_WANTED,
			.id = id->addresses,
		};
		table->which[table->n_which++] = i;
	}
}

static int round_read(struct conntable *table, struct why *why)
{
	const struct sockdiag_questions questions = { .requests = table->requests, .size_bytes = sizeof(*table->requests),
						      .n = table->n_which, .each = on_entry, .userdata = table };
	int r = 0;

	if (!table->diag)
		r = sockdiag_new(&table->diag, why);
	if (r == 0)
		r = sockdiag_ask(table->diag, &questions, why);
	if (r < 0) {
		table->diag = sockdiag_free(table->diag);
		return r;
	}
	if (table->counters_missing)
		return why_set(why, -ENOTSUP, "this kernel does not count the bytes of a connection (Linux 4.1 does)");
	return 0;
}

static bool agrees(const struct conn *conn, const struct reading *now)
{
	if (!conn->present || !now->present)
		return conn->present == now->present;
	return conn->consumed == now->consumed && conn->written == now->written;
}

/* A connection that is settled stays so for this sample, whatever the application does with it later. Return: how many are not
 * settled yet. */
static size_t settle(const struct conntable *table, struct conn_sample *sample)
{
	size_t open = 0;

	for (size_t i = 0; i < table->n_which; i++) {
		struct conn *conn = &sample->conn[table->which[i]];
		const struct reading *now = &table->readings[i];

		conn->stable = now->quiet || (sample->readings > 1 && agrees(conn, now));
		conn->present = now->present;
		conn->state = now->state;
		conn->consumed = now->consumed;
		conn->written = now->written;
		open += !conn->stable;
	}
	return open;
}

static int wanted_compare(const void *a, const void *b)
{
	const struct wanted *x = a, *y = b;

	return (x->inode > y->inode) - (x->inode < y->inode);
}

static int table_reserve(struct conntable *table, size_t n, struct why *why)
{
	if (n <= table->cap)
		return 0;
	free(table->wanted);
	free(table->requests);
	free(table->readings);
	free(table->which);
	table->cap = 0;
	table->wanted = calloc(n, sizeof(*table->wanted));
	table->requests = calloc(n, sizeof(*table->requests));
	table->readings = calloc(n, sizeof(*table->readings));
	table->which = calloc(n, sizeof(*table->which));
	if (!table->wanted || !table->requests || !table->readings || !table->which)
		return why_errno(why, -ENOMEM, "table of %zu connections", n);
	table->cap = n;
	return 0;
}

/* By inode, and each once. */
static void list_wanted(struct conntable *table, struct conn_sample *sample, const struct conn_id *ids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		table->wanted[i] = (struct wanted){ .inode = ids[i].inode, .id = &ids[i] };
	qsort(table->wanted, n, sizeof(*table->wanted), wanted_compare);
	for (size_t i = 0; i < n; i++) {
		if (sample->n && sample->conn[sample->n - 1].inode == table->wanted[i].inode)
			continue;
		table->wanted[sample->n] = table->wanted[i];
		sample->conn[sample->n++] = (struct conn){ .inode = table->wanted[i].inode };
	}
}

static int sample_fill(struct conntable *table, struct conn_sample *sample, uint64_t deadline_us, struct why *why)
{
	size_t open;
	int r;

	table->sample = sample;
	table->counters_missing = false;
	do {
		round_prepare(table, sample);
		r = round_read(table, why);
		if (r < 0)
			return r;
		sample->readings++;
		open = settle(table, sample);
	} while (open > 0 && sample->readings < READINGS_MAX && clock_now_us() < deadline_us);
	return 0;
}

int conntable_sample(struct conntable *table, const struct conn_id *ids, size_t n, uint64_t deadline_us,
		     struct conn_sample *ret_sample, struct why *why)
{
	struct conn_sample sample = { .conn = calloc(n + 1, sizeof(*sample.conn)) };
	int r = table_reserve(table, n, why);

	if (!sample.conn) {
		r = why_errno(why, -ENOMEM, "table of %zu connections", n);
	} else if (r == 0 && n > 0) {
		list_wanted(table, &sample, ids, n);
		r = sample_fill(table, &sample, deadline_us, why);
	}
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
	/* A connection that is not stable is in motion: packets come right now. */
	if (!is->stable || was->consumed != is->consumed || was->written != is->written)
		return CONN_MOVED;
	return CONN_SAME;
}
