/* SPDX-License-Identifier: MIT */
/* What the old version does, in every state of a roll: it dies, refuses, talks nonsense, goes on by itself, says what it should not
 * say now. */
#include "tests/supervisor/cells.h"

#include <criterion/criterion.h>
#include <signal.h>

TestSuite(roll_old, .timeout = 20);

#define WATCHES(rungs) "bake, new: watching version v2 for 60000 ms; way back: " rungs
#define CALLS_OFF(cause) "abort, old: aborting: " cause

static bool is_there(void)
{
	return cells_old();
}

DEED(die, fake_exit(cells_old(), SIGSEGV))
DEED(refuse, fake_refused(cells_old(), "because"))
DEED(babble, fake_garbage(cells_old(), "nonsense"))
DEED(go_on, fake_resumed(cells_old()))
DEED(find_no_reader, fake_reader_gone(cells_old()))
DEED(quiesce, fake_quiesced(cells_old()))
DEED(say_not_yet, fake_not_yet(cells_old()))
DEED(save, fake_saved(cells_old(), 10, 2))
DEED(park, fake_parked(cells_old()))
DEED(hand_over, fake_hand_over(cells_old(), 1, true))
DEED(pong, fake_pong(cells_old()))
DEED(close_one, fake_closed(cells_old(), 1))
DEED(say_hello, fake_hello(cells_old(), 1, false))

/* ---- it dies ---- */

#define DIED "version v1 (pid OLD) was killed by SIGSEGV during the roll"

/* Before it has handed over all it had, its state is lost with it: the version starts empty. Later it is a rung less. */
#define LOST(left)                                                                                                     \
	"bake, old: a way back is lost: the parked process of version v1 was killed by SIGSEGV; what is left: " left
#define NOTHING_LEFT "an undo while the new version lives, or a cold start"

Test(roll_old, that_dies_costs_its_state_only_before_all_of_it_is_saved)
{
	static const struct deed deed = { .name = "old dies", .can = is_there, .happen = die };
	static const struct cell cells[] = {
		{ LEADS(STANDBY, DISMISS, REFUSED, REFUSED), .hears = "new:SIGKILL", .cause = DIED },
		STAYS(DISMISS, REFUSED, REFUSED),
		{ LEADS(QUIESCE, RETREAT, COLD, FAILED), .hears = "new:SIGKILL", .cause = DIED },
		{ LEADS(TRANSFER, RETREAT, COLD, FAILED), .hears = "new:SIGKILL", .cause = DIED },
		STAYS(LOADING, DONE, FAILED),
		STAYS(COMMIT, DONE, FAILED),
		{ LEADS(ABORT, RETREAT, COLD, FAILED), .hears = "new:SIGKILL", .cause = "aborted by the operator; " DIED },
		{ LEADS(PARK, BAKE, DONE, FAILED), .hears = "new:baked", .says = LOST(NOTHING_LEFT) "\n" WATCHES("none"),
		  .rungs = "none" },
		{ LEADS(IMAGE, IMAGE, DONE, FAILED), .says = LOST(NOTHING_LEFT), .rungs = "none" },
		{ LEADS(BAKE, BAKE, DONE, FAILED), .says = LOST("image"), .rungs = "image" },
		{ LEADS(PACK, PACK, DONE, FAILED), .says = "", .rungs = "none" },
		{ LEADS(BACKWARD, BACKWARD, BACK_LIVE, FAILED), .says = LOST("image"), .rungs = "image" },
		{ LEADS(ONWARD, ONWARD, DONE, FAILED), .says = LOST("image"), .rungs = "image" },
		STAYS(RETREAT, BACK_IMAGE, FAILED),
		{ LEADS(RETREAT_IMAGING, RETREAT_IMAGING, BACK_IMAGE, FAILED), .rungs = "none" },
		{ LEADS(RESUME, RESTORE, BACK_IMAGE, FAILED),
		  .says = "resume, old: version v1 (pid OLD) does not come back: it was killed by SIGSEGV\n"
			  "restore, old: version v2 (pid NEW) was killed by SIGSEGV; restoring version v1 from its image" },
		NOBODY(RESTORE),
		NOBODY(COLD),
	};

	CELLS_CHECK_ALL(&deed, cells);
}

/* ---- it refuses ---- */

Test(roll_old, that_refuses_calls_the_roll_off_before_the_commit_and_costs_a_rung_after_it)
{
	static const struct deed deed = { .name = "old refuses", .can = is_there, .happen = refuse };
	static const struct cell cells[] = {
		STAYS(STANDBY, DONE, REFUSED),
		STAYS(DISMISS, REFUSED, REFUSED),
		{ LEADS(QUIESCE, ABORT, ABORTED, ABORTED), .hears = "new:SIGKILL old:abort",
		  .says = CALLS_OFF("version v1 (pid OLD): because"), .cause = "version v1 (pid OLD): because" },
		{ LEADS(TRANSFER, ABORT, ABORTED, FAILED), .hears = "new:SIGKILL old:abort",
		  .says = CALLS_OFF("version v1 (pid OLD): because"), .cause = "version v1 (pid OLD): because" },
		{ LEADS(LOADING, ABORT, ABORTED, FAILED), .hears = "new:SIGKILL old:abort",
		  .says = CALLS_OFF("version v1 (pid OLD): because"), .cause = "version v1 (pid OLD): because" },
		STAYS(COMMIT, DONE, FAILED),
		STAYS(ABORT, ABORTED, FAILED),
		{ LEADS(PARK, BAKE, DONE, FAILED), .hears = "old:SIGKILL new:baked", .says = WATCHES("none"), .rungs = "none" },
		STAYS(IMAGE, DONE, FAILED),
		STAYS(BAKE, DONE, FAILED),
		STAYS(PACK, DONE, FAILED),
		STAYS(BACKWARD, BACK_LIVE, FAILED),
		STAYS(ONWARD, DONE, FAILED),
		STAYS(RETREAT, BACK_PARKED, FAILED),
		STAYS(RETREAT_IMAGING, BACK_PARKED, FAILED),
		{ LEADS(RESUME, RETREAT, BACK_IMAGE, FAILED), .hears = "old:SIGKILL",
		  .says = "resume, old: version v1 (pid OLD) does not come back: because" },
		NOBODY(RESTORE),
		NOBODY(COLD),
	};

	CELLS_CHECK_ALL(&deed, cells);
}

/* ---- it talks nonsense ---- */

#define BABBLED "from version v1 (pid OLD): nonsense"

/* It may have been a descriptor that got lost, which would be missed in the end. */
Test(roll_old, that_talks_nonsense_calls_the_roll_off_as_long_as_something_may_be_missing)
{
	static const struct deed deed = { .name = "old talks nonsense", .can = is_there, .happen = babble };
	static const struct cell cells[] = {
		{ LEADS(QUIESCE, ABORT, ABORTED, ABORTED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF(BABBLED),
		  .cause = BABBLED },
		{ LEADS(TRANSFER, ABORT, ABORTED, FAILED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF(BABBLED),
		  .cause = BABBLED },
		{ LEADS(LOADING, ABORT, ABORTED, FAILED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF(BABBLED),
		  .cause = BABBLED },
	};

	CELLS_CHECK(&deed, cells);
	cells_check_idle(&deed, IN(QUIESCE) | IN(TRANSFER) | IN(LOADING));
}

Test(roll_old, that_says_hello_again_talks_nonsense)
{
	static const struct deed deed = { .name = "old says hello again", .can = is_there, .happen = say_hello };

	cells_check_idle(&deed, IN(QUIESCE) | IN(TRANSFER) | IN(LOADING));
}

/* ---- it goes on ---- */

#define WENT_ON "version v1 (pid OLD) went on by itself: the roll took too long"

Test(roll_old, that_goes_on_by_itself_calls_the_roll_off_once_it_stood_still)
{
	static const struct deed deed = { .name = "old goes on", .can = is_there, .happen = go_on };
	static const struct cell cells[] = {
		STAYS(STANDBY, DONE, REFUSED),
		STAYS(DISMISS, REFUSED, REFUSED),
		STAYS(QUIESCE, DONE, ABORTED),
		{ LEADS(TRANSFER, ABORT, ABORTED, ABORTED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF(WENT_ON),
		  .cause = WENT_ON },
		{ LEADS(LOADING, ABORT, ABORTED, ABORTED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF(WENT_ON),
		  .cause = WENT_ON },
		{ LEADS(COMMIT, ABORT, ABORTED, ABORTED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF(WENT_ON),
		  .cause = WENT_ON },
		STAYS(ABORT, ABORTED, ABORTED),
		STAYS(PARK, DONE, FAILED),
		STAYS(IMAGE, DONE, FAILED),
		STAYS(BAKE, DONE, FAILED),
		STAYS(PACK, DONE, FAILED),
		STAYS(BACKWARD, BACK_LIVE, FAILED),
		STAYS(ONWARD, DONE, FAILED),
		STAYS(RETREAT, BACK_PARKED, FAILED),
		STAYS(RETREAT_IMAGING, BACK_PARKED, FAILED),
		{ LEADS(RESUME, ROLLED_BACK, BACK_PARKED, BACK_PARKED) },
		NOBODY(RESTORE),
		NOBODY(COLD),
	};

	CELLS_CHECK_ALL(&deed, cells);
}

/* ---- it says something out of place ---- */

Test(roll_old, is_not_heard_out_of_place)
{
	static const struct {
		struct deed deed;
		unsigned but;
	} all[] = {
		{ { "old quiesces", is_there, quiesce }, IN(QUIESCE) },
		{ { "old says not yet", is_there, say_not_yet }, IN(QUIESCE) },
		{ { "old has saved", is_there, save }, IN(TRANSFER) | IN(ABORT) },
		{ { "old has parked", is_there, park }, IN(PARK) },
		{ { "old hands a descriptor over", is_there, hand_over }, IN(TRANSFER) },
		{ { "old answers a ping", is_there, pong }, 0 },
		{ { "old has closed something", is_there, close_one }, 0 },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		cells_check_idle(&all[i].deed, all[i].but);
}

Test(roll_old, is_heard_in_its_place)
{
	static const struct {
		struct deed deed;
		struct cell cell;
	} all[] = {
		{ { "old quiesces", is_there, quiesce },
		  { LEADS(QUIESCE, TRANSFER, DONE, FAILED),
		    .says = "quiesce, old: all threads of v1 stopped after 40 us" } },
		{ { "old says not yet", is_there, say_not_yet }, STAYS(QUIESCE, DONE, ABORTED) },
		{ { "old has saved", is_there, save },
		  { LEADS(TRANSFER, LOADING, DONE, FAILED), .says = "transfer, old: version v1 saved 10 records" } },
		{ { "old has saved", is_there, save },
		  { LEADS(ABORT, ABORT, ABORTED, FAILED), .says = "transfer, old: version v1 saved 10 records" } },
		{ { "old has parked", is_there, park },
		  { LEADS(PARK, IMAGE, DONE, FAILED),
		    .says = "park, old: version v1 is parked: it released its sockets and sleeps in memory" } },
		{ { "old hands a descriptor over", is_there, hand_over },
		  { LEADS(TRANSFER, TRANSFER, DONE, FAILED), .hears = "new:fds" } },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		cells_check(&all[i].deed, &all[i].cell, 1);
}

Test(roll_old, is_not_believed_to_have_taken_longer_than_it_had)
{
	struct roll_options options;
	Upgraded__Wire__Quiesced quiesced = UPGRADED__WIRE__QUIESCED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_QUIESCED, .quiesced = &quiesced);

	scene_set(NULL);
	options = scene_options();
	scene_begin(&options);
	scene_to(ROLL_QUIESCE);
	quiesced.nanoseconds = UINT64_MAX;
	quiesced.question = scene.old->question;
	fake_say(scene.old, &message);
	cr_assert(scene_said("stopped after 2000000 us"), "%s", scene.said);
	scene_clear();
}

/* New's own end is on its way, and says why nobody reads. */
Test(roll_old, without_a_reader_waits_for_the_end_of_new_while_it_saves)
{
	static const struct deed deed = { .name = "old finds no reader", .can = is_there, .happen = find_no_reader };

	cells_check_idle(&deed, IN(QUIESCE) | IN(LOADING) | IN(PARK) | IN(RESUME));
}
