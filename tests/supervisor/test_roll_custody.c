/* SPDX-License-Identifier: MIT */
/* Descriptors of a service during a roll: on to new, in custody, back to old; and which connections go on after a way back. The
 * connections over the loopback are real, and so is what the kernel counts of them. */
#include "tests/supervisor/scene.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(roll_custody, .timeout = 20);

#define S USEC_PER_SEC
#define MS USEC_PER_MSEC

/* ---- connections ---- */

#define CONNECTIONS 3u

static struct {
	int service, client; /* the service's end is kept by this test, as by the processes */
	unsigned long long inode;
} connection[CONNECTIONS + 1];

static void connection_open(unsigned i)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	FD_CLEANUP int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(bind(listener, (struct sockaddr *)&address, size), 0);
	cr_assert_eq(listen(listener, 1), 0);
	cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	connection[i].client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(connect(connection[i].client, (struct sockaddr *)&address, sizeof(address)), 0);
	connection[i].service = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	cr_assert_eq(fd_inode(connection[i].service, &connection[i].inode), 0);
}

/* New reads from it. */
static void move(unsigned i)
{
	char byte;

	cr_assert_eq(send(connection[i].client, "x", 1, 0), 1);
	cr_assert_eq(recv(connection[i].service, &byte, 1, 0), 1);
}

static bool is_reset(unsigned i)
{
	struct pollfd poll_fd = { .fd = connection[i].client, .events = POLLIN };
	char byte;

	cr_assert_geq(poll(&poll_fd, 1, 0), 0);
	return poll_fd.revents && recv(connection[i].client, &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNRESET;
}

/* The processes have ended, or have closed theirs. */
static void let_go(unsigned i)
{
	connection[i].service = fd_close(connection[i].service);
}

/* ---- a roll with connections ---- */

/* To TRANSFER, with a connection under each of the tags 1, 2, 3 handed over. */
static void begin_with(const char *unit, const struct roll_options *more)
{
	struct roll_options options;

	scene_set(unit);
	cr_assert_eq(conntable_new(&scene.site.conntable, NULL), 0);
	options = more ? *more : scene_options();
	options.rollback = more ? more->rollback : scene.unit->rollback;
	options.bake_us = scene.unit->bake_us;
	scene_begin(&options);
	scene_to(ROLL_QUIESCE);
	fake_quiesced(scene.old);
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		connection_open(i);
		fake_hand(scene.old, "socket", i + 1, dup(connection[i].service), i + 1 == CONNECTIONS);
	}
}

static void to_bake(void)
{
	fake_saved(scene.old, 10, CONNECTIONS);
	fake_loaded(scene.new, 10, CONNECTIONS);
	cr_assert(fake_commit(scene.new));
	fake_parked(scene.old);
	if (fake_imaging.job)
		fake_imaging_done(0, CRIU_TARGET_RUNNING);
	assert_state(ROLL_BAKE);
}

static void begin_bake(const char *unit)
{
	begin_with(unit, NULL);
	to_bake();
}

static void finish(void)
{
	struct conntable *table = scene.site.conntable;

	scene_clear();
	conntable_free(table);
	for (unsigned i = 0; i <= CONNECTIONS; i++) {
		let_go(i);
		connection[i].client = fd_close(connection[i].client);
	}
}

static void setup(void)
{
	for (unsigned i = 0; i <= CONNECTIONS; i++)
		connection[i].service = connection[i].client = -1;
}

static void new_dies(void)
{
	fake_exit(scene.new, SIGSEGV);
	assert_state(ROLL_RESUME);
}

/* Old got exactly the connections with these tags, in this order. */
static void assert_got(const struct fake *fake, const uint64_t *tags, unsigned n)
{
	cr_assert_eq(fake->n_got, n, "%u descriptors instead of %u", fake->n_got, n);
	cr_assert(fake->got_last);
	for (unsigned i = 0; i < n; i++) {
		cr_assert_eq(fake->got[i].tag, tags[i]);
		cr_assert_eq(fake->got[i].inode, connection[tags[i] - 1].inode);
		cr_assert_not(fake->got[i].moved);
	}
}

#define ASSERT_GOT(fake, ...)                                                    \
	do {                                                                         \
		const uint64_t tags[] = { __VA_ARGS__ };                                 \
		assert_got((fake), tags, sizeof(tags) / sizeof(tags[0]));                \
	} while (0)

/* ---- on to new ---- */

Test(roll_custody, hands_each_descriptor_on_to_new_and_keeps_it, .init = setup)
{
	begin_with(NULL, NULL);
	ASSERT_GOT(scene.new, 1, 2, 3);
	cr_assert_eq(roll_descriptors(scene.roll), 3);
	cr_assert_eq(roll_report(scene.roll)->wire.fds, 3);
	finish();
}

/* Messages that still wait may borrow what it names, and it has closed nothing of old's. */
Test(roll_custody, drops_nothing_that_new_has_closed_before_it_serves, .init = setup)
{
	begin_with(NULL, NULL);
	fake_closed(scene.new, 2);
	cr_assert_eq(roll_descriptors(scene.roll), 3);
	to_bake();
	fake_closed(scene.new, 2);
	cr_assert_eq(roll_descriptors(scene.roll), 2);
	new_dies();
	ASSERT_GOT(scene.old, 1, 3);
	finish();
}

/* Nobody but the version that serves may say so. */
Test(roll_custody, drops_nothing_that_old_has_closed, .init = setup)
{
	begin_bake(NULL);
	fake_closed(scene.old, 2);
	cr_assert_eq(roll_descriptors(scene.roll), 3);
	finish();
}

/* Without a journal nobody would know what they are. */
Test(roll_custody, keeps_nothing_that_new_has_opened, .init = setup)
{
	begin_bake(NULL);
	fake_hand_over(scene.new, 2, false);
	cr_assert_eq(roll_descriptors(scene.roll), 3);
	finish();
}

Test(roll_custody, is_over_with_the_bake, .init = setup)
{
	begin_bake(NULL);
	let_go(0);
	cr_assert_not(is_reset(0));
	scene_go_well();
	assert_outcome(ROLL_IS_DONE);
	cr_assert_not(is_reset(0), "they are closed, and not reset: the connection is new's to end");
	finish();
}

/* ---- back to old ---- */

Test(roll_custody, gives_old_back_what_stood_still_and_resets_what_moved, .init = setup)
{
	begin_bake(NULL);
	move(1);
	new_dies();
	ASSERT_GOT(scene.old, 1, 3);
	cr_assert_eq(roll_report(scene.roll)->wire.kept, 2);
	cr_assert_eq(roll_report(scene.roll)->wire.reset, 1);
	cr_assert(scene_said("comes back from memory: 2 connections go on, 1 are reset\n"));
	let_go(1);
	cr_assert_not(is_reset(1), "a thousand resets take longer than all the rest: when old serves");
	fake_resumed(scene.old);
	cr_assert(is_reset(1));
	cr_assert_not(is_reset(0) || is_reset(2));
	assert_outcome(ROLL_IS_BACK_PARKED);
	finish();
}

Test(roll_custody, gives_old_everything_back_where_dirty_connections_are_kept, .init = setup)
{
	begin_bake("OnDirtyConnection=keep\n");
	move(0);
	move(1);
	new_dies();
	ASSERT_GOT(scene.old, 1, 2, 3);
	cr_assert_eq(roll_report(scene.roll)->wire.kept, 3);
	cr_assert_eq(roll_report(scene.roll)->wire.reset, 0);
	finish();
}

/* Then every connection counts as moved: what was consumed is gone. */
Test(roll_custody, resets_all_connections_where_the_kernel_does_not_tell, .init = setup)
{
	struct conntable *table;

	begin_bake(NULL);
	table = scene.site.conntable;
	scene.site.conntable = NULL;
	new_dies();
	cr_assert_eq(scene.old->n_got, 0);
	cr_assert(scene.old->got_last);
	cr_assert_eq(roll_report(scene.roll)->wire.reset, 3);
	scene.site.conntable = table;
	finish();
}

/* Otherwise clients wait for that when new dies. */
Test(roll_custody, knows_what_moved_long_before_new_dies, .init = setup)
{
	begin_bake("Rollback=parked\n");
	move(2);
	scene_pass(200 * MS);
	new_dies();
	ASSERT_GOT(scene.old, 1, 2);
	finish();
}

/* What is no connection has nothing to be reset for. */
Test(roll_custody, gives_other_descriptors_back_in_any_case, .init = setup)
{
	struct conntable *table;
	int pair[2];

	begin_with(NULL, NULL);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	fake_hand(scene.old, "socket", 9, pair[0], true);
	to_bake();
	table = scene.site.conntable;
	scene.site.conntable = NULL;
	new_dies();
	cr_assert_eq(scene.old->n_got, 1);
	cr_assert_eq(scene.old->got[0].tag, 9);
	cr_assert_eq(roll_report(scene.roll)->wire.kept, 0);
	cr_assert_eq(roll_report(scene.roll)->wire.reset, 3);
	scene.site.conntable = table;
	close(pair[1]);
	finish();
}

/* A restore gets the service's end of it from custody. */
Test(roll_custody, tells_the_look_for_obstacles_of_pipes, .init = setup)
{
	int pair[2];

	begin_with("Rollback=image\n", NULL);
	cr_assert_eq(pipe2(pair, O_CLOEXEC), 0);
	cr_assert_eq(fd_inode(pair[0], &fake_imaging.asked), 0);
	fake_hand(scene.old, "pipe", 9, pair[0], true);
	to_bake();
	cr_assert(fake_imaging.known);
	close(pair[1]);
	finish();
}

Test(roll_custody, gives_descriptors_back_sixteen_at_a_time_and_marks_the_last_message, .init = setup)
{
	static const unsigned counts[] = { 0, 1, 16, 17, 33 };

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		unsigned n = counts[i];
		struct roll_options options;

		scene_set(NULL);
		options = scene_options();
		scene_begin(&options);
		scene_to(ROLL_QUIESCE);
		fake_quiesced(scene.old);
		for (unsigned tag = 1; tag <= n; tag++)
			fake_hand(scene.old, "socket", tag, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), tag == n);
		fake_saved(scene.old, 10, n);
		fake_loaded(scene.new, 10, n);
		cr_assert(fake_commit(scene.new));
		new_dies();
		cr_assert_eq(scene.old->n_got, n);
		cr_assert(scene.old->got_last);
		cr_assert_eq(fake_heard_times(scene.old, UPGRADED__WIRE__APP_MESSAGE__BODY_FDS), n ? (n + 15) / 16 : 1, "%u", n);
		for (unsigned at = 0; at < n; at++)
			cr_assert_eq(scene.old->got[at].tag, at + 1);
		scene_clear();
	}
}

/* ---- more than one rung ---- */

/* What came back and failed may have read and written, too; but what it was given up for stays given up. */
Test(roll_custody, counts_anew_for_each_rung, .init = setup)
{
	begin_bake(NULL);
	move(0);
	new_dies();
	cr_assert_eq(roll_report(scene.roll)->wire.reset, 1);
	move(1);
	fake_exit(scene.old, SIGSEGV);
	assert_state(ROLL_RESTORE);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	assert_state(ROLL_RESUME);
	ASSERT_GOT(scene.old, 3);
	cr_assert_eq(roll_report(scene.roll)->wire.kept, 1);
	cr_assert_eq(roll_report(scene.roll)->wire.reset, 2);
	finish();
}

/* Old says that it serves when it was given up already: nothing of that counts, and the next rung counts all connections. */
Test(roll_custody, counts_all_for_the_next_rung_although_the_one_before_says_too_late_that_it_serves, .init = setup)
{
	begin_bake(NULL);
	move(0);
	new_dies();
	scene_pass(10 * S);
	assert_state(ROLL_RETREAT);
	fake_resumed(scene.old);
	fake_reap(scene.old);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	cr_assert_eq(roll_report(scene.roll)->wire.kept, 2);
	cr_assert_eq(roll_report(scene.roll)->wire.reset, 1);
	finish();
}

Test(roll_custody, resets_what_was_given_up_when_nothing_comes_back, .init = setup)
{
	begin_bake("Rollback=parked\n");
	move(0);
	new_dies();
	fake_exit(scene.old, SIGSEGV);
	assert_state(ROLL_COLD);
	for (unsigned i = 0; i < CONNECTIONS; i++)
		let_go(i);
	cr_assert(is_reset(0));
	cr_assert_eq(roll_descriptors(scene.roll), 0);
	finish();
}

/* ---- with a journal ---- */

#define JOURNAL "Journal=yes\nJournalSize=64K\n"

/* What was read from a moved connection may be in the journal, so old gets all of them, and judges. */
Test(roll_custody, with_a_journal_gives_old_everything_and_marks_what_moved, .init = setup)
{
	begin_bake(JOURNAL);
	move(1);
	new_dies();
	cr_assert_eq(scene.old->n_got, 3);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(scene.old->got[i].moved, i == 1, "%u", i);
	cr_assert(scene_said("on 1 of 3 descriptors something moved\n"));
	finish();
}

Test(roll_custody, with_a_journal_marks_nothing_where_dirty_connections_are_kept, .init = setup)
{
	begin_bake(JOURNAL "OnDirtyConnection=keep\n");
	move(1);
	new_dies();
	ASSERT_GOT(scene.old, 1, 2, 3);
	finish();
}

static void resume_with_journal(uint64_t reset)
{
	Upgraded__Wire__Resumed resumed = UPGRADED__WIRE__RESUMED__INIT;

	begin_bake(JOURNAL);
	new_dies();
	resumed.at_us = scene.now_us;
	resumed.reset = reset;
	fake_resumed_with(scene.old, &resumed);
	assert_outcome(ROLL_IS_BACK_PARKED);
}

Test(roll_custody, with_a_journal_counts_what_old_says_that_it_has_reset, .init = setup)
{
	resume_with_journal(1);
	cr_assert(scene.report.wire.reset == 1 && scene.report.wire.kept == 2);
	finish();
	resume_with_journal(UINT64_MAX);
	cr_assert(scene.report.wire.reset == 3 && scene.report.wire.kept == 0, "no more than there are");
	finish();
}

/* Old never knew it, and without the journal nobody knows what it was. */
static void check_opened_by_new(const char *unit)
{
	begin_bake(unit);
	connection_open(3);
	fake_hand(scene.new, "socket", 4, dup(connection[3].service), false);
	cr_assert_eq(roll_descriptors(scene.roll), 4);
	new_dies();
	cr_assert_eq(scene.old->n_got, 4, "with the journal it goes along");
	cr_assert_eq(scene.old->got[3].tag, 4);
	fake_refused(scene.old, "cannot read it");
	fake_reap(scene.old);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	ASSERT_GOT(scene.old, 1, 2, 3);
	cr_assert(roll_report(scene.roll)->wire.kept == 3 && roll_report(scene.roll)->wire.reset == 1);
	let_go(3);
	fake_resumed(scene.old);
	cr_assert(is_reset(3));
	finish();
}

Test(roll_custody, resets_what_new_opened_where_the_journal_was_refused, .init = setup)
{
	check_opened_by_new(JOURNAL);
	check_opened_by_new(JOURNAL "OnDirtyConnection=keep\n");
}
