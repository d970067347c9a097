/* SPDX-License-Identifier: MIT */
/* One roll of one service, from one process to another.
 *
 *   state.[ch]     the pure machine: cells, and the facts of each state
 *   record.[ch]    what a roll is at this moment, as a plain struct, and the decisions that follow from it
 *   report.[ch]    what came of it
 *   word.[ch]      the commit word, which is given to a roll
 *   roll.c         life, steps, deadlines; what may be asked of a roll
 *   say.c          what people are told
 *   phase.c        ... of the phase that goes on
 *   hear.c         what the two processes say becomes events
 *   forward.c      actions from the start to the end of the bake, and of calling off
 *   imaging.c      old's image, and old that leaves memory
 *   backward.c     a new version that is not wanted leaves by a roll in the other direction
 *   retreat.c      actions of the way back
 *   handover.c     descriptors on their way to new
 *   connections.c  which connections may go on
 *   journal.c      with Journal=yes, what makes the way back cost nothing
 *
 * A roll is given its two ends, `old` and `new`, and spawns nothing: where they come from is their origin's business.
 */
#pragma once

#include "base/base.h"
#include "supervisor/custody/names.h"
#include "supervisor/health/health.h"
#include "supervisor/image/image.h"
#include "supervisor/process/graveyard.h"
#include "supervisor/process/instance.h"
#include "supervisor/roll/record.h"
#include "supervisor/roll/report.h"
#include "supervisor/roll/word.h"
#include "supervisor/unit/unit.h"

#include <stdint.h>

struct roll;

/* How often something happened that must not: an event without a cell. Zero, unless we have a bug. */
struct roll_counts {
	uint64_t steps, misfits;
};

/* What a roll needs of the daemon. Borrowed; outlives every roll. */
struct roll_site {
	struct loop *loop;
	const char *criu_path;   /* NULL: no CRIU; images are not taken */
	const char *images_root;
	const struct imaging *imaging;
	struct conntable *conntable;
	struct graveyard *graveyard;
	struct roll_counts counts;
};

struct roll_options {
	const char *version;     /* of new */
	enum unit_rollback rollback;
	enum unit_verify verify;
	uint64_t bake_us;
	uint64_t generation;
	struct roll_word *word;  /* the roll becomes one user more of it */
	enum roll_purpose purpose;
	/* What the version had when it was left; what it did not have it need not claim. Borrowed until the commit; NULL: it is not
	 * known that it served before. */
	const struct fd_names *known;
	/* Of the roll in whose bake this one begins: doors that old closed in it and that are kept for the version before are given
	 * to new, beside what old hands over. Borrowed until the commit; NULL: there is none. */
	const struct custody *kept;
	struct who asked_by;
	bool require_image;      /* it was looked for before anything was touched; what happens after the commit is only told */
};

/* What the owner hears, from the loop. A call may ask the roll for more, and must not free it, unless it is the last one. */
struct roll_events {
	/* @phase: a literal; @pid: whom it is about, 0: nobody. */
	void (*on_progress)(struct roll *roll, const char *phase, pid_t pid, const char *text);
	/* The phase that people see is another one now. Optional. */
	void (*on_phase)(struct roll *roll);
	void (*on_commit)(struct roll *roll); /* new serves; the bake begins */
	/* Begin the roll in the other direction, or onward to a third version, with what roll_lend_new() gives; ends in
	 * roll_turned(), roll_return_new() or roll_lose_new(). */
	void (*on_backward)(struct roll *roll);
	/* What the version that is being left says besides; NULL: nobody wants to know. It serves still, in another roll's bake. */
	/* What old says of descriptors and journal while it serves, before the commit. Optional, and not together with on_aside. */
	void (*on_early)(struct roll *roll, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds);
	/* ... and that something of it was lost on the way. Likewise. */
	void (*on_early_garbage)(struct roll *roll, const char *reason);
	void (*on_aside)(struct roll *roll, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds);
	void (*on_imaged)(struct roll *roll); /* there is one image more, and it is in use: roll_image_generation() */
	/* The bake has begun, again perhaps, or has ended: before anything follows from that. Optional. */
	void (*on_bake)(struct roll *roll, bool on);
	void (*on_packed)(struct roll *roll, const char *failure); /* roll_pack() has come to its end; NULL: it went well */
	/* No way back is left: give a fresh process of @version, which is to start empty. Return: 0; -errno: there is none. */
	int (*start_empty)(struct roll *roll, const char *version, struct instance **ret_instance, struct why *why);
	/* The last call: takes the instances and the image (roll_take_*), then frees the roll. */
	void (*on_end)(struct roll *roll);
};

/**
 * roll_start() - Begin.
 * @site:    borrowed until the end.
 * @unit:    what @new was started with, which is what counts for this roll. A reference is taken, and one to that of @old.
 * @old:     the process that serves. Owned by the roll until its end.
 * @new:     a fresh process of @options->version, of which nothing was heard yet. The same.
 * @events:  borrowed until the end.
 *
 * Return: 0; -ENOMEM: nothing was touched, both stay the caller's.
 */
int roll_start(struct roll_site *site, struct unit *unit, const struct roll_options *options, struct instance *old,
	       struct instance *new, const struct roll_events *events, void *owner, struct roll **ret_roll, struct why *why);

/** roll_cancel() - Before the commit: call it off. After it: the service is to end, so the bake is over, as soon as it is on. Ends
 * may come at once. */
void roll_cancel(struct roll *roll);

/** roll_accept() - By order: the bake ends as soon as new has given a sign of life, whatever the checks say. While an image is
 * under way it waits for that. Only where roll_may_accept(). */
void roll_accept(struct roll *roll);

/** roll_onward() - By order: on_backward is called to begin a roll from new to a third version; until that has committed, the ways
 * back are those of this one. While an image is under way it waits for that. Only where roll_may_go_onward(). */
void roll_onward(struct roll *roll);

/** roll_drop_wish() - An undo, a roll onward or an acceptance that waits for the image under way is not wanted any more. Return:
 * was there one? */
bool roll_drop_wish(struct roll *roll);

/** roll_undo() - New is rolled back with all its state; if that cannot be, it serves on. While an image is under way it waits for
 * that. Only where roll_may_undo(). */
void roll_undo(struct roll *roll);

/** roll_give_up() - By order: end new and bring old back by this rung, with the state as of the commit.
 * Return: 0; -errno with the reason if that rung is not there or could not be used (or the bake is not on): nothing was done. */
int roll_give_up(struct roll *roll, enum roll_rung rung, struct why *why);

/** roll_pack() - Old leaves memory and is an image from here on; on_packed says how it went. Return: 0; -errno with the reason:
 * nothing was done. */
int roll_pack(struct roll *roll, struct why *why);

/** roll_lend_new() - In on_backward: the instance that serves; the caller owns it until one of the three calls below. */
struct instance *roll_lend_new(struct roll *roll);
/** roll_turned() - The roll backward has committed: this one ends. */
void roll_turned(struct roll *roll);
/** roll_return_new() - It was called off, as @why says; @new serves on. */
void roll_return_new(struct roll *roll, struct instance *new, const struct why *why);
/** roll_lose_new() - Nothing of new serves any more: the rungs here are what is left. */
void roll_lose_new(struct roll *roll, const struct why *why);
/** roll_hear_aside() - A message of the instance that was lent. */
void roll_hear_aside(struct roll *roll, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds);

/* ---- what may be asked of a roll ---- */

/** roll_owner() - Who was given as owner when it began. */
void *roll_owner(const struct roll *roll);
/** roll_record() - What it is at this moment; borrowed, changes as the roll goes on. */
const struct roll_record *roll_record(const struct roll *roll);
/** roll_report() - What has come of it so far; borrowed, changes as the roll goes on. */
const struct roll_report *roll_report(const struct roll *roll);
/** roll_unit(), roll_unit_before() - What new and old were started with, borrowed; the latter NULL if nobody knows. */
struct unit *roll_unit(const struct roll *roll);
struct unit *roll_unit_before(const struct roll *roll);
/** roll_begun_us() - When it began, CLOCK_MONOTONIC. */
uint64_t roll_begun_us(const struct roll *roll);
/** roll_phase() - The name of its state, for people. */
const char *roll_phase(const struct roll *roll);
/* The phase that people see, with its figures. 0 and "": not known (yet). */
struct roll_phase {
	const char *name;
	uint64_t since_us;       /* CLOCK_MONOTONIC */
	uint64_t records, bytes; /* that new has loaded */
	uint64_t records_expected, bytes_expected;
	uint64_t pause_us;
	uint64_t bake_us, bake_ends_us;
	const char *failed_of;   /* why the phase before did not end well */
	const char *waited_for;  /* why old is not ready */
	uint64_t quiesce_us;     /* old took so long to stand still, by its own word */
};
/** roll_phase_look() - What there is to say of it at this moment. @ret: borrows from @roll. */
void roll_phase_look(struct roll *roll, struct roll_phase *ret);
/** roll_is_note() - In on_progress: does it matter beside the figures? */
bool roll_is_note(const struct roll *roll);
/** roll_is_committed() - May the new version have served? */
bool roll_is_committed(const struct roll *roll);
/** roll_starts_empty() - No way back was left, and the last good version starts: that can be called off, too. */
bool roll_starts_empty(const struct roll *roll);
/** roll_is_baking() - The bake is on. */
bool roll_is_baking(const struct roll *roll);
/** roll_may_undo() - From the commit to the end of the bake, while nothing else is being done about the new version. */
bool roll_may_undo(const struct roll *roll);
/** roll_may_accept(), roll_may_go_onward() - Likewise for these. */
bool roll_may_accept(const struct roll *roll);
bool roll_may_go_onward(const struct roll *roll);
/** roll_is_sick() - The new version answers, but does not do well. */
bool roll_is_sick(const struct roll *roll);
/** roll_image() - The image that it may go back to, with what this process holds for it; NULL: none. */
const struct image *roll_image(const struct roll *roll);
/** roll_image_generation() - Of the image that it may go back to; 0: none. */
uint64_t roll_image_generation(const struct roll *roll);
/** roll_old(), roll_new() - The two processes, borrowed; NULL: it does not have that one (any more). */
const struct instance *roll_old(const struct roll *roll);
const struct instance *roll_new(const struct roll *roll);
/** roll_health() - What the bake knows of the new version's health; NULL: it is not watched. */
const struct health *roll_health(const struct roll *roll);
/** roll_descriptors() - How many are in custody. */
size_t roll_descriptors(const struct roll *roll);
/** roll_custody() - What is in custody; borrowed. */
const struct custody *roll_custody(const struct roll *roll);
/** roll_handed() - What the old version handed over; borrowed. */
const struct fd_names *roll_handed(const struct roll *roll);
/** roll_due_us() - When it ends its present state or step by itself, CLOCK_MONOTONIC; 0: somebody else does (CRIU, the checks of
 * health, the roll backward). */
uint64_t roll_due_us(const struct roll *roll);
/** roll_serving() - Who serves; NULL: nobody at the moment, or the roll backward knows. */
const struct instance *roll_serving(const struct roll *roll);

/* ---- the end ---- */

/** roll_take_serving() - Who serves after the end; the caller owns it now. NULL if nobody does. */
struct instance *roll_take_serving(struct roll *roll);
/** roll_take_handed() - What the old version handed over; to be released with fd_names_done(). */
struct fd_names roll_take_handed(struct roll *roll);
/** roll_take_image() - The previous version's image after a roll that is done, or whose way back failed; NULL: none. The caller
 * owns it. */
struct image *roll_take_image(struct roll *roll);
/** roll_free() - Whatever was not taken is ended or dropped. Return: NULL. */
struct roll *roll_free(struct roll *roll);
