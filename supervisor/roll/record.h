/* SPDX-License-Identifier: MIT */
/* What a roll is at this moment, as a plain struct, and what follows from it.
 *
 * Everything here is pure: no process is asked and no file is looked at. So the record can be written down and a roll be entered
 * again with it, and every decision can be tested without a process.
 */
#pragma once

#include "supervisor/roll/state.h"
#include "wire/name.h"

#include <stddef.h>
#include <stdint.h>

/* Why there is this roll. */
enum roll_purpose {
	PURPOSE_FORWARD,    /* somebody asked for the version */
	PURPOSE_UNDO,       /* within another roll's bake: its new version is not wanted any more */
	PURPOSE_LEAVE_SICK, /* ... because it is not well; undo does not go back to it */
	PURPOSE_ONWARD,     /* ... because a third version is wanted */
};

/* The process of the old version, as the roll knows it. */
enum roll_old {
	OLD_SERVES,   /* it knows nothing of the roll */
	OLD_ASKED,    /* it was sent Prepare, and has not answered */
	OLD_STANDS,   /* every thread of it stands still */
	OLD_GOES_ON,  /* it said so: it serves again, or never stopped */
	OLD_PARKED,   /* it gave its sockets up */
	OLD_RESTORED, /* the same, in the process that came back from the image */
	OLD_SPENT,    /* of no use to this roll any more; it may be dying or dead */
};

/* What somebody wants of the bake, and gets as soon as the state allows it. The strongest wish stands; they are in that order. */
enum roll_wish {
	WISH_NONE,
	WISH_ACCEPT,     /* the operator: new is good enough */
	WISH_ONWARD,     /* the operator: a third version, with new's state */
	WISH_UNDO,       /* the operator: old's version, with new's state */
	WISH_LEAVE_SICK, /* the same, since new is not well */
	WISH_PARKED,     /* the operator: old, by this rung, with the state of the commit */
	WISH_IMAGE,
};

/* How much the new version is worth to us when it is not well. */
enum roll_trust {
	TRUST_PROBATION, /* it can be left */
	TRUST_NOT_LEFT,  /* leaving it with all state was tried and called off */
	TRUST_KEPT,      /* ... and there is no other way back: it stays as long as it answers */
};

enum roll_image {
	IMAGE_NONE,
	IMAGE_THERE,
	IMAGE_SPENT, /* it could not be restored, or was: what was restored has moved on from it */
};

enum roll_journal {
	JOURNAL_NONE,
	JOURNAL_WRITTEN, /* new writes it, without a gap */
	JOURNAL_GIVEN,   /* old resumes with it, and has not said how that went */
	JOURNAL_TAKEN,   /* old took it over */
	JOURNAL_LOST,    /* it has a gap, or was refused, or old ended over it */
};

struct roll_record {
	uint64_t generation;
	char from[WIRE_NAME_MAX + 1], to[WIRE_NAME_MAX + 1];
	enum roll_purpose purpose;
	enum roll_state state;
	enum roll_old old;
	enum roll_wish wish;
	enum roll_trust trust;
	enum roll_image image;
	enum roll_journal journal;
	/* False: within another roll's bake, and nobody was told of a commit of this one. Then that roll has the ways back. */
	bool stands_alone;
	bool moves_nothing; /* its ends know nothing of us: old stays as it is, beside new, until the bake is over */
	bool ends_at_once; /* the operator stops the service: the bake, once it is on, is over */
	bool unanswered; /* called off, and the old version has not said that it goes on */
	bool misses; /* the old version came back without one of its doors */
	/* CLOCK_MONOTONIC; 0: not yet. */
	uint64_t prepared_us; /* old was asked to come to rest, the first time */
	uint64_t stops_us;    /* the attempt that counts began, of which old may have said that it is not ready: the pause begins */
	uint64_t settles_us;  /* past this, old calls the roll off by itself */
	uint64_t commit_us;   /* new took the commit word */
};

/* ---- rungs: what there is to go back with ---- */

enum roll_rung {
	ROLL_RUNG_NONE = 0,
	ROLL_RUNG_PARKED = 1 << 0,
	ROLL_RUNG_IMAGE = 1 << 1,
};

/** record_rungs() - Those that are there, as far as the record says; image_check_beside() knows what lies on disk. */
unsigned record_rungs(const struct roll_record *record);

/** rungs_text() - "parked+image", "parked", "image", "none". */
const char *rungs_text(unsigned rungs);

/** record_rungs_text() - The same of this roll: where nothing moves, old is no parked process, but runs. */
const char *record_rungs_text(const struct roll_record *record, unsigned rungs);

/* What a retreat has to do next. */
enum roll_retreat {
	RETREAT_AWAIT_NEW, /* its end comes first: nobody else may write to the connections */
	RETREAT_END_OLD,   /* its pid must be free, and nothing of it may run beside what comes back */
	RETREAT_PARKED,
	RETREAT_IMAGE,
	RETREAT_COLD,
};

/** record_retreat() - By what costs least of what is there and what is wished. */
enum roll_retreat record_retreat(const struct roll_record *record, bool new_lives, bool old_lives);

/* ---- other decisions ---- */

/** record_overdue() - The event that a deadline is in this state. */
enum roll_event record_overdue(const struct roll_record *record);

/* What a bake that was entered has to do about a wish that waited for it. */
enum roll_turn {
	TURN_NONE,
	TURN_END,     /* by order, at once */
	TURN_ACCEPT,
	TURN_ONWARD,
	TURN_UNDO,
	TURN_LEAVE_SICK,
	TURN_GIVE_UP, /* leaving it with all state was called off: it is ended, and old comes back by a rung */
	TURN_KEEP,    /* the same, but there is no rung: new stays, since it answers */
};

/** record_turn() - @rung_usable: was a rung found that can be used? */
enum roll_turn record_turn(const struct roll_record *record, bool rung_usable);

/** record_leaving() - New is not wanted any more (UNDO), or is not well (SICK): the event that this is. Where nothing moves, old is
 * there as it was, and needs no roll of its own. */
enum roll_event record_leaving(const struct roll_record *record, enum roll_event wanted);

/** record_wish() - Note a wish, unless a stronger one is there: that new is not well outweighs that it is not wanted. */
void record_wish(struct roll_record *record, enum roll_wish wish);

/** record_outcome() - What came of it; ROLL_IS_UNDER_WAY before the end. */
enum roll_outcome record_outcome(const struct roll_record *record);

/** record_is_last_resort() - Is new what an earlier version was left for, since that one was not well? It is not left for the
 * same reason: a check that is broken itself would send both round in circles. */
bool record_is_last_resort(const struct roll_record *record);
