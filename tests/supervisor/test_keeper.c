/* SPDX-License-Identifier: MIT */
/* Journal=always: when a process is asked for a checkpoint, what counts of it, and what another process gets when it has failed. */
#include "tests/supervisor/hosted.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HEARD(what) UPGRADED__WIRE__APP_MESSAGE__BODY_##what
#define APART_US (100 * USEC_PER_MSEC)

static struct fake *serves;

static void set_up(void)
{
	hosted_set("Journal=always\n");
}

static void tear_down(void)
{
	hosted_end_all();
	hosted_clear();
}

TestSuite(keeper, .timeout = 20, .init = set_up, .fini = tear_down);

static void start(void)
{
	serves = hosted_serve("v1");
	hosted_turn();
}

static const char *crash_costs(void)
{
	static char text[512];
	struct status status;

	service_status(hosted.web, &status);
	snprintf(text, sizeof(text), "%s", status.message.crash);
	status_done(&status);
	return text;
}

#define assert_costs(text) cr_assert_eq(strncmp(crash_costs(), (text), strlen(text)), 0, "%s", crash_costs())

/* The process comes to rest, tells of two sockets if that was asked for, forks, and goes on; its child writes yet. */
static void is_begun(struct fake *fake)
{
	cr_assert_eq(fake_heard_last(fake), HEARD(PREPARE));
	cr_assert_gt(fake->report, 0);
	fake_quiesced(fake);
	if (fake->announces)
		fake_hand_over(fake, 2, true);
	fake_resumed(fake);
	hosted_turn();
}

static void is_made(struct fake *fake)
{
	is_begun(fake);
	fake_checkpointed(fake, 7);
	hosted_turn();
	hosted_turn();
}

/* Return: the process that was started in the place of @fake, which was killed. */
static struct fake *next_of(struct fake *fake)
{
	unsigned n = hosted.origin.n_started;

	fake_exit(fake, SIGKILL);
	hosted_turn();
	cr_assert_eq(hosted.origin.n_started, n + 1);
	return started(n);
}

static void takes_place(struct fake *fake)
{
	fake_hello(fake, 1, true);
	fake_standby(fake);
	cr_assert(fake->is_heir);
	fake_ready(fake);
	hosted_turn();
}

static void fills(struct fake *fake)
{
	Upgraded__Wire__JournalFills fills = UPGRADED__WIRE__JOURNAL_FILLS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(HEARD(JOURNAL_FILLS), .journal_fills = &fills);

	fake_say(fake, &message);
	hosted_turn();
}

/* ---- when it is asked ---- */

Test(keeper, asks_for_a_checkpoint_when_a_process_serves)
{
	start();
	cr_assert(serves->announces);
	cr_assert_leq(serves->quiesce_deadline_us, hosted.now_us + 500 * USEC_PER_MSEC, "nobody has asked for it");
	assert_costs("everything");
	is_made(serves);
	assert_costs("nothing");
	cr_assert_eq(fake_heard_last(serves), HEARD(CHECKPOINTED));
	/* One is enough as long as its journal lasts. */
	hosted_pass(600 * USEC_PER_SEC);
	cr_assert_eq(fake_heard_times(serves, HEARD(PREPARE)), 1);
}

Test(keeper, asks_for_the_next_one_when_half_of_the_journal_is_used_up)
{
	uint64_t number;

	start();
	number = serves->number;
	is_made(serves);
	hosted_pass(APART_US);
	fills(serves);
	cr_assert_eq(fake_heard_times(serves, HEARD(PREPARE)), 2);
	cr_assert_gt(serves->number, number);
	cr_assert_not(serves->announces, "they are known");
	/* Said once more while it is made, it is heard afterwards; but whatever it says, not without end. */
	fills(serves);
	is_made(serves);
	cr_assert_eq(fake_heard_times(serves, HEARD(PREPARE)), 2);
	hosted_pass(APART_US);
	cr_assert_eq(fake_heard_times(serves, HEARD(PREPARE)), 3);
}

Test(keeper, asks_no_version_that_cannot)
{
	unsigned n = hosted.origin.n_started;

	service_start(hosted.web, "v1", -1, ask(&ann));
	serves = started(n);
	serves->knows_no_checkpoint = true;
	hosted_start_up(serves);
	hosted_pass(10 * USEC_PER_SEC);
	cr_assert_not(fake_heard(serves, HEARD(PREPARE)));
	assert_costs("everything");
	cr_assert_not_null(strstr(crash_costs(), "the library of version v1 knows no checkpoints"), "%s", crash_costs());
}

Test(keeper, asks_for_none_where_nobody_would_go_on_from_it)
{
	hosted_write("Journal=always\nRestart=no\n");
	start();
	hosted_pass(10 * USEC_PER_SEC);
	cr_assert_not(fake_heard(serves, HEARD(PREPARE)));
	cr_assert_not_null(strstr(crash_costs(), "Restart=no"), "%s", crash_costs());
}

Test(keeper, gives_way_to_a_save)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	start();
	service_save(hosted.web, fd, ask(&ann));
	cr_assert_eq(fake_heard_times(serves, HEARD(PREPARE)), 2);
	fake_quiesced(serves);
	fake_saved(serves, 1, 0);
	fake_resumed(serves);
	assert_answer(&ann, WIRE_EXIT_DONE, "web is saved");
	hosted_pass(2 * USEC_PER_SEC);
	cr_assert_eq(fake_heard_times(serves, HEARD(PREPARE)), 3);
}

Test(keeper, ends_where_a_roll_commits_and_begins_anew_after_it)
{
	struct fake *new;

	start();
	is_made(serves);
	new = hosted_roll("v2");
	hosted_lead(serves, new, ROLL_BAKE);
	/* What the one that lies parked had said of its journal is of no interest to anybody. */
	hosted_pass(61 * USEC_PER_SEC);
	hosted_reap();
	hosted_turn();
	assert_status("running", "v2");
	cr_assert_eq(fake_heard_times(new, HEARD(PREPARE)), 1);
	cr_assert(new->announces);
	is_made(new);
	assert_costs("nothing");
}

/* Until the commit all is as it was, but for new checkpoints. */
Test(keeper, goes_on_where_a_roll_is_called_off)
{
	struct fake *new, *heir;

	start();
	is_made(serves);
	new = hosted_roll("v2");
	fake_hand_over(serves, 1, true);
	fills(serves);
	hosted_pass(3 * USEC_PER_SEC);
	cr_assert_eq(fake_heard_times(serves, HEARD(PREPARE)), 1);
	fake_exit(new, SIGSEGV);
	hosted_turn();
	assert_status("running", "v1");
	hosted_pass(2 * USEC_PER_SEC);
	cr_assert_eq(fake_heard_times(serves, HEARD(PREPARE)), 2);
	heir = next_of(serves);
	takes_place(heir);
	assert_text(heir->given, "socket 1, socket 2, socket 3");
}

Test(keeper, makes_a_crash_good_while_a_roll_waits_for_the_new_version)
{
	struct fake *new, *heir;

	start();
	is_made(serves);
	new = hosted_roll("v2");
	fake_exit(serves, SIGKILL);
	hosted_turn();
	hosted_reap();
	hosted_turn();
	cr_assert_neq(ann.asked.code, WIRE_EXIT_DONE);
	(void)new;
	heir = started(hosted.origin.n_started - 1);
	takes_place(heir);
	cr_assert_str_eq(heir->instance.version, "v1");
	assert_status("running", "v1");
}

/* ---- what does not come to an end ---- */

Test(keeper, tries_again_after_a_while_and_the_one_before_counts)
{
	struct fake *heir;
	uint64_t number;

	start();
	number = serves->number;
	is_made(serves);
	hosted_pass(APART_US);
	fills(serves);
	is_begun(serves);
	fake_close_report(serves);
	hosted_turn();
	assert_costs("nothing");
	cr_assert_not_null(strstr(crash_costs(), "ended without a word"), "%s", crash_costs());
	hosted_pass(USEC_PER_SEC);
	cr_assert_eq(fake_heard_times(serves, HEARD(PREPARE)), 3);
	is_begun(serves);
	heir = next_of(serves);
	takes_place(heir);
	cr_assert_eq(heir->number, number);
	cr_assert_eq(heir->journals, 3);
}

/* Whatever it says of its journal. */
Test(keeper, asks_less_often_while_it_refuses_although_its_journal_fills)
{
	start();
	is_made(serves);
	hosted_pass(APART_US);
	fills(serves);
	for (unsigned i = 0; i < 4; i++) {
		cr_assert_eq(fake_heard_times(serves, HEARD(PREPARE)), i + 2);
		fake_refused(serves, "it does not want to");
		fills(serves);
		hosted_pass((USEC_PER_SEC << i) - APART_US);
		fills(serves);
		cr_assert_eq(fake_heard_times(serves, HEARD(PREPARE)), i + 2);
		hosted_pass(2 * APART_US);
	}
}

Test(keeper, does_not_wait_for_a_child_without_end)
{
	start();
	is_begun(serves);
	hosted_pass(21 * USEC_PER_SEC);
	assert_costs("everything");
	cr_assert_not_null(strstr(crash_costs(), "was not written in time"), "%s", crash_costs());
}

Test(keeper, begins_no_journal_for_one_that_refuses)
{
	struct fake *heir;

	start();
	is_made(serves);
	hosted_pass(APART_US);
	fills(serves);
	fake_refused(serves, "fork: Resource temporarily unavailable");
	heir = next_of(serves);
	takes_place(heir);
	cr_assert_eq(heir->journals, 1);
}

Test(keeper, gives_no_journal_where_something_is_missing_in_it)
{
	struct fake *heir;

	start();
	is_made(serves);
	fake_journal_full(serves, 1000);
	assert_costs("what was written in the last");
	heir = next_of(serves);
	takes_place(heir);
	cr_assert_eq(heir->journals, 0);
}

Test(keeper, has_it_all_again_with_the_checkpoint_after_a_full_journal)
{
	start();
	is_made(serves);
	fake_journal_full(serves, 1000);
	hosted_pass(APART_US);
	is_made(serves);
	assert_costs("nothing");
}

/* ... of whose descriptors not all fit: what of them is told after those that do not is of no use. */
static void is_begun_with_more_than_fit(struct fake *fake, size_t last)
{
	cr_assert(fake->announces);
	fake_quiesced(fake);
	fake_hand_over(fake, 8, false);
	fake_hand_over(fake, 7, false);
	fake_hand_over(fake, 8, false);
	fake_hand_over(fake, last, true);
	fake_resumed(fake);
	fake_checkpointed(fake, 7);
	hosted_turn();
	hosted_turn();
}

Test(keeper, makes_none_of_which_a_descriptor_is_missing)
{
	hosted_write("Journal=always\nLimitNOFILE=16\n");
	start();
	is_begun_with_more_than_fit(serves, 1);
	assert_costs("everything");
	cr_assert_not_null(strstr(crash_costs(), "than it may have open"), "%s", crash_costs());
	hosted_pass(APART_US);
	cr_assert_eq(fake_heard_times(serves, HEARD(PREPARE)), 1);
	/* The next one has all of them. */
	hosted_pass(USEC_PER_SEC);
	is_made(serves);
	assert_costs("nothing");
}

Test(keeper, asks_less_often_while_a_descriptor_is_missing)
{
	hosted_write("Journal=always\nLimitNOFILE=16\n");
	start();
	for (unsigned i = 0; i < 5; i++) {
		is_begun_with_more_than_fit(serves, 8);
		hosted_pass((USEC_PER_SEC << i) - APART_US);
		cr_assert_eq(fake_heard_times(serves, HEARD(PREPARE)), i + 1);
		hosted_pass(2 * APART_US);
		cr_assert_eq(fake_heard_times(serves, HEARD(PREPARE)), i + 2);
	}
}

Test(keeper, has_them_all_again_with_the_checkpoint_after_one_that_did_not_fit)
{
	hosted_write("Journal=always\nLimitNOFILE=16\n");
	start();
	is_made(serves);
	fake_hand_over(serves, 8, false);
	fake_hand_over(serves, 7, false);
	assert_costs("what was written in the last");
	hosted_pass(USEC_PER_SEC);
	cr_assert(serves->announces);
	is_made(serves);
	assert_costs("nothing");
	serves = next_of(serves);
	takes_place(serves);
	cr_assert_eq(serves->n_got, 2);
}

Test(keeper, makes_none_of_which_not_all_descriptors_were_told)
{
	start();
	fake_quiesced(serves);
	fake_hand_over(serves, 2, false);
	fake_resumed(serves);
	fake_checkpointed(serves, 7);
	hosted_turn();
	hosted_turn();
	assert_costs("everything");
}

/* So many attempts come to nothing, each of which leaves a journal. */
static void fails_often(struct fake *fake, unsigned times)
{
	unsigned n = fake_heard_times(fake, HEARD(PREPARE));

	fills(fake);
	for (unsigned i = 0; i < times; i++) {
		if (i)
			hosted_pass((USEC_PER_SEC << (i > 11 ? 10 : i - 1)) + APART_US);
		cr_assert_eq(fake_heard_times(fake, HEARD(PREPARE)), n + i + 1);
		is_begun(fake);
		fake_close_report(fake);
		hosted_turn();
	}
}

Test(keeper, loses_nothing_of_as_many_journals_as_there_may_be)
{
	start();
	is_made(serves);
	hosted_pass(APART_US);
	fails_often(serves, 14);
	assert_costs("nothing");
	serves = next_of(serves);
	takes_place(serves);
	cr_assert_eq(serves->journals, 15);
	assert_costs("nothing");
	/* The one before it had the last journal that there was room for. */
	serves = next_of(serves);
	takes_place(serves);
	cr_assert_eq(serves->journals, 16);
	assert_costs("what was written in the last");
	hosted_pass(APART_US);
	is_made(serves);
	assert_costs("nothing");
}

Test(keeper, asks_on_where_there_is_no_room_for_another_journal)
{
	start();
	is_made(serves);
	hosted_pass(APART_US);
	fails_often(serves, 15);
	assert_costs("what was written in the last");
	cr_assert_not_null(strstr(crash_costs(), "15 journals wait"), "%s", crash_costs());
	hosted_pass(1024 * USEC_PER_SEC + APART_US);
	is_made(serves);
	assert_costs("nothing");
	serves = next_of(serves);
	takes_place(serves);
	cr_assert_eq(serves->journals, 1);
}

/* What it does not begin costs nothing. */
Test(keeper, keeps_all_journals_where_one_more_is_refused)
{
	start();
	is_made(serves);
	hosted_pass(APART_US);
	fails_often(serves, 14);
	hosted_pass(1024 * USEC_PER_SEC + APART_US);
	fake_refused(serves, "fork: Resource temporarily unavailable");
	assert_costs("nothing");
	serves = next_of(serves);
	takes_place(serves);
	cr_assert_eq(serves->journals, 15);
	assert_costs("nothing");
}

/* Where no descriptor is free here, the kernel cuts them off. */
Test(keeper, makes_none_of_which_descriptors_were_cut_off)
{
	start();
	fake_quiesced(serves);
	fake_hand_over(serves, 2, false);
	fake_garbage(serves, "descriptors were cut off on the way");
	fake_hand_over(serves, 2, true);
	fake_resumed(serves);
	fake_checkpointed(serves, 7);
	hosted_turn();
	hosted_turn();
	assert_costs("everything");
	cr_assert_not_null(strstr(crash_costs(), "were cut off"), "%s", crash_costs());
	hosted_pass(USEC_PER_SEC);
	is_made(serves);
	assert_costs("nothing");
}

Test(keeper, has_them_all_again_with_the_checkpoint_after_some_were_cut_off)
{
	start();
	is_made(serves);
	fake_garbage(serves, "descriptors were cut off on the way");
	assert_costs("what was written in the last");
	hosted_pass(USEC_PER_SEC);
	cr_assert(serves->announces);
	is_made(serves);
	assert_costs("nothing");
}

Test(keeper, knows_that_some_were_cut_off_while_a_roll_waits_for_the_new_version)
{
	struct fake *new;

	start();
	is_made(serves);
	new = hosted_roll("v2");
	fake_garbage(serves, "descriptors were cut off on the way");
	hosted_reap();
	if (!is_gone(1))
		fake_exit(new, SIGSEGV);
	hosted_turn();
	assert_costs("what was written in the last");
	hosted_pass(2 * USEC_PER_SEC);
	cr_assert(serves->announces);
	is_made(serves);
	assert_costs("nothing");
}

/* ---- another process ---- */

Test(keeper, gives_what_it_has_to_another_process_at_once)
{
	struct fake *heir, *third;
	uint64_t number;

	start();
	number = serves->number;
	is_made(serves);
	heir = next_of(serves);
	takes_place(heir);
	cr_assert_eq(heir->number, number);
	cr_assert_eq(heir->journals, 1);
	cr_assert_eq(heir->n_got, 2);
	cr_assert(heir->got_last);
	assert_status("running", "v1");
	assert_costs("nothing");
	/* Before it has come to a checkpoint of its own: what it did is in its journal. */
	third = next_of(heir);
	takes_place(third);
	cr_assert_eq(third->number, number);
	cr_assert_geq(third->journals, 2);
	cr_assert_eq(third->n_got, 2);
}

Test(keeper, waits_for_the_child_that_writes_the_first_checkpoint)
{
	struct fake *heir;
	int report;

	start();
	is_begun(serves);
	report = fcntl(serves->report, F_DUPFD_CLOEXEC, 3);
	fake_exit(serves, SIGKILL);
	hosted_pass(USEC_PER_SEC);
	cr_assert_eq(hosted.origin.n_started, 1);
	cr_assert_eq(write(report, "", 0), 0);
	{
		struct fake child = { .report = report };

		fake_checkpointed(&child, 3);
	}
	hosted_turn();
	hosted_turn();
	cr_assert_eq(hosted.origin.n_started, 2);
	heir = started(1);
	takes_place(heir);
	cr_assert_eq(heir->journals, 1);
}

Test(keeper, starts_empty_where_that_child_fails)
{
	start();
	is_begun(serves);
	{
		struct fake child = { .report = fcntl(serves->report, F_DUPFD_CLOEXEC, 3) };

		fake_exit(serves, SIGKILL);
		hosted_turn();
		cr_assert_eq(hosted.origin.ends, 0, "one of them writes the checkpoint");
		fake_close_report(&child);
	}
	hosted_turn();
	hosted_turn();
	cr_assert_eq(hosted.origin.ends, 1);
	cr_assert_eq(hosted.origin.n_started, 2);
	hosted_start_up(started(1));
	cr_assert_not(started(1)->is_heir);
	cr_assert(fake_heard(started(1), HEARD(WELCOME)));
}

static void is_offered(struct fake *fake)
{
	fake_hello(fake, 1, true);
	fake_standby(fake);
	cr_assert(fake->is_heir);
}

/* Of what a client asks, perhaps, or of what was written: each one is given less. */
Test(keeper, starts_empty_after_three_that_could_not)
{
	struct fake *heir;

	start();
	is_made(serves);
	heir = next_of(serves);
	is_offered(heir);
	cr_assert_eq(heir->n_got, 2);
	cr_assert_eq(heir->journals, 1);
	fake_refused(heir, "it cannot");
	heir = next_of(heir);
	is_offered(heir);
	cr_assert_eq(heir->n_got, 0, "connections may be what it fails of");
	cr_assert_geq(heir->journals, 1);
	heir = next_of(heir);
	is_offered(heir);
	cr_assert_eq(heir->n_got, 0);
	cr_assert_eq(heir->journals, 0, "so may be what was written");
	fake_exit(heir, SIGSEGV);
	hosted_turn();
	cr_assert_eq(hosted.origin.n_started, 4);
	hosted_pass(USEC_PER_SEC);
	cr_assert_eq(hosted.origin.n_started, 5);
	hosted_start_up(started(4));
	cr_assert_not(started(4)->is_heir);
}

Test(keeper, has_lost_no_write_where_one_takes_the_place_without_connections)
{
	struct fake *heir;

	start();
	is_made(serves);
	heir = next_of(serves);
	is_offered(heir);
	heir = next_of(heir);
	takes_place(heir);
	assert_costs("nothing");
}

Test(keeper, holds_one_back_that_fails_again_and_again)
{
	start();
	is_made(serves);
	for (unsigned i = 0; i < 3; i++) {
		serves = next_of(serves);
		takes_place(serves);
	}
	fake_exit(serves, SIGSEGV);
	hosted_turn();
	serves = started(4);
	takes_place(serves);
	for (unsigned i = 0; i < 2; i++) {
		fake_exit(serves, SIGSEGV);
		hosted_turn();
		if (hosted.origin.n_started == 6 + i) {
			serves = started(5 + i);
			takes_place(serves);
		}
	}
	cr_assert_eq(hosted.origin.n_started, 6, "the third end in a row is waited after");
	hosted_pass(USEC_PER_SEC);
	cr_assert_eq(hosted.origin.n_started, 7);
	takes_place(started(6));
	assert_text(started(6)->given, "%s", "");
}

/* Whatever they come by; but a door is no connection. */
Test(keeper, lets_go_of_connections_by_unix_sockets_and_keeps_doors)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int door = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), pair[2];
	char byte;

	cr_assert_eq(bind(door, (struct sockaddr *)&at, sizeof(at.sun_family)), 0);
	cr_assert_eq(listen(door, 1), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	start();
	fake_quiesced(serves);
	fake_hand(serves, "client", 1, pair[0], false);
	fake_hand(serves, "door", 2, door, false);
	fake_hand(serves, "log", 3, open("/dev/null", O_WRONLY | O_CLOEXEC), true);
	fake_resumed(serves);
	fake_checkpointed(serves, 7);
	hosted_turn();
	for (unsigned i = 0; i < 4; i++) {
		cr_assert_eq(recv(pair[1], &byte, 1, 0), -1, "it is kept");
		fake_exit(serves, SIGSEGV);
		hosted_pass(i < 3 ? 0 : USEC_PER_SEC);
		serves = started(i + 1);
		takes_place(serves);
	}
	assert_text(serves->given, "log 3, door 2");
	cr_assert_eq(recv(pair[1], &byte, 1, 0), 0, "its peer sees it");
	close(pair[1]);
}

/* It waits for RestartDelay=. */
static void waits(void)
{
	start();
	is_made(serves);
	for (unsigned i = 0; i < 4; i++) {
		fake_exit(serves, SIGSEGV);
		hosted_turn();
		cr_assert_eq(hosted.origin.n_started, i < 3 ? i + 2 : 4);
		if (i < 3)
			takes_place(serves = started(i + 1));
	}
	assert_status("waiting to restart", "v1");
}

Test(keeper, goes_on_at_once_where_a_start_is_asked_for_while_it_waits)
{
	waits();
	service_start(hosted.web, "", -1, ask(&ann));
	cr_assert_eq(hosted.origin.n_started, 5);
	takes_place(started(4));
	assert_answer(&ann, WIRE_EXIT_DONE, "web version v1 serves (pid %d)", (int)started(4)->instance.pid);
	hosted_pass(5 * USEC_PER_SEC);
	cr_assert_eq(hosted.origin.n_started, 5);
}

Test(keeper, throws_nothing_away_where_something_else_is_to_be_started)
{
	waits();
	service_start(hosted.web, "v2", -1, ask(&ann));
	assert_answer(&ann, WIRE_EXIT_REFUSED, "web waits to go on with version v1");
	service_start(hosted.web, "v1", open("/dev/null", O_RDONLY | O_CLOEXEC), ask(&ann));
	assert_answer(&ann, WIRE_EXIT_REFUSED, "web waits to go on with version v1");
	service_stop(hosted.web, ask(&ann));
	cr_assert_eq(ann.asked.code, WIRE_EXIT_DONE);
	service_start(hosted.web, "v2", -1, ask(&ann));
	hosted_start_up(started(4));
	cr_assert_not(started(4)->is_heir);
	assert_status("running", "v2");
}

/* What a load takes is no time of service. */
Test(keeper, holds_one_back_that_fails_again_and_again_after_a_long_load)
{
	unsigned n;

	start();
	is_made(serves);
	for (unsigned i = 0; i < 5; i++) {
		n = hosted.origin.n_started;
		fake_exit(serves, SIGSEGV);
		hosted_turn();
		cr_assert_eq(hosted.origin.n_started, i < 3 ? n + 1 : n);
		hosted_pass(2 * USEC_PER_SEC);
		cr_assert_eq(hosted.origin.n_started, n + 1);
		serves = started(n);
		fake_hello(serves, 1, true);
		fake_standby(serves);
		hosted_pass(15 * USEC_PER_SEC);
		fake_ready(serves);
		hosted_turn();
	}
}

/* Where memory runs out of what one of its clients asks, each of them is killed. */
Test(keeper, holds_one_back_that_is_killed_again_and_again)
{
	start();
	is_made(serves);
	for (unsigned i = 0; i < 16; i++) {
		serves = next_of(serves);
		takes_place(serves);
		hosted_pass(15 * USEC_PER_SEC);
	}
	cr_assert_neq(*serves->given, 0);
	fake_exit(serves, SIGKILL);
	hosted_turn();
	cr_assert_eq(hosted.origin.n_started, 17);
	hosted_pass(USEC_PER_SEC);
	cr_assert_eq(hosted.origin.n_started, 18);
	takes_place(started(17));
	assert_text(started(17)->given, "%s", "");
}

Test(keeper, goes_on_at_once_where_one_is_killed_now_and_then)
{
	start();
	is_made(serves);
	for (unsigned i = 0; i < 40; i++) {
		serves = next_of(serves);
		takes_place(serves);
		hosted_pass(25 * USEC_PER_SEC);
	}
}

/* It is ended by SIGKILL, and not by chance. */
Test(keeper, holds_one_back_that_falls_silent_again_and_again)
{
	unsigned n;

	hosted_write("Journal=always\nHeartbeat=20s\nUnanswered=restart\n");
	start();
	is_made(serves);
	hosted.silent = true;
	for (unsigned i = 0; i < 4; i++) {
		n = hosted.origin.n_started;
		hosted_pass(26 * USEC_PER_SEC);
		cr_assert_eq(serves->signal, SIGKILL);
		fake_exit(serves, SIGKILL);
		hosted_turn();
		cr_assert_eq(hosted.origin.n_started, i < 3 ? n + 1 : n);
		if (i < 3) {
			serves = started(n);
			takes_place(serves);
		}
	}
	hosted_pass(USEC_PER_SEC);
	cr_assert_eq(hosted.origin.n_started, n + 1);
}

Test(keeper, leaves_nothing_of_one_that_is_stopped)
{
	start();
	is_made(serves);
	service_stop(hosted.web, ask(&ann));
	fake_exit(serves, 0);
	assert_answer(&ann, WIRE_EXIT_DONE, "web is stopped");
	serves = hosted_serve("v1");
	cr_assert_not(serves->is_heir);
}
