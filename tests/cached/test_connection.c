/* SPDX-License-Identifier: MIT */
/* A connection and its client, who never makes it wait. */
#include "base/fd.h"
#include "shim/examples/cached/connection.h"
#include "shim/examples/cached/server.h"
#include "shim/examples/cached/upgrade.h"
#include "shim/upgrade.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define NOW (INT64_C(1800000000) * NSEC_PER_SEC)

static struct server server;
static struct connection *client;
static int peer; /* the client's end */

static struct connection *connection_open(uint64_t id, int *ret_peer)
{
	struct connection *connection;
	struct upg_conn *conn;
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	cr_assert_eq(upg_conn_open(server.upg, pair[0], "client", id, &conn), 0);
	connection = connection_new(conn, id);
	cr_assert_not_null(connection);
	*ret_peer = pair[1];
	return connection;
}

static void connection_end(struct connection *connection, int *end)
{
	upg_conn_close(connection->conn, -1);
	connection_free(connection);
	*end = fd_close(*end);
}

static void set_up(void)
{
	server = (struct server){ .options = { .address = "127.0.0.1", .n_workers = 1, .bytes_max = 64 << 20 } };
	cr_assert_eq(store_init(&server.store, server.options.bytes_max), 0);
	cr_assert_eq(upgrade_open(&server), 0);
	client = connection_open(1, &peer);
}

static void tear_down(void)
{
	connection_end(client, &peer);
	upg_free(server.upg);
	store_done(&server.store);
}

TestSuite(connection, .timeout = 60, .init = set_up, .fini = tear_down);

/* Past connection_receive(), which takes no more than it wants. */
static void feed_to(struct connection *connection, int end, const void *data, size_t size)
{
	while (size) {
		ssize_t n = send(end, data, size, MSG_NOSIGNAL);

		cr_assert_gt(n, 0);
		data = (const char *)data + n;
		size -= (size_t)n;
		while (n > 0)
			n -= upg_conn_receive(connection->conn, (size_t)n);
	}
}

static void feed(const void *data, size_t size)
{
	feed_to(client, peer, data, size);
}

static void take(void)
{
	char sink[65536];

	do {
		cr_assert_eq(connection_send(client), 0);
		while (recv(peer, sink, sizeof sink, 0) > 0)
			;
	} while (connection_output(client));
}

static int handle(void)
{
	return connection_handle(client, &server, NOW);
}

static int handle_all(void)
{
	int outcome;

	while ((outcome = handle()) == CONNECTION_MORE)
		;
	return outcome;
}

static bool answered(const char *expected)
{
	size_t size;
	const char *output = upg_conn_output(client->conn, &size);
	bool same = size == strlen(expected) && memcmp(output, expected, size) == 0;

	if (!same)
		cr_log_warn("answered: %.*s", (int)size, output);
	take();
	return same;
}

static const char conversation[] = "set a 5 0 6\r\nva\r\nlu\r\n"
				   "get a missing a\r\n"
				   "set b 0 0 2 noreply\r\n10\r\n"
				   "incr b 5\r\n"
				   "set c 0 0 3\r\nabcdef\r\n"
				   "set d 0 0 2000000\r\n";
static const char replies[] = "STORED\r\n"
			      "VALUE a 5 6\r\nva\r\nlu\r\nVALUE a 5 6\r\nva\r\nlu\r\nEND\r\n"
			      "15\r\n"
			      "CLIENT_ERROR bad data chunk\r\n"
			      "SERVER_ERROR object too large for cache\r\n"
			      "NOT_FOUND\r\n";
static const char after[] = "\r\ndelete d\r\n";

Test(connection, answers_the_same_wherever_the_bytes_are_split)
{
	static char block[2000000];

	for (size_t split = 0; split < sizeof conversation; split++) {
		feed(conversation, split);
		handle_all();
		feed(conversation + split, sizeof conversation - 1 - split);
		handle_all();
		feed(block, sizeof block);
		cr_assert_eq(handle_all(), CONNECTION_IDLE);
		feed(after, sizeof after - 1);
		cr_assert_eq(handle_all(), CONNECTION_IDLE);
		cr_assert(answered(replies), "split at %zu", split);
		cr_assert_eq(connection_input(client), 0);
	}
}

Test(connection, answers_the_same_byte_by_byte)
{
	static char block[1000];

	for (size_t i = 0; i < sizeof conversation - 1; i++) {
		feed(&conversation[i], 1);
		handle_all();
	}
	for (size_t i = 0; i < 2000000 / sizeof block; i++) {
		feed(block, sizeof block);
		handle_all();
	}
	for (size_t i = 0; i < sizeof after - 1; i++) {
		feed(&after[i], 1);
		handle_all();
	}
	cr_expect(answered(replies));
}

Test(connection, bounds_the_requests_of_one_turn)
{
	for (int i = 0; i < 200; i++)
		feed("version\r\n", 9);
	cr_expect_eq(handle(), CONNECTION_MORE);
	cr_expect_eq(connection_input(client), (200 - REQUESTS_PER_TURN) * 9);
	cr_expect_eq(handle_all(), CONNECTION_IDLE);
}

Test(connection, bounds_the_keys_of_one_retrieval_and_goes_on_where_it_was)
{
	feed("set a 0 0 1\r\nx\r\n", 16);
	handle();
	cr_expect(answered("STORED\r\n"));
	feed("get", 3);
	for (int i = 0; i < 100; i++)
		feed(" a", 2);
	feed("\r\n", 2);
	cr_expect_eq(handle(), CONNECTION_MORE);
	cr_expect_eq(connection_output(client), REQUESTS_PER_TURN * strlen("VALUE a 0 1\r\nx\r\n"));
	cr_expect_eq(client->now.answered, 3 + REQUESTS_PER_TURN * 2);
	cr_expect_eq(handle(), CONNECTION_IDLE);
	cr_expect_eq(connection_output(client), 100 * strlen("VALUE a 0 1\r\nx\r\n") + strlen("END\r\n"));
	cr_expect_eq(client->now.answered, 0);
}

Test(connection, stops_handling_and_receiving_while_its_output_is_not_taken)
{
	char *value = malloc(VALUE_MAX + 2);

	cr_assert_not_null(value);
	memset(value, 'v', VALUE_MAX);
	memcpy(value + VALUE_MAX, "\r\n", 2);
	feed("set a 0 0 1048576\r\n", 19);
	feed(value, VALUE_MAX + 2);
	cr_expect_eq(handle(), CONNECTION_IDLE);
	cr_expect(answered("STORED\r\n"));
	feed("get a a a a\r\nget a\r\n", 20);
	cr_expect_eq(handle(), CONNECTION_FULL);
	cr_expect_eq(connection_events(client), EPOLLOUT);
	cr_expect(connection_output(client) < 2 * VALUE_MAX);
	size_t sent = 0;
	do {
		sent += connection_output(client);
		take();
	} while (handle() != CONNECTION_IDLE);
	sent += connection_output(client);
	cr_expect_eq(sent, 5 * (VALUE_MAX + strlen("VALUE a 0 1048576\r\n\r\n")) + 2 * strlen("END\r\n"));
	free(value);
}

Test(connection, handles_what_came_before_the_client_stopped_sending)
{
	feed("version\r\nversion\r\nvers", 22);
	client->eof = true;
	cr_expect_eq(handle_all(), CONNECTION_ENDED);
	cr_expect_eq(connection_output(client), 2 * strlen("VERSION 1.6.0-cached-v3\r\n"));
	cr_expect_eq(connection_events(client), EPOLLOUT);
}

Test(connection, ends_with_quit_and_with_a_line_without_end)
{
	feed("version\r\nquit\r\nversion\r\n", 24);
	cr_expect_eq(handle_all(), CONNECTION_ENDED);
	cr_expect(answered("VERSION 1.6.0-cached-v3\r\n"));
	cr_expect_eq(connection_events(client), 0);

	int other_peer;
	struct connection *other = connection_open(2, &other_peer);
	for (unsigned i = 0; i < LINE_MAX_BYTES; i++)
		feed_to(other, other_peer, "x", 1);
	cr_expect_eq(connection_handle(other, &server, NOW), CONNECTION_ENDED);
	cr_expect(other->now.quit);
	connection_end(other, &other_peer);
}

Test(connection, goes_on_from_saved_fields_at_every_split)
{
	/* What upgrade.c moves, and nothing else, goes to a fresh connection in the middle of everything. */
	for (size_t split = 0; split < sizeof conversation; split++) {
		static char block[2000000];
		feed(conversation, split);
		handle_all();
		int successor_peer;
		struct connection *successor = connection_open(client->id + 1, &successor_peer);
		size_t input_size, output_size;
		const void *input = upg_conn_input(client->conn, &input_size);
		const void *output = upg_conn_output(client->conn, &output_size);
		cr_assert_eq(upg_conn_restore(successor->conn, input, input_size, output, output_size), 0);
		successor->now = client->now;
		connection_end(client, &peer);
		client = successor;
		peer = successor_peer;
		feed(conversation + split, sizeof conversation - 1 - split);
		feed(block, sizeof block);
		feed(after, sizeof after - 1);
		cr_assert_eq(handle_all(), CONNECTION_IDLE);
		cr_assert(answered(replies), "split at %zu", split);
	}
}
