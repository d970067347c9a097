/* SPDX-License-Identifier: MIT */
/* The roll as a pure state machine. What happens is an event, what is to be done is an action; roll.c does it.
 *
 *   STANDBY -> QUIESCE -> TRANSFER -> COMMIT -> PARK -> IMAGE -> BAKE -> DONE
 *      |          |          |          |        |       |        |
 *   DISMISS       `----------+----------'        |    RETREAT_IMAGING
 *      |               SETTLE (the word)         |       |        |
 *   REFUSED          |           `-- COMMITTED --^       `--------+--> RETREAT --> RESUME / RESTORE / COLD
 *                  ABORT -> ABORTED                                       `--> ROLLED_BACK / COLD_STARTED / FAILED
 *
 *   From BAKE a new version that is able to, but not wanted, leaves by a roll of its own in the other direction: BACKWARD, and then
 *   TURNED, or BAKE again if that roll was called off. From BAKE to IMAGE and back: the parked version leaves memory (PACK).
 */
#pragma once

#include <stdbool.h>

enum roll_state {
	ROLL_STANDBY,  /* new was started; old serves and knows nothing */
	ROLL_DISMISS,  /* new is being ended; old was never told */
	ROLL_QUIESCE,  /* old's threads go to their update points */
	ROLL_TRANSFER, /* state and descriptors travel */
	ROLL_COMMIT,   /* new was told to take the commit word */
	ROLL_SETTLE,   /* something failed before we heard of a commit: the word decides what that means */
	ROLL_ABORT,    /* old is told to go on, new is being ended */
	ROLL_PARK,     /* new serves; old sheds its sockets */
	ROLL_IMAGE,    /* new serves; old's image is being taken */
	ROLL_BAKE,     /* new serves on probation */
	ROLL_BACKWARD, /* new is being rolled back to old's version, with all its state; old lies where it lay */
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
	ROLL_EV_TRANSFERRED,    /* saved and loaded, and both agree */
	ROLL_EV_DISAGREE,       /* saved and loaded, and they do not */
	ROLL_EV_COMMITTED,      /* the word names new */
	ROLL_EV_ABORT_WON,      /* the word names ABORTED */
	ROLL_EV_ABORT_COMPLETE, /* old goes on and new is reaped */
	ROLL_EV_PARKED,
	ROLL_EV_NO_WAY_BACK,    /* old is not to be kept, or cannot be */
	ROLL_EV_IMAGED,         /* the image is taken, or none is wanted */
	ROLL_EV_IMAGE_FAILED,
	ROLL_EV_UNHEALTHY,      /* new does not answer */
	ROLL_EV_SICK,           /* new is alive and able, but not healthy: a check of its service file says so */
	ROLL_EV_BAKED,          /* the bake is over */
	ROLL_EV_UNDO,           /* the operator wants old's version back, with new's state */
	ROLL_EV_GIVE_UP,        /* ... or without it: new is to be ended */
	ROLL_EV_PACK,           /* old is to leave memory */
	ROLL_EV_TURNED,         /* the roll backward has committed */
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
	ROLL_DO_CHECK_ABORTED, /* has both happened? */
	ROLL_DO_PARK,         /* tell old to shed */
	ROLL_DO_IMAGE,        /* take the image, if one is wanted */
	ROLL_DO_PACK,         /* the image instead of the process */
	ROLL_DO_BAKE,
	ROLL_DO_BACKWARD,     /* begin the roll in the other direction */
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

/** roll_is_over() - An end state. */
bool roll_is_over(enum roll_state state);

/** roll_has_committed() - May new have served in this state? */
bool roll_has_committed(enum roll_state state);

const char *roll_state_name(enum roll_state state);
const char *roll_event_name(enum roll_event event);
