/* SPDX-License-Identifier: MIT */
/* A roll that goes well: what it says, what it sends to whom, what it reports, and what may be asked of it on the way. */
#include "tests/supervisor/scene.h"

#include "base/fd.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

TestSuite(roll, .timeout = 20);

#define MS USEC_PER_MSEC
#define S USEC_PER_SEC

static void begin_now(void)
{
	struct roll_options options = scene_options();

	scene_begin(&options);
}

static void begin(const char *unit)
{
	scene_set(unit);
	begin_now();
}

static void say_saved(const Upgraded__Wire__Totals *totals, uint32_t fds)
{
	Upgraded__Wire__Saved saved = UPGRADED__WIRE__SAVED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED, .saved = &saved);
	Upgraded__Wire__Totals whole = UPGRADED__WIRE__TOTALS__INIT;

	if (totals)
		whole = *totals;
	saved.totals = totals ? &whole : NULL;
	saved.fds = fds;
	fake_say(scene.old, &message);
}

static void say_loaded(const Upgraded__Wire__Totals *totals, uint32_t fds)
{
	Upgraded__Wire__Loaded loaded = UPGRADED__WIRE__LOADED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_LOADED, .loaded = &loaded);
	Upgraded__Wire__Totals whole = UPGRADED__WIRE__TOTALS__INIT;

	if (totals)
		whole = *totals;
	loaded.totals = totals ? &whole : NULL;
	loaded.fds = fds;
	fake_say(scene.new, &message);
}

/* ---- the good way ---- */

Test(roll, that_goes_well_says_each_step)
{
	char first[200];

	begin(NULL);
	snprintf(first, sizeof(first),
		 "standby, new: version v2 started as pid %d; version v1 (pid %d) serves on\n", scene.new_pid, scene.old_pid);
	cr_assert_str_eq(scene.said, first);
	scene_forget();
	scene_go_well();
	cr_assert_str_eq(scene.said,
			 "standby, new: version v2 is ready to receive\n"
			 "quiesce, old: version v1 was asked to quiesce\n"
			 "quiesce, old: all threads of v1 stopped after 40 us\n"
			 "transfer, old: version v1 saved 10 records\n"
			 "verify, new: counts and digests agree: 10 records, 1000 bytes, 2 descriptors\n"
			 "commit, new: version v2 serves; the pause was 0.000 ms\n"
			 "park, old: version v1 is parked: it released its sockets and sleeps in memory\n"
			 "image, old: version v1 has an image of 4 KiB, taken in 1 ms\n"
			 "bake, new: watching version v2 for 60000 ms; way back: parked+image\n"
			 "done, new: version v2 is accepted\n");
	scene_clear();
}

Test(roll, that_goes_well_tells_each_end_what_it_needs_and_no_more)
{
	begin(NULL);
	scene_go_well();
	cr_assert_str_eq(scene.heard, "new:receive old:prepare new:fds new:commit old:park old:SIGKILL new:baked");
	cr_assert_eq(scene.old_killed_in, ROLL_DONE, "it is ended when new is accepted");
	cr_assert_eq(scene.commits, 1);
	cr_assert_eq(scene.packs, 0);
	cr_assert(fake_heard(scene.new, UPGRADED__WIRE__APP_MESSAGE__BODY_PING));
	scene_clear();
}

Test(roll, that_goes_well_reports_what_it_was)
{
	const Upgraded__Wire__RollReport *wire = &scene.report.wire;
	uint64_t began;

	begin("Verify=roundtrip\n");
	cr_assert_eq(roll_begun_us(scene.roll), scene.now_us);
	scene_pass(2 * S);
	scene_to(ROLL_QUIESCE);
	began = scene.now_us;
	scene_pass(3 * MS);
	fake_quiesced(scene.old);
	fake_hand_over(scene.old, 2, true);
	scene_pass(20 * MS);
	fake_saved(scene.old, 10, 2);
	fake_loaded(scene.new, 10, 2);
	scene_pass(2 * MS);
	fake_commit(scene.new);
	scene_pass(1 * S);
	scene_go_well();
	assert_outcome(ROLL_IS_DONE);
	cr_assert_eq(wire->commit_us, began + 25 * MS);
	cr_assert_eq(wire->pause_us, 25 * MS);
	cr_assert(scene_said("the pause was 25.000 ms"));
	cr_assert(wire->records == 10 && wire->state_bytes == 1000 && wire->fds == 2);
	cr_assert(wire->verified);
	cr_assert(scene_said("; the round trip back loses nothing"));
	cr_assert(wire->image_bytes == 4096 && wire->image_us == 1000);
	cr_assert_eq(scene.report.rungs, ROLL_RUNG_PARKED | ROLL_RUNG_IMAGE);
	cr_assert_str_eq(scene.report.cause.text, "");
	cr_assert_str_eq(scene.report.from, "v1");
	cr_assert_str_eq(scene.report.to, "v2");
	cr_assert(!wire->died_us && !wire->lost_us && !wire->resume_us && !wire->restore_us && !wire->kept && !wire->reset);
	cr_assert(!wire->journal && scene.report.lines.n == 0);
	cr_assert(scene.left_image, "its image is of use to the next undo");
	scene_clear();
}

/* ---- what the ends are told ---- */

Test(roll, tells_both_ends_deadlines_that_fit_each_other)
{
	begin(NULL);
	scene_to(ROLL_QUIESCE);
	cr_assert_eq(scene.old->quiesce_deadline_us, scene.now_us + 2 * S);
	cr_assert_eq(scene.new->receive_deadline_us, scene.now_us + 22 * S);
	/* New has to have taken the commit word some time before old takes it back. */
	cr_assert_eq(scene.old->commit_deadline_us, scene.now_us + 27 * S);
	cr_assert_not(scene.new->verifies);
	cr_assert_eq(scene.new->journal_inode, 0);
	scene_clear();
}

Test(roll, gives_both_ends_one_commit_word)
{
	begin("Verify=roundtrip\n");
	scene_to(ROLL_QUIESCE);
	cr_assert(scene.new->verifies);
	cr_assert_eq(commit_owner(&scene.old->word), COMMIT_OLD);
	cr_assert(commit_take(&scene.new->word, COMMIT_NEW));
	cr_assert_eq(commit_owner(&scene.old->word), COMMIT_NEW);
	cr_assert_not(commit_take(&scene.old->word, COMMIT_ABORTED));
	scene_clear();
}

static short events_of(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	cr_assert_geq(poll(&poll_fd, 1, 0), 0);
	return poll_fd.revents;
}

Test(roll, gives_the_ends_a_pipe_and_keeps_no_end_of_it_once_old_stands_still)
{
	char text[8] = "";

	begin(NULL);
	scene_to(ROLL_QUIESCE);
	cr_assert_eq(write(scene.old->stream, "state", 5), 5);
	cr_assert_eq(read(scene.new->stream, text, sizeof(text)), 5);
	cr_assert_str_eq(text, "state");
	fake_quiesced(scene.old);
	cr_assert_eq(events_of(scene.new->stream), 0);
	scene.old->stream = fd_close(scene.old->stream);
	cr_assert(events_of(scene.new->stream) & POLLHUP, "the end of the stream reaches its reader");
	scene_clear();
}

/* Old may be blocked in writing to a new that is not there any more. */
Test(roll, that_is_called_off_lets_old_see_that_nobody_reads)
{
	begin(NULL);
	scene_to(ROLL_QUIESCE);
	scene.new->stream = fd_close(scene.new->stream);
	cr_assert_not(events_of(scene.old->stream) & POLLERR);
	roll_cancel(scene.roll);
	cr_assert(events_of(scene.old->stream) & POLLERR);
	scene_clear();
}

/* ---- not yet ---- */

Test(roll, asks_an_old_that_says_not_yet_again_after_ten_milliseconds)
{
	uint64_t quiesce, commit;

	begin(NULL);
	scene_to(ROLL_QUIESCE);
	quiesce = scene.old->quiesce_deadline_us;
	commit = scene.old->commit_deadline_us;
	for (unsigned i = 0; i < 5; i++) {
		scene_forget();
		fake_not_yet(scene.old);
		cr_assert_eq(roll_due_us(scene.roll), scene.now_us + 10 * MS);
		scene_pass(10 * MS - 1);
		cr_assert_str_eq(scene.heard, "");
		scene_pass(1);
		cr_assert_str_eq(scene.heard, "old:prepare");
		cr_assert(scene.old->quiesce_deadline_us == quiesce && scene.old->commit_deadline_us == commit);
	}
	cr_assert_str_eq(scene.said, "");
	scene_go_well();
	assert_outcome(ROLL_IS_DONE);
	scene_clear();
}

Test(roll, does_not_count_the_time_in_which_old_was_not_ready_as_pause)
{
	const Upgraded__Wire__RollReport *wire = &scene.report.wire;

	begin(NULL);
	scene_to(ROLL_QUIESCE);
	for (unsigned i = 0; i < 3; i++) {
		scene_pass(90 * MS);
		fake_not_yet(scene.old);
		scene_pass(10 * MS);
	}
	cr_assert(roll_report(scene.roll)->wire.waited_us == 290 * MS && roll_report(scene.roll)->wire.asked == 4);
	scene_pass(5 * MS);
	scene_go_well();
	assert_outcome(ROLL_IS_DONE);
	cr_assert(wire->waited_us == 300 * MS && wire->asked == 4);
	cr_assert_eq(wire->pause_us, 5 * MS);
	cr_assert(scene_said("; it was asked 4 times in 300 ms until it was ready"));
	scene_clear();
}

Test(roll, lets_the_pause_begin_when_old_says_that_it_began_to_stop)
{
	const struct {
		int64_t from_asked_us, pause_us;
	} all[] = {
		{ 40 * MS, 10 * MS }, /* it had not read the question for so long */
		{ -1000, 50 * MS },   /* before it was asked */
		{ 51 * MS, 50 * MS }, /* in the future */
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		uint64_t asked_us;

		begin(NULL);
		scene_to(ROLL_QUIESCE);
		asked_us = scene.now_us;
		scene_pass(50 * MS);
		fake_quiesced_since(scene.old, asked_us + (uint64_t)all[i].from_asked_us);
		scene_go_well();
		assert_outcome(ROLL_IS_DONE);
		cr_assert_eq(scene.report.wire.pause_us, (uint64_t)all[i].pause_us, "%zu", i);
		cr_assert(scene.report.wire.waited_us == 0 && scene.report.wire.asked == 1);
		scene_clear();
	}
}

Test(roll, gives_up_an_old_that_says_not_yet_past_quiesce_timeout)
{
	char cause[128];

	begin(NULL);
	scene_to(ROLL_QUIESCE);
	scene_pass(2 * S);
	fake_not_yet(scene.old);
	assert_state(ROLL_QUIESCE);
	scene_pass(10 * MS);
	scene_forget();
	fake_not_yet(scene.old);
	assert_state(ROLL_ABORT);
	snprintf(cause, sizeof(cause), "version v1 (pid %d) was not ready to be rolled within QuiesceTimeout=", scene.old_pid);
	cr_assert_str_eq(roll_report(scene.roll)->cause.text, cause);
	cr_assert_str_eq(scene.heard, "new:SIGKILL old:abort");
	/* It never stood still, so nothing has to be heard of it. */
	scene_reap();
	assert_outcome(ROLL_IS_ABORTED);
	scene_clear();
}

Test(roll, tells_why_old_is_not_ready_and_whenever_that_changes)
{
	char cause[160];

	begin(NULL);
	scene_to(ROLL_QUIESCE);
	scene_forget();
	for (unsigned i = 0; i < 3; i++) {
		fake_not_yet_as(scene.old, "connection 17 uploads 900,000 bytes");
		scene_pass(10 * MS);
	}
	cr_assert_str_eq(scene.said, "quiesce, old: version v1 is not ready yet: connection 17 uploads 900,000 bytes\n");
	scene_forget();
	fake_not_yet_as(scene.old, "a\tb"); /* not more than once in a second */
	cr_assert_str_eq(scene.said, "");
	scene_pass(1 * S);
	fake_not_yet_as(scene.old, "connection 18 uploads");
	cr_assert_str_eq(scene.said, "quiesce, old: version v1 is not ready yet: connection 18 uploads\n");
	cr_assert_str_eq(roll_report(scene.roll)->waited_for.text, "connection 18 uploads");
	scene_pass(1 * S + 500 * MS);
	fake_not_yet_as(scene.old, "connection 18 uploads");
	snprintf(cause, sizeof(cause),
		 "version v1 (pid %d) was not ready to be rolled within QuiesceTimeout=: connection 18 uploads", scene.old_pid);
	cr_assert_str_eq(roll_report(scene.roll)->cause.text, cause);
	scene_reap();
	assert_outcome(ROLL_IS_ABORTED);
	scene_clear();
}

Test(roll, does_not_ask_again_once_it_is_called_off)
{
	begin(NULL);
	scene_to(ROLL_QUIESCE);
	fake_not_yet(scene.old);
	scene_forget();
	roll_cancel(scene.roll);
	scene_pass(1 * S);
	cr_assert_str_eq(scene.heard, "new:SIGKILL old:abort");
	scene_clear();
}

/* ---- is there a way for the records? ---- */

Test(roll, without_a_migration_refuses_the_version_before_old_hears_anything)
{
	begin(NULL);
	fake_hello(scene.new, 2, false);
	scene_forget();
	fake_standby(scene.new);
	assert_state(ROLL_DISMISS);
	cr_assert_str_eq(scene.heard, "new:SIGKILL");
	cr_assert(strstr(roll_report(scene.roll)->cause.text, "thing"), "%s", roll_report(scene.roll)->cause.text);
	scene_reap();
	assert_outcome(ROLL_IS_REFUSED);
	cr_assert_eq(scene.serves, &scene.old->instance);
	cr_assert_eq(scene.old->n_sent, 0);
	scene_clear();
}

Test(roll, of_an_old_that_never_said_hello_is_refused)
{
	char cause[128];

	scene_set(NULL);
	scene.old_says_no_hello = true;
	begin_now();
	fake_hello(scene.new, 2, true);
	fake_standby(scene.new);
	assert_state(ROLL_DISMISS);
	snprintf(cause, sizeof(cause), "version v1 (pid %d) never said hello", scene.old_pid);
	cr_assert_str_eq(roll_report(scene.roll)->cause.text, cause);
	scene_clear();
}

/* ---- what was saved and what was loaded ---- */

Test(roll, commits_in_whichever_order_it_hears_that_all_was_saved_and_loaded)
{
	for (unsigned loaded_first = 0; loaded_first < 2; loaded_first++) {
		begin(NULL);
		scene_to(ROLL_TRANSFER);
		if (loaded_first)
			fake_loaded(scene.new, 10, 2);
		assert_state(ROLL_TRANSFER);
		fake_saved(scene.old, 10, 2);
		assert_state(loaded_first ? ROLL_COMMIT : ROLL_LOADING);
		if (!loaded_first)
			fake_loaded(scene.new, 10, 2);
		assert_state(ROLL_COMMIT);
		cr_assert_eq(fake_heard_last(scene.new), UPGRADED__WIRE__APP_MESSAGE__BODY_COMMIT);
		scene_go_well();
		assert_outcome(ROLL_IS_DONE);
		scene_clear();
	}
}

Test(roll, whose_totals_disagree_is_called_off_and_says_in_what)
{
	static const struct {
		uint64_t records, bytes, digest_lo, digest_hi;
		uint32_t fds;
		const char *says;
	} all[] = {
		{ 11, 1000, 10, 0, 2, "10 and 11 records, 2 and 2 descriptors" },
		{ 10, 1001, 10, 0, 2, "10 and 10 records, 2 and 2 descriptors, digests differ" },
		{ 10, 1000, 11, 0, 2, "10 and 10 records, 2 and 2 descriptors, digests differ" },
		{ 10, 1000, 10, 1, 2, "10 and 10 records, 2 and 2 descriptors, digests differ" },
		{ 10, 1000, 10, 0, 3, "10 and 10 records, 2 and 3 descriptors" },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
		char cause[200];

		totals.records = all[i].records;
		totals.payload_bytes = all[i].bytes;
		totals.digest_lo = all[i].digest_lo;
		totals.digest_hi = all[i].digest_hi;
		begin(NULL);
		scene_to(ROLL_LOADING);
		say_loaded(&totals, all[i].fds);
		assert_state(ROLL_ABORT);
		snprintf(cause, sizeof(cause), "what was saved and what was loaded disagree: %s", all[i].says);
		cr_assert_str_eq(roll_report(scene.roll)->cause.text, cause);
		cr_assert_str_eq(scene.old->reason, cause, "old is told why");
		cr_assert_eq(commit_owner(&scene.old->word), COMMIT_ABORTED);
		scene_go_well();
		assert_outcome(ROLL_IS_ABORTED);
		cr_assert_eq(scene.report.wire.records, 0, "nothing was verified");
		scene_clear();
	}
}

Test(roll, counts_the_first_totals_of_each_side)
{
	begin(NULL);
	scene_to(ROLL_TRANSFER);
	fake_loaded(scene.new, 10, 2);
	fake_loaded(scene.new, 11, 2);
	fake_saved(scene.old, 10, 2);
	fake_saved(scene.old, 11, 2);
	assert_state(ROLL_COMMIT);
	cr_assert_eq(roll_report(scene.roll)->wire.records, 10);
	scene_clear();
}

Test(roll, does_not_count_totals_that_are_none)
{
	begin(NULL);
	scene_to(ROLL_TRANSFER);
	say_saved(NULL, 2);
	assert_state(ROLL_TRANSFER);
	fake_saved(scene.old, 10, 2);
	say_loaded(NULL, 2);
	assert_state(ROLL_LOADING);
	fake_loaded(scene.new, 10, 2);
	assert_state(ROLL_COMMIT);
	scene_clear();
}

/* ---- refusals without a word ---- */

Test(roll, has_words_for_a_refusal_without_a_reason)
{
	char cause[128];

	begin(NULL);
	scene_to(ROLL_QUIESCE);
	fake_refused(scene.new, "");
	snprintf(cause, sizeof(cause), "version v2 (pid %d) refused to take over: no reason given", scene.new_pid);
	cr_assert_str_eq(roll_report(scene.roll)->cause.text, cause);
	scene_clear();
}

/* ---- what may be asked ---- */

Test(roll, tells_in_each_state_who_serves)
{
	static const enum roll_side serves[ROLL_STATES] = {
		[ROLL_STANDBY] = ROLL_OLD, [ROLL_DISMISS] = ROLL_OLD, [ROLL_ABORT] = ROLL_OLD, [ROLL_PARK] = ROLL_NEW,
		[ROLL_IMAGE] = ROLL_NEW,   [ROLL_BAKE] = ROLL_NEW,    [ROLL_PACK] = ROLL_NEW,
	};

	for (enum roll_state state = 0; !roll_is_over(state); state++) {
		const struct instance *who;

		if (state == ROLL_SETTLE)
			continue;
		begin(NULL);
		scene_to(state);
		who = roll_serving(scene.roll);
		cr_assert_eq(who && who == roll_old(scene.roll), serves[state] == ROLL_OLD, "%s", roll_state_name(state));
		cr_assert_eq(who && who == roll_new(scene.roll), serves[state] == ROLL_NEW, "%s", roll_state_name(state));
		cr_assert_null(roll_take_serving(scene.roll), "%s: nobody is given away before the end", roll_state_name(state));
		cr_assert_eq(roll_is_baking(scene.roll), state == ROLL_BAKE);
		cr_assert_str_eq(roll_phase(scene.roll), roll_state_name(state));
		cr_assert_eq(roll_owner(scene.roll), &scene);
		cr_assert_eq(roll_record(scene.roll)->state, state);
		scene_clear();
	}
}

Test(roll, watches_health_from_the_commit_to_the_end_of_the_bake_alone)
{
	for (enum roll_state state = 0; !roll_is_over(state); state++) {
		if (state == ROLL_SETTLE)
			continue;
		begin(NULL);
		scene_to(state);
		cr_assert_eq(roll_health(scene.roll) != NULL,
			     state == ROLL_PARK || state == ROLL_IMAGE || state == ROLL_BAKE || state == ROLL_PACK, "%s",
			     roll_state_name(state));
		scene_clear();
	}
}

Test(roll, knows_its_image_and_what_is_in_custody)
{
	begin(NULL);
	scene_to(ROLL_QUIESCE);
	cr_assert_eq(roll_descriptors(scene.roll), 0);
	scene_to(ROLL_TRANSFER);
	cr_assert_eq(roll_descriptors(scene.roll), 2);
	cr_assert_eq(roll_image_generation(scene.roll), 0);
	scene_clear();
	begin(NULL);
	scene_to(ROLL_BAKE);
	cr_assert_eq(roll_image_generation(scene.roll), 1);
	cr_assert_eq(roll_descriptors(scene.roll), 2);
	cr_assert_eq(scene.site.counts.misfits, 0);
	cr_assert_gt(scene.site.counts.steps, 5);
	scene_clear();
}
