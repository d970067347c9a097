/* SPDX-License-Identifier: MIT */
/* Programs with buffers of their own: without a journal the library only counts, and with one nothing is lost either. */
#include "tests/shim/bake.h"
#include "tests/shim/pair.h"

#include "base/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(shim_own, .timeout = 240);

/* ---- without a journal ---- */

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

Test(shim_own, buffers_are_the_programs_from_when_it_says_so, .init = open_pair, .fini = close_pair)
{
	char got[16];
	size_t n;

	cr_assert_eq(upg_conn_read(conn, got, sizeof(got)), -EINVAL);
	cr_assert_eq(upg_conn_received(conn, "x", 1), -EINVAL);
	cr_assert_eq(upg_conn_sent(conn, 0), -EINVAL);
	cr_assert_eq(upg_conn_restore(conn, "half", 4, "rest", 4), 0);
	cr_assert_eq(upg_conn_is_own(conn), 0);
	upg_conn_own(conn);
	cr_assert_eq(upg_conn_is_own(conn), 1);
	upg_conn_own(conn);
	upg_conn_input(conn, &n);
	cr_assert_eq(n, 0);
	upg_conn_output(conn, &n);
	cr_assert_eq(n, 0);
	cr_assert_eq(upg_conn_restore(conn, "half", 4, NULL, 0), -EINVAL);
	cr_assert_eq(upg_conn_receive(conn, 1), -EINVAL);
	cr_assert_eq(upg_conn_send(conn), -EINVAL);
	/* What was restored counts. */
	cr_assert_eq(upg_conn_sent(conn, 5), -EINVAL);
	cr_assert_eq(upg_conn_sent(conn, 4), 0);
	cr_assert_eq(upg_conn_done(conn, 5), -EINVAL);
	cr_assert_eq(upg_conn_done(conn, 4), 0);
}

Test(shim_own, nothing_is_sent_that_is_not_done, .init = open_pair, .fini = close_pair)
{
	char got[16];

	upg_conn_own(conn);
	cr_assert_eq(upg_conn_read(conn, got, 0), -EINVAL);
	cr_assert_eq(upg_conn_read(conn, got, sizeof(got)), -EAGAIN);
	cr_assert_eq(write(peer, "ask me", 6), 6);
	cr_assert_eq(upg_conn_read(conn, got, 3), 3);
	cr_assert_eq(memcmp(got, "ask", 3), 0);
	cr_assert_eq(upg_conn_put(conn, "yes", 3), 0);
	cr_assert_eq(upg_conn_sent(conn, 1), -EINVAL);
	cr_assert_eq(upg_conn_done(conn, 4), -EINVAL, "only three bytes have come");
	cr_assert_eq(upg_conn_sent(conn, 1), -EINVAL);
	cr_assert_eq(upg_conn_done(conn, 3), 0);
	cr_assert_eq(upg_conn_sent(conn, 2), 0);
	cr_assert_eq(upg_conn_sent(conn, 2), -EINVAL);
	cr_assert_eq(upg_conn_sent(conn, 1), 0);
	cr_assert_eq(upg_conn_read(conn, got, sizeof(got)), 3);
	peer = fd_close(peer);
	cr_assert_eq(upg_conn_read(conn, got, sizeof(got)), 0);
}

Test(shim_own, input_is_received_by_one_of_the_two, .init = open_pair, .fini = close_pair)
{
	char got[16];

	upg_conn_own(conn);
	cr_assert_eq(upg_conn_received(conn, NULL, 0), 0);
	cr_assert_eq(upg_conn_received(conn, "abc", 3), 0);
	cr_assert_eq(upg_conn_done(conn, 4), -EINVAL);
	cr_assert_eq(upg_conn_done(conn, 3), 0);
	cr_assert_eq(upg_conn_read(conn, got, 1), -EAGAIN);
	cr_assert_eq(upg_conn_received(conn, "abc", 3), -EINVAL);
}

/* ---- with one ---- */

static void start_own(void)
{
	bake_start_with(BUFFERS_READ);
	bake.buffers = BUFFERS_READ;
}

Test(shim_own, buffers_survive_crashes_at_any_moment, .init = start_own, .fini = bake_finish)
{
	bake_crash_again_and_again(20, 24, 0, 1);
}

Test(shim_own, buffers_survive_crashes_while_they_grow, .init = start_own, .fini = bake_finish)
{
	bake_crash_again_and_again(12, 12, 100, 2);
}

Test(shim_own, buffers_survive_crashes_with_large_pieces, .init = start_own, .fini = bake_finish)
{
	bake_crash_again_and_again(12, 40, 150000, 3);
}

/* Who holds the bytes is each version's own affair. */
Test(shim_own, buffers_may_be_new_with_a_version, .init = bake_start, .fini = bake_finish)
{
	bake.buffers = BUFFERS_READ;
	bake_crash_again_and_again(8, 24, 0, 4);
}

Test(shim_own, buffers_may_end_with_a_version, .init = start_own, .fini = bake_finish)
{
	bake.buffers = BUFFERS_LIBRARY;
	bake_crash_again_and_again(8, 24, 0, 5);
}

/* A request in parts, and an answer that nobody has taken yet, on each side of the crash. */
static void go_on_in_the_middle(void)
{
	int early = bake_call(), late;

	bake_ask(early, LEDGER_ADD, 1, 5, 0);
	bake_answered(early, 1, 1);
	bake_roll_over(JOURNAL_BYTES);
	bake_ask(early, LEDGER_BIG, 2, 5, 4u << 20);
	bake_ask(early, LEDGER_DEPOSIT, 3, 5, 1000);
	bake_send_bytes(early, 0, 400);
	late = bake_call();
	bake_ask(late, LEDGER_ADD, 1, 6, 0);
	bake_answered(late, 1, 1);
	bake_ask(late, LEDGER_DEPOSIT, 2, 6, 1000);
	bake_send_bytes(late, 0, 400);
	bake_handled(2);
	bake_kill_new();
	bake_send_bytes(late, 400, 300);
	cr_assert_eq(bake_resume_old()->adopted, 1);
	cr_assert_eq(bake.old.message->resumed->reset, 0);
	bake_send_bytes(early, 400, 600);
	bake_send_bytes(late, 700, 300);
	bake_answered(early, 2, 1);
	bake_answered(early, 3, 1 + bake_sum_of(1000));
	bake_answered(late, 2, 1 + bake_sum_of(1000));
	bake_ask(early, LEDGER_QUIT, 4, 6, 0);
	bake_answered(early, 4, 1 + bake_sum_of(1000));
	bake_forget_roll();
	bake_ends(early);
}

Test(shim_own, buffers_go_on_in_the_middle_of_a_request, .init = start_own, .fini = bake_finish)
{
	go_on_in_the_middle();
}

static void start_received(void)
{
	bake_start_with(BUFFERS_RECEIVED);
	bake.buffers = BUFFERS_RECEIVED;
}

Test(shim_own, buffers_that_others_fill_go_on_in_the_middle_of_a_request, .init = start_received, .fini = bake_finish)
{
	go_on_in_the_middle();
}

/* Read, and not told: nobody has these bytes. The others are not touched by it. */
Test(shim_own, bytes_that_were_read_and_never_told_cost_their_connection_only, .init = start_received, .fini = bake_finish)
{
	const struct ledger_request request = { .kind = LEDGER_ADD, .seq = 1, .key = 1 };
	int reads = bake_call(), rests = bake_call();

	/* Half a request lies in the journal, with room behind it. */
	cr_assert_eq(send(reads, &request, 8, MSG_NOSIGNAL), 8);
	bake_ask(rests, LEDGER_ADD, 1, 2, 0);
	bake_answered(rests, 1, 1);
	bake.buffers = BUFFERS_UNTOLD;
	bake_roll_over(JOURNAL_BYTES);
	cr_assert_eq(send(reads, (const uint8_t *)&request + 8, 8, MSG_NOSIGNAL), 8);
	cr_assert_eq(waitpid(bake.new.pid, NULL, 0), bake.new.pid);
	bake.new.pid = 0;
	while (bake_hear())
		;
	cr_assert_eq(bake_resume_old()->reset, 1);
	cr_assert_str_eq(bake.old.message->resumed->journal_unused, "");
	bake_was_reset(reads);
	bake_ask(rests, LEDGER_ADD, 2, 2, 0);
	bake_answered(rests, 2, 2);
	cr_assert_eq(bake.old_ledger->values[1], 0, "the request was carried out by nobody");
}

/* The first of two clients asks the new version for more than the journal has room for, and takes nothing of it. */
static void fill(int *ret_greedy, int *ret_modest)
{
	int greedy = bake_call(), modest = bake_call();

	bake_ask(greedy, LEDGER_GET, 1, 1, 0);
	bake_answered(greedy, 1, 0);
	bake_ask(modest, LEDGER_ADD, 1, 2, 0);
	bake_answered(modest, 1, 1);
	bake_roll_over((size_t)4 << 20);
	bake_ask(greedy, LEDGER_BIG, 2, 1, 20u << 20);
	bake_handled(1);
	*ret_greedy = greedy;
	*ret_modest = modest;
}

/* Output that nobody takes: of one connection it finds no room any more, and the program's memory is its own affair. Once it is
 * taken, that connection is covered as before. */
Test(shim_own, buffers_without_room_cost_their_connection_until_they_are_empty, .init = start_own, .fini = bake_finish)
{
	int greedy, modest;

	fill(&greedy, &modest);
	bake_ask(modest, LEDGER_ADD, 2, 2, 0);
	bake_answered(modest, 2, 2);
	bake_handled(2);
	cr_assert(bake.gaps.no_room == 1 && bake.gaps.others == 0, "%u and %u", bake.gaps.no_room, bake.gaps.others);
	cr_assert_geq(bake.gaps.size_would_do, (uint64_t)64 << 20);
	cr_assert_leq(bake.gaps.size_would_do, (uint64_t)256 << 20);
	bake_answered(greedy, 2, 0);
	bake_ask(greedy, LEDGER_ADD, 3, 1, 0);
	bake_answered(greedy, 3, 1);
	bake_handled(3);
	cr_assert_eq(bake.gaps.no_room, 0, "it is covered again");
	bake_ask(greedy, LEDGER_BIG, 4, 1, 100000);
	bake_handled(4);
	bake_kill_new();
	cr_assert_eq(bake_resume_old()->reset, 0);
	cr_assert_str_eq(bake.old.message->resumed->journal_unused, "");
	bake_answered(greedy, 4, 1);
	bake_ask(modest, LEDGER_ADD, 3, 2, 0);
	bake_answered(modest, 3, 3);
}

Test(shim_own, buffers_without_room_at_the_crash_are_reset, .init = start_own, .fini = bake_finish)
{
	int greedy, modest;

	fill(&greedy, &modest);
	bake_kill_new();
	cr_assert_eq(bake_resume_old()->reset, 1);
	bake_ask(modest, LEDGER_ADD, 2, 2, 0);
	bake_answered(modest, 2, 2);
}

/* Room for a receive that is larger than the journal: as much is received as there is. */
Test(shim_own, buffers_that_are_larger_than_the_journal_are_filled_with_what_there_is, .init = start_own, .fini = bake_finish)
{
	int fd = bake_call();

	bake.old_ledger->room_bytes = 32u << 20;
	bake_ask(fd, LEDGER_ADD, 1, 1, 0);
	bake_answered(fd, 1, 1);
	bake_roll_over((size_t)4 << 20);
	bake_ask(fd, LEDGER_ADD, 2, 1, 0);
	bake_answered(fd, 2, 2);
	bake_ask(fd, LEDGER_DEPOSIT, 3, 1, 3000);
	bake_send_bytes(fd, 0, 1000);
	bake_handled(1);
	cr_assert_eq(bake.gaps.no_room, 0);
	bake_kill_new();
	cr_assert_eq(bake_resume_old()->reset, 0);
	bake_send_bytes(fd, 1000, 2000);
	bake_answered(fd, 3, 2 + bake_sum_of(3000));
}

/* The bake is over: the journal's memory is given back, and the program has all it needs. */
Test(shim_own, buffers_leave_the_journal_with_the_bake, .init = start_own, .fini = bake_finish)
{
	int fd = bake_call();

	bake_ask(fd, LEDGER_ADD, 1, 1, 0);
	bake_answered(fd, 1, 1);
	bake_roll_over(JOURNAL_BYTES);
	bake_ask(fd, LEDGER_BIG, 2, 1, 4u << 20);
	bake_ask(fd, LEDGER_DEPOSIT, 3, 1, 10);
	bake_send_bytes(fd, 0, 5);
	bake_handled(1);
	fake_say_baked(&bake.new);
	fake_roll_done(&bake.roll);
	fake_await(&bake.new_ledger->app.n_steps, 0);
	bake_send_bytes(fd, 5, 5);
	bake_answered(fd, 2, 1);
	bake_answered(fd, 3, 1 + bake_sum_of(10));
	bake_ask(fd, LEDGER_QUIT, 4, 1, 0);
	bake_answered(fd, 4, 1 + bake_sum_of(10));
	bake_ends(fd);
}
