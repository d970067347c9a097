/* SPDX-License-Identifier: MIT */
/* A roll as spin sees it: the commit word, the channels, and three parties of which each may be killed at any point.
 *
 *   machine.pml     made by machine.c out of the supervisor's own table: roll_step(), the facts, record_*()
 *   supervisor.pml  how the supervisor hears, and what it does in each action
 *   old.pml         the library in the version that is left
 *   new.pml         the library in the version that is rolled to, and in one that starts empty
 *
 * docs/MODEL.md says which function each piece stands for, what is left out, and why that may be.
 *
 * Time is not modelled: a deadline may pass at any moment in which one is set. So whatever holds here holds for all values of the
 * timeouts, and for processes that are as slow or as stopped as they like.
 *
 * Switches: ROLLS=2 follows a roll that was called off by another one; WITHOUT_x leaves out who may be killed or what may be
 * asked; MISTAKE_x plants a mistake, which check must find.
 */
#include "machine.pml"

#ifndef ROLLS
#define ROLLS 1
#endif
#define COLD ROLLS /* the process that starts empty is one more `new` */

/* ---- wire/commit.c ---- */

#define WORD_OLD 1
#define WORD_NEW 2
#define WORD_ABORTED 3
byte word[ROLLS] = WORD_OLD;

inline commit_take(w, owner, ret_ours)
{
	d_step {
		if
		:: word[w] == WORD_OLD -> word[w] = owner
		:: else
		fi;
		ret_ours = (word[w] == owner)
	}
}

/* ---- the channels: what is said, the number of the question, and whose roll it is about ---- */

mtype = { PREPARE, ABORT, PARK, RESUME, FDS, RECEIVE, COMMIT, WELCOME };                                 /* by the supervisor */
mtype = { STANDBY, LOADED, COMMITTED, READY, REFUSED, QUIESCED, NOT_YET, SAVED, READER_GONE, PARKED, RESUMED }; /* by a service */

chan to_old = [4 * ROLLS] of { mtype, byte, byte };
chan from_old = [6 * ROLLS] of { mtype, byte };
chan to_new[ROLLS + 1] = [3] of { mtype };
chan from_new[ROLLS + 1] = [4] of { mtype };

/* ---- who is there, and who serves ---- */

bool alive_old = true, alive_new[ROLLS + 1];
bool kill_old, kill_new[ROLLS + 1]; /* SIGKILL is under way */
bool serving_old = true, serving_new[ROLLS + 1], serving_third, serving_beside;
bool supervisor_gone;
bool streamed[ROLLS];  /* old has written all of its state */
bool misloaded[ROLLS]; /* new has loaded something else than was saved */
bool restored;         /* CRIU has brought old back, parked */
bool stopped;          /* old was sent SIGSTOP */

/* One roll is under way. A process that ends outside of a roll is started again by its member, which is not modelled. */
bool busy;

/* Who may still be killed. */
#ifdef WITHOUT_CRASH_OF_OLD
bool crash_old = false;
#else
bool crash_old = true;
#endif
#ifdef WITHOUT_CRASH_OF_NEW
bool crash_new = false;
#else
bool crash_new = true;
#endif
#ifdef WITHOUT_CRASH_OF_SUPERVISOR
byte crash_supervisor = 0;
#else
byte crash_supervisor = 2;
#endif

/* The one who is killed: an alternative of every statement of old and new. */
#define OR_DIE(sent, budget, where) \
	:: sent -> goto where \
	:: !sent && budget && busy -> budget = false; goto where

/* ---- what must never happen ---- */

/* Ghosts: what has happened in a roll. */
bool new_served[ROLLS], old_went_on[ROLLS], told_abort[ROLLS], told_park[ROLLS];

#define SERVING_NEW (serving_new[0] || serving_new[ROLLS] || serving_new[ROLLS - 1])
#define SERVED (serving_old || SERVING_NEW || serving_third || serving_beside)

inline check_owners()
{
	d_step {
		assert(serving_old + serving_new[0] + serving_new[ROLLS] + (ROLLS > 1 && serving_new[ROLLS - 1]) + serving_third +
		       serving_beside <= 1)
	}
}

inline check_exclusive(r)
{
	d_step {
		assert(!new_served[r] || (!old_went_on[r] && !told_abort[r]));
		assert(!told_abort[r] || !told_park[r])
	}
}

#include "supervisor.pml"
#include "old.pml"
#include "new.pml"

/* ---- never none for ever ---- */

/* Whom the commit word names is gone, and there is no supervisor that could bring anybody back. */
#define OWNER_GONE ((word[this_roll] == WORD_NEW && !alive_new[this_roll]) || (word[this_roll] != WORD_NEW && !alive_old))
/* Who serves when the roll is over has ended: its member starts it again. */
#define TAKEN_OVER_AND_GONE \
	(!supervisor_gone && ((SERVES_NEW(state) && IS_OVER(state) && !alive_new[cur]) || \
			      (SERVES_OLD(state) && IS_OVER(state) && !alive_old)))
#define EXCUSED ((supervisor_gone && OWNER_GONE) || TAKEN_OVER_AND_GONE || state == S_FAILED)

#ifdef LIVENESS
/* Who may be killed need not be: fairness would see to it otherwise, as it does to whatever can always happen. */
active proctype Mercy()
{
	atomic {
		crash_old = false; crash_new = false; crash_supervisor = 0
	}
}

ltl served_again { [] <> (SERVED || EXCUSED) }
#endif
