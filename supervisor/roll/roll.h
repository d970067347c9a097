/* SPDX-License-Identifier: MIT */
/* One roll of one service: the state machine of rollstate.h with hands.
 *
 *   roll.c       begins, steps, enters states, ends
 *   roll_hear.c  what the two processes say becomes events
 *   roll_act.c   the actions on the way forward and of calling off
 *   roll_back.c  the actions of the way back
 *   roll_turn.c  what may become of a bake: a roll backward, a retreat by order, a parked version that leaves memory
 *   roll_journal.c  with Journal=yes, what makes that way cost nothing
 */
#pragma once

#include "base/base.h"
#include "supervisor/custody/conntable.h"
#include "supervisor/custody/custody.h"
#include "supervisor/health/health.h"
#include "supervisor/image/image.h"
#include "supervisor/process/graveyard.h"
#include "supervisor/process/instance.h"
#include "supervisor/roll/state.h"
#include "supervisor/unit/unit.h"
#include "wire/commit.h"

#include <stdint.h>

/* What a roll needs of the daemon. Borrowed; outlives every roll. */
struct roll_site {
	struct loop *loop;
	const char *criu_path;   /* NULL: no CRIU; images are not taken */
	const char *images_root;
	struct conntable *conntable;
	struct graveyard *graveyard;
};

struct roll_options {
	const char *version;
	enum unit_rollback rollback;
	enum unit_verify verify;
	uint64_t bake_us;
	uint64_t generation;
	bool require_image; /* it was looked for before anything was touched; what happens after the commit is only told */
	bool backward;           /* within another roll's bake: that one has the rungs, so there is no cold start here */
	bool retreats;           /* ... because the version it leaves did not do well: undo does not go back to that */
};

enum roll_outcome {
	ROLL_IS_DONE,
	ROLL_IS_REFUSED,     /* nothing was touched */
	ROLL_IS_ABORTED,     /* before the commit */
	ROLL_IS_BACK_LIVE,   /* after it: new was rolled back to old's version, with all its state */
	ROLL_IS_BACK_PARKED, /* ... old resumed in memory */
	ROLL_IS_BACK_IMAGE,  /* ... from its image */
	ROLL_IS_COLD,        /* ... or started empty */
	ROLL_IS_FAILED,      /* nothing serves */
};

const char *roll_outcome_name(enum roll_outcome outcome);

/* What came of it; the source of the RollReport that clients get. */
struct roll_result {
	enum roll_outcome outcome;
	char from[UNIT_NAME_MAX + 1], to[UNIT_NAME_MAX + 1];
	uint64_t records, state_bytes;
	uint32_t fds, kept, reset, closed;
	uint64_t pause_us, commit_us, resume_us;
	uint64_t died_us;        /* when the end of new, or of whatever retreated, was heard; 0: it lives */
	uint64_t lost_us;        /* state of this long is gone */
	uint64_t image_bytes, image_us, restore_us;
	const char *way_back;    /* a literal */
	struct why cause;
	struct why image_missed; /* why there is none, although one was required */
	struct lines lines;      /* the failed version's last */
	int64_t started_s;       /* CLOCK_REALTIME */
	bool over;               /* the outcome is known */
	bool verified;           /* the round trip lost nothing */
	bool journal;            /* changes are, or were, written down without a gap */
	uint64_t replayed, adopted; /* changes applied, connections of the failed version's that went on */
	struct why journal_note; /* why @journal is not true although it was asked for */
};

struct roll {
	const struct roll_site *site;
	const struct unit *unit; /* borrowed until the end */
	struct roll_options options;
	enum roll_state state;
	struct roll_result result;
	void *owner;
	void (*on_progress)(struct roll *roll, const char *phase, pid_t pid, const char *text);
	void (*on_commit)(struct roll *roll); /* new serves; the bake begins */
	/* Begin the roll in the other direction, with what roll_lend_new() gives; ends in roll_turned(), roll_return_new() or
	 * roll_lose_new(). */
	void (*on_backward)(struct roll *roll);
	/* What the version that is being left says besides; NULL: nobody wants to know. It serves still, in another roll's bake. */
	void (*on_aside)(struct roll *roll, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds);
	void (*on_packed)(struct roll *roll, const char *failure); /* roll_pack() has come to its end; NULL: it went well */
	/* The last call: takes the instances (see roll_take_*), then frees the roll. */
	void (*on_end)(struct roll *roll);

	struct instance *old, *new; /* owned while the roll lasts; new is also the cold start */
	struct timer deadline, bake, ask, memory, look;
	struct health health;      /* of new, from the commit to the end of the bake */
	uint64_t told_progress_us; /* when its progress was last passed on */
	uint64_t begun_us, prepared_us;
	uint64_t pids_due_us; /* until then the pids of old's children may still be taken by these */
	uint64_t settles_us; /* past this, old calls the roll off by itself */

	struct commit_word word;
	int word_fd, state_in, state_out; /* word; read end for new; write end for old */
	int lent_channel, lent_log;       /* to a restore under way */
	struct custody custody;
	struct conn_sample before; /* at the commit */
	int journal_fd;            /* -1: none */
	bool resumed_with_journal; /* old was given it, and has not answered yet */

	Upgraded__Wire__Totals saved, loaded;
	uint32_t saved_fds, loaded_fds;
	bool has_saved, has_loaded;
	bool old_stands;        /* quiesced and not told or known to go on */
	bool old_goes_on;       /* during an abort: it said so */
	bool old_told;          /* it was sent Prepare */
	bool old_unusable;      /* parked, but no way back any more */
	bool from_image;        /* old runs again because it was restored in this roll */
	bool image_bad;
	bool sick, undone;      /* new is to be rolled back, as soon as the bake is on: it does not do well; by order */
	bool turned_down;       /* that was tried and called off */
	bool kept_sick;         /* ... and it stays, as no way back is left */
	bool by_image;          /* by order: even if the parked version is there */
	bool packing;           /* old is leaving memory */
	bool memory_told;       /* that it is short; once is enough */
	struct image_job image_job;
	struct image *image;
	const char *criu_path; /* that took the image */

	enum roll_event queue[8];
	unsigned n_queue;
	bool stepping;
};

/**
 * roll_start() - Spawn the new version and begin.
 * @old: owned by the roll until its end.
 *
 * Return: 0; -errno if the new version could not be started: nothing was touched, @old stays the caller's.
 */
int roll_start(const struct roll_site *site, const struct unit *unit, const struct roll_options *options,
	       struct instance *old, const struct roll *callbacks, struct roll **ret_roll, struct why *why);

/** roll_cancel() - During the bake: accept the new version now. Before the commit: call it off. Ends may come at once. */
void roll_cancel(struct roll *roll);

/** roll_sicken() - New answers but does not do well, as @fmt says: it is rolled back with all its state; if that cannot be, it is
 * ended and what is left of old comes back. */
void roll_sicken(struct roll *roll, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** roll_undo() - The same by order; but if it cannot be, new serves on. While the image is under way it waits for it. */
void roll_undo(struct roll *roll);

enum roll_rung { ROLL_RUNG_NONE, ROLL_RUNG_PARKED, ROLL_RUNG_IMAGE };

/** roll_give_up() - By order: end new and bring old back by this rung, with the state as of the commit.
 * Return: 0; -errno with the reason if that rung is not there or could not be used (or the bake is not on): nothing was done. */
int roll_give_up(struct roll *roll, enum roll_rung rung, struct why *why);

/** roll_pack() - Old leaves memory and is an image from here on; on_packed says how it went. Return: 0; -errno with the reason:
 * nothing was done. */
int roll_pack(struct roll *roll, struct why *why);

/** roll_lend_new() - In on_backward: the instance that serves; the caller owns it until one of these three. */
struct instance *roll_lend_new(struct roll *roll);
/** roll_turned() - The roll backward has committed: this one ends. */
void roll_turned(struct roll *roll);
/** roll_return_new() - It was called off, as @why says; @new serves on. */
void roll_return_new(struct roll *roll, struct instance *new, const struct why *why);
/** roll_lose_new() - Nothing of it serves any more: the rungs here are what is left. */
void roll_lose_new(struct roll *roll, const struct why *why);
/** roll_hear_aside() - A message of the instance that was lent. */
void roll_hear_aside(struct roll *roll, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds);

/* ---- what may be asked of a roll ---- */

/** roll_owner() - Who was given as owner when it began. */
void *roll_owner(const struct roll *roll);
/** roll_result() - What has come of it so far; borrowed, changes as the roll goes on. */
const struct roll_result *roll_result(const struct roll *roll);
/** roll_begun_us() - When it began, CLOCK_MONOTONIC. */
uint64_t roll_begun_us(const struct roll *roll);
/** roll_phase() - The name of its state, for people. */
const char *roll_phase(const struct roll *roll);
/** roll_is_committed() - May the new version have served? */
bool roll_is_committed(const struct roll *roll);
/** roll_is_baking() - The bake is on. */
bool roll_is_baking(const struct roll *roll);
/** roll_may_undo() - From the commit to the end of the bake, while nothing else is being done about the new version. */
bool roll_may_undo(const struct roll *roll);
/** roll_is_sick() - The new version answers, but does not do well. */
bool roll_is_sick(const struct roll *roll);
/** roll_retreats() - It leaves a version that did not do well (roll_options.retreats). */
bool roll_retreats(const struct roll *roll);
/** roll_image_generation() - Of the image that it may go back to; 0: none. */
uint64_t roll_image_generation(const struct roll *roll);
/** roll_old(), roll_new() - The two processes, borrowed; NULL: it does not have that one (any more). */
const struct instance *roll_old(const struct roll *roll);
const struct instance *roll_new(const struct roll *roll);
/** roll_health() - What the bake knows of the new version's health; NULL: it is not watched. */
const struct health *roll_health(const struct roll *roll);
/** roll_descriptors() - How many are in custody. */
size_t roll_descriptors(const struct roll *roll);

/** roll_stand_alone() - A roll that began within another one's bake has committed, and takes that one's place: from here on it
 * has a ladder of its own. */
void roll_stand_alone(struct roll *roll);

/** roll_serving() - Who serves; NULL: nobody at the moment. */
const struct instance *roll_serving(const struct roll *roll);

/** roll_take_serving() - Who serves after the end; the caller owns it now. NULL if nobody does. */
struct instance *roll_take_serving(struct roll *roll);
/** roll_take_image() - The previous version's image after a roll that is done, or whose way back failed; NULL: none. The caller
 * owns it. */
struct image *roll_take_image(struct roll *roll);
/** roll_free() - Whatever was not taken is ended or dropped. Return: NULL. */
struct roll *roll_free(struct roll *roll);

/* ---- between the roll_*.c files ---- */

/** roll_happen() - An event. The roll may be gone when this returns, unless called from within an action. */
void roll_happen(struct roll *roll, enum roll_event event);
void roll_say(struct roll *roll, const char *phase, pid_t pid, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/** roll_expect_soon() - Shorten the state's deadline to a second: something is known to have happened. */
void roll_expect_soon(struct roll *roll);
/** roll_start_progresses() - New is slow, and gets on: its time to start begins anew. */
void roll_start_progresses(struct roll *roll, const char *text);
/** roll_blame() - Record the cause, if none was recorded before. */
void roll_blame(struct roll *roll, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** roll_act() - Perform one action; events it causes are queued. */
void roll_act(struct roll *roll, enum roll_action action);
void roll_end_custody(struct roll *roll);
void roll_close_transfer(struct roll *roll);
extern const struct instance_events roll_old_events, roll_new_events;

int roll_compatible(const struct roll *roll, struct why *why);
void roll_do_prepare(struct roll *roll);
void roll_do_ask_again(struct roll *roll);
void roll_do_commit(struct roll *roll);
void roll_do_settle(struct roll *roll);
void roll_do_abort(struct roll *roll);
void roll_do_park(struct roll *roll);
void roll_do_image(struct roll *roll);
void roll_do_pack(struct roll *roll);
void roll_do_bake(struct roll *roll);
void roll_do_backward(struct roll *roll);
/** roll_turn_if_due() - In a bake that was just entered: does something wait for it? */
void roll_turn_if_due(struct roll *roll);
/** roll_packed() - Tell whoever waits. */
void roll_packed(struct roll *roll, const char *failure);
/** roll_take_image_of_old() - Begin the dump. Return: 0, and then on_imaged() hears of it; -errno. */
int roll_take_image_of_old(struct roll *roll, bool leave_running, struct why *why);
void roll_watch_memory(struct roll *roll);
void roll_watch_health(struct roll *roll);
/** roll_hear_new() - As if new had said it just now. */
void roll_hear_new(struct roll *roll, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds);
void roll_do_drop_old(struct roll *roll);
void roll_do_finish(struct roll *roll);
void roll_watch_connections(struct roll *roll);
void roll_do_choose(struct roll *roll);
void roll_do_resume(struct roll *roll);
void roll_do_restore(struct roll *roll);
void roll_do_cold_start(struct roll *roll);
void roll_check_aborted(struct roll *roll);

/** roll_note_loss() - What new wrote since the commit is gone with it. */
void roll_note_loss(struct roll *roll);
/** roll_journal_begin() - Before Receive: create it, or say why there is none. */
void roll_journal_begin(struct roll *roll);
/** roll_journal_usable() - Would a way back now lose nothing? */
bool roll_journal_usable(const struct roll *roll);
/** roll_journal_resume() - Return: the journal for old to resume with, borrowed; -1: there is none, or it is of no use. */
int roll_journal_resume(struct roll *roll);
void roll_journal_hear_full(struct roll *roll, uint64_t bytes);
void roll_journal_hear_fds(struct roll *roll, const Upgraded__Wire__Fds *message, struct wire_fds *fds);
void roll_journal_hear_resumed(struct roll *roll, const Upgraded__Wire__Resumed *resumed);
void roll_journal_hear_refused(struct roll *roll, const char *reason);
