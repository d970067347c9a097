/* SPDX-License-Identifier: MIT */
/* A roll on its way from the program that a supervisor is to the one that takes its place by execve(2). One that bakes goes along
 * as it is; any other comes to its bake or to its end first, which is bounded. */
#pragma once

#include "supervisor/carry/carry.h"
#include "supervisor/roll/roll.h"

/** roll_may_be_left() - Does it bake, and nothing else? */
bool roll_may_be_left(const struct roll *roll);

/**
 * roll_put() - Leave @roll to the next program, behind its service and with its two processes.
 *
 * It is not changed, and goes on if the next program does not come to be: but roll_hold_still() is to be called before, and
 * roll_go_on() after that.
 */
void roll_put(struct roll *roll, struct carry *carry);

/** roll_hold_still() - Break off the checks of health that run: they would be nobody's. */
void roll_hold_still(struct roll *roll);
/** roll_go_on() - Check again. */
void roll_go_on(struct roll *roll);

/**
 * roll_take_left() - Go on with a roll that the program before has left.
 * @item:     of the roll.
 * @old, @new: its processes, owned by the roll from here on; @old NULL: it was gone.
 *
 * Where it comes from a supervisor that has ended (carry_is_found()), the parked version is the only way back that is left: no
 * process of it is a child of ours, and the journal has gaps.
 *
 * Return: 0; -errno with words. Nothing is released then, but what was found.
 */
int roll_take_left(struct roll_site *site, struct carry *carry, const Upgraded__Carry__Item *item, struct instance *old,
		   struct instance *new, const struct roll_events *events, void *owner, struct roll **ret_roll,
		   struct why *why);

/* A report as it is packed. */
struct roll_report_packed {
	Upgraded__Carry__Report report;
	uint8_t *told;
};

/** roll_report_put() - @ret borrows from @report; release with roll_report_packed_done(). Return: 0 or -ENOMEM. */
int roll_report_put(const struct roll_report *report, struct roll_report_packed *ret);
void roll_report_packed_done(struct roll_report_packed *packed);
/** roll_report_take() - Return: 0; -EBADMSG. */
int roll_report_take(const Upgraded__Carry__Report *left, struct roll_report *ret);
