/* SPDX-License-Identifier: MIT */
/* What may become of a bake besides its end and a retreat.
 *
 * New is alive and able, but not wanted: it does not do well, or the operator wants the version before. Then nothing has to be
 * lost: a second roll leads from new, with all its state, migrated down, to a fresh process of old's version. Old, parked or an
 * image, is not part of it: its state is that of the commit. It lies where it lay until the second roll has committed, and is
 * the next rung if that is called off. The second roll is the service's to run; here is what becomes of the first.
 *
 * And a parked version can leave memory: what it was is an image then.
 */
#include "supervisor/roll/roll.h"

#include "supervisor/machine/pressure.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#define LOOK_AT_MEMORY_US USEC_PER_SEC

/* Is there a rung, as far as can be seen? Nothing may be ended for one that is none. */
static int rung_check(const struct roll *roll, enum roll_rung rung, struct why *why)
{
	bool parked = instance_is_alive(roll->old) && !roll->old_unusable;

	if (rung == ROLL_RUNG_PARKED)
		return parked ? 0 : why_set(why, -ESRCH, "no version lies parked in memory");
	if (!roll->image || roll->image_bad)
		return why_set(why, -ENOENT, "no version is an image");
	return image_check_beside(roll->image, parked ? roll->image->pid : 0, why);
}

static bool has_rung(const struct roll *roll)
{
	return rung_check(roll, ROLL_RUNG_PARKED, NULL) == 0 || rung_check(roll, ROLL_RUNG_IMAGE, NULL) == 0;
}

/* ---- backward ---- */

static void keep_sick(struct roll *roll)
{
	if (!roll->kept_sick)
		roll_say(roll, "bake", roll->new->child.pid, "version %s is kept all the same: no way back is left, and it answers",
			 roll->result.to);
	roll->kept_sick = true;
	roll->sick = false;
}

void roll_turn_if_due(struct roll *roll)
{
	/* It was tried and could not be. New is not left in peace for that, unless the alternative is to lose everything. */
	if (roll->sick && roll->turned_down && !has_rung(roll))
		keep_sick(roll);
	else if (roll->sick && roll->turned_down)
		roll_happen(roll, ROLL_EV_UNHEALTHY);
	else if (roll->sick)
		roll_happen(roll, ROLL_EV_SICK);
	else if (roll->undone)
		roll_happen(roll, ROLL_EV_UNDO);
}

void roll_sicken(struct roll *roll, const char *fmt, ...)
{
	char text[sizeof(roll->result.cause.text)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (roll->sick)
		return;
	/* A roll that goes back already has its reason to: one that is undone again would go round in circles. */
	if (roll->options.retreats || roll->kept_sick) {
		bool was_the_last = roll->health.concluding;

		roll_say(roll, "bake", roll->new->child.pid, "%s; it is kept, %s", text,
			 roll->kept_sick ? "as no way back is left" : "as it is what was gone back to");
		health_stop(&roll->health);
		if (was_the_last)
			roll_happen(roll, ROLL_EV_BAKED);
		else
			roll_watch_health(roll);
		return;
	}
	roll_blame(roll, "%s", text);
	roll->sick = true;
	roll_happen(roll, ROLL_EV_SICK);
}

void roll_undo(struct roll *roll)
{
	roll->undone = true;
	roll_happen(roll, ROLL_EV_UNDO);
}

void roll_do_backward(struct roll *roll)
{
	roll_say(roll, "undo", roll->new->child.pid, "%s; rolling back to version %s with all state",
		 roll->sick ? roll->result.cause.text : "by order", roll->result.from);
	roll->on_backward(roll);
}

struct instance *roll_lend_new(struct roll *roll)
{
	struct instance *new = roll->new;

	/* Nothing that waits for it may name descriptors in a custody that another roll does not know. */
	outbox_clear(&new->outbox);
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
	new->events = &roll_new_events;
	new->owner = roll;
	roll->turned_down = true;
	roll->undone = false;
	roll_say(roll, "undo", new->child.pid, "version %s could not be rolled back: %s", roll->result.to, why->text);
	if (new->exit_told) {
		roll->result.died_us = new->exited_us;
		roll_blame(roll, "%s", why->text);
		roll_happen(roll, ROLL_EV_NEW_GONE);
		return;
	}
	roll_happen(roll, ROLL_EV_BACKWARD_OFF);
}

void roll_lose_new(struct roll *roll, const struct why *why)
{
	roll->result.died_us = clock_now_us();
	roll_blame(roll, "%s", why->text);
	roll_happen(roll, ROLL_EV_NEW_GONE);
}

void roll_hear_aside(struct roll *roll, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	if (message->body_case != UPGRADED__WIRE__APP_MESSAGE__BODY_PONG)
		roll_hear_new(roll, message, fds);
}

/* ---- by order, without new's state ---- */

int roll_give_up(struct roll *roll, enum roll_rung rung, struct why *why)
{
	int r = roll->state == ROLL_BAKE ? rung_check(roll, rung, why) :
					   why_set(why, -EBUSY, "no bake is on (%s)", roll_state_name(roll->state));

	if (r < 0)
		return r;
	roll->by_image = rung == ROLL_RUNG_IMAGE;
	roll_blame(roll, "version %s was given up by order", roll->result.to);
	roll_happen(roll, ROLL_EV_GIVE_UP);
	return 0;
}

/* ---- out of memory ---- */

int roll_pack(struct roll *roll, struct why *why)
{
	if (roll->state != ROLL_BAKE)
		return why_set(why, -EBUSY, "no bake is on (%s)", roll_state_name(roll->state));
	if (!instance_is_alive(roll->old) || roll->old_unusable)
		return why_set(why, -ESRCH, "no version lies parked in memory");
	if (!roll->image && !roll->site->criu_path)
		return why_set(why, -ENOENT, "no usable CRIU, see upgradectl check");
	roll->packing = true;
	roll_happen(roll, ROLL_EV_PACK);
	return 0;
}

void roll_packed(struct roll *roll, const char *failure)
{
	if (!roll->packing)
		return;
	roll->packing = false;
	roll->on_packed(roll, failure);
}

void roll_do_pack(struct roll *roll)
{
	struct why why = { 0 };

	if (roll->image && !roll->image_bad && image_check_beside(roll->image, roll->image->pid, &why) < 0) {
		roll_say(roll, "image", roll->old->child.pid, "version %s stays in memory: %s", roll->result.from, why.text);
		roll_packed(roll, why.text);
		roll_happen(roll, ROLL_EV_IMAGE_FAILED);
		return;
	}
	if (roll->image && !roll->image_bad) {
		/* Taken when it was parked, and it has not run since. */
		roll->old_unusable = true;
		roll->result.way_back = "image";
		instance_kill(roll->old, SIGKILL);
		roll_say(roll, "image", roll->image->pid, "version %s leaves memory; its image is the way back", roll->result.from);
		roll_packed(roll, NULL);
		roll_happen(roll, ROLL_EV_IMAGED);
		return;
	}
	if (roll_take_image_of_old(roll, false, &why) == 0)
		return;
	roll_say(roll, "image", roll->old->child.pid, "version %s stays in memory: %s", roll->result.from, why.text);
	roll_packed(roll, why.text);
	roll_happen(roll, ROLL_EV_IMAGE_FAILED);
}

static void on_look_at_memory(struct timer *timer)
{
	struct roll *roll = container_of(timer, struct roll, memory);
	struct pressure_limits limits = { .available_bytes = roll->unit->memory_low_bytes,
					  .stalled_percent = roll->unit->memory_pressure_percent };
	struct why why = { 0 }, obstacle = { 0 };

	if (!pressure_is_high(&limits, &why)) {
		timer_arm(roll->site->loop, &roll->memory, clock_now_us() + LOOK_AT_MEMORY_US, on_look_at_memory);
		return;
	}
	/* Once: what cannot be imaged now will not be in a second either. */
	roll->memory_told = true;
	roll_say(roll, "image", roll->old->child.pid, "memory is short: %s", why.text);
	if (roll_pack(roll, &obstacle) < 0)
		roll_say(roll, "image", roll->old->child.pid, "version %s stays in memory: %s", roll->result.from, obstacle.text);
}

void roll_watch_memory(struct roll *roll)
{
	bool wanted = instance_is_alive(roll->old) && !roll->old_unusable && !roll->memory_told &&
		      (roll->unit->memory_low_bytes || roll->unit->memory_pressure_percent);

	if (wanted)
		timer_arm(roll->site->loop, &roll->memory, clock_now_us(), on_look_at_memory);
}
