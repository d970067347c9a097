/* SPDX-License-Identifier: MIT */
#include "supervisor/roll/record.h"

static bool old_can_resume(const struct roll_record *record)
{
	return record->old == OLD_STANDS || record->old == OLD_PARKED || record->old == OLD_RESTORED;
}

unsigned record_rungs(const struct roll_record *record)
{
	unsigned rungs = ROLL_RUNG_NONE;

	if (record->commit_us && old_can_resume(record))
		rungs |= ROLL_RUNG_PARKED;
	if (record->image == IMAGE_THERE)
		rungs |= ROLL_RUNG_IMAGE;
	return rungs;
}

const char *rungs_text(unsigned rungs)
{
	static const char *const texts[] = {
		[ROLL_RUNG_NONE] = "none",
		[ROLL_RUNG_PARKED] = "parked",
		[ROLL_RUNG_IMAGE] = "image",
		[ROLL_RUNG_PARKED | ROLL_RUNG_IMAGE] = "parked+image",
	};

	return texts[rungs & (ROLL_RUNG_PARKED | ROLL_RUNG_IMAGE)];
}

const char *record_rungs_text(const struct roll_record *record, unsigned rungs)
{
	return record->moves_nothing && (rungs & ROLL_RUNG_PARKED) ? "the version before, which serves on" : rungs_text(rungs);
}

enum roll_retreat record_retreat(const struct roll_record *record, bool new_lives, bool old_lives)
{
	bool skips_parked = record->wish == WISH_IMAGE && record->image == IMAGE_THERE;

	if (new_lives)
		return RETREAT_AWAIT_NEW;
	if (old_lives && old_can_resume(record) && !skips_parked)
		return RETREAT_PARKED;
	if (old_lives)
		return RETREAT_END_OLD;
	return record->image == IMAGE_THERE ? RETREAT_IMAGE : RETREAT_COLD;
}

enum roll_event record_overdue(const struct roll_record *record)
{
	/* Old never said that it stands still. So it serves, and perhaps it has not even read Prepare. If it reads that later, the
	 * commit word says ABORTED and the stream is closed: it goes on. */
	if (record->state == ROLL_ABORT && record->old != OLD_STANDS)
		return ROLL_EV_SERVES_ON;
	return ROLL_EV_TIMEOUT;
}

enum roll_turn record_turn(const struct roll_record *record, bool rung_usable)
{
	if (record->ends_at_once)
		return TURN_END;
	if (record->wish == WISH_ACCEPT)
		return TURN_ACCEPT;
	if (record->wish == WISH_ONWARD)
		return TURN_ONWARD;
	if (record->wish == WISH_UNDO)
		return TURN_UNDO;
	if (record->wish != WISH_LEAVE_SICK)
		return TURN_NONE;
	if (record->trust == TRUST_PROBATION)
		return TURN_LEAVE_SICK;
	return rung_usable ? TURN_GIVE_UP : TURN_KEEP;
}

enum roll_event record_leaving(const struct roll_record *record, enum roll_event wanted)
{
	bool beside = record->moves_nothing && record->state == ROLL_BAKE && (record_rungs(record) & ROLL_RUNG_PARKED);

	return beside ? ROLL_EV_GIVE_UP : wanted;
}

void record_wish(struct roll_record *record, enum roll_wish wish)
{
	if (wish > record->wish)
		record->wish = wish;
}

enum roll_outcome record_outcome(const struct roll_record *record)
{
	enum roll_outcome outcome = roll_facts(record->state)->outcome;

	if (outcome == ROLL_IS_ABORTED && record->unanswered)
		return ROLL_IS_UNANSWERED;
	if (outcome != ROLL_IS_BACK_PARKED)
		return outcome;
	if (record->misses)
		return ROLL_IS_BACK_PART;
	return record->old == OLD_RESTORED ? ROLL_IS_BACK_IMAGE : outcome;
}

bool record_is_last_resort(const struct roll_record *record)
{
	return record->purpose == PURPOSE_LEAVE_SICK || record->trust == TRUST_KEPT;
}
