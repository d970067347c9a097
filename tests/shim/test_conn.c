/* SPDX-License-Identifier: MIT */
/* Buffered connections without a journal: an ordinary buffer, whatever comes in whatever pieces. */
#include "tests/shim/pair.h"

#include "base/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(shim_conn, .timeout = 60);

static struct upg *upg;
static struct upg_conn *conn;
static int peer;

static void open_pair(void)
{
	pair_open(&upg, &conn, &peer);
}

static void close_pair(void)
{
	upg = pair_close(upg, conn, peer);
}

static void input_is(const char *text)
{
	size_t n;
	const char *input = upg_conn_input(conn, &n);

	cr_assert_eq(n, strlen(text), "%zu bytes instead of %zu", n, strlen(text));
	cr_assert_eq(memcmp(input, text, n), 0);
}

static void output_is(const char *text)
{
	size_t n;
	const char *output = upg_conn_output(conn, &n);

	cr_assert_eq(n, strlen(text), "%zu bytes instead of %zu", n, strlen(text));
	cr_assert_eq(memcmp(output, text, n), 0);
}

Test(shim_conn, input_stays_until_it_is_done_with, .init = open_pair, .fini = close_pair)
{
	cr_assert_eq(upg_conn_receive(conn, 100), -EAGAIN);
	input_is("");
	cr_assert_eq(write(peer, "one two", 7), 7);
	cr_assert_eq(upg_conn_receive(conn, 4), 4);
	input_is("one ");
	cr_assert_eq(upg_conn_done(conn, 4), 0);
	cr_assert_eq(upg_conn_receive(conn, 4), 3);
	input_is("two");
	cr_assert_eq(upg_conn_done(conn, 4), -EINVAL);
	input_is("two");
	peer = fd_close(peer);
	cr_assert_eq(upg_conn_receive(conn, 4), 0);
	input_is("two");
	cr_assert_eq(upg_conn_receive(conn, 0), -EINVAL, "no room is not the end of the stream");
}

Test(shim_conn, output_is_nowhere_before_its_request_is_done, .init = open_pair, .fini = close_pair)
{
	char got[16];

	cr_assert_eq(upg_conn_put(conn, "an", 2), 0);
	output_is("");
	cr_assert_eq(upg_conn_send(conn), 0);
	cr_assert_eq(read(peer, got, sizeof(got)), -1);
	cr_assert_eq(upg_conn_put(conn, "swer", 4), 0);
	cr_assert_eq(upg_conn_done(conn, 0), 0);
	cr_assert_eq(upg_conn_put(conn, "more", 4), 0);
	output_is("answer");
	cr_assert_eq(upg_conn_send(conn), 0);
	output_is("");
	cr_assert_eq(read(peer, got, sizeof(got)), 6);
	cr_assert_eq(memcmp(got, "answer", 6), 0);
}

Test(shim_conn, what_was_saved_is_restored, .init = open_pair, .fini = close_pair)
{
	char got[16];

	cr_assert_eq(upg_conn_restore(conn, "half a req", 10, "rest", 4), 0);
	input_is("half a req");
	output_is("rest");
	cr_assert_eq(write(peer, "uest", 4), 4);
	cr_assert_eq(upg_conn_receive(conn, 1000), 4);
	input_is("half a request");
	cr_assert_eq(upg_conn_done(conn, 14), 0);
	cr_assert_eq(upg_conn_put(conn, "+next", 5), 0);
	output_is("rest");
	cr_assert_eq(upg_conn_done(conn, 0), 0);
	cr_assert_eq(upg_conn_send(conn), 0);
	cr_assert_eq(read(peer, got, sizeof(got)), 9);
	cr_assert_eq(memcmp(got, "rest+next", 9), 0);
}

Test(shim_conn, belongs_to_one_descriptor_under_one_name, .init = open_pair, .fini = close_pair)
{
	struct upg_conn *other = NULL;
	int fd = dup(peer);

	cr_assert_eq(upg_conn_open(upg, fd, "client", 1, &other), -EEXIST);
	cr_assert_eq(upg_conn_open(upg, upg_conn_fd(conn), "client", 2, &other), -EEXIST);
	cr_assert_eq(upg_conn_open(upg, upg_conn_fd(conn), "client", 1, &other), -EEXIST);
	cr_assert_eq(upg_conn_open(upg, -1, "client", 3, &other), -EBADF);
	cr_assert_eq(upg_conn_open(upg, fd, "", 3, &other), -EINVAL);
	cr_assert_null(other);
	cr_assert_eq(upg_fd_register(upg, fd, "client", 3), 0);
	cr_assert_eq(upg_conn_open(upg, fd, "client", 3, &other), 0, "what is registered can be buffered");
	upg_conn_close(other, -1);
	cr_assert_eq(upg_fd_register(upg, peer, "client", 3), 0, "the name is free again");
	upg_conn_close(NULL, -1);
}

/* A stream of numbers through, with pieces and leftovers of every size. Each byte says where in the stream it is. */
Test(shim_conn, carries_any_amount_in_any_pieces, .init = open_pair, .fini = close_pair)
{
	unsigned seed = 4711;
	uint64_t fed = 0, seen = 0, put = 0, taken = 0;
	static uint8_t chunk[100000];

	for (unsigned turn = 0; turn < 20000; turn++) {
		size_t n = (size_t)rand_r(&seed) % (turn % 100 ? 3000 : sizeof(chunk)), have;
		const uint8_t *input;
		ssize_t got;

		for (size_t i = 0; i < n; i++)
			chunk[i] = (uint8_t)((fed + i) * 7 >> 3);
		got = write(peer, chunk, n);
		fed += got > 0 ? (uint64_t)got : 0;
		got = upg_conn_receive(conn, 1 + (size_t)rand_r(&seed) % 5000);
		cr_assert(got > 0 || got == -EAGAIN);
		input = upg_conn_input(conn, &have);
		for (size_t i = 0; i < have; i++)
			cr_assert_eq(input[i], (uint8_t)((seen + i) * 7 >> 3));
		n = (size_t)rand_r(&seed) % (have + 1);
		cr_assert_eq(upg_conn_put(conn, input, n), 0);
		cr_assert_eq(upg_conn_done(conn, n), 0);
		seen += n;
		put += n;
		cr_assert_geq(upg_conn_send(conn), 0);
		if (rand_r(&seed) % 3)
			continue;
		while ((got = read(peer, chunk, sizeof(chunk))) > 0) {
			for (size_t i = 0; i < (size_t)got; i++)
				cr_assert_eq(chunk[i], (uint8_t)((taken + i) * 7 >> 3));
			taken += (uint64_t)got;
		}
	}
	cr_assert_gt(taken, 1000000);
	cr_assert_leq(taken, put);
}
