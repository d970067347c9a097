/* SPDX-License-Identifier: MIT */
/* A connection between its two buffers; no socket is involved. */
#include "shim/examples/cached/connection.h"
#include "shim/examples/cached/server.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define NOW (INT64_C(1800000000) * NSEC_PER_SEC)

static struct server server;
static struct connection *client;

static void set_up(void)
{
	server = (struct server){ .options = { .address = "127.0.0.1", .n_workers = 1, .bytes_max = 64 << 20 } };
	cr_assert_eq(store_init(&server.store, server.options.bytes_max), 0);
	client = connection_new(-1, 1);
	cr_assert_not_null(client);
}

static void tear_down(void)
{
	client = connection_free(client);
	store_done(&server.store);
}

TestSuite(connection, .timeout = 60, .init = set_up, .fini = tear_down);

static void feed(const void *data, size_t size)
{
	buffer_put(&client->input, data, size);
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
	bool same = buffer_size(&client->output) == strlen(expected) &&
		    memcmp(buffer_front(&client->output), expected, strlen(expected)) == 0;

	if (!same)
		cr_log_warn("answered: %.*s", (int)buffer_size(&client->output), buffer_front(&client->output));
	buffer_consume(&client->output, buffer_size(&client->output));
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
		cr_assert_eq(buffer_size(&client->input), 0);
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
	cr_expect_eq(buffer_size(&client->input), (200 - REQUESTS_PER_TURN) * 9);
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
	cr_expect_eq(buffer_size(&client->output), REQUESTS_PER_TURN * strlen("VALUE a 0 1\r\nx\r\n"));
	cr_expect_eq(client->answered, 3 + REQUESTS_PER_TURN * 2);
	cr_expect_eq(handle(), CONNECTION_IDLE);
	cr_expect_eq(buffer_size(&client->output), 100 * strlen("VALUE a 0 1\r\nx\r\n") + strlen("END\r\n"));
	cr_expect_eq(client->answered, 0);
}

Test(connection, stops_handling_and_receiving_while_its_output_is_not_taken)
{
	char *value = malloc(VALUE_MAX + 2);

	memset(value, 'v', VALUE_MAX);
	memcpy(value + VALUE_MAX, "\r\n", 2);
	feed("set a 0 0 1048576\r\n", 19);
	feed(value, VALUE_MAX + 2);
	cr_expect_eq(handle(), CONNECTION_IDLE);
	cr_expect(answered("STORED\r\n"));
	feed("get a a a a\r\nget a\r\n", 20);
	cr_expect_eq(handle(), CONNECTION_FULL);
	cr_expect_eq(connection_events(client), EPOLLOUT);
	cr_expect(buffer_size(&client->output) < 2 * VALUE_MAX);
	size_t sent = 0;
	do {
		sent += buffer_size(&client->output);
		buffer_consume(&client->output, buffer_size(&client->output));
	} while (handle() != CONNECTION_IDLE);
	sent += buffer_size(&client->output);
	cr_expect_eq(sent, 5 * (VALUE_MAX + strlen("VALUE a 0 1048576\r\n\r\n")) + 2 * strlen("END\r\n"));
	free(value);
}

Test(connection, handles_what_came_before_the_client_stopped_sending)
{
	feed("version\r\nversion\r\nvers", 22);
	client->eof = true;
	cr_expect_eq(handle_all(), CONNECTION_ENDED);
	cr_expect_eq(buffer_size(&client->output), 2 * strlen("VERSION 1.6.0-cached-v3\r\n"));
	cr_expect_eq(connection_events(client), EPOLLOUT);
}

Test(connection, ends_with_quit_and_with_a_line_without_end)
{
	feed("version\r\nquit\r\nversion\r\n", 24);
	cr_expect_eq(handle_all(), CONNECTION_ENDED);
	cr_expect(answered("VERSION 1.6.0-cached-v3\r\n"));
	cr_expect_eq(connection_events(client), 0);

	struct connection *other = connection_new(-1, 2);
	for (unsigned i = 0; i < LINE_MAX_BYTES; i++)
		buffer_put(&other->input, "x", 1);
	cr_expect_eq(connection_handle(other, &server, NOW), CONNECTION_ENDED);
	cr_expect(other->quit);
	connection_free(other);
}

Test(connection, goes_on_from_saved_fields_at_every_split)
{
	/* What upgrade.c moves, and nothing else, goes to a fresh connection in the middle of everything. */
	for (size_t split = 0; split < sizeof conversation; split++) {
		static char block[2000000];
		feed(conversation, split);
		handle_all();
		struct connection *successor = connection_new(-1, client->id);
		buffer_put(&successor->input, buffer_front(&client->input), buffer_size(&client->input));
		buffer_put(&successor->output, buffer_front(&client->output), buffer_size(&client->output));
		successor->swallow_bytes = client->swallow_bytes;
		successor->swallow_line = client->swallow_line;
		successor->answered = client->answered;
		successor->quit = client->quit;
		connection_free(client);
		client = successor;
		feed(conversation + split, sizeof conversation - 1 - split);
		feed(block, sizeof block);
		feed(after, sizeof after - 1);
		cr_assert_eq(handle_all(), CONNECTION_IDLE);
		cr_assert(answered(replies), "split at %zu", split);
	}
}
