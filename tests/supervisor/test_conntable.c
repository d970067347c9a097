/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/fd.h"
#include "base/why.h"
#include "supervisor/custody/conntable.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(conntable, .timeout = 60);

/* Both ends of one connection over the loopback: the service's and its client's. */
struct pair {
	int service;
	int client;
	struct conn_id id;
};

static struct conntable *table;

static void set_up(void)
{
	struct why why;

	cr_assert(conntable_new(&table, &why) == 0, "%s", why.text);
}

static void tear_down(void)
{
	table = conntable_free(table);
}

static int listener_open(int family, struct sockaddr_storage *ret_address, socklen_t *ret_length)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	const void *address = family == AF_INET ? (void *)&v4 : (void *)&v6;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert(fd >= 0);
	cr_assert(bind(fd, address, family == AF_INET ? sizeof(v4) : sizeof(v6)) == 0, "%s", strerror(errno));
	cr_assert(listen(fd, 100) == 0);
	*ret_length = sizeof(*ret_address);
	cr_assert(getsockname(fd, (struct sockaddr *)ret_address, ret_length) == 0);
	return fd;
}

static struct pair pair_accept(int listener, const struct sockaddr_storage *address, socklen_t length)
{
	struct pair pair = { .client = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0) };

	cr_assert(pair.client >= 0);
	cr_assert(connect(pair.client, (const struct sockaddr *)address, length) == 0);
	pair.service = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	cr_assert(pair.service >= 0);
	cr_assert(conn_identify(pair.service, &pair.id) == 0);
	return pair;
}

static struct pair pair_open(int family)
{
	struct sockaddr_storage address;
	socklen_t length;
	int listener = listener_open(family, &address, &length);
	struct pair pair = pair_accept(listener, &address, length);

	fd_close(listener);
	return pair;
}

static void pair_close(struct pair *pair)
{
	fd_close(pair->service);
	fd_close(pair->client);
}

static struct conn_sample sample(const struct pair *pair)
{
	struct conn_sample taken;
	struct why why;

	cr_assert(conntable_sample(table, &pair->id, 1, clock_now_us() + USEC_PER_SEC, &taken, &why) == 0, "%s",
		  why.text);
	cr_assert(taken.n == 1 && taken.conn[0].stable);
	return taken;
}

/* Loopback delivers before send() returns, but not by contract. */
static void wait_for_bytes(int fd, int bytes)
{
	uint64_t until_us = clock_now_us() + 10 * USEC_PER_SEC;
	int have = 0;

	while (ioctl(fd, FIONREAD, &have) == 0 && have < bytes && clock_now_us() < until_us)
		;
	cr_assert(have >= bytes);
}

static void say(int fd, size_t n)
{
	char bytes[512] = { 0 };

	cr_assert(send(fd, bytes, n, MSG_NOSIGNAL) == (ssize_t)n);
}

static void hear(int fd, size_t n)
{
	char bytes[512];

	cr_assert(recv(fd, bytes, n, MSG_WAITALL) == (ssize_t)n);
}

static enum conn_change change_by(struct pair *pair, void (*act)(struct pair *pair))
{
	struct conn_sample before = sample(pair), after;
	enum conn_change change;

	act(pair);
	after = sample(pair);
	change = conntable_compare(&before, &after, pair->id.inode);
	conn_sample_done(&before);
	conn_sample_done(&after);
	return change;
}

static void client_sends(struct pair *pair)
{
	say(pair->client, 100);
	wait_for_bytes(pair->service, 100);
}

static void service_reads(struct pair *pair)
{
	hear(pair->service, 40);
}

static void service_writes(struct pair *pair)
{
	say(pair->service, 30);
}

static void client_reads(struct pair *pair)
{
	wait_for_bytes(pair->client, 30);
	hear(pair->client, 30);
}

static void service_peeks(struct pair *pair)
{
	char byte;

	cr_assert(recv(pair->service, &byte, 1, MSG_PEEK) == 1);
}

static void nothing(struct pair *pair)
{
	(void)pair;
}

Test(conntable, only_what_the_service_does_moves_a_connection, .init = set_up, .fini = tear_down)
{
	struct pair pair = pair_open(AF_INET);

	cr_assert(change_by(&pair, nothing) == CONN_SAME);
	cr_assert(change_by(&pair, client_sends) == CONN_SAME, "bytes that lie unread are not consumed");
	cr_assert(change_by(&pair, service_peeks) == CONN_SAME);
	cr_assert(change_by(&pair, service_reads) == CONN_MOVED);
	cr_assert(change_by(&pair, service_writes) == CONN_MOVED);
	cr_assert(change_by(&pair, client_reads) == CONN_SAME, "what was written is written, read or not");
	cr_assert(change_by(&pair, client_sends) == CONN_SAME);
	pair_close(&pair);
}

Test(conntable, counts_bytes_exactly, .init = set_up, .fini = tear_down)
{
	struct pair pair = pair_open(AF_INET);
	struct conn_sample before = sample(&pair), after;

	client_sends(&pair);
	service_reads(&pair);
	service_writes(&pair);
	after = sample(&pair);
	cr_assert(after.conn[0].consumed - before.conn[0].consumed == 40);
	cr_assert(after.conn[0].written - before.conn[0].written == 30);
	conn_sample_done(&before);
	conn_sample_done(&after);
	pair_close(&pair);
}

static size_t written;

static void service_writes_until_full(struct pair *pair)
{
	static char bytes[65536];
	ssize_t n;

	cr_assert(fd_nonblock(pair->service, 1) == 0);
	while ((n = send(pair->service, bytes, sizeof(bytes), MSG_NOSIGNAL)) > 0)
		written += (size_t)n;
	cr_assert(errno == EAGAIN);
}

Test(conntable, counts_what_is_written_although_the_peer_does_not_read, .init = set_up, .fini = tear_down)
{
	struct pair pair = pair_open(AF_INET);
	struct conn_sample before = sample(&pair), after;

	service_writes_until_full(&pair);
	cr_assert(written > 100000);
	after = sample(&pair);
	cr_assert(after.conn[0].written - before.conn[0].written == written, "%zu", written);
	conn_sample_done(&before);
	before = after;
	/* The client takes some, the kernel sends more of it by itself: nothing that the service did. */
	for (int i = 0; i < 200; i++)
		hear(pair.client, 512);
	after = sample(&pair);
	cr_assert(conntable_compare(&before, &after, pair.id.inode) == CONN_SAME);
	conn_sample_done(&before);
	conn_sample_done(&after);
	pair_close(&pair);
}

static void client_ends(struct pair *pair)
{
	struct tcp_info info = { 0 };
	socklen_t length = sizeof(info);
	uint64_t until_us = clock_now_us() + 10 * USEC_PER_SEC;

	cr_assert(shutdown(pair->client, SHUT_WR) == 0);
	while (info.tcpi_state != TCP_CLOSE_WAIT && clock_now_us() < until_us)
		cr_assert(getsockopt(pair->service, IPPROTO_TCP, TCP_INFO, &info, &length) == 0);
}

static void service_reads_the_end(struct pair *pair)
{
	char byte;

	cr_assert(recv(pair->service, &byte, 1, 0) == 0);
}

static void service_ends(struct pair *pair)
{
	cr_assert(shutdown(pair->service, SHUT_WR) == 0);
}

Test(conntable, end_of_stream_is_something_to_read_and_to_write, .init = set_up, .fini = tear_down)
{
	struct pair pair = pair_open(AF_INET);
	struct conn_sample now;

	cr_assert(change_by(&pair, client_ends) == CONN_SAME);
	now = sample(&pair);
	cr_assert(now.conn[0].state == TCP_CLOSE_WAIT);
	conn_sample_done(&now);
	cr_assert(change_by(&pair, service_reads_the_end) == CONN_MOVED);
	pair_close(&pair);

	pair = pair_open(AF_INET);
	cr_assert(change_by(&pair, service_ends) == CONN_MOVED);
	pair_close(&pair);
}

static void client_resets(struct pair *pair)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };
	char byte;

	cr_assert(setsockopt(pair->client, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0);
	pair->client = fd_close(pair->client);
	cr_assert(recv(pair->service, &byte, 1, 0) < 0 && errno == ECONNRESET);
}

Test(conntable, connection_that_was_reset_is_gone, .init = set_up, .fini = tear_down)
{
	struct pair pair = pair_open(AF_INET);

	cr_assert(change_by(&pair, client_resets) == CONN_GONE);
	pair_close(&pair);
}

Test(conntable, listener_does_not_answer_for_a_connection_that_is_gone, .init = set_up, .fini = tear_down)
{
	struct sockaddr_storage address;
	socklen_t length;
	int listener = listener_open(AF_INET, &address, &length);
	struct pair pair = pair_accept(listener, &address, length);
	struct conn_id id;

	cr_assert(conn_identify(listener, &id) == CONN_NO_TCP);
	cr_assert(change_by(&pair, client_resets) == CONN_GONE);
	/* Looked at only now, it has no peer any more. */
	cr_assert(conn_identify(pair.service, &id) == 0 && id.family == 0);
	pair_close(&pair);
	fd_close(listener);
}

Test(conntable, later_connection_from_the_same_place_is_another, .init = set_up, .fini = tear_down)
{
	struct sockaddr_storage address, place;
	socklen_t length, place_length = sizeof(place);
	int listener = listener_open(AF_INET, &address, &length), one = 1;
	struct pair pair = pair_accept(listener, &address, length);
	struct conn_sample before = sample(&pair), after;
	int again, accepted;

	cr_assert(getsockname(pair.client, (struct sockaddr *)&place, &place_length) == 0);
	client_resets(&pair);
	again = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(setsockopt(again, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
	cr_assert(bind(again, (struct sockaddr *)&place, place_length) == 0, "%s", strerror(errno));
	cr_assert(connect(again, (struct sockaddr *)&address, length) == 0, "%s", strerror(errno));
	accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	cr_assert(accepted >= 0);
	after = sample(&pair);
	cr_assert(conntable_compare(&before, &after, pair.id.inode) == CONN_GONE);
	conn_sample_done(&before);
	conn_sample_done(&after);
	fd_close(accepted);
	fd_close(again);
	fd_close(listener);
	pair_close(&pair);
}

Test(conntable, finds_ipv4_behind_an_ipv6_socket, .init = set_up, .fini = tear_down)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_addr = in6addr_any };
	struct sockaddr_in target = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(any);
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pair pair;

	cr_assert(bind(listener, (struct sockaddr *)&any, length) == 0 && listen(listener, 1) == 0);
	cr_assert(getsockname(listener, (struct sockaddr *)&any, &length) == 0);
	target.sin_port = any.sin6_port;
	pair = pair_accept(listener, (struct sockaddr_storage *)(void *)&target, sizeof(target));
	cr_assert(pair.id.family == AF_INET6);
	cr_assert(change_by(&pair, client_sends) == CONN_SAME);
	cr_assert(change_by(&pair, service_reads) == CONN_MOVED);
	pair_close(&pair);
	fd_close(listener);
}

Test(conntable, knows_ipv6_and_names_the_peer, .init = set_up, .fini = tear_down)
{
	struct pair pair = pair_open(AF_INET6);
	struct conn_sample now;
	struct sockaddr_in6 address;
	socklen_t length = sizeof(address);

	cr_assert(change_by(&pair, client_sends) == CONN_SAME);
	cr_assert(change_by(&pair, service_reads) == CONN_MOVED);
	cr_assert(getsockname(pair.client, (struct sockaddr *)&address, &length) == 0);
	now = sample(&pair);
	cr_assert(memcmp(pair.id.addresses.idiag_dst, &in6addr_loopback, sizeof(in6addr_loopback)) == 0);
	cr_assert(pair.id.addresses.idiag_dport == address.sin6_port);
	cr_assert(now.conn[0].state == TCP_ESTABLISHED);
	conn_sample_done(&now);
	pair_close(&pair);
}

Test(conntable, what_it_could_not_look_at_twice_is_not_trusted, .init = set_up, .fini = tear_down)
{
	struct pair pair = pair_open(AF_INET);
	struct conn_sample hasty, sound;
	struct why why;

	client_sends(&pair); /* it is not quiet */
	/* A deadline in the past leaves one reading. */
	cr_assert(conntable_sample(table, &pair.id, 1, 0, &hasty, &why) == 0, "%s", why.text);
	cr_assert(hasty.readings == 1 && !hasty.conn[0].stable && hasty.conn[0].present);
	sound = sample(&pair);
	cr_assert(conntable_compare(&hasty, &sound, pair.id.inode) == CONN_UNKNOWN);
	cr_assert(conntable_compare(&sound, &hasty, pair.id.inode) == CONN_MOVED);
	conn_sample_done(&hasty);
	conn_sample_done(&sound);
	pair_close(&pair);
}

static uint32_t quiet_ms(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t length = sizeof(info);

	cr_assert(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0);
	return info.tcpi_last_data_recv < info.tcpi_last_ack_recv ? info.tcpi_last_data_recv : info.tcpi_last_ack_recv;
}

Test(conntable, quiet_connection_is_looked_at_once, .init = set_up, .fini = tear_down)
{
	struct pair pair = pair_open(AF_INET);
	uint64_t until_us = clock_now_us() + 10 * USEC_PER_SEC;
	struct conn_sample quiet, after;
	struct why why;

	client_sends(&pair);
	while (quiet_ms(pair.service) < 50 && clock_now_us() < until_us)
		usleep(1000);
	cr_assert(conntable_sample(table, &pair.id, 1, until_us, &quiet, &why) == 0, "%s", why.text);
	cr_assert(quiet.readings == 1 && quiet.conn[0].stable && quiet.conn[0].present);
	/* A packet ends the quiet, and does not count as something the service did. */
	client_sends(&pair);
	cr_assert(conntable_sample(table, &pair.id, 1, until_us, &after, &why) == 0, "%s", why.text);
	cr_assert(after.readings >= 2 && after.conn[0].stable);
	cr_assert(conntable_compare(&quiet, &after, pair.id.inode) == CONN_SAME);
	conn_sample_done(&quiet);
	conn_sample_done(&after);
	pair_close(&pair);
}

Test(conntable, answers_for_exactly_what_was_asked, .init = set_up, .fini = tear_down)
{
	struct pair a = pair_open(AF_INET), b = pair_open(AF_INET6);
	struct conn_id wanted[] = { b.id, { .inode = 1 }, a.id, b.id };
	struct conn_sample now;
	struct why why;

	cr_assert(conntable_sample(table, wanted, 4, clock_now_us() + USEC_PER_SEC, &now, &why) == 0, "%s", why.text);
	cr_assert(now.n == 3);
	for (size_t i = 1; i < now.n; i++)
		cr_assert(now.conn[i - 1].inode < now.conn[i].inode);
	cr_assert(conn_sample_find(&now, a.id.inode)->present && conn_sample_find(&now, b.id.inode)->present);
	cr_assert(!conn_sample_find(&now, 1)->present && conn_sample_find(&now, 1)->stable);
	cr_assert(conn_sample_find(&now, 2) == NULL);
	cr_assert(conntable_compare(&now, &now, 2) == CONN_UNKNOWN);
	cr_assert(conntable_compare(&now, &now, 1) == CONN_GONE);
	conn_sample_done(&now);
	cr_assert(conntable_sample(table, NULL, 0, 0, &now, &why) == 0 && now.n == 0);
	conn_sample_done(&now);
	pair_close(&a);
	pair_close(&b);
}

#define MANY 1000

Test(conntable, looks_at_a_thousand_connections_in_milliseconds, .init = set_up, .fini = tear_down)
{
	static struct pair pairs[MANY];
	static struct conn_id ids[MANY];
	struct sockaddr_storage address;
	socklen_t length;
	struct conn_sample before, after;
	struct why why;
	uint64_t start_us;
	int listener, moved = 0;

	cr_assert(fd_raise_limit() > 2 * MANY + 50);
	listener = listener_open(AF_INET, &address, &length);
	for (size_t i = 0; i < MANY; i++) {
		pairs[i] = pair_accept(listener, &address, length);
		ids[i] = pairs[i].id;
	}
	start_us = clock_now_us();
	cr_assert(conntable_sample(table, ids, MANY, clock_now_us() + 5 * USEC_PER_SEC, &before, &why) == 0, "%s",
		  why.text);
	fprintf(stderr, "%d connections (%d sockets): %.1f ms for %u readings\n", MANY, 2 * MANY,
		(double)(clock_now_us() - start_us) / 1e3, before.readings);
	cr_assert(before.n == MANY && before.readings <= 2);
	for (size_t i = 0; i < MANY; i += 10)
		say(pairs[i].service, 1);
	cr_assert(conntable_sample(table, ids, MANY, clock_now_us() + 5 * USEC_PER_SEC, &after, &why) == 0);
	for (size_t i = 0; i < MANY; i++) {
		enum conn_change change = conntable_compare(&before, &after, ids[i].inode);

		cr_assert(change == (i % 10 == 0 ? CONN_MOVED : CONN_SAME));
		moved += change == CONN_MOVED;
		pair_close(&pairs[i]);
	}
	cr_assert(moved == MANY / 10);
	fd_close(listener);
	conn_sample_done(&before);
	conn_sample_done(&after);
}
