/* SPDX-License-Identifier: MIT */
/* The roll as a pure state machine. What happens is an event, what is to be done is an action; the other files of this folder do
 * it. In all of them `old` is the process of the version that served before, `new` the process of the version that is rolled to.
 *
 *   STANDBY -> QUIESCE -> TRANSFER -> LOADING -> COMMIT -> PARK -> IMAGE -> BAKE -> DONE
 *      |          |          |           |          |        |       |        |
 *   DISMISS       `----------+-----------+----------'        |    RETREAT_IMAGING
 *      |              SETTLE (the commit word)               |       |        |
 *   REFUSED              |            `----- COMMITTED ------^       `--------+--> RETREAT --> RESUME / RESTORE / COLD
 *                     ABORT -> ABORTED                                       `--> ROLLED_BACK / COLD_STARTED / FAILED
 *
 *   From BAKE a new version that answers, but is not wanted, leaves by a roll of its own in the other direction: BACKWARD, and then
 *   TURNED, or BAKE again if that roll was called off. The same to a third version is ONWARD, and then PASSED. From BAKE to PACK
 *   and back: the parked version leaves memory.
 *
 * A state is one row of facts (roll_facts()) and its cells in the table (roll_step()). Nothing else decides what is true of a
 * state.
 */
#pragma once

#include <stdbool.h>

enum roll_state {
	ROLL_STANDBY,  /* new was started; old serves and knows nothing */
	ROLL_DISMISS,  /* new is being ended; old was never told */
	ROLL_QUIESCE,  /* old's threads go to their update points */
	ROLL_TRANSFER, /* state and descriptors travel */
	ROLL_LOADING,  /* old has saved everything; new has not loaded all of it yet */
	ROLL_COMMIT,   /* new was told to take the commit word */
	ROLL_SETTLE,   /* something failed before we heard of a commit: the word decides what that means */
	ROLL_ABORT,    /* old is told to go on, new is being ended */
	ROLL_PARK,     /* new serves; old sheds its sockets */
	ROLL_IMAGE,    /* new serves; old's image is being taken */
	ROLL_BAKE,     /* new serves on probation */
	ROLL_PACK,     /* new serves; old leaves memory and becomes an image */
	ROLL_BACKWARD, /* new is being rolled back to old's version, with all its state; old lies where it lay */
	ROLL_ONWARD,   /* new is being rolled to a third version, with all its state; old lies where it lay */
	ROLL_RETREAT,  /* new failed after the commit and is being ended; then the way back is chosen */
	ROLL_RETREAT_IMAGING, /* the same, but first the image under way must be finished */
	ROLL_RESUME,   /* old was given its descriptors back */
	ROLL_RESTORE,  /* old comes back from its image */
	ROLL_COLD,     /* no way back was left: the last good version starts empty */
	/* Ends. */
	ROLL_DONE,
	ROLL_REFUSED,
	ROLL_ABORTED,
	ROLL_ROLLED_BACK,
	ROLL_TURNED,   /* the roll in the other direction has committed, and goes on by itself */
	ROLL_PASSED,   /* the roll to a third version has committed, and goes on by itself: new was good enough */
	ROLL_COLD_STARTED,
	ROLL_FAILED,
	ROLL_STATES,
};

enum roll_event {
	ROLL_EV_STANDBY,        /* new stands by, and there is a migration path */
	ROLL_EV_INCOMPATIBLE,   /* ... and there is none */
	ROLL_EV_NEW_REFUSED,    /* new said no, or nonsense */
	ROLL_EV_NEW_GONE,       /* new ended and was reaped */
	ROLL_EV_OLD_GONE,       /* old ended, and what it had is not in new */
	ROLL_EV_QUIESCED,
	ROLL_EV_NOT_YET,        /* old asks to be asked again */
	ROLL_EV_OLD_REFUSED,
	ROLL_EV_SAVED,          /* old has handed over all it had */
	ROLL_EV_TRANSFERRED,    /* saved and loaded, and both agree */
	ROLL_EV_DISAGREE,       /* saved and loaded, and they do not */
	ROLL_EV_COMMITTED,      /* the word names new */
	ROLL_EV_ABORT_WON,      /* the word names ABORTED */
	ROLL_EV_SERVES_ON,      /* old never came to rest, and was silent until its deadline: it serves */
	ROLL_EV_ABORT_COMPLETE, /* old goes on and new is reaped */
	ROLL_EV_PARKED,
	ROLL_EV_NO_WAY_BACK,    /* old is not to be kept, or cannot be */
	ROLL_EV_IMAGED,         /* the image is taken, or none is wanted */
	ROLL_EV_IMAGE_FAILED,
	ROLL_EV_UNHEALTHY,      /* new does not answer */
	ROLL_EV_SICK,           /* new is alive and able, but not healthy: a check of its service file says so */
	ROLL_EV_BAKED,          /* the bake is over */
	ROLL_EV_ACCEPT,         /* the operator ends the bake: it is over when new has given a sign of life */
	ROLL_EV_ONWARD,         /* the operator wants a third version, with new's state */
	ROLL_EV_UNDO,           /* the operator wants old's version back, with new's state */
	ROLL_EV_GIVE_UP,        /* ... or without it: new is to be ended */
	ROLL_EV_PACK,           /* old is to leave memory */
	ROLL_EV_TURNED,         /* the roll backward or onward has committed */
	ROLL_EV_BACKWARD_OFF,   /* it was called off: new serves on */
	ROLL_EV_RUNG_PARKED,    /* the way back: old is parked in memory */
	ROLL_EV_RUNG_IMAGE,     /* ... old has an image */
	ROLL_EV_RUNG_COLD,      /* ... neither */
	ROLL_EV_RESUMED,        /* old says that it serves */
	ROLL_EV_RESTORED,
	ROLL_EV_RESTORE_FAILED,
	ROLL_EV_STARTED,        /* the cold start serves */
	ROLL_EV_TIMEOUT,        /* this state's deadline */
	ROLL_EV_CANCEL,         /* the operator: stop, or end the bake */
	ROLL_EVENTS,
};

enum roll_action {
	ROLL_DO_NOTHING,
	ROLL_DO_KILL_NEW,
	ROLL_DO_PREPARE,      /* tell old to quiesce, new to receive */
	ROLL_DO_ASK_AGAIN,    /* the same to old after a moment */
	ROLL_DO_COMMIT,       /* tell new to take the word */
	ROLL_DO_SETTLE,       /* try to take the word to ABORTED */
	ROLL_DO_ABORT,        /* old goes on, new is ended */
	ROLL_DO_AWAIT_OLD,    /* old stands still: it has until the deadline it was told */
	ROLL_DO_CHECK_ABORTED, /* has both happened? */
	ROLL_DO_PARK,         /* tell old to shed */
	ROLL_DO_IMAGE,        /* take the image, if one is wanted */
	ROLL_DO_PACK,         /* the image instead of the process */
	ROLL_DO_BAKE,
	ROLL_DO_PROVE,        /* ask new for a sign of life, which ends the bake */
	ROLL_DO_BACKWARD,     /* begin the roll in the other direction */
	ROLL_DO_ONWARD,       /* begin the roll to a third version */
	ROLL_DO_DROP_OLD,     /* old is of no use any more: end it */
	ROLL_DO_FINISH,       /* the roll is good */
	ROLL_DO_CHOOSE,       /* which way back is there? */
	ROLL_DO_RESUME,       /* old gets its descriptors back */
	ROLL_DO_RESTORE,
	ROLL_DO_COLD_START,
	ROLL_DO_END,          /* the roll is over, with the outcome its state names */
	ROLL_ACTIONS,
};

struct roll_step {
	bool legal; /* false: this event must not come in this state; the state stays and nothing is done */
	enum roll_state next;
	enum roll_action action;
};

/** roll_step() - Pure; thread-safe. Out of range is not legal. */
struct roll_step roll_step(enum roll_state state, enum roll_event event);

/** roll_accepts() - Is there a cell? */
bool roll_accepts(enum roll_state state, enum roll_event event);

/* ---- what is true of a state ---- */

enum roll_side { ROLL_NOBODY, ROLL_OLD, ROLL_NEW };

/* How long a state may last. roll.c knows what each means in microseconds. */
enum roll_patience {
	PATIENCE_NONE,      /* an end, or decided within its action */
	PATIENCE_ELSEWHERE, /* something else ends it, that has a clock of its own: CRIU, the bake's timer, the roll backward */
	PATIENCE_AS_BEFORE, /* the deadline of the state before goes on */
	PATIENCE_START,
	PATIENCE_QUIESCE,
	PATIENCE_TRANSFER,
	PATIENCE_SOON,      /* no work of the application's is involved */
	PATIENCE_ABORT,     /* until the deadline that old was told, and then soon */
	PATIENCE_PARK,
	PATIENCE_RESUME,    /* with a journal to apply, as long as a transfer besides */
};

/* What is kept an eye on while a state lasts; what a state does not name is stopped when it is entered. */
enum roll_watch {
	ROLL_WATCH_HEALTH = 1 << 0,
	ROLL_WATCH_BAKE = 1 << 1,   /* the time to bake */
	ROLL_WATCH_MEMORY = 1 << 2,
};

/* What came of a roll. */
enum roll_outcome {
	ROLL_IS_UNDER_WAY,
	ROLL_IS_DONE,
	ROLL_IS_REFUSED,     /* nothing was touched */
	ROLL_IS_ABORTED,     /* before the commit */
	ROLL_IS_UNANSWERED,  /* ... and old has not said that it goes on: it hangs, perhaps */
	ROLL_IS_BACK_LIVE,   /* after it: new was rolled back to old's version, with all its state */
	ROLL_IS_BACK_PARKED, /* ... old resumed in memory */
	ROLL_IS_BACK_IMAGE,  /* ... from its image */
	ROLL_IS_BACK_PART,   /* ... by either of these two, but not every door of old is back: nothing new comes in by these */
	ROLL_IS_COLD,        /* ... or started empty */
	ROLL_IS_FAILED,      /* nothing serves */
};

struct roll_facts {
	const char *name;
	const char *shown;         /* the phase that people see; NULL: the one before goes on */
	bool committed;            /* new may have served */
	bool counts_rungs;         /* the report says what there is to go back with; on the way back rungs are used up */
	bool keeps_image;          /* an end after which old's image is of use to somebody */
	enum roll_side serves;     /* at an end: who serves from here on */
	enum roll_patience patience;
	unsigned watches;          /* of enum roll_watch */
	enum roll_outcome outcome; /* of an end */
};

/** roll_facts() - Pure; thread-safe. Out of range: a row that says "?" and nothing else. */
const struct roll_facts *roll_facts(enum roll_state state);

/** roll_is_over() - An end state. */
bool roll_is_over(enum roll_state state);

/** roll_has_committed() - May new have served in this state? */
bool roll_has_committed(enum roll_state state);

const char *roll_state_name(enum roll_state state);
const char *roll_event_name(enum roll_event event);
