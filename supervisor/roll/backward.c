/* SPDX-License-Identifier: MIT */
/* What may become of a bake besides its end and a retreat.
 *
 * A roll to a third version runs beside this one in the same way (ONWARD): what is parked here is the way back until the third
 * version has taken over. From then on it is the second version, which is parked there.
 *
 * New answers, but it is not wanted: it is not well, or the operator wants the version before. Then nothing has to be lost: a
 * second roll leads from new, with all its state, migrated down, to a fresh process of old's version. The parked old, or its
 * image, is not part of the second roll: its state is that of the commit. It lies where it lay until the second roll has
 * committed, and is the next rung if that is called off. The second roll is the owner's to run; here is what becomes of the first.
 */
#include "supervisor/roll/private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int roll_check_rung(const struct roll *roll, enum roll_rung rung, struct why *why)
{
	unsigned there = record_rungs(&roll->record);

	if (rung == ROLL_RUNG_PARKED)
		return there & rung ? 0 : why_set(why, -ESRCH, "no version lies parked in memory");
	if (!(there & ROLL_RUNG_IMAGE))
		return why_set(why, -ENOENT, "no version is an image");
	return roll->site->imaging->check_beside(roll->image, instance_is_alive(roll->old) ? roll->image->pid : 0, why);
}

static bool has_usable_rung(const struct roll *roll)
{
	return roll_check_rung(roll, ROLL_RUNG_PARKED, NULL) == 0 || roll_check_rung(roll, ROLL_RUNG_IMAGE, NULL) == 0;
}

/* ---- new is not wanted ---- */

static void keep_sick(struct roll *roll)
{
	if (roll->record.trust != TRUST_KEPT)
		roll_note(roll, "bake", roll->new, "version %s is kept all the same: no way back is left, and it answers",
			 roll->record.to);
	roll->record.trust = TRUST_KEPT;
	roll->record.wish = WISH_NONE;
}

static void leave(struct roll *roll, enum roll_event wanted)
{
	if (record_leaving(&roll->record, wanted) == ROLL_EV_GIVE_UP)
		roll_blame(roll, "version %s was given up by order", roll->record.to);
	roll_happen(roll, record_leaving(&roll->record, wanted));
}

void roll_turn_if_due(struct roll *roll)
{
	bool waits = roll->record.wish == WISH_LEAVE_SICK;

	switch (record_turn(&roll->record, waits && has_usable_rung(roll))) {
	case TURN_NONE:
		break;
	case TURN_END:
		roll_happen(roll, ROLL_EV_CANCEL);
		break;
	case TURN_ACCEPT:
		roll_happen(roll, ROLL_EV_ACCEPT);
		break;
	case TURN_ONWARD:
		roll_happen(roll, ROLL_EV_ONWARD);
		break;
	case TURN_UNDO:
		leave(roll, ROLL_EV_UNDO);
		break;
	case TURN_LEAVE_SICK:
		leave(roll, ROLL_EV_SICK);
		break;
	case TURN_GIVE_UP:
		roll_happen(roll, ROLL_EV_UNHEALTHY);
		break;
	case TURN_KEEP:
		keep_sick(roll);
		break;
	}
}

/* It is not well, and there is nothing better. If that was the last thing the bake waited for, the bake ends well all the same. */
static void bear_with_it(struct roll *roll, const char *text)
{
	bool was_the_last = roll->health.concluding;

	roll_note(roll, "bake", roll->new, "%s; it is kept, %s", text,
		 roll->record.trust == TRUST_KEPT ? "as no way back is left" : "as it is what was gone back to");
	health_stop(&roll->health);
	roll_watch_health(roll);
	if (was_the_last)
		health_conclude(&roll->health, true);
}

void roll_sicken(struct roll *roll, const char *fmt, ...)
{
	char text[sizeof(roll->report.cause.text)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (roll->record.wish == WISH_LEAVE_SICK)
		return;
	if (record_is_last_resort(&roll->record)) {
		bear_with_it(roll, text);
		return;
	}
	roll_blame(roll, "%s", text);
	record_wish(&roll->record, WISH_LEAVE_SICK);
	leave(roll, ROLL_EV_SICK);
}

void roll_undo(struct roll *roll)
{
	record_wish(&roll->record, WISH_UNDO);
	leave(roll, ROLL_EV_UNDO);
}

void roll_accept(struct roll *roll)
{
	record_wish(&roll->record, WISH_ACCEPT);
	roll_happen(roll, ROLL_EV_ACCEPT);
}

void roll_onward(struct roll *roll)
{
	record_wish(&roll->record, WISH_ONWARD);
	roll_happen(roll, ROLL_EV_ONWARD);
}

bool roll_drop_wish(struct roll *roll)
{
	struct roll_record *record = &roll->record;
	bool waits = record->wish == WISH_ACCEPT || record->wish == WISH_ONWARD || record->wish == WISH_UNDO;

	/* In a bake it is being carried out, and is called off where that is done. */
	if (!waits || (record->state != ROLL_PARK && record->state != ROLL_IMAGE && record->state != ROLL_PACK))
		return false;
	/* The sign of life that was asked for by order would end the bake, when it comes. */
	if (record->wish == WISH_ACCEPT && roll->health.lenient)
		roll_watch_health(roll);
	record->wish = WISH_NONE;
	return true;
}

void roll_do_onward(struct roll *roll)
{
	roll_say(roll, "roll", roll->new, "by order; version %s is the way back until the next version has taken over",
		 roll->record.from);
	roll->events->on_backward(roll);
}

void roll_do_backward(struct roll *roll)
{
	roll_say(roll, "undo", roll->new, "%s; rolling back to version %s with all state",
		 roll_is_sick(roll) ? roll->report.cause.text : "by order", roll->record.from);
	roll->events->on_backward(roll);
}

/* ---- the second roll ---- */

struct instance *roll_lend_new(struct roll *roll)
{
	struct instance *new = roll->new;

	roll->new = NULL;
	return new;
}

void roll_turned(struct roll *roll)
{
	roll_happen(roll, ROLL_EV_TURNED);
}

void roll_return_new(struct roll *roll, struct instance *new, const struct why *why)
{
	roll->new = new;
	instance_own(new, &roll_new_events, roll);
	if (roll->record.state == ROLL_BACKWARD && roll->record.trust == TRUST_PROBATION)
		roll->record.trust = TRUST_NOT_LEFT;
	if (roll->record.wish == WISH_UNDO || roll->record.wish == WISH_ONWARD)
		roll->record.wish = WISH_NONE;
	if (roll->record.state == ROLL_ONWARD)
		roll_say(roll, "roll", new, "version %s serves on: %s", roll->record.to, why->text);
	else
		roll_say(roll, "undo", new, "version %s could not be rolled back: %s", roll->record.to, why->text);
	if (instance_is_over(new)) {
		roll->report.wire.died_us = new->exited_us;
		roll_blame(roll, "%s", why->text);
		roll_happen(roll, ROLL_EV_NEW_GONE);
		return;
	}
	roll_happen(roll, ROLL_EV_BACKWARD_OFF);
}

void roll_lose_new(struct roll *roll, const struct why *why)
{
	roll->report.wire.died_us = clock_now_us();
	roll_blame(roll, "%s", why->text);
	roll_happen(roll, ROLL_EV_NEW_GONE);
}

void roll_hear_aside(struct roll *roll, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	if (message->body_case != UPGRADED__WIRE__APP_MESSAGE__BODY_PONG)
		roll_hear_serving(roll, message, fds);
}

/* ---- by order, without new's state ---- */

int roll_give_up(struct roll *roll, enum roll_rung rung, struct why *why)
{
	int r = roll_accepts(roll->record.state, ROLL_EV_GIVE_UP) ? roll_check_rung(roll, rung, why) :
								     why_set(why, -EBUSY, "no bake is on (%s)", roll_phase(roll));

	if (r < 0)
		return r;
	record_wish(&roll->record, rung == ROLL_RUNG_IMAGE ? WISH_IMAGE : WISH_PARKED);
	roll_blame(roll, "version %s was given up by order", roll->record.to);
	roll_happen(roll, ROLL_EV_GIVE_UP);
	return 0;
}
