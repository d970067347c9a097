/* SPDX-License-Identifier: MIT */
/* What the new version does, in every state of a roll: it dies, refuses, talks nonsense, takes the commit word, claims it without
 * having it, says what it should not say now. */
#include "tests/supervisor/cells.h"

#include <criterion/criterion.h>
#include <signal.h>

TestSuite(roll_new, .timeout = 20);

#define CALLS_OFF(cause) "abort, old: aborting: " cause
#define COMES_BACK(cause) "resume, old: " cause "; version v1 comes back from memory: 0 connections go on, 0 are reset"
#define SERVES "commit, new: version v2 serves; the pause was 0.000 ms\n"
#define DIED "version v2 (pid NEW) was killed by SIGSEGV"
#define REFUSED "version v2 (pid NEW) refused to take over: because"
#define BABBLED "version v2 (pid NEW): nonsense"
#define CLAIMS "version v2 (pid NEW) claims a commit that the commit word does not show"
#define SPOKE "version v2 (pid NEW) spoke before it said hello"

static bool is_there(void)
{
	return cells_new();
}

/* In COLD the fresh process says hello first. */
static struct fake *polite(void)
{
	struct fake *fake = cells_new();

	if (!fake->instance.hello)
		fake_hello(fake, fake == scene.cold ? 1 : 2, true);
	return fake;
}

static void take_and_die(struct fake *fake)
{
	if (fake->word.word)
		commit_take(&fake->word, COMMIT_NEW);
	fake_exit(fake, SIGSEGV);
}

DEED(die, fake_exit(cells_new(), SIGSEGV))
DEED(refuse, fake_refused(polite(), "because"))
DEED(babble, fake_garbage(cells_new(), "nonsense"))
DEED(claim, fake_committed(polite()))
DEED(take, take_and_die(cells_new()))
DEED(speak_first, fake_standby(cells_new()))
DEED(stand_by, fake_standby(polite()))
DEED(be_ready, fake_ready(polite()))
DEED(load, fake_loaded(polite(), 10, 2))
DEED(pong, fake_pong(polite()))
DEED(get_on, fake_progress(polite(), "half"))
DEED(close_one, fake_closed(polite(), 1))
DEED(hand_over, fake_hand_over(polite(), 1, true))
DEED(fill_its_journal, fake_journal_full(polite(), 4096))

/* ---- it dies ---- */

Test(roll_new, that_dies_leaves_old_serving_or_brings_it_back)
{
	static const struct deed deed = { .name = "new dies", .can = is_there, .happen = die };
	static const struct cell cells[] = {
		{ LEADS(STANDBY, REFUSED, REFUSED, REFUSED), .cause = DIED },
		{ LEADS(DISMISS, REFUSED, REFUSED, REFUSED) },
		{ LEADS(QUIESCE, ABORT, ABORTED, ABORTED), .hears = "old:abort", .says = CALLS_OFF(DIED), .cause = DIED },
		{ LEADS(TRANSFER, ABORT, ABORTED, FAILED), .hears = "old:abort", .says = CALLS_OFF(DIED), .cause = DIED },
		{ LEADS(LOADING, ABORT, ABORTED, FAILED), .hears = "old:abort", .says = CALLS_OFF(DIED), .cause = DIED },
		{ LEADS(COMMIT, ABORT, ABORTED, FAILED), .hears = "old:abort", .says = CALLS_OFF(DIED), .cause = DIED },
		STAYS(ABORT, ABORTED, FAILED),
		{ LEADS(PARK, RESUME, BACK_PARKED, FAILED), .hears = "old:resume old:fds", .says = COMES_BACK(DIED),
		  .cause = DIED },
		{ LEADS(IMAGE, RETREAT_IMAGING, BACK_PARKED, FAILED), .cause = DIED },
		{ LEADS(BAKE, RESUME, BACK_PARKED, FAILED), .hears = "old:resume old:fds", .says = COMES_BACK(DIED),
		  .cause = DIED },
		{ LEADS(PACK, RETREAT_IMAGING, BACK_IMAGE, FAILED), .cause = DIED },
		NOBODY(BACKWARD),
		NOBODY(ONWARD),
		{ LEADS(RETREAT, RESUME, BACK_PARKED, FAILED), .hears = "old:resume old:fds",
		  .says = COMES_BACK("version v2 (pid NEW) refused to take over: I give up") },
		NOBODY(RETREAT_IMAGING),
		NOBODY(RESUME),
		NOBODY(RESTORE),
		{ LEADS(COLD, FAILED, FAILED, FAILED), .says = "cold, cold: version v1 (pid COLD) was killed by SIGSEGV" },
	};

	CELLS_CHECK_ALL(&deed, cells);
}

/* ---- it refuses ---- */

Test(roll_new, that_refuses_is_ended)
{
	static const struct deed deed = { .name = "new refuses", .can = is_there, .happen = refuse };
	static const struct cell cells[] = {
		{ LEADS(STANDBY, DISMISS, REFUSED, REFUSED), .hears = "new:SIGKILL", .cause = REFUSED },
		STAYS(DISMISS, REFUSED, REFUSED),
		{ LEADS(QUIESCE, ABORT, ABORTED, ABORTED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF(REFUSED),
		  .cause = REFUSED },
		{ LEADS(TRANSFER, ABORT, ABORTED, FAILED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF(REFUSED),
		  .cause = REFUSED },
		{ LEADS(LOADING, ABORT, ABORTED, FAILED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF(REFUSED),
		  .cause = REFUSED },
		{ LEADS(COMMIT, ABORT, ABORTED, FAILED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF(REFUSED),
		  .cause = REFUSED },
		STAYS(ABORT, ABORTED, FAILED),
		{ LEADS(PARK, RETREAT, BACK_PARKED, FAILED), .hears = "new:SIGKILL", .cause = REFUSED },
		{ LEADS(IMAGE, RETREAT_IMAGING, BACK_PARKED, FAILED), .hears = "new:SIGKILL", .cause = REFUSED },
		{ LEADS(BAKE, RETREAT, BACK_PARKED, FAILED), .hears = "new:SIGKILL", .cause = REFUSED },
		{ LEADS(PACK, RETREAT_IMAGING, BACK_IMAGE, FAILED), .hears = "new:SIGKILL", .cause = REFUSED },
		NOBODY(BACKWARD),
		NOBODY(ONWARD),
		STAYS(RETREAT, BACK_PARKED, FAILED),
		NOBODY(RETREAT_IMAGING),
		NOBODY(RESUME),
		NOBODY(RESTORE),
		{ LEADS(COLD, COLD, FAILED, FAILED), .hears = "cold:SIGKILL",
		  .says = "cold, cold: version v1 (pid COLD) refused to start: because" },
	};

	CELLS_CHECK_ALL(&deed, cells);
}

/* ---- it talks nonsense ---- */

/* Once it serves, its connections count for more than its manners. */
Test(roll_new, that_talks_nonsense_is_ended_unless_it_serves)
{
	static const struct deed deed = { .name = "new talks nonsense", .can = is_there, .happen = babble };
	static const struct cell cells[] = {
		{ LEADS(STANDBY, DISMISS, REFUSED, REFUSED), .hears = "new:SIGKILL", .cause = BABBLED },
		STAYS(DISMISS, REFUSED, REFUSED),
		{ LEADS(QUIESCE, ABORT, ABORTED, ABORTED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF(BABBLED),
		  .cause = BABBLED },
		{ LEADS(TRANSFER, ABORT, ABORTED, FAILED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF(BABBLED),
		  .cause = BABBLED },
		{ LEADS(LOADING, ABORT, ABORTED, FAILED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF(BABBLED),
		  .cause = BABBLED },
		{ LEADS(COMMIT, ABORT, ABORTED, FAILED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF(BABBLED),
		  .cause = BABBLED },
		STAYS(ABORT, ABORTED, FAILED),
		STAYS(PARK, DONE, FAILED),
		STAYS(IMAGE, DONE, FAILED),
		STAYS(BAKE, DONE, FAILED),
		STAYS(PACK, DONE, FAILED),
		NOBODY(BACKWARD),
		NOBODY(ONWARD),
		STAYS(RETREAT, BACK_PARKED, FAILED),
		NOBODY(RETREAT_IMAGING),
		NOBODY(RESUME),
		NOBODY(RESTORE),
		{ LEADS(COLD, COLD, FAILED, FAILED), .hears = "cold:SIGKILL",
		  .says = "cold, cold: version v1 (pid COLD): nonsense" },
	};

	CELLS_CHECK_ALL(&deed, cells);
}

/* ---- it takes the commit word, or claims to have it ---- */

Test(roll_new, that_claims_a_commit_is_believed_by_the_commit_word_alone)
{
	static const struct deed deed = { .name = "new claims a commit", .can = is_there, .happen = claim };
	static const struct cell cells[] = {
		{ LEADS(COMMIT, ABORT, ABORTED, FAILED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF(CLAIMS),
		  .cause = CLAIMS },
	};

	CELLS_CHECK(&deed, cells);
	cells_check_idle(&deed, IN(COMMIT));
}

/* It may have served, so the way back is that of a committed roll. After an abort the word cannot be had any more. */
Test(roll_new, that_takes_the_commit_word_and_dies_counts_as_committed)
{
	static const struct deed deed = { .name = "new takes the word and dies", .can = is_there, .happen = take };
	static const struct cell cells[] = {
		{ LEADS(STANDBY, REFUSED, REFUSED, REFUSED), .cause = DIED },
		{ LEADS(DISMISS, REFUSED, REFUSED, REFUSED) },
		{ LEADS(QUIESCE, RESUME, BACK_PARKED, FAILED), .hears = "old:park old:resume old:fds",
		  .says = SERVES COMES_BACK(DIED), .cause = DIED, .rungs = "parked" },
		{ LEADS(TRANSFER, RESUME, BACK_PARKED, FAILED), .hears = "old:park old:resume old:fds",
		  .says = SERVES COMES_BACK(DIED), .cause = DIED, .rungs = "parked" },
		{ LEADS(LOADING, RESUME, BACK_PARKED, FAILED), .hears = "old:park old:resume old:fds",
		  .says = SERVES COMES_BACK(DIED), .cause = DIED, .rungs = "parked" },
		{ LEADS(COMMIT, RESUME, BACK_PARKED, FAILED), .hears = "old:park old:resume old:fds",
		  .says = SERVES COMES_BACK(DIED), .cause = DIED, .rungs = "parked" },
		STAYS(ABORT, ABORTED, FAILED),
	};

	CELLS_CHECK(&deed, cells);
}

/* ---- it says something out of place ---- */

Test(roll_new, that_speaks_before_it_said_hello_is_ended)
{
	static const struct deed deed = { .name = "new speaks first", .can = is_there, .happen = speak_first };
	static const struct cell cells[] = {
		{ LEADS(STANDBY, DISMISS, REFUSED, REFUSED), .hears = "new:SIGKILL", .cause = SPOKE },
		STAYS(DISMISS, REFUSED, REFUSED),
		{ LEADS(COLD, COLD, FAILED, FAILED), .hears = "cold:SIGKILL",
		  .says = "cold, cold: version v1 (pid COLD) spoke before it said hello" },
	};

	CELLS_CHECK(&deed, cells);
}

Test(roll_new, is_not_heard_out_of_place)
{
	static const struct {
		struct deed deed;
		unsigned but;
	} all[] = {
		{ { "new stands by", is_there, stand_by }, IN(STANDBY) | IN(COLD) },
		{ { "new is ready", is_there, be_ready }, IN(COLD) },
		{ { "new has loaded", is_there, load }, IN(LOADING) },
		{ { "new answers a ping", is_there, pong }, 0 },
		{ { "new gets on", is_there, get_on }, IN(STANDBY) | IN(COLD) },
		{ { "new has closed something", is_there, close_one }, 0 },
		{ { "new has opened something", is_there, hand_over }, 0 },
		{ { "new has filled its journal", is_there, fill_its_journal }, 0 },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		cells_check_idle(&all[i].deed, all[i].but);
}

Test(roll_new, is_heard_in_its_place)
{
	static const struct {
		struct deed deed;
		struct cell cell;
	} all[] = {
		{ { "new stands by", is_there, stand_by },
		  { LEADS(STANDBY, QUIESCE, DONE, ABORTED), .hears = "new:receive old:prepare",
		    .says = "standby, new: version v2 is ready to receive\nquiesce, old: version v1 was asked to quiesce" } },
		{ { "the fresh one stands by", is_there, stand_by },
		  { LEADS(COLD, COLD, COLD, FAILED), .hears = "cold:welcome" } },
		{ { "the fresh one is ready", is_there, be_ready }, { LEADS(COLD, COLD_STARTED, COLD, COLD) } },
		{ { "new has loaded", is_there, load },
		  { LEADS(LOADING, COMMIT, DONE, FAILED), .hears = "new:commit",
		    .says = "verify, new: counts and digests agree: 10 records, 1000 bytes, 2 descriptors" } },
		{ { "new gets on", is_there, get_on },
		  { LEADS(STANDBY, STANDBY, DONE, REFUSED), .says = "standby, new: version v2 gets on: half" } },
		{ { "the fresh one gets on", is_there, get_on },
		  { LEADS(COLD, COLD, COLD, FAILED), .says = "cold, cold: version v1 gets on: half" } },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		cells_check(&all[i].deed, &all[i].cell, 1);
}
