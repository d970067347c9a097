/* SPDX-License-Identifier: MIT */
/* What the operator wants and what CRIU does, in every state of a roll. */
#include "tests/supervisor/cells.h"

#include <criterion/criterion.h>
#include <signal.h>

TestSuite(roll_operator, .timeout = 20);
TestSuite(roll_criu, .timeout = 20);

#define CALLED_OFF "aborted by the operator"
#define CALLS_OFF "abort, old: aborting: " CALLED_OFF
#define WATCHES(rungs) "bake, new: watching version v2 for 60000 ms; way back: " rungs
#define DIED "version v2 (pid NEW) was killed by SIGSEGV"
#define COMES_BACK(from) "resume, old: " DIED "; version v1 comes back " from ": 0 connections go on, 0 are reset"
#define NO_BAKE(state) "no bake is on (" state ")"

/* ---- cancel ---- */

/* After the commit the service is to end: the bake is over as soon as it is on, and nothing is waited for. */

DEED(cancel, roll_cancel(scene.roll))

Test(roll_operator, calls_a_roll_off_before_the_commit_and_ends_a_bake)
{
	static const struct deed deed = { .name = "cancel", .happen = cancel };
	static const struct cell cells[] = {
		{ LEADS(STANDBY, DISMISS, REFUSED, REFUSED), .hears = "new:SIGKILL", .cause = CALLED_OFF },
		STAYS(DISMISS, REFUSED, REFUSED),
		{ LEADS(QUIESCE, ABORT, ABORTED, ABORTED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF,
		  .cause = CALLED_OFF },
		{ LEADS(TRANSFER, ABORT, ABORTED, FAILED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF,
		  .cause = CALLED_OFF },
		{ LEADS(LOADING, ABORT, ABORTED, FAILED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF,
		  .cause = CALLED_OFF },
		{ LEADS(COMMIT, ABORT, ABORTED, FAILED), .hears = "new:SIGKILL old:abort", .says = CALLS_OFF,
		  .cause = CALLED_OFF },
		STAYS(ABORT, ABORTED, FAILED),
		STAYS(PARK, DONE, FAILED),
		STAYS(IMAGE, DONE, DONE),
		{ LEADS(BAKE, DONE, DONE, DONE), .hears = "old:SIGKILL new:baked", .says = "done, new: version v2 is accepted" },
		STAYS(PACK, DONE, DONE),
		STAYS(BACKWARD, BACK_LIVE, FAILED),
		STAYS(ONWARD, DONE, FAILED),
		STAYS(RETREAT, BACK_PARKED, FAILED),
		STAYS(RETREAT_IMAGING, BACK_PARKED, FAILED),
		STAYS(RESUME, BACK_PARKED, FAILED),
		STAYS(RESTORE, BACK_IMAGE, FAILED),
		{ LEADS(COLD, COLD, FAILED, FAILED), .hears = "cold:SIGKILL" },
	};

	CELLS_CHECK_ALL(&deed, cells);
}

/* ---- undo ---- */

static bool can_undo(void)
{
	return roll_may_undo(scene.roll);
}

DEED(undo, roll_undo(scene.roll))

/* While old parks or its image is taken, the wish waits for the bake. */
Test(roll_operator, undoes_within_the_bake_alone)
{
	static const struct deed deed = { .name = "undo", .can = can_undo, .happen = undo };
	static const struct cell cells[] = {
		NOBODY(STANDBY),
		NOBODY(DISMISS),
		NOBODY(QUIESCE),
		NOBODY(TRANSFER),
		NOBODY(LOADING),
		NOBODY(COMMIT),
		NOBODY(ABORT),
		STAYS(PARK, BACK_LIVE, FAILED),
		STAYS(IMAGE, BACK_LIVE, FAILED),
		{ LEADS(BAKE, BACKWARD, BACK_LIVE, FAILED),
		  .says = "undo, new: by order; rolling back to version v1 with all state" },
		STAYS(PACK, BACK_LIVE, FAILED),
		NOBODY(BACKWARD),
		NOBODY(ONWARD),
		NOBODY(RETREAT),
		NOBODY(RETREAT_IMAGING),
		NOBODY(RESUME),
		NOBODY(RESTORE),
		NOBODY(COLD),
	};

	CELLS_CHECK_ALL(&deed, cells);
}

/* ---- accept, and a third version ---- */

static bool can_accept(void)
{
	return roll_may_accept(scene.roll);
}

static bool can_go_onward(void)
{
	return roll_may_go_onward(scene.roll);
}

DEED(accept, roll_accept(scene.roll))
DEED(go_onward, roll_onward(scene.roll))
DEED(drop_wish, (void)roll_drop_wish(scene.roll))

#define NOBODY_BUT_IN_PARK_IMAGE_BAKE_PACK                                                                       \
	NOBODY(STANDBY), NOBODY(DISMISS), NOBODY(QUIESCE), NOBODY(TRANSFER), NOBODY(LOADING), NOBODY(COMMIT),       \
		NOBODY(ABORT), NOBODY(BACKWARD), NOBODY(ONWARD), NOBODY(RETREAT), NOBODY(RETREAT_IMAGING), NOBODY(RESUME), \
		NOBODY(RESTORE), NOBODY(COLD)

/* Without a sign of life nothing is accepted, by order or not. */
Test(roll_operator, accepts_within_the_bake_alone_and_not_without_a_sign_of_life)
{
	static const struct deed deed = { .name = "accept", .can = can_accept, .happen = accept };
	static const struct cell cells[] = {
		NOBODY_BUT_IN_PARK_IMAGE_BAKE_PACK,
		STAYS(PARK, DONE, FAILED),
		STAYS(IMAGE, DONE, FAILED),
		{ LEADS(BAKE, BAKE, DONE, FAILED),
		  .says = "bake, new: version v2 is to be accepted now, by order: asking it for a sign of life" },
		STAYS(PACK, DONE, FAILED),
	};

	CELLS_CHECK_ALL(&deed, cells);
}

Test(roll_operator, goes_on_to_a_third_version_within_the_bake_alone)
{
	static const struct deed deed = { .name = "go onward", .can = can_go_onward, .happen = go_onward };
	static const struct cell cells[] = {
		NOBODY_BUT_IN_PARK_IMAGE_BAKE_PACK,
		STAYS(PARK, DONE, FAILED),
		STAYS(IMAGE, DONE, FAILED),
		{ LEADS(BAKE, ONWARD, DONE, FAILED),
		  .says = "roll, new: by order; version v1 is the way back until the next version has taken over" },
		STAYS(PACK, DONE, FAILED),
	};

	CELLS_CHECK_ALL(&deed, cells);
}

/* Where a wish of the operator's waits for the bake. */
static const enum roll_state waits_in[] = { ROLL_PARK, ROLL_IMAGE, ROLL_PACK };

static void begin_in(enum roll_state state)
{
	struct roll_options options;

	scene_set(NULL);
	options = scene_options();
	scene_begin(&options);
	scene_to(state);
}

Test(roll_operator, gets_what_waited_for_the_bake)
{
	static const struct {
		void (*wish)(struct roll *roll);
		enum roll_state end;
	} wishes[] = { { roll_accept, ROLL_DONE }, { roll_onward, ROLL_PASSED }, { roll_undo, ROLL_TURNED } };

	for (size_t i = 0; i < 9; i++) {
		begin_in(waits_in[i % 3]);
		wishes[i / 3].wish(scene.roll);
		assert_state(waits_in[i % 3]);
		scene_go_well();
		cr_assert_eq(scene.ended_in, wishes[i / 3].end, "%s: %s", roll_state_name(waits_in[i % 3]),
			     roll_state_name(scene.ended_in));
		scene_clear();
	}
}

Test(roll_operator, takes_back_what_waits_and_nothing_else)
{
	static void (*const wishes[])(struct roll *roll) = { roll_accept, roll_onward, roll_undo };
	static const struct deed deed = { .name = "drop the wish", .happen = drop_wish };

	for (size_t i = 0; i < 9; i++) {
		begin_in(waits_in[i % 3]);
		wishes[i / 3](scene.roll);
		cr_assert(roll_drop_wish(scene.roll));
		cr_assert_not(roll_drop_wish(scene.roll), "it is gone already");
		scene_go_well();
		cr_assert_eq(scene.ended_in, ROLL_DONE, "%s: %s", roll_state_name(waits_in[i % 3]),
			     roll_state_name(scene.ended_in));
		scene_clear();
	}
	cells_check_idle(&deed, 0);
}

/* That it is not well is no wish of the operator's. */
Test(roll_operator, cannot_take_back_that_a_version_is_not_well)
{
	begin_in(ROLL_IMAGE);
	scene_judge(HEALTH_SICK, "it is ill");
	cr_assert_not(roll_drop_wish(scene.roll));
	cr_assert(roll_is_sick(scene.roll));
	scene_clear();
}

/* ---- what only a bake can be asked for ---- */

static int give_up_for_parked(struct why *why)
{
	return roll_give_up(scene.roll, ROLL_RUNG_PARKED, why);
}

static int give_up_for_image(struct why *why)
{
	return roll_give_up(scene.roll, ROLL_RUNG_IMAGE, why);
}

static int pack(struct why *why)
{
	return roll_pack(scene.roll, why);
}

#define REFUSES(state, name, well_outcome, ill_outcome)                                                               \
	{                                                                                                                 \
		.in = ROLL_##state, .next = ROLL_##state, .well = ROLL_IS_##well_outcome, .ill = ROLL_IS_##ill_outcome,       \
		.refusal = NO_BAKE(name)                                                                                      \
	}

/* All that is refused where no bake is on, whatever it is. */
static const struct cell without_bake[] = {
	REFUSES(STANDBY, "standby", DONE, REFUSED),
	REFUSES(DISMISS, "dismiss", REFUSED, REFUSED),
	REFUSES(QUIESCE, "quiesce", DONE, ABORTED),
	REFUSES(TRANSFER, "transfer", DONE, FAILED),
	REFUSES(LOADING, "loading", DONE, FAILED),
	REFUSES(COMMIT, "commit", DONE, FAILED),
	REFUSES(ABORT, "abort", ABORTED, FAILED),
	REFUSES(PARK, "park", DONE, FAILED),
	REFUSES(IMAGE, "image", DONE, FAILED),
	REFUSES(PACK, "pack", DONE, FAILED),
	REFUSES(BACKWARD, "backward", BACK_LIVE, FAILED),
	REFUSES(ONWARD, "onward", DONE, FAILED),
	REFUSES(RETREAT, "retreat", BACK_PARKED, FAILED),
	REFUSES(RETREAT_IMAGING, "retreat-imaging", BACK_PARKED, FAILED),
	REFUSES(RESUME, "resume", BACK_PARKED, FAILED),
	REFUSES(RESTORE, "restore", BACK_IMAGE, FAILED),
	REFUSES(COLD, "cold", COLD, FAILED),
};

Test(roll_operator, gives_up_by_the_rung_that_is_wished)
{
	static const struct deed parked = { .name = "give up for the parked one", .happen = give_up_for_parked };
	static const struct deed image = { .name = "give up for the image", .happen = give_up_for_image };
	static const struct cell by_parked[] = {
		{ LEADS(BAKE, RETREAT, BACK_PARKED, FAILED), .hears = "new:SIGKILL", .cause = "version v2 was given up by order" },
	};
	static const struct cell by_image[] = {
		{ LEADS(BAKE, RETREAT, BACK_IMAGE, FAILED), .hears = "new:SIGKILL", .cause = "version v2 was given up by order" },
	};

	CELLS_CHECK(&parked, by_parked);
	CELLS_CHECK(&image, by_image);
	CELLS_CHECK(&parked, without_bake);
	CELLS_CHECK(&image, without_bake);
}

Test(roll_operator, packs_a_parked_version_within_the_bake)
{
	static const struct deed deed = { .name = "pack", .happen = pack };
	static const struct cell cells[] = {
		{ LEADS(BAKE, BAKE, DONE, FAILED), .hears = "old:SIGKILL",
		  .says = "image, old: version v1 leaves memory; its image is the way back\n" WATCHES("image"), .rungs = "image" },
	};

	CELLS_CHECK(&deed, cells);
	CELLS_CHECK(&deed, without_bake);
}

/* ---- a check of health ---- */

static bool is_watched(void)
{
	return roll_health(scene.roll);
}

DEED(sicken, scene_judge(HEALTH_SICK, "it is ill"))

/* While old parks or its image is taken, it is remembered for the bake. */
Test(roll_operator, need_not_undo_where_a_check_of_health_says_no)
{
	static const struct deed deed = { .name = "new is sick", .can = is_watched, .happen = sicken };
	static const struct cell cells[] = {
		NOBODY(STANDBY),
		NOBODY(DISMISS),
		NOBODY(QUIESCE),
		NOBODY(TRANSFER),
		NOBODY(LOADING),
		NOBODY(COMMIT),
		NOBODY(ABORT),
		{ LEADS(PARK, PARK, BACK_LIVE, FAILED), .cause = "it is ill" },
		{ LEADS(IMAGE, IMAGE, BACK_LIVE, FAILED), .cause = "it is ill" },
		{ LEADS(BAKE, BACKWARD, BACK_LIVE, FAILED),
		  .says = "undo, new: it is ill; rolling back to version v1 with all state", .cause = "it is ill" },
		{ LEADS(PACK, PACK, BACK_LIVE, FAILED), .cause = "it is ill" },
		NOBODY(BACKWARD),
		NOBODY(ONWARD),
		NOBODY(RETREAT),
		NOBODY(RETREAT_IMAGING),
		NOBODY(RESUME),
		NOBODY(RESTORE),
		NOBODY(COLD),
	};

	CELLS_CHECK_ALL(&deed, cells);
}

DEED(hang, scene_judge(HEALTH_LOST, "it hangs"))

/* There is no use in asking it for its state. */
Test(roll_operator, need_not_give_up_a_version_that_hangs)
{
	static const struct deed deed = { .name = "new hangs", .can = is_watched, .happen = hang };
	static const struct cell cells[] = {
		{ LEADS(PARK, RETREAT, BACK_PARKED, FAILED), .hears = "new:SIGKILL", .cause = "it hangs" },
		{ LEADS(IMAGE, RETREAT_IMAGING, BACK_PARKED, FAILED), .hears = "new:SIGKILL", .cause = "it hangs" },
		{ LEADS(BAKE, RETREAT, BACK_PARKED, FAILED), .hears = "new:SIGKILL", .cause = "it hangs" },
		{ LEADS(PACK, RETREAT_IMAGING, BACK_IMAGE, FAILED), .hears = "new:SIGKILL", .cause = "it hangs" },
	};

	CELLS_CHECK(&deed, cells);
}

/* ---- CRIU ---- */

#define NO_IMAGE(rest) "image, nobody: no image (CRIU failed); the way back is " rest "\n"
#define NOT_RESTORED                                                                                         \
	"restore, nobody: the image could not be restored: CRIU failed\n"                                        \
	"cold, nobody: the image that could not be restored stays in /nonexistent/images/web/1\n"                \
	"cold, nobody: no way back is left; version v1 starts empty"
#define TAKEN "image, old: version v1 has an image of 4 KiB, taken in 1 ms\n"
#define IDLE_STATES                                                                                          \
	NOBODY(STANDBY), NOBODY(DISMISS), NOBODY(QUIESCE), NOBODY(TRANSFER), NOBODY(LOADING), NOBODY(COMMIT),    \
		NOBODY(ABORT), NOBODY(PARK), NOBODY(BAKE), NOBODY(BACKWARD), NOBODY(ONWARD), NOBODY(RETREAT), \
		NOBODY(RESUME), NOBODY(COLD)

static bool works(void)
{
	return fake_imaging.job;
}

DEED(fail, fake_imaging_done(-5, CRIU_TARGET_RUNNING))
DEED(fail_and_kill, fake_imaging_done(-5, CRIU_TARGET_GONE))
DEED(fail_and_stop, fake_imaging_done(-5, CRIU_TARGET_STOPPED))
DEED(succeed, fake_imaging_done(0, fake_imaging.leave_running ? CRIU_TARGET_RUNNING : CRIU_TARGET_GONE))

Test(roll_criu, that_fails_costs_a_rung)
{
	static const struct deed deed = { .name = "CRIU fails", .can = works, .happen = fail };
	static const struct cell cells[] = {
		IDLE_STATES,
		{ LEADS(IMAGE, BAKE, DONE, FAILED), .says = NO_IMAGE("the parked process alone") WATCHES("parked") },
		{ LEADS(PACK, BAKE, DONE, FAILED), .says = NO_IMAGE("the parked process alone") WATCHES("parked") },
		{ LEADS(RETREAT_IMAGING, RESUME, BACK_PARKED, FAILED), .hears = "old:resume old:fds",
		  .says = NO_IMAGE("the parked process alone") COMES_BACK("from memory") },
		{ LEADS(RESTORE, COLD, COLD, FAILED), .says = NOT_RESTORED },
	};

	CELLS_CHECK_ALL(&deed, cells);
}

/* A process that CRIU left stopped is of no more use than one that it killed. */
Test(roll_criu, that_fails_and_takes_old_with_it_costs_both_rungs)
{
	static const struct deed kills = { .name = "CRIU fails and kills", .can = works, .happen = fail_and_kill };
	static const struct deed stops = { .name = "CRIU fails and stops", .can = works, .happen = fail_and_stop };
	static const struct cell cells[] = {
		IDLE_STATES,
		{ LEADS(IMAGE, BAKE, DONE, FAILED), .says = NO_IMAGE("gone") WATCHES("none"), .rungs = "none" },
		{ LEADS(PACK, BAKE, DONE, FAILED), .says = NO_IMAGE("gone") WATCHES("none"), .rungs = "none" },
		{ LEADS(RETREAT_IMAGING, RETREAT, COLD, FAILED), .hears = "old:SIGKILL",
		  .says = "image, nobody: no image (CRIU failed); the way back is gone", .rungs = "none" },
		{ LEADS(RESTORE, COLD, COLD, FAILED), .says = NOT_RESTORED },
	};

	CELLS_CHECK_ALL(&kills, cells);
	CELLS_CHECK_ALL(&stops, cells);
}

Test(roll_criu, that_succeeds_gives_a_rung_or_the_process_back)
{
	static const struct deed deed = { .name = "CRIU succeeds", .can = works, .happen = succeed };
	static const struct cell cells[] = {
		IDLE_STATES,
		{ LEADS(IMAGE, BAKE, DONE, FAILED), .says = TAKEN WATCHES("parked+image"), .rungs = "parked+image" },
		{ LEADS(PACK, BAKE, DONE, FAILED), .says = TAKEN WATCHES("image"), .rungs = "image" },
		{ LEADS(RETREAT_IMAGING, RESUME, BACK_PARKED, FAILED), .hears = "old:resume old:fds",
		  .says = TAKEN COMES_BACK("from memory"), .rungs = "parked+image" },
		{ LEADS(RESTORE, RESUME, BACK_IMAGE, FAILED), .hears = "old:resume old:fds",
		  .says = "restore, old: version v1 was restored from its image in 1 ms\n" COMES_BACK("from its image") },
	};

	CELLS_CHECK_ALL(&deed, cells);
}
