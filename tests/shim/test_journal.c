/* SPDX-License-Identifier: MIT */
/* The new version dies, at any moment: the version before goes on as if it had done all of it itself. */
#include "shim/journal/layout.h"
#include "tests/shim/bake.h"

#include "base/fd.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

TestSuite(shim_journal, .timeout = 240);

/* ---- any moment ---- */

Test(shim_journal, survives_crashes_at_any_moment, .init = bake_start, .fini = bake_finish)
{
	bake_crash_again_and_again(20, 24, 0, 1);
}

Test(shim_journal, survives_crashes_while_buffers_grow, .init = bake_start, .fini = bake_finish)
{
	bake_crash_again_and_again(12, 12, 100, 2);
}

Test(shim_journal, survives_crashes_with_large_pieces, .init = bake_start, .fini = bake_finish)
{
	bake_crash_again_and_again(12, 40, 150000, 3);
}

/* ---- chosen moments ---- */

Test(shim_journal, goes_on_in_the_middle_of_a_request, .init = bake_start, .fini = bake_finish)
{
	int early = bake_call(), late;

	bake_ask(early, LEDGER_ADD, 1, 5, 0);
	bake_answered(early, 1, 1);
	bake_roll_over(JOURNAL_BYTES);
	bake_ask(early, LEDGER_ADD, 2, 5, 0);
	bake_answered(early, 2, 2);
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
	cr_assert_geq(bake.old.message->resumed->replayed, 2);
	bake_send_bytes(early, 400, 600);
	bake_send_bytes(late, 700, 300);
	bake_answered(early, 3, 2 + bake_sum_of(1000));
	bake_answered(late, 2, 1 + bake_sum_of(1000));
	bake_ask(early, LEDGER_QUIT, 4, 6, 0);
	bake_answered(early, 4, 1 + bake_sum_of(1000));
	bake_forget_roll();
	bake_ends(early);
}

/* The end of the client's stream has come, before or after new has read it, with or without requests in front of it. */
Test(shim_journal, takes_an_end_of_stream_for_no_byte, .init = bake_start, .fini = bake_finish)
{
	int idle, asking, part;

	idle = bake_call();
	asking = bake_call();
	part = bake_call();
	bake_ask(idle, LEDGER_ADD, 1, 1, 0);
	bake_answered(idle, 1, 1);
	bake_ask(asking, LEDGER_ADD, 1, 2, 0);
	bake_answered(asking, 1, 1);
	bake_ask(part, LEDGER_ADD, 1, 3, 0);
	bake_answered(part, 1, 1);
	bake_roll_over(JOURNAL_BYTES);
	/* New stands still, so that the end lies unread. */
	kill(bake.new.pid, SIGSTOP);
	bake_ask(asking, LEDGER_ADD, 2, 2, 0);
	shutdown(asking, SHUT_WR);
	cr_assert_eq(send(part, "abc", 3, 0), 3);
	shutdown(part, SHUT_WR);
	shutdown(idle, SHUT_WR);
	bake_kill_new();
	cr_assert_eq(bake_resume_old()->reset, 0);
	bake_answered(asking, 2, 2);
	bake_forget_roll();
	bake_ends(asking);
	bake_ends(part);
	bake_ends(idle);
}

Test(shim_journal, resets_what_came_by_a_crash_where_the_log_is_full, .init = bake_start, .fini = bake_finish)
{
	int fd = bake_call();
	uint32_t seq = 0;

	bake_ask(fd, LEDGER_ADD, ++seq, 1, 0);
	bake_answered(fd, seq, 1);
	bake_roll_over((size_t)64 << 10);
	strcpy(bake.full_reason, "none yet");
	while (!bake.journal_full) {
		bake_ask(fd, LEDGER_ADD, ++seq, 1, 0);
		bake_answered(fd, seq, seq);
		bake_hear();
		cr_assert_lt(seq, 10000u);
	}
	cr_assert_str_eq(bake.full_reason, "", "that it is full");
	/* The application goes on undisturbed. */
	bake_ask(fd, LEDGER_BIG, ++seq, 1, 100000);
	bake_answered(fd, seq, seq - 1);
	bake_kill_new();
	cr_assert_neq(strstr(bake_resume_old()->journal_unused, "full"), NULL, "%s", bake.old.message->resumed->journal_unused);
	cr_assert_eq(bake.old.message->resumed->replayed, 0);
	cr_assert_eq(bake.old.message->resumed->reset, 1);
	bake_was_reset(fd);
	cr_assert_eq(bake.old_ledger->values[1], 1);
	fd = bake_call();
	bake_ask(fd, LEDGER_GET, 1, 1, 0);
	bake_answered(fd, 1, 1);
}

Test(shim_journal, is_done_without_where_it_is_too_small, .init = bake_start, .fini = bake_finish)
{
	int fd = bake_call();

	bake_ask(fd, LEDGER_ADD, 1, 1, 0);
	bake_answered(fd, 1, 1);
	bake_roll_over(16384);
	bake_ask(fd, LEDGER_ADD, 2, 1, 0);
	bake_answered(fd, 2, 2);
	bake_kill_new();
	cr_assert_neq(strstr(bake_resume_old()->journal_unused, "not begun"), NULL, "%s",
		      bake.old.message->resumed->journal_unused);
	bake_was_reset(fd);
	cr_assert_eq(bake.old_ledger->values[1], 1);
}

/* Output of one connection that nobody takes: it finds no room any more, the others do. */
Test(shim_journal, loses_only_the_connection_whose_buffers_find_no_room, .init = bake_start, .fini = bake_finish)
{
	int greedy = bake_call(), modest = bake_call();

	bake_ask(greedy, LEDGER_GET, 1, 1, 0);
	bake_answered(greedy, 1, 0);
	bake_ask(modest, LEDGER_ADD, 1, 2, 0);
	bake_answered(modest, 1, 1);
	bake_roll_over((size_t)4 << 20);
	bake_ask(greedy, LEDGER_BIG, 2, 1, 20u << 20);
	bake_handled(1);
	bake_ask(modest, LEDGER_ADD, 2, 2, 0);
	bake_answered(modest, 2, 2);
	bake_handled(2);
	cr_assert(bake.gaps.no_room == 1 && bake.gaps.others == 0, "%u and %u", bake.gaps.no_room, bake.gaps.others);
	cr_assert_eq(bake.gaps.size_would_do, (uint64_t)256 << 20, "JournalSize=%llu", (unsigned long long)bake.gaps.size_would_do);
	bake_kill_new();
	cr_assert_eq(bake_resume_old()->reset, 1);
	cr_assert_str_eq(bake.old.message->resumed->journal_unused, "");
	bake_ask(modest, LEDGER_ADD, 3, 2, 0);
	bake_answered(modest, 3, 3);
}

/* More connections than it has records for. */
Test(shim_journal, loses_exactly_the_connections_that_it_told_of, .init = bake_start, .fini = bake_finish)
{
	static int fds[200];
	uint32_t n_lost = 0;

	for (uint32_t i = 0; i < 200; i++) {
		fds[i] = bake_call();
		bake_ask(fds[i], LEDGER_GET, 1, i, 0);
		bake_answered(fds[i], 1, 0);
	}
	bake.expects_gaps = true;
	bake_roll_over((size_t)64 << 10);
	cr_assert(bake.gaps.no_room > 80 && bake.gaps.no_room < 120, "%u", bake.gaps.no_room);
	cr_assert_eq(bake.gaps.others, 0);
	cr_assert_eq(bake.gaps.size_would_do, 1 << 20, "JournalSize=%llu", (unsigned long long)bake.gaps.size_would_do);
	for (uint32_t i = 0; i < 200; i++) {
		bake_ask(fds[i], LEDGER_GET, 2, i, 0);
		bake_answered(fds[i], 2, 0);
	}
	/* One that is not covered closes, and it is no loss any more. */
	bake_ask(fds[199], LEDGER_QUIT, 3, 1, 0);
	bake_answered(fds[199], 3, 0);
	bake_ends(fds[199]);
	bake_handled(201);
	bake_kill_new();
	bake_resume_old();
	cr_assert_str_eq(bake.old.message->resumed->journal_unused, "");
	cr_assert_eq(bake.old.message->resumed->reset, bake.gaps.no_room, "%llu instead of %u",
		     (unsigned long long)bake.old.message->resumed->reset, bake.gaps.no_room);
	for (uint32_t i = 0; i < 199; i++) {
		struct ledger_request request = { .kind = LEDGER_GET, .seq = 4, .key = i };
		struct ledger_answer got;

		if (send(fds[i], &request, sizeof(request), MSG_NOSIGNAL) < 0 || recv(fds[i], &got, sizeof(got), MSG_WAITALL) < 0)
			n_lost++;
		fd_close(fds[i]);
	}
	cr_assert_eq(n_lost, bake.gaps.no_room);
}

/* It is found when such a change is made, and not on the way back. */
Test(shim_journal, is_void_once_a_change_is_made_that_the_version_before_cannot_apply, .init = bake_start, .fini = bake_finish)
{
	int fd = bake_call();

	bake.unapplied = "test.Account";
	bake_roll_over(JOURNAL_BYTES);
	bake_ask(fd, LEDGER_GET, 1, 1, 0);
	bake_answered(fd, 1, 0);
	bake_handled(1);
	cr_assert_not(bake.journal_full, "nothing was changed");
	bake_ask(fd, LEDGER_ADD, 2, 1, 0);
	bake_answered(fd, 2, 1);
	bake_handled(2);
	cr_assert(bake.journal_full);
	cr_assert_str_eq(bake.full_reason, "the version before has no change() for test.Account");
	bake_kill_new();
}

Test(shim_journal, does_without_a_damaged_journal, .init = bake_start, .fini = bake_finish)
{
	int fd = bake_call();
	uint8_t *map;
	struct journal_header *header;

	bake_ask(fd, LEDGER_ADD, 1, 1, 0);
	bake_answered(fd, 1, 1);
	bake_roll_over(JOURNAL_BYTES);
	bake_ask(fd, LEDGER_ADD, 2, 1, 0);
	bake_answered(fd, 2, 2);
	bake_kill_new();
	map = mmap(NULL, JOURNAL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, bake.journal_fd, 0);
	header = (struct journal_header *)map;
	cr_assert_gt(atomic_load(&header->log_head), 0);
	map[header->log_at + atomic_load(&header->log_head) - 1] ^= 1;
	munmap(map, JOURNAL_BYTES);
	cr_assert_neq(strstr(bake_resume_old()->journal_unused, "damaged"), NULL);
	cr_assert_eq(bake.old.message->resumed->reset, 1);
	bake_was_reset(fd);
	cr_assert_eq(bake.old_ledger->values[1], 1);
}

Test(shim_journal, is_void_once_a_change_cannot_be_migrated_down, .init = bake_start, .fini = bake_finish)
{
	int fd = bake_call();

	bake_roll_over(JOURNAL_BYTES);
	bake_ask(fd, LEDGER_ADD, 1, LEDGER_ACCOUNTS - 1, 0);
	bake_answered(fd, 1, 1);
	bake_handled(1);
	cr_assert(bake.journal_full, "the supervisor knows at once");
	cr_assert(strstr(bake.full_reason, "does not fit"), "%s", bake.full_reason);
	bake_kill_new();
	cr_assert_neq(strstr(bake_resume_old()->journal_unused, "does not fit"), NULL, "%s",
		      bake.old.message->resumed->journal_unused);
}

Test(shim_journal, gives_up_where_a_change_cannot_be_applied, .init = bake_start, .fini = bake_finish)
{
	int fd = bake_call();

	bake_roll_over(JOURNAL_BYTES);
	bake_ask(fd, LEDGER_ADD, 1, 1, 0);
	bake_answered(fd, 1, 1);
	bake_kill_new();
	bake.old_ledger->fails_change = true;
	bake_say_resume(true);
	cr_assert_neq(strstr(FAKE_TAKE(&bake.old, REFUSED)->refused->reason, "a test says so"), NULL);
	cr_assert_eq(fake_wait(&bake.old), APP_LEFT);
	fd_close(fd);
}

Test(shim_journal, resets_new_connections_that_nobody_would_take, .init = bake_start_without_on_conn, .fini = bake_finish)
{
	int fd;

	bake_roll_over(JOURNAL_BYTES);
	fd = bake_call();
	bake_ask(fd, LEDGER_ADD, 1, 1, 0);
	bake_answered(fd, 1, 1);
	bake_handled(1);
	cr_assert_eq(bake.gaps.others, 1);
	cr_assert(strstr(bake.gaps.reason, "has no on_conn()"), "%s", bake.gaps.reason);
	bake_kill_new();
	cr_assert_eq(bake_resume_old()->reset, 1);
	bake_was_reset(fd);
	cr_assert_eq(bake.old_ledger->values[1], 1, "its changes hold");
}

/* A tag that a version made which has failed is made by no later one, or the two would be taken for one. */
Test(shim_journal, tells_connections_apart_that_versions_accepted_which_failed, .init = bake_start, .fini = bake_finish)
{
	int first, second;

	bake_roll_over(JOURNAL_BYTES);
	first = bake_call();
	bake_ask(first, LEDGER_ADD, 1, 1, 0);
	bake_answered(first, 1, 1);
	bake_kill_new();
	cr_assert_eq(bake_resume_old()->adopted, 1);
	bake_forget_roll();
	bake_roll_over(JOURNAL_BYTES);
	bake_ask(first, LEDGER_QUIT, 2, 1, 0);
	bake_answered(first, 2, 1);
	bake_ends(first);
	second = bake_call();
	bake_ask(second, LEDGER_ADD, 1, 1, 0);
	bake_answered(second, 1, 2);
	bake_kill_new();
	cr_assert_eq(bake_resume_old()->reset, 0);
	bake_ask(second, LEDGER_ADD, 2, 1, 0);
	bake_answered(second, 2, 3);
}

static bool maps_journal(pid_t pid)
{
	char path[64], line[512];
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	file = fopen(path, "re");
	cr_assert_not_null(file);
	while (fgets(line, sizeof(line), file))
		found = found || strstr(line, "memfd:journal");
	fclose(file);
	return found;
}

Test(shim_journal, ends_with_the_bake, .init = bake_start, .fini = bake_finish)
{
	int fd = bake_call(), other = bake_call();

	bake_ask(fd, LEDGER_ADD, 1, 1, 0);
	bake_answered(fd, 1, 1);
	bake_ask(other, LEDGER_ADD, 1, 2, 0);
	bake_answered(other, 1, 1);
	bake_roll_over(JOURNAL_BYTES);
	cr_assert(maps_journal(bake.new.pid));
	bake_ask(fd, LEDGER_DEPOSIT, 2, 1, 10);
	bake_send_bytes(fd, 0, 5);
	fake_say_baked(&bake.new);
	fake_roll_done(&bake.roll);
	fake_await(&bake.new_ledger->app.n_steps, 0);
	bake_send_bytes(fd, 5, 5);
	bake_answered(fd, 2, 1 + bake_sum_of(10));
	bake_ask(other, LEDGER_ADD, 2, 2, 0);
	bake_answered(other, 2, 2);
	bake_ask(fd, LEDGER_QUIT, 3, 1, 0);
	bake_answered(fd, 3, 1 + bake_sum_of(10));
	bake_ends(fd);
	cr_assert_not(maps_journal(bake.new.pid), "no connection is there any more that would need it");
}

Test(shim_journal, is_given_back_by_a_version_that_is_parked, .init = bake_start, .fini = bake_finish)
{
	int fd = bake_call();
	struct fake_roll first;

	bake_ask(fd, LEDGER_ADD, 1, 1, 0);
	bake_answered(fd, 1, 1);
	bake_roll_over(JOURNAL_BYTES);
	first = bake.roll;
	fake_roll_open(&bake.roll, 1);
	/* Backwards while both live: new becomes what is parked. */
	fake_done(&bake.old);
	bake.old = bake.new;
	bake.new = (struct fake){ .fd = -1 };
	bake_say_prepare(2);
	FAKE_TAKE(&bake.old, QUIESCED);
	fake_take_fds(&bake.old, &bake.roll);
	fake_drain(bake.roll.state_in);
	FAKE_TAKE(&bake.old, SAVED);
	cr_assert(commit_take(&bake.roll.word, COMMIT_NEW));
	fake_say_park(&bake.old);
	FAKE_TAKE(&bake.old, PARKED);
	cr_assert_not(maps_journal(bake.old.pid));
	fake_roll_done(&first);
	fd_close(fd);
}
