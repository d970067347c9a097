/* SPDX-License-Identifier: MIT */
/* The roll's table as a whole: what must hold in every cell, and the table itself as a text to review.
 *
 * After a change of the table: UPG_UPDATE_GOLDEN=1 make test SUITE=supervisor, and read the difference. */
#include "supervisor/roll/state.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(rollstate, .timeout = 20);

#define GOLDEN "tests/supervisor/golden/roll_state.txt"

#define EACH_STATE(state) (enum roll_state state = 0; state < ROLL_STATES; state++)
#define EACH_EVENT(event) (enum roll_event event = 0; event < ROLL_EVENTS; event++)

static bool can(enum roll_state state, enum roll_event event)
{
	return roll_step(state, event).legal;
}

/* Everything that can follow @state, itself included, without going through a state of @not (may be NULL). */
static void reach(enum roll_state state, const bool *not, bool reached[ROLL_STATES])
{
	if (reached[state] || (not && not[state]))
		return;
	reached[state] = true;
	for EACH_EVENT (event)
		if (can(state, event))
			reach(roll_step(state, event).next, not, reached);
}

/* ---- every state has a way on ---- */

Test(rollstate, ends_every_state_by_a_timeout_unless_another_clock_does)
{
	/* An image and a restore end by ImageTimeout=, a bake by its own timer, the rolls backward and onward by their own
	 * deadlines, and settling takes no time. */
	static const bool own_clock[ROLL_STATES] = {
		[ROLL_SETTLE] = true, [ROLL_IMAGE] = true, [ROLL_RESTORE] = true, [ROLL_BAKE] = true,
		[ROLL_PACK] = true, [ROLL_BACKWARD] = true, [ROLL_ONWARD] = true
	};

	for EACH_STATE (state)
		cr_assert_eq(can(state, ROLL_EV_TIMEOUT), !roll_is_over(state) && !own_clock[state], "%s", roll_state_name(state));
}

Test(rollstate, gives_patience_where_a_timeout_has_a_cell_and_nowhere_else)
{
	for EACH_STATE (state) {
		enum roll_patience patience = roll_facts(state)->patience;

		cr_assert_eq(can(state, ROLL_EV_TIMEOUT), patience != PATIENCE_NONE && patience != PATIENCE_ELSEWHERE, "%s",
			     roll_state_name(state));
		cr_assert_eq(patience == PATIENCE_NONE, roll_is_over(state) || state == ROLL_SETTLE, "%s", roll_state_name(state));
	}
}

Test(rollstate, lets_new_serve_only_where_it_has_committed)
{
	for EACH_STATE (state)
		cr_assert(roll_facts(state)->serves != ROLL_NEW || roll_has_committed(state), "%s", roll_state_name(state));
}

Test(rollstate, hears_undo_exactly_while_new_serves_on_probation)
{
	for EACH_STATE (state)
		cr_assert_eq(can(state, ROLL_EV_UNDO), roll_facts(state)->serves == ROLL_NEW && !roll_is_over(state), "%s",
			     roll_state_name(state));
}

/* Where new serves and nothing else is being done about it, the operator has every way: back, on, and to let it be. */
Test(rollstate, hears_accept_and_onward_exactly_where_it_hears_undo)
{
	for EACH_STATE (state) {
		cr_assert_eq(can(state, ROLL_EV_ACCEPT), can(state, ROLL_EV_UNDO), "%s", roll_state_name(state));
		cr_assert_eq(can(state, ROLL_EV_ONWARD), can(state, ROLL_EV_UNDO), "%s", roll_state_name(state));
	}
}

Test(rollstate, passes_on_by_a_commit_and_goes_back_to_the_bake_without_one)
{
	cr_assert_eq(roll_step(ROLL_ONWARD, ROLL_EV_TURNED).next, ROLL_PASSED);
	cr_assert_eq(roll_step(ROLL_ONWARD, ROLL_EV_BACKWARD_OFF).next, ROLL_BAKE);
	for EACH_STATE (state)
		for EACH_EVENT (event)
			if (can(state, event) && roll_step(state, event).next == ROLL_PASSED)
				cr_assert(state == ROLL_ONWARD && event == ROLL_EV_TURNED, "%s", roll_state_name(state));
	cr_assert_eq(roll_facts(ROLL_PASSED)->outcome, ROLL_IS_DONE);
	cr_assert_eq(roll_facts(ROLL_PASSED)->serves, ROLL_NOBODY, "the other roll has it");
}

Test(rollstate, watches_health_exactly_while_new_serves_on_probation)
{
	for EACH_STATE (state)
		cr_assert_eq(!!(roll_facts(state)->watches & ROLL_WATCH_HEALTH),
			     roll_facts(state)->serves == ROLL_NEW && !roll_is_over(state), "%s", roll_state_name(state));
}

Test(rollstate, ends_the_states_with_a_clock_of_their_own_by_that_clock)
{
	cr_assert(can(ROLL_IMAGE, ROLL_EV_IMAGED) && can(ROLL_IMAGE, ROLL_EV_IMAGE_FAILED));
	cr_assert(can(ROLL_RETREAT_IMAGING, ROLL_EV_IMAGED) && can(ROLL_RETREAT_IMAGING, ROLL_EV_IMAGE_FAILED));
	cr_assert(can(ROLL_RESTORE, ROLL_EV_RESTORED) && can(ROLL_RESTORE, ROLL_EV_RESTORE_FAILED));
	cr_assert(can(ROLL_PACK, ROLL_EV_IMAGED) && can(ROLL_PACK, ROLL_EV_IMAGE_FAILED));
	cr_assert(can(ROLL_BAKE, ROLL_EV_BAKED));
	cr_assert(can(ROLL_BACKWARD, ROLL_EV_TURNED) && can(ROLL_BACKWARD, ROLL_EV_BACKWARD_OFF) &&
		  can(ROLL_BACKWARD, ROLL_EV_NEW_GONE));
	cr_assert(can(ROLL_SETTLE, ROLL_EV_COMMITTED) && can(ROLL_SETTLE, ROLL_EV_ABORT_WON));
}

Test(rollstate, hears_the_operator_wherever_time_passes)
{
	for EACH_STATE (state)
		cr_assert_eq(can(state, ROLL_EV_CANCEL), !roll_is_over(state) && state != ROLL_SETTLE, "%s",
			     roll_state_name(state));
}

Test(rollstate, hears_of_the_end_of_either_process_wherever_time_passes)
{
	/* After new is gone for good, only the cold start, which takes its place, can end. */
	static const bool new_is_gone[ROLL_STATES] = { [ROLL_RESUME] = true, [ROLL_RESTORE] = true };

	for EACH_STATE (state) {
		if (roll_is_over(state) || state == ROLL_SETTLE)
			continue;
		cr_assert(can(state, ROLL_EV_OLD_GONE), "%s", roll_state_name(state));
		cr_assert_eq(can(state, ROLL_EV_NEW_GONE), !new_is_gone[state], "%s", roll_state_name(state));
	}
}

Test(rollstate, can_end_from_every_state)
{
	for EACH_STATE (state) {
		bool reached[ROLL_STATES] = { false }, ends = false;

		reach(state, NULL, reached);
		for EACH_STATE (end)
			ends |= reached[end] && roll_is_over(end);
		cr_assert(ends, "%s", roll_state_name(state));
	}
}

Test(rollstate, can_come_to_every_state)
{
	bool reached[ROLL_STATES] = { false };

	reach(ROLL_STANDBY, NULL, reached);
	for EACH_STATE (state)
		cr_assert(reached[state], "%s", roll_state_name(state));
}

/* Repeating what a state is left by must not lead round in circles: some event leads strictly closer to an end. */
Test(rollstate, cannot_be_held_up_by_timeouts_and_exits_alone)
{
	static const enum roll_event sure[] = { ROLL_EV_TIMEOUT,   ROLL_EV_NEW_GONE,	  ROLL_EV_OLD_GONE,	 ROLL_EV_ABORT_WON,
						ROLL_EV_RUNG_COLD, ROLL_EV_IMAGE_FAILED, ROLL_EV_RESTORE_FAILED, ROLL_EV_BAKED,
						ROLL_EV_NO_WAY_BACK };
	bool ends[ROLL_STATES];

	for EACH_STATE (state)
		ends[state] = roll_is_over(state);
	for (unsigned round = 0; round < ROLL_STATES; round++)
		for EACH_STATE (state)
			for (size_t i = 0; i < sizeof(sure) / sizeof(sure[0]); i++)
				ends[state] |= can(state, sure[i]) && ends[roll_step(state, sure[i]).next];
	for EACH_STATE (state)
		cr_assert(ends[state], "%s needs more than deadlines and exits to end", roll_state_name(state));
}

/* ---- the commit is a one-way door, and so is giving up ---- */

Test(rollstate, never_commits_once_it_gave_up)
{
	static const enum roll_state given_up[] = { ROLL_ABORT, ROLL_DISMISS, ROLL_RETREAT, ROLL_RETREAT_IMAGING, ROLL_RESUME,
						    ROLL_RESTORE, ROLL_COLD };
	static const enum roll_state serving[] = { ROLL_COMMIT, ROLL_PARK, ROLL_IMAGE, ROLL_BAKE, ROLL_PACK, ROLL_DONE };

	for (size_t i = 0; i < sizeof(given_up) / sizeof(given_up[0]); i++) {
		bool reached[ROLL_STATES] = { false };

		reach(given_up[i], NULL, reached);
		for (size_t j = 0; j < sizeof(serving) / sizeof(serving[0]); j++)
			cr_assert_not(reached[serving[j]], "%s -> %s", roll_state_name(given_up[i]), roll_state_name(serving[j]));
	}
}

Test(rollstate, touches_nothing_when_it_was_dismissed)
{
	bool reached[ROLL_STATES] = { false };

	reach(ROLL_DISMISS, NULL, reached);
	for EACH_STATE (state)
		cr_assert_eq(reached[state], state == ROLL_DISMISS || state == ROLL_REFUSED, "%s", roll_state_name(state));
}

Test(rollstate, never_calls_a_committed_roll_refused_or_aborted)
{
	for EACH_STATE (state) {
		bool reached[ROLL_STATES] = { false };

		if (!can(state, ROLL_EV_COMMITTED))
			continue;
		cr_assert_eq(roll_step(state, ROLL_EV_COMMITTED).next, ROLL_PARK);
		reach(roll_step(state, ROLL_EV_COMMITTED).next, NULL, reached);
		cr_assert_not(reached[ROLL_REFUSED] || reached[ROLL_ABORTED] || reached[ROLL_ABORT] || reached[ROLL_DISMISS], "%s",
			      roll_state_name(state));
		for EACH_STATE (after)
			cr_assert(!reached[after] || roll_has_committed(after), "%s", roll_state_name(after));
	}
	cr_assert(can(ROLL_COMMIT, ROLL_EV_COMMITTED) && can(ROLL_SETTLE, ROLL_EV_COMMITTED));
}

Test(rollstate, lets_new_serve_only_after_the_word_said_so)
{
	static const bool committing[ROLL_STATES] = { [ROLL_PARK] = true };
	bool reached[ROLL_STATES] = { false };

	/* Without the one door that COMMITTED opens there is no way to where new serves. */
	reach(ROLL_STANDBY, committing, reached);
	cr_assert_not(reached[ROLL_IMAGE] || reached[ROLL_BAKE] || reached[ROLL_DONE] || reached[ROLL_RETREAT_IMAGING]);
	for EACH_STATE (state)
		for EACH_EVENT (event)
			if (can(state, event) && state != ROLL_PARK && roll_step(state, event).next == ROLL_PARK)
				cr_assert_eq(event, ROLL_EV_COMMITTED, "%s", roll_state_name(state));
}

Test(rollstate, asks_the_word_before_it_aborts)
{
	/* From where new may have taken the word unheard, ABORT is entered only after the word said ABORTED. */
	for EACH_STATE (state)
		for EACH_EVENT (event)
			if (can(state, event) && state != ROLL_ABORT && roll_step(state, event).next == ROLL_ABORT)
				cr_assert(state == ROLL_SETTLE && event == ROLL_EV_ABORT_WON, "%s", roll_state_name(state));
}

/* ---- the way back ---- */

Test(rollstate, takes_a_way_back_only_after_new_was_ended)
{
	for EACH_STATE (state) {
		for EACH_EVENT (event) {
			enum roll_state next = roll_step(state, event).next;

			if (!can(state, event) || next == state)
				continue;
			if (next == ROLL_RESUME)
				cr_assert(state == ROLL_RETREAT || state == ROLL_RESTORE, "%s", roll_state_name(state));
			if (next == ROLL_RESTORE || next == ROLL_COLD)
				cr_assert_eq(state, ROLL_RETREAT, "%s", roll_state_name(state));
		}
	}
}

Test(rollstate, ends_new_on_the_way_into_a_retreat)
{
	/* Where new is ended by the way in (ABORT ends it first of all) or has ended long since. */
	static const bool new_is_ended[ROLL_STATES] = {
		[ROLL_ABORT] = true,	       [ROLL_RESUME] = true,  [ROLL_RESTORE] = true,
		[ROLL_RETREAT_IMAGING] = true, [ROLL_RETREAT] = true,
	};

	for EACH_STATE (state) {
		for EACH_EVENT (event) {
			struct roll_step step = roll_step(state, event);

			if (!step.legal || new_is_ended[state] || (step.next != ROLL_RETREAT && step.next != ROLL_RETREAT_IMAGING))
				continue;
			cr_assert(event == ROLL_EV_NEW_GONE || step.action == ROLL_DO_KILL_NEW, "%s, %s", roll_state_name(state),
				  roll_event_name(event));
		}
	}
}

/* ---- cells ---- */

Test(rollstate, accepts_nothing_after_the_end)
{
	for EACH_STATE (state)
		for EACH_EVENT (event)
			cr_assert(!roll_is_over(state) || !can(state, event), "%s, %s", roll_state_name(state),
				  roll_event_name(event));
}

Test(rollstate, ends_with_the_action_that_ends)
{
	for EACH_STATE (state) {
		for EACH_EVENT (event) {
			struct roll_step step = roll_step(state, event);
			bool ends = step.action == ROLL_DO_END || step.action == ROLL_DO_FINISH;

			cr_assert(!step.legal || ends == roll_is_over(step.next), "%s, %s", roll_state_name(state),
				  roll_event_name(event));
		}
	}
}

Test(rollstate, stays_where_it_is_on_what_is_illegal)
{
	for EACH_STATE (state) {
		for EACH_EVENT (event) {
			struct roll_step step = roll_step(state, event);

			cr_assert(step.legal || (step.next == state && step.action == ROLL_DO_NOTHING));
		}
	}
}

Test(rollstate, calls_what_is_out_of_range_illegal)
{
	static const int outside[] = { -1, -1000, 1000, 0x7fffffff };

	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		cr_assert_not(can((enum roll_state)outside[i], ROLL_EV_CANCEL));
		cr_assert_not(can(ROLL_STANDBY, (enum roll_event)outside[i]));
		cr_assert_not(roll_has_committed((enum roll_state)outside[i]));
		cr_assert_str_eq(roll_state_name((enum roll_state)outside[i]), "?");
		cr_assert_str_eq(roll_event_name((enum roll_event)outside[i]), "?");
	}
	cr_assert_not(can(ROLL_STATES, ROLL_EV_CANCEL));
	cr_assert_not(can(ROLL_STANDBY, ROLL_EVENTS));
}

Test(rollstate, names_every_state_and_event_differently)
{
	for EACH_STATE (a) {
		cr_assert_not_null(roll_state_name(a));
		for (enum roll_state b = 0; b < a; b++)
			cr_assert_str_neq(roll_state_name(a), roll_state_name(b));
	}
	for EACH_EVENT (a) {
		cr_assert_not_null(roll_event_name(a));
		for (enum roll_event b = 0; b < a; b++)
			cr_assert_str_neq(roll_event_name(a), roll_event_name(b));
	}
}

Test(rollstate, has_a_use_for_every_event_and_action)
{
	for EACH_EVENT (event) {
		bool used = false;

		for EACH_STATE (state)
			used |= can(state, event);
		cr_assert(used, "%s", roll_event_name(event));
	}
	for (enum roll_action action = 0; action < ROLL_ACTIONS; action++) {
		bool used = false;

		for EACH_STATE (state)
			for EACH_EVENT (event)
				used |= can(state, event) && roll_step(state, event).action == action;
		cr_assert(used, "action %u", (unsigned)action);
	}
}

/* ---- the table as text ---- */

static const char *action_name(enum roll_action action)
{
	static const char *const names[ROLL_ACTIONS] = {
		[ROLL_DO_NOTHING] = "-",
		[ROLL_DO_KILL_NEW] = "kill new",
		[ROLL_DO_PREPARE] = "prepare",
		[ROLL_DO_ASK_AGAIN] = "ask again",
		[ROLL_DO_COMMIT] = "commit",
		[ROLL_DO_SETTLE] = "settle",
		[ROLL_DO_ABORT] = "abort",
		[ROLL_DO_AWAIT_OLD] = "await old",
		[ROLL_DO_CHECK_ABORTED] = "check aborted",
		[ROLL_DO_PARK] = "park",
		[ROLL_DO_IMAGE] = "image",
		[ROLL_DO_PACK] = "pack",
		[ROLL_DO_BAKE] = "bake",
		[ROLL_DO_PROVE] = "prove",
		[ROLL_DO_BACKWARD] = "backward",
		[ROLL_DO_ONWARD] = "onward",
		[ROLL_DO_DROP_OLD] = "drop old",
		[ROLL_DO_FINISH] = "finish",
		[ROLL_DO_CHOOSE] = "choose",
		[ROLL_DO_RESUME] = "resume",
		[ROLL_DO_RESTORE] = "restore",
		[ROLL_DO_COLD_START] = "cold start",
		[ROLL_DO_END] = "end",
	};

	cr_assert_not_null(names[action], "action %u has no name here", (unsigned)action);
	return names[action];
}

static void facts_print(FILE *out, const struct roll_facts *facts)
{
	static const char *const serves[] = { [ROLL_NOBODY] = "nobody", [ROLL_OLD] = "old", [ROLL_NEW] = "new" };
	static const char *const patience[] = {
		[PATIENCE_NONE] = "none",	  [PATIENCE_ELSEWHERE] = "elsewhere", [PATIENCE_AS_BEFORE] = "as before",
		[PATIENCE_START] = "start",	  [PATIENCE_QUIESCE] = "quiesce",     [PATIENCE_TRANSFER] = "transfer",
		[PATIENCE_SOON] = "soon",	  [PATIENCE_ABORT] = "abort",	      [PATIENCE_PARK] = "park",
		[PATIENCE_RESUME] = "resume",
	};
	static const char *const outcomes[] = {
		[ROLL_IS_DONE] = "done",       [ROLL_IS_REFUSED] = "refused",	    [ROLL_IS_ABORTED] = "aborted",
		[ROLL_IS_BACK_LIVE] = "live",  [ROLL_IS_BACK_PARKED] = "parked or image", [ROLL_IS_COLD] = "cold",
		[ROLL_IS_FAILED] = "failed",
	};

	fprintf(out, "%s: serves %s, patience %s%s%s%s%s%s", facts->name, serves[facts->serves], patience[facts->patience],
		facts->committed ? ", committed" : "", facts->counts_rungs ? ", counts rungs" : "",
		facts->watches & ROLL_WATCH_HEALTH ? ", watches health" : "",
		facts->watches & ROLL_WATCH_BAKE ? ", watches bake" : "",
		facts->watches & ROLL_WATCH_MEMORY ? ", watches memory" : "");
	if (facts->outcome != ROLL_IS_UNDER_WAY)
		fprintf(out, ", over: %s%s", outcomes[facts->outcome], facts->keeps_image ? ", keeps the image" : "");
	fputc('\n', out);
}

static void table_print(FILE *out)
{
	for EACH_STATE (state) {
		facts_print(out, roll_facts(state));
		for EACH_EVENT (event) {
			struct roll_step step = roll_step(state, event);

			if (step.legal)
				fprintf(out, "    %-16s %-16s %s\n", roll_event_name(event),
					step.next == state ? "(stays)" : roll_state_name(step.next), action_name(step.action));
		}
	}
}

static char *file_read(const char *path)
{
	char *text = calloc(1, 65536);
	FILE *file = fopen(path, "re");

	cr_assert_not_null(text);
	cr_assert_not_null(file, "%s", path);
	cr_assert_lt(fread(text, 1, 65535, file), 65535);
	fclose(file);
	return text;
}

static void golden_update(const char *text)
{
	FILE *file = fopen(GOLDEN, "we");

	cr_assert_not_null(file);
	cr_assert_geq(fputs(text, file), 0);
	cr_assert_eq(fclose(file), 0);
}

Test(rollstate, is_the_table_that_was_reviewed)
{
	size_t size, line = 1;
	char *text, *golden;
	FILE *out = open_memstream(&text, &size);

	cr_assert_not_null(out);
	table_print(out);
	fclose(out);
	if (getenv("UPG_UPDATE_GOLDEN"))
		golden_update(text);
	golden = file_read(GOLDEN);
	for (size_t i = 0; text[i] || golden[i]; i++) {
		cr_assert_eq(text[i], golden[i], GOLDEN ":%zu: the table says otherwise", line);
		line += text[i] == '\n';
	}
	free(golden);
	free(text);
}
