/* SPDX-License-Identifier: MIT */
/* What a journal costs: per change, per request without one, and per request of a client over TCP, with the journal on against
 * the same with it off, in one run; and that of a program whose buffers are its own against one with the library's. Each figure is
 * the best of several alternating rounds, as the machine is shared. Most of what a change costs is fresh memory for the log. */
#include "base/clock.h"
#include "base/fd.h"
#include "shim/core/upg.h"
#include "shim/journal/memory.h"
#include "statefmt/statefmt.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench.pb-c.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROUNDS 7u
#define REQUESTS 100000u
#define TCP_ROUNDS 25u
#define TCP_REQUESTS 4000u
#define REQUEST_BYTES 100u
#define JOURNAL_BYTES ((off_t)256 << 20)

#define MUST(condition) ((condition) ? (void)0 : broken(__LINE__, #condition))

static void broken(int line, const char *what)
{
	fprintf(stderr, "bench_journal: line %d: %s\n", line, what);
	exit(EXIT_FAILURE);
}

static int no_change(struct upg_loader *loader, enum upg_change change, const ProtobufCMessage *message, void *userdata)
{
	(void)loader, (void)change, (void)message, (void)userdata;
	return 0;
}

static int down(struct upg_step *step, const ProtobufCMessage *from, ProtobufCMessage *to)
{
	const Bench__ItemV2 *newer = (const void *)from;
	Bench__ItemV1 *older = (void *)to;

	(void)step;
	older->key = newer->key;
	older->value = newer->value;
	older->flags = newer->flags;
	older->cas = newer->cas;
	return 0;
}

#define V1 (&bench__item_v1__descriptor)
#define V2 (&bench__item_v2__descriptor)

static const struct upg_type types[2][1] = {
	{ { .name = "bench.Item", .version = 1, .descriptor = V1, .change = no_change } },
	{ { .name = "bench.Item", .version = 2, .descriptor = V2, .change = no_change } },
};
static const struct upg_migration migrations[] = { { "bench.Item", 2, 1, V2, V1, down } };
static const struct upg_config configs[2] = {
	{ .types = types[0], .n_types = 1 },
	{ .types = types[1], .n_types = 1, .migrations = migrations, .n_migrations = 1 },
};

/* ---- one round's process: a connection, and perhaps a journal ---- */

struct round {
	struct upg *upg;
	struct upg_conn *conn;
	int peer;
};

static void attach(struct upg *upg)
{
	const struct sf_schema schema = { .name = "bench.Item", .version = 1, .descriptor = V1 };
	const struct sf_header header = { .service = "bench", .app_version = "1", .schemas = &schema, .n_schemas = 1 };
	int fd = memfd_create("journal", MFD_CLOEXEC);

	MUST(fd >= 0 && ftruncate(fd, JOURNAL_BYTES) == 0);
	journal_attach(upg->journal, fd);
	fd_close(fd);
	journal_bind(upg->journal, &header);
	journal_begin(upg->journal);
	MUST(upg_journal_on(upg));
}

static void connect_pair(int *ret_server, int *ret_client)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	MUST(bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 1) == 0);
	MUST(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
	*ret_client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(connect(*ret_client, (struct sockaddr *)&address, sizeof(address)) == 0);
	*ret_server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	MUST(*ret_server >= 0);
	setsockopt(*ret_server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(*ret_client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	fd_close(listener);
}

static void round_open(struct round *round, unsigned version, bool journal)
{
	int server;

	MUST(upg_open(&configs[version - 1], &round->upg) == 0);
	connect_pair(&server, &round->peer);
	if (journal)
		attach(round->upg);
	MUST(upg_conn_open(round->upg, server, "client", 1, &round->conn) == 0);
}

static void round_close(struct round *round)
{
	/* Nothing was cut short. */
	MUST(!round->upg->journal->map || !atomic_load(&round->upg->journal->header->is_void));
	upg_conn_close(round->conn, -1);
	fd_close(round->peer);
	upg_free(round->upg);
}

/* ---- what a round does; each returns nanoseconds for one ---- */

static void mark_change(struct round *round, unsigned version, unsigned i)
{
	static uint8_t key[15] = "key:00000000000", value[64];
	Bench__ItemV1 v1 = BENCH__ITEM_V1__INIT;
	Bench__ItemV2 v2 = BENCH__ITEM_V2__INIT;

	v1.key = v2.key = (ProtobufCBinaryData){ .data = key, .len = sizeof(key) };
	v1.value = v2.value = (ProtobufCBinaryData){ .data = value, .len = sizeof(value) };
	v1.flags = v2.flags = i;
	v1.cas = v2.cas = i;
	MUST(upg_changed(round->upg, round->conn, "bench.Item", UPG_PUT, version == 1 ? &v1.base : &v2.base) == 0);
}

/* Requests that are there already: what the library adds, and no system call. */
static double run_memory(unsigned version, bool journal, bool changes)
{
	static const uint8_t request[REQUEST_BYTES];
	struct round round;
	uint64_t begun;

	round_open(&round, version, journal);
	for (unsigned i = 0; i < REQUESTS / 1000; i++)
		MUST(upg_conn_restore(round.conn, request, 1000, NULL, 0) == 0);
	begun = clock_now_us();
	for (unsigned i = 0; i < REQUESTS; i++) {
		if (changes && upg_journal_on(round.upg))
			mark_change(&round, version, i);
		MUST(upg_conn_done(round.conn, 1) == 0);
	}
	begun = clock_now_us() - begun;
	round_close(&round);
	return (double)begun * 1000 / REQUESTS;
}

static void serve_library(struct round *round, const uint8_t *answer, bool changes, unsigned i)
{
	MUST(upg_conn_receive(round->conn, 4096) == (ssize_t)REQUEST_BYTES);
	if (changes && upg_journal_on(round->upg))
		mark_change(round, 1, i);
	MUST(upg_conn_put(round->conn, answer, REQUEST_BYTES) == 0);
	MUST(upg_conn_done(round->conn, REQUEST_BYTES) == 0);
	MUST(upg_conn_send(round->conn) == 0);
}

static void serve_own(struct round *round, const uint8_t *answer, bool changes, unsigned i)
{
	static uint8_t input[4096];

	MUST(upg_conn_read(round->conn, input, sizeof(input)) == (ssize_t)REQUEST_BYTES);
	if (changes && upg_journal_on(round->upg))
		mark_change(round, 1, i);
	MUST(upg_conn_put(round->conn, answer, REQUEST_BYTES) == 0);
	MUST(upg_conn_done(round->conn, REQUEST_BYTES) == 0);
	MUST(send(upg_conn_fd(round->conn), answer, REQUEST_BYTES, MSG_NOSIGNAL) == (ssize_t)REQUEST_BYTES);
	MUST(upg_conn_sent(round->conn, REQUEST_BYTES) == 0);
}

/* What the library adds to a request of a program with buffers of its own. */
static double run_own_memory(bool journal)
{
	static const uint8_t bytes[REQUEST_BYTES];
	struct round round;
	uint64_t begun;

	round_open(&round, 1, journal);
	upg_conn_own(round.conn);
	begun = clock_now_us();
	for (unsigned i = 0; i < REQUESTS; i++) {
		MUST(upg_conn_received(round.conn, bytes, sizeof(bytes)) == 0);
		MUST(upg_conn_put(round.conn, bytes, sizeof(bytes)) == 0);
		MUST(upg_conn_done(round.conn, sizeof(bytes)) == 0);
		MUST(upg_conn_sent(round.conn, sizeof(bytes)) == 0);
	}
	begun = clock_now_us() - begun;
	round_close(&round);
	return (double)begun * 1000 / REQUESTS;
}

/* A client that sends a request and waits for its answer, in turns with the server. */
static double run_tcp(bool own, bool journal, bool changes)
{
	uint8_t request[REQUEST_BYTES] = { 0 };
	struct round round;
	uint64_t begun;

	round_open(&round, 1, journal);
	if (own)
		upg_conn_own(round.conn);
	begun = clock_now_us();
	for (unsigned i = 0; i < TCP_REQUESTS; i++) {
		MUST(send(round.peer, request, sizeof(request), 0) == (ssize_t)sizeof(request));
		(own ? serve_own : serve_library)(&round, request, changes, i);
		MUST(recv(round.peer, request, sizeof(request), MSG_WAITALL) == (ssize_t)sizeof(request));
	}
	begun = clock_now_us() - begun;
	round_close(&round);
	return (double)begun * 1000 / TCP_REQUESTS;
}

static double lower(double a, double b)
{
	return a < b ? a : b;
}

int main(void)
{
	double plain = 1e9, cursor = 1e9, change = 1e9, migrated = 1e9;
	double tcp_off = 1e9, tcp_read = 1e9, tcp_write = 1e9, own_off = 1e9, own_on = 1e9;
	double ratios_off[TCP_ROUNDS], ratios_on[TCP_ROUNDS]; /* of neighbours in time, which the machine disturbs alike */
	struct bench bench = { 0 };

	for (unsigned i = 0; i < ROUNDS; i++) {
		plain = lower(plain, run_memory(1, false, true));
		cursor = lower(cursor, run_memory(1, true, false));
		change = lower(change, run_memory(1, true, true));
		migrated = lower(migrated, run_memory(2, true, true));
		own_off = lower(own_off, run_own_memory(false));
		own_on = lower(own_on, run_own_memory(true));
	}
	for (unsigned i = 0; i < TCP_ROUNDS; i++) {
		double off = run_tcp(false, false, true), write = run_tcp(false, true, true);

		ratios_off[i] = run_tcp(true, false, true) / off;
		ratios_on[i] = run_tcp(true, true, true) / write;
		tcp_off = lower(tcp_off, off);
		tcp_read = lower(tcp_read, run_tcp(false, true, false));
		tcp_write = lower(tcp_write, write);
	}
	printf("journal: request in memory, off %.0f ns, on %.0f ns, with a change %.0f ns, migrated down %.0f ns\n", plain, cursor,
	       change, migrated);
	printf("journal: request over TCP, off %.0f ns, on %.0f ns, with a change %.0f ns\n", tcp_off, tcp_read, tcp_write);
	printf("journal: own buffers, request in memory, off %.0f ns, on %.0f ns\n", own_off, own_on);
	bench_row(&bench, "journal: a request without changes", cursor - plain, "ns", 30, false);
	bench_row(&bench, "journal: one change, 90 bytes", change - plain, "ns", 600, false);
	bench_row(&bench, "journal: one change, migrated down", migrated - plain, "ns", 1000, false);
	bench_row(&bench, "journal: reading request over TCP, on / off", tcp_read / tcp_off, "", 1.10, false);
	bench_row(&bench, "journal: changing request over TCP, on / off", tcp_write / tcp_off, "", 1.25, false);
	bench_row(&bench, "journal: own buffers, request in memory, off", own_off, "ns", 30, false);
	bench_row(&bench, "journal: own buffers, request in memory, on", own_on, "ns", 100, false);
	bench_row(&bench, "journal: over TCP, off, own buffers / library's", bench_median(ratios_off, TCP_ROUNDS), "", 1.10, false);
	bench_row(&bench, "journal: over TCP, on, own buffers / library's", bench_median(ratios_on, TCP_ROUNDS), "", 1.10, false);
	return bench_end(&bench);
}
