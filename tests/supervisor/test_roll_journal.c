/* SPDX-License-Identifier: MIT */
/* With Journal=yes: when there is a journal, what is kept for it, and what a way back with one reports. */
#include "tests/supervisor/scene.h"

#include "base/fd.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

TestSuite(roll_journal, .timeout = 20);

#define S USEC_PER_SEC
#define MS USEC_PER_MSEC
#define JOURNAL "Journal=yes\nJournalSize=64K\n"

static void begin_now(void)
{
	struct roll_options options = scene_options();

	scene_begin(&options);
}

static void begin_in(enum roll_state state, const char *unit)
{
	scene_set(unit);
	begin_now();
	scene_to(state);
	scene_forget();
}

static const struct roll_report *report(void)
{
	return scene.roll ? roll_report(scene.roll) : &scene.report;
}

static enum roll_journal journal(void)
{
	return roll_record(scene.roll)->journal;
}

static void new_dies(void)
{
	fake_exit(scene.new, SIGSEGV);
	assert_state(ROLL_RESUME);
}

/* ---- is there one? ---- */

Test(roll_journal, is_given_to_new_and_told_of_as_a_way_back)
{
	scene_set(JOURNAL);
	begin_now();
	scene_to(ROLL_QUIESCE);
	cr_assert_neq(scene.new->journal_inode, 0);
	cr_assert_eq(journal(), JOURNAL_WRITTEN);
	scene_to(ROLL_BAKE);
	cr_assert(scene_said("way back: parked+image, with a journal\n"));
	cr_assert(report()->wire.journal);
	scene_go_well();
	assert_outcome(ROLL_IS_DONE);
	cr_assert_str_eq(scene.report.journal_note.text, "");
	scene_clear();
}

Test(roll_journal, is_not_there_where_nobody_asked_for_one)
{
	begin_in(ROLL_BAKE, NULL);
	cr_assert_eq(scene.new->journal_inode, 0);
	cr_assert_eq(journal(), JOURNAL_NONE);
	cr_assert_not(report()->wire.journal);
	cr_assert_str_eq(report()->journal_note.text, "");
	scene_clear();
}

/* Return: what was said of it, by its end of the line. */
static void check_missing(const char *unit, bool old_knows, bool new_knows, const char *note)
{
	char said[200];

	scene_set(unit);
	scene.old_knows_no_journal = !old_knows;
	scene.new_knows_no_journal = !new_knows;
	begin_now();
	scene_to(ROLL_QUIESCE);
	snprintf(said, sizeof(said), "standby, new: %s\n", note);
	cr_assert(scene_said(said), "%s", scene.said);
	cr_assert_str_eq(report()->journal_note.text, note);
	cr_assert_eq(scene.new->journal_inode, 0);
	cr_assert_eq(journal(), JOURNAL_LOST);
	cr_assert_not(report()->wire.journal);
	scene_go_well();
	assert_outcome(ROLL_IS_DONE);
	cr_assert_not(scene_said("with a journal"));
	scene_clear();
}

Test(roll_journal, that_cannot_be_kept_is_told_with_the_reason)
{
	check_missing(JOURNAL, false, true, "no journal: version v1 cannot apply changes");
	check_missing(JOURNAL, true, false, "no journal: version v2 does not write changes down");
	check_missing(JOURNAL "Rollback=none\n", true, true,
		      "no journal: without a way back (Rollback=none) there is no use for it");
}

/* ---- full ---- */

Test(roll_journal, that_is_full_is_told_and_lost)
{
	const char *note = "version v2 could not write on in its journal after 64 KiB (JournalSize=64K; at this rate a bake "
			   "takes JournalSize=256K): what is written since the commit would be lost";
	char said[300];

	begin_in(ROLL_BAKE, JOURNAL "Bake=4s\n");
	scene_pass(2 * S);
	scene_forget();
	fake_journal_full(scene.new, 65536);
	snprintf(said, sizeof(said), "bake, new: %s\n", note);
	cr_assert_str_eq(scene.said, said);
	cr_assert_eq(journal(), JOURNAL_LOST);
	cr_assert_not(report()->wire.journal);
	fake_journal_full(scene.new, 70000);
	cr_assert_str_eq(scene.said, said, "once");
	scene_forget();
	new_dies();
	cr_assert_eq(scene.old->journal_inode, 0);
	cr_assert(scene_said("comes back from memory: "));
	fake_resumed(scene.old);
	assert_outcome(ROLL_IS_BACK_PARKED);
	cr_assert_str_eq(scene.report.journal_note.text, note);
	scene_clear();
}

/* No size would help. */
Test(roll_journal, that_is_void_for_another_reason_is_told_with_it)
{
	const char *note = "version v2 could not write on in its journal: the version before has no change() for web.Session: what "
			   "is written since the commit would be lost";

	begin_in(ROLL_BAKE, JOURNAL);
	fake_journal_void(scene.new, "the version before has no change() for web.Session");
	cr_assert_str_eq(report()->journal_note.text, note);
	cr_assert_eq(journal(), JOURNAL_LOST);
	scene_clear();
}

/* ---- what it does not cover ---- */

Test(roll_journal, that_covers_not_all_connections_says_how_many_and_what_would_do)
{
	const char *note = "196 connections are not in the journal of version v2, and a failure may cost them; 196 found no room "
			   "in JournalSize=64K, JournalSize=2M would do";
	char said[300];

	begin_in(ROLL_BAKE, JOURNAL);
	fake_gaps(scene.new, 196, 2 << 20, 0, "");
	snprintf(said, sizeof(said), "bake, new: %s\n", note);
	cr_assert_str_eq(scene.said, said, "%s", scene.said);
	cr_assert_str_eq(report()->journal_note.text, note);
	cr_assert_eq(report()->wire.uncovered, 196);
	cr_assert_eq(report()->wire.journal_size_would_do, 2 << 20);
	cr_assert(report()->wire.journal, "the others are covered");
	cr_assert_eq(journal(), JOURNAL_WRITTEN);
	scene_clear();
}

Test(roll_journal, gives_the_reason_where_it_is_not_for_want_of_room)
{
	begin_in(ROLL_BAKE, JOURNAL);
	fake_gaps(scene.new, 0, 0, 3, "not buffered by the library: upg_conn_open()");
	cr_assert_str_eq(report()->journal_note.text, "3 connections are not in the journal of version v2, and a failure may cost "
						      "them; 3: not buffered by the library: upg_conn_open()");
	fake_gaps(scene.new, 2, 0, 3, "not buffered");
	cr_assert_str_eq(report()->journal_note.text, "5 connections are not in the journal of version v2, and a failure may cost "
						      "them; 2 found no room, and no JournalSize= would do; 3: not buffered");
	fake_gaps(scene.new, UINT32_MAX, 0, UINT32_MAX, "a lie");
	cr_assert_eq(report()->wire.uncovered, UINT32_MAX);
	scene_clear();
}

/* The report has each number, and the log does not grow with what the service does. */
Test(roll_journal, tells_of_gaps_again_when_there_are_twice_as_many)
{
	unsigned n = 0;

	begin_in(ROLL_BAKE, JOURNAL);
	for (uint32_t i = 1; i <= 1000; i++) {
		fake_gaps(scene.new, i, 1 << 20, 0, "");
		cr_assert_eq(report()->wire.uncovered, i);
		fake_gaps(scene.new, 0, 0, 0, "");
		cr_assert_eq(report()->wire.uncovered, 0);
		cr_assert_str_eq(report()->journal_note.text, "");
	}
	for (const char *at = scene.said; (at = strstr(at, "not in the journal")); at++)
		n++;
	cr_assert_eq(n, 10, "%u lines", n);
	scene_clear();
}

Test(roll_journal, that_is_taken_says_still_what_it_did_not_cover)
{
	Upgraded__Wire__Resumed resumed = UPGRADED__WIRE__RESUMED__INIT;

	begin_in(ROLL_BAKE, JOURNAL);
	fake_gaps(scene.new, 2, 1 << 20, 0, "");
	new_dies();
	resumed.at_us = scene.now_us;
	fake_resumed_with(scene.old, &resumed);
	assert_outcome(ROLL_IS_BACK_PARKED);
	cr_assert(scene.report.wire.journal);
	cr_assert_eq(scene.report.wire.uncovered, 2);
	cr_assert(strstr(scene.report.journal_note.text, "2 connections are not in the journal of version v2"));
	scene_clear();
}

Test(roll_journal, that_is_lost_has_no_gaps_any_more)
{
	begin_in(ROLL_BAKE, JOURNAL);
	fake_journal_full(scene.new, 65536);
	scene_forget();
	fake_gaps(scene.new, 2, 1 << 20, 0, "");
	cr_assert_str_eq(scene.said, "");
	cr_assert(strstr(report()->journal_note.text, "could not write on"));
	scene_clear();
}

Test(roll_journal, that_becomes_full_while_new_is_lent_is_lost_too)
{
	begin_in(ROLL_BACKWARD, JOURNAL);
	fake_journal_full(scene.new, 65536);
	cr_assert_eq(journal(), JOURNAL_LOST);
	cr_assert(scene_said("bake, nobody: version v2 could not write on"));
	scene_clear();
}

/* ---- what new opens ---- */

Test(roll_journal, keeps_what_new_opens_since_the_commit)
{
	begin_in(ROLL_TRANSFER, JOURNAL);
	fake_hand_over(scene.new, 1, false);
	cr_assert_eq(roll_descriptors(scene.roll), 2, "before the commit it opens nothing of the service's");
	scene_to(ROLL_BAKE);
	cr_assert_eq(roll_descriptors(scene.roll), 4, "the way there hands over two more");
	fake_hand_over(scene.new, 3, false);
	cr_assert_eq(roll_descriptors(scene.roll), 7);
	new_dies();
	cr_assert_eq(scene.old->n_got, 7);
	scene_clear();
}

Test(roll_journal, that_is_lost_keeps_nothing_more_that_new_opens)
{
	begin_in(ROLL_BAKE, JOURNAL);
	fake_journal_full(scene.new, 65536);
	fake_hand_over(scene.new, 3, false);
	cr_assert_eq(roll_descriptors(scene.roll), 2);
	scene_clear();
}

Test(roll_journal, is_lost_when_a_descriptor_that_new_opened_is)
{
	Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT, *list[] = { &info };
	Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);

	begin_in(ROLL_BAKE, JOURNAL);
	fds.n_fds = 1;
	fds.fds = list;
	fake_say(scene.new, &message);
	cr_assert_eq(journal(), JOURNAL_LOST);
	cr_assert_str_eq(report()->journal_note.text, "version v2: 1 descriptors are named, 0 came");
	assert_state(ROLL_BAKE);
	scene_clear();
}

/* ---- the way back ---- */

Test(roll_journal, is_given_to_old_and_nothing_is_lost)
{
	Upgraded__Wire__Resumed resumed = UPGRADED__WIRE__RESUMED__INIT;
	unsigned long long inode;
	char said[300];

	begin_in(ROLL_BAKE, JOURNAL);
	inode = scene.new->journal_inode;
	scene_pass(2 * S);
	scene_forget();
	new_dies();
	cr_assert_eq(scene.old->journal_inode, inode, "the same that new wrote");
	cr_assert_eq(journal(), JOURNAL_GIVEN);
	cr_assert_not(report()->wire.journal, "until old has taken it over");
	snprintf(said, sizeof(said),
		 "resume, old: version v2 (pid %d) was killed by SIGSEGV; version v1 comes back from memory with the journal of "
		 "v2: on 0 of 2 descriptors something moved\n",
		 scene.new_pid);
	cr_assert_str_eq(scene.said, said, "%s", scene.said);
	scene_forget();
	resumed.at_us = scene.now_us;
	resumed.replayed = 12;
	resumed.adopted = 3;
	fake_resumed_with(scene.old, &resumed);
	assert_outcome(ROLL_IS_BACK_PARKED);
	cr_assert_str_eq(scene.said, "resume, old: version v1 took 12 changes from the journal: 0 connections go on, 3 of them "
				     "accepted by version v2; 0 are reset\n");
	cr_assert(scene.report.wire.journal);
	cr_assert(scene.report.wire.replayed == 12 && scene.report.wire.adopted == 3);
	cr_assert_eq(scene.report.wire.lost_us, 0);
	cr_assert_str_eq(scene.report.journal_note.text, "");
	scene_clear();
}

Test(roll_journal, that_old_cannot_use_costs_what_it_would_without_one)
{
	Upgraded__Wire__Resumed resumed = UPGRADED__WIRE__RESUMED__INIT;
	const char *note = "the journal of version v2 could not be used: it is damaged";

	begin_in(ROLL_BAKE, JOURNAL);
	scene_pass(2 * S);
	new_dies();
	scene_forget();
	resumed.at_us = scene.now_us;
	resumed.journal_unused = wire_text("it is damaged");
	fake_resumed_with(scene.old, &resumed);
	assert_outcome(ROLL_IS_BACK_PARKED);
	cr_assert_str_eq(scene.report.journal_note.text, note);
	cr_assert_str_eq(scene.said, "resume, old: the journal of version v2 could not be used: it is damaged; 0 connections go "
				     "on, 0 are reset\n");
	cr_assert_not(scene.report.wire.journal);
	cr_assert_eq(scene.report.wire.lost_us, 2 * S);
	cr_assert_eq(scene.report.wire.replayed, 0);
	scene_clear();
}

/* It is tried once: whatever went wrong with it may go wrong again. */
Test(roll_journal, that_old_refuses_is_not_given_to_the_next_rung)
{
	begin_in(ROLL_BAKE, JOURNAL);
	new_dies();
	cr_assert_neq(scene.old->journal_inode, 0);
	fake_refused(scene.old, "it is of a later version");
	assert_state(ROLL_RETREAT);
	cr_assert_eq(journal(), JOURNAL_LOST);
	cr_assert_str_eq(report()->journal_note.text,
			 "version v1 could not take over the journal: it is of a later version");
	scene_reap();
	assert_state(ROLL_RESTORE);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	assert_state(ROLL_RESUME);
	cr_assert_eq(scene.old->journal_inode, 0);
	cr_assert(scene_said("comes back from its image: "));
	scene_clear();
}

Test(roll_journal, that_old_ended_over_is_not_given_to_the_next_rung)
{
	char note[200];

	begin_in(ROLL_BAKE, JOURNAL);
	new_dies();
	fake_exit(scene.old, SIGSEGV);
	assert_state(ROLL_RESTORE);
	snprintf(note, sizeof(note), "version v1 (pid %d) ended over the journal of version v2", scene.old_pid);
	cr_assert_str_eq(report()->journal_note.text, note);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	cr_assert_eq(scene.old->journal_inode, 0);
	scene_go_well();
	assert_outcome(ROLL_IS_BACK_IMAGE);
	cr_assert_str_eq(scene.report.journal_note.text, note);
	cr_assert_not(scene.report.wire.journal);
	scene_clear();
}

Test(roll_journal, is_given_to_what_comes_back_from_an_image)
{
	begin_in(ROLL_BAKE, JOURNAL "Rollback=image\n");
	fake_exit(scene.old, SIGKILL);
	fake_exit(scene.new, SIGSEGV);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	assert_state(ROLL_RESUME);
	cr_assert_neq(scene.old->journal_inode, 0);
	cr_assert(scene_said("comes back from its image with the journal of v2: on 0 of 2 descriptors something moved\n"));
	scene_clear();
}

/* Applying it is work of the application's, like loading. */
Test(roll_journal, gives_old_the_time_of_a_transfer_more_to_resume)
{
	begin_in(ROLL_BAKE, JOURNAL);
	new_dies();
	scene_pass(30 * S - 1);
	assert_state(ROLL_RESUME);
	scene_pass(1);
	assert_state(ROLL_RETREAT);
	scene_clear();
}

/* What is said of a journal that was not given does not count. */
Test(roll_journal, that_was_not_given_is_not_reported_as_taken)
{
	Upgraded__Wire__Resumed resumed = UPGRADED__WIRE__RESUMED__INIT;

	begin_in(ROLL_RESUME, NULL);
	resumed.at_us = scene.now_us;
	resumed.replayed = 12;
	resumed.adopted = resumed.reset = 3;
	fake_resumed_with(scene.old, &resumed);
	assert_outcome(ROLL_IS_BACK_PARKED);
	cr_assert(!scene.report.wire.replayed && !scene.report.wire.adopted && !scene.report.wire.reset);
	cr_assert_not(scene.report.wire.journal);
	scene_clear();
}

/* Nobody goes back to it any more. */
Test(roll_journal, is_given_up_with_the_last_rung)
{
	begin_in(ROLL_PARK, JOURNAL);
	fake_refused(scene.old, "cannot park");
	assert_state(ROLL_BAKE);
	cr_assert(scene_said("way back: none\n"));
	fake_journal_full(scene.new, 65536);
	cr_assert_not(scene_said("could not write on"));
	scene_clear();
}
