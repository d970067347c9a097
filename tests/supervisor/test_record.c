/* SPDX-License-Identifier: MIT */
/* The decisions that follow from a roll's record, over all records that there can be. */
#include "supervisor/roll/record.h"

#include <criterion/criterion.h>

TestSuite(record, .timeout = 20);

#define COUNT_OF(last) ((unsigned)(last) + 1)
#define N_PURPOSE COUNT_OF(PURPOSE_ONWARD)
#define N_OLD COUNT_OF(OLD_SPENT)
#define N_WISH COUNT_OF(WISH_IMAGE)
#define N_TRUST COUNT_OF(TRUST_KEPT)
#define N_IMAGE COUNT_OF(IMAGE_SPENT)
#define N_JOURNAL COUNT_OF(JOURNAL_LOST)
#define ALL (N_PURPOSE * ROLL_STATES * N_OLD * N_WISH * N_TRUST * N_IMAGE * N_JOURNAL * 2 * 2 * 2)

static unsigned digit(unsigned *number, unsigned base)
{
	unsigned digit = *number % base;

	*number /= base;
	return digit;
}

/* The record with this number, of ALL. */
static struct roll_record nth(unsigned number)
{
	struct roll_record record = { .prepared_us = 1, .settles_us = 2 };

	record.purpose = (enum roll_purpose)digit(&number, N_PURPOSE);
	record.state = (enum roll_state)digit(&number, ROLL_STATES);
	record.old = (enum roll_old)digit(&number, N_OLD);
	record.wish = (enum roll_wish)digit(&number, N_WISH);
	record.trust = (enum roll_trust)digit(&number, N_TRUST);
	record.image = (enum roll_image)digit(&number, N_IMAGE);
	record.journal = (enum roll_journal)digit(&number, N_JOURNAL);
	record.commit_us = digit(&number, 2) ? 3 : 0;
	record.ends_at_once = digit(&number, 2);
	record.misses = digit(&number, 2);
	return record;
}

#define EACH_RECORD(record)                                                                                       \
	(unsigned number = 0, once = 1; number < ALL; number++, once = 1)                                             \
		for (const struct roll_record record = nth(number); once; once = 0)

static bool can_resume(enum roll_old old)
{
	return old == OLD_STANDS || old == OLD_PARKED || old == OLD_RESTORED;
}

/* ---- rungs ---- */

Test(record, has_the_rung_parked_exactly_when_new_has_committed_and_old_stands_still)
{
	for EACH_RECORD (record)
		cr_assert_eq(!!(record_rungs(&record) & ROLL_RUNG_PARKED), record.commit_us && can_resume(record.old), "%u",
			     number);
}

Test(record, has_the_rung_image_exactly_when_an_image_is_there)
{
	for EACH_RECORD (record)
		cr_assert_eq(!!(record_rungs(&record) & ROLL_RUNG_IMAGE), record.image == IMAGE_THERE, "%u", number);
}

Test(record, has_no_other_rung)
{
	for EACH_RECORD (record)
		cr_assert_eq(record_rungs(&record) & ~(unsigned)(ROLL_RUNG_PARKED | ROLL_RUNG_IMAGE), 0, "%u", number);
}

/* Where nothing moves, old needs no roll of its own to be gone back to; where it cannot be had any more, it does. */
Test(record, leaves_new_at_once_where_old_was_there_all_the_time)
{
	for EACH_RECORD (moves) {
		struct roll_record record = moves;
		bool there = record.state == ROLL_BAKE && (record_rungs(&record) & ROLL_RUNG_PARKED);

		cr_assert_eq(record_leaving(&record, ROLL_EV_UNDO), ROLL_EV_UNDO, "%u", number);
		record.moves_nothing = true;
		cr_assert_eq(record_leaving(&record, ROLL_EV_UNDO), there ? ROLL_EV_GIVE_UP : ROLL_EV_UNDO, "%u", number);
		cr_assert_eq(record_leaving(&record, ROLL_EV_SICK), there ? ROLL_EV_GIVE_UP : ROLL_EV_SICK, "%u", number);
		/* And whichever it is, it belongs where the other would. */
		if (there)
			cr_assert(roll_accepts(record.state, ROLL_EV_GIVE_UP));
	}
}

Test(record, names_each_set_of_rungs)
{
	cr_assert_str_eq(rungs_text(ROLL_RUNG_NONE), "none");
	cr_assert_str_eq(rungs_text(ROLL_RUNG_PARKED), "parked");
	cr_assert_str_eq(rungs_text(ROLL_RUNG_IMAGE), "image");
	cr_assert_str_eq(rungs_text(ROLL_RUNG_PARKED | ROLL_RUNG_IMAGE), "parked+image");
	cr_assert_str_eq(rungs_text(~0u), "parked+image");
	cr_assert_str_eq(rungs_text(~(unsigned)ROLL_RUNG_PARKED), "image");
}

/* ---- the retreat ---- */

Test(record, waits_for_the_end_of_new_before_anything_else)
{
	for EACH_RECORD (record)
		for (unsigned old_lives = 0; old_lives < 2; old_lives++)
			cr_assert_eq(record_retreat(&record, true, old_lives), RETREAT_AWAIT_NEW, "%u", number);
}

Test(record, goes_back_to_a_parked_process_that_lives_unless_its_image_is_wished)
{
	for EACH_RECORD (record) {
		bool wished = record.wish == WISH_IMAGE && record.image == IMAGE_THERE;

		cr_assert_eq(record_retreat(&record, false, true) == RETREAT_PARKED, can_resume(record.old) && !wished, "%u",
			     number);
		cr_assert_neq(record_retreat(&record, false, false), RETREAT_PARKED, "%u: it is dead", number);
	}
}

/* What comes back needs the pid, and nothing of old may run beside it. */
Test(record, ends_an_old_that_lives_before_an_image_or_an_empty_start)
{
	for EACH_RECORD (record) {
		enum roll_retreat next = record_retreat(&record, false, true);

		cr_assert(next == RETREAT_PARKED || next == RETREAT_END_OLD, "%u", number);
		cr_assert_neq(record_retreat(&record, false, false), RETREAT_END_OLD, "%u: there is nobody to end", number);
	}
}

Test(record, starts_empty_exactly_when_old_is_dead_and_no_image_is_left)
{
	for EACH_RECORD (record)
		cr_assert_eq(record_retreat(&record, false, false),
			     record.image == IMAGE_THERE ? RETREAT_IMAGE : RETREAT_COLD, "%u", number);
}

/* Each step takes away the reason for itself. */
Test(record, comes_to_a_rung_in_three_steps_at_most)
{
	for EACH_RECORD (record) {
		bool new_lives = true, old_lives = true;
		enum roll_retreat next = RETREAT_AWAIT_NEW;

		for (unsigned steps = 0; steps < 3; steps++) {
			next = record_retreat(&record, new_lives, old_lives);
			new_lives &= next != RETREAT_AWAIT_NEW;
			old_lives &= next != RETREAT_END_OLD;
		}
		cr_assert(next == RETREAT_PARKED || next == RETREAT_IMAGE || next == RETREAT_COLD, "%u", number);
	}
}

/* ---- deadlines ---- */

Test(record, lets_an_old_serve_on_that_was_silent_and_never_said_that_it_stands)
{
	for EACH_RECORD (record) {
		bool serves = record.state == ROLL_ABORT && record.old != OLD_STANDS;

		cr_assert_eq(record_overdue(&record), serves ? ROLL_EV_SERVES_ON : ROLL_EV_TIMEOUT, "%u", number);
	}
}

Test(record, has_a_cell_for_what_a_deadline_is)
{
	for EACH_RECORD (record)
		if (roll_facts(record.state)->patience != PATIENCE_NONE &&
		    roll_facts(record.state)->patience != PATIENCE_ELSEWHERE)
			cr_assert(roll_accepts(record.state, record_overdue(&record)), "%u", number);
}

/* ---- wishes ---- */

Test(record, keeps_the_strongest_wish)
{
	for (enum roll_wish first = 0; first < N_WISH; first++) {
		for (enum roll_wish second = 0; second < N_WISH; second++) {
			struct roll_record record = { .wish = first };

			record_wish(&record, second);
			cr_assert_eq(record.wish, first > second ? first : second, "%u, then %u", (unsigned)first,
				     (unsigned)second);
		}
	}
}

Test(record, puts_that_new_is_not_well_above_that_it_is_not_wanted)
{
	cr_assert(WISH_NONE < WISH_ACCEPT && WISH_ACCEPT < WISH_ONWARD && WISH_ONWARD < WISH_UNDO && WISH_UNDO < WISH_LEAVE_SICK);
	cr_assert(WISH_LEAVE_SICK < WISH_PARKED && WISH_LEAVE_SICK < WISH_IMAGE, "an order to give new up ends all doubt");
}

Test(record, turns_by_the_wish_and_by_what_was_tried)
{
	for EACH_RECORD (record) {
		for (unsigned usable = 0; usable < 2; usable++) {
			enum roll_turn turn = TURN_NONE;

			if (record.ends_at_once)
				turn = TURN_END;
			else if (record.wish == WISH_ACCEPT)
				turn = TURN_ACCEPT;
			else if (record.wish == WISH_ONWARD)
				turn = TURN_ONWARD;
			else if (record.wish == WISH_UNDO)
				turn = TURN_UNDO;
			else if (record.wish == WISH_LEAVE_SICK && record.trust == TRUST_PROBATION)
				turn = TURN_LEAVE_SICK;
			else if (record.wish == WISH_LEAVE_SICK)
				turn = usable ? TURN_GIVE_UP : TURN_KEEP;
			cr_assert_eq(record_turn(&record, usable), turn, "%u", number);
		}
	}
}

/* ---- the end ---- */

Test(record, has_an_outcome_exactly_at_an_end)
{
	for EACH_RECORD (record)
		cr_assert_eq(record_outcome(&record) != ROLL_IS_UNDER_WAY, roll_is_over(record.state), "%u", number);
}

Test(record, tells_old_that_came_back_from_its_image_from_one_that_was_parked)
{
	for EACH_RECORD (record) {
		enum roll_outcome by_state = roll_facts(record.state)->outcome;
		bool is_back = record.state == ROLL_ROLLED_BACK;
		bool from_image = is_back && record.old == OLD_RESTORED;

		if (!is_back || !record.misses)
			cr_assert_eq(record_outcome(&record), from_image ? ROLL_IS_BACK_IMAGE : by_state, "%u", number);
	}
}

/* However it came back. What it misses is no matter where it did not come back. */
Test(record, tells_exactly_a_way_back_that_misses_a_door_from_one_that_is_whole)
{
	for EACH_RECORD (record)
		cr_assert_eq(record_outcome(&record) == ROLL_IS_BACK_PART, record.state == ROLL_ROLLED_BACK && record.misses,
			     "%u", number);
}

Test(record, is_the_last_resort_if_it_was_gone_back_to_or_is_kept_for_want_of_another)
{
	for EACH_RECORD (record)
		cr_assert_eq(record_is_last_resort(&record), record.purpose == PURPOSE_LEAVE_SICK || record.trust == TRUST_KEPT,
			     "%u", number);
}

/* ---- what a decision depends on, and what not ---- */

/* A journal, the purpose and the deadlines change how a way back is gone, and not which. */
Test(record, chooses_a_way_back_without_regard_to_journal_and_purpose)
{
	for EACH_RECORD (record) {
		struct roll_record plain = record;

		plain.journal = JOURNAL_NONE;
		plain.purpose = PURPOSE_FORWARD;
		plain.prepared_us = plain.settles_us = 0;
		cr_assert_eq(record_rungs(&record), record_rungs(&plain), "%u", number);
		for (unsigned lives = 0; lives < 4; lives++)
			cr_assert_eq(record_retreat(&record, lives & 1, lives & 2),
				     record_retreat(&plain, lives & 1, lives & 2), "%u", number);
	}
}
