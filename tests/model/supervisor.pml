/* SPDX-License-Identifier: MIT */
/* The supervisor: supervisor/roll/. What comes next is decided by machine.pml; here is what it hears, and what each action does.
 *
 * One turn of its loop is one atomic step, as nobody else sees what happens inside; but it may be killed between any two things
 * that others see.
 */

#define NO_ROLLBACK 0 /* Rollback= */
#define ROLLBACK_PARKED 1
#define ROLLBACK_AUTO 2
#define ROLLBACK_IMAGE 3

#define RUNS 0 /* enum instance_life */
#define LAST_WORDS 1
#define ENDED 2

#define NO_JOB 0 /* CRIU at work */
#define DUMPS 1
#define DUMPS_AND_ENDS 2
#define RESTORES 3

/* struct roll_record, under the names that machine.pml asks for. */
byte state = S_STANDBY, old, image, wish, trust;
bool ends_at_once, committed, stands_alone;

byte this_roll; /* whose commit word it is */
byte cur;       /* which process is `new` */
byte asked;     /* number of the last Prepare */
byte rollback, life_old, life_new, job;
bool have_old = true, custody, saved_told, loaded_told, compared, ask_armed, inner;
bool new_asked[ROLLS + 1]; /* stands in for instance.stood_by */

#ifdef WITHOUT_OPERATOR
bool order = false;
#else
bool order = true; /* the operator wants something of the roll, once */
#endif
#ifdef WITHOUT_CHECKS
bool verdict = false;
#else
bool verdict = true; /* the checks of health come to a verdict, once */
#endif

chan queue = [4] of { byte };

inline happen(what)
{
	assert(nfull(queue));
	queue ! what
}

#define OR_KILLED if :: crash_supervisor > 0 -> goto dead :: true fi

#define TELL_OLD(what) \
	if \
	:: alive_old -> assert(nfull(to_old)); to_old ! what(asked, this_roll) \
	:: else \
	fi

#define TELL_NEW(what) \
	if \
	:: alive_new[cur] -> assert(nfull(to_new[cur])); to_new[cur] ! what \
	:: else \
	fi

/* Nothing more is heard of who is buried. */
inline bury_old()
{
	if
	:: have_old && alive_old -> kill_old = true
	:: else
	fi;
	have_old = false; life_old = ENDED;
	do
	:: from_old ? _(_)
	:: empty(from_old) -> break
	od
}

inline bury_new()
{
	if
	:: alive_new[cur] -> kill_new[cur] = true
	:: else
	fi;
	life_new = ENDED
}

/* ---- actions: forward.c ---- */

inline roll_do_prepare()
{
	if
	:: happen(E_OLD_REFUSED) /* there is no pipe */
	:: true ->
		TELL_NEW(RECEIVE);
		OR_KILLED;
		asked++;
		old = OLD_ASKED;
		TELL_OLD(PREPARE)
	fi
}

inline roll_do_ask_again()
{
	if
	:: happen(E_TIMEOUT) /* rest_overdue() */
	:: ask_armed = true
	fi
}

inline roll_do_settle()
{
	commit_take(this_roll, WORD_ABORTED, ours);
#ifdef MISTAKE_SETTLE_WITHOUT_THE_WORD
	ours = true;
#endif
	if
	:: ours -> happen(E_ABORT_WON)
	:: else -> committed = true; happen(E_COMMITTED)
	fi;
	ours = false
}

inline roll_do_check_aborted()
{
	if
	:: life_new != RUNS && (old == OLD_SERVES || old == OLD_GOES_ON) -> happen(E_ABORT_COMPLETE)
	:: else
	fi
}

inline roll_do_abort()
{
	if
	:: life_old != RUNS -> happen(E_OLD_GONE)
	:: else ->
		told_abort[this_roll] = true;
		check_exclusive(this_roll);
		if
		:: alive_new[cur] -> kill_new[cur] = true
		:: else
		fi;
		OR_KILLED;
		custody = false;
		if
		:: to_old ?? [PREPARE(eval(asked), eval(this_roll))] -> /* instance_retract(): it lay in our queue */
			to_old ?? PREPARE(eval(asked), eval(this_roll));
			old = OLD_GOES_ON
		:: true
		fi;
		if
		:: old != OLD_SERVES -> TELL_OLD(ABORT)
		:: else
		fi;
		roll_do_check_aborted()
	fi
}

inline roll_do_drop_old()
{
	old = OLD_SPENT;
	if
	:: have_old && alive_old -> kill_old = true
	:: else
	fi;
	if
	:: state == S_RETREAT && life_old != ENDED
	:: else ->
		if
		:: state != S_RETREAT ->
			custody = false; /* as in roll_do_bake(), which follows */
#ifdef MISTAKE_OLD_IS_BURIED_WHEN_IT_IS_DROPPED
			bury_old()
#endif
		:: else
		fi;
		happen(E_NO_WAY_BACK)
	fi
}

inline roll_do_park()
{
	told_park[this_roll] = true;
	check_exclusive(this_roll);
	saved_told = false; loaded_told = false; compared = false; /* of no use any more */
	select(rollback : NO_ROLLBACK .. ROLLBACK_IMAGE); /* as if it had been chosen when the roll began */
	if
	:: rollback != NO_ROLLBACK && life_old == RUNS && old != OLD_SPENT -> old = OLD_STANDS
	:: else -> old = OLD_SPENT
	fi;
	if
	:: life_new == RUNS -> stands_alone = true
	:: life_new == ENDED -> happen(E_NEW_GONE)
	:: else
	fi;
	if
	:: old != OLD_SPENT -> TELL_OLD(PARK)
	:: old == OLD_SPENT && life_new == RUNS -> roll_do_drop_old()
	:: else
	fi
}

inline roll_do_bake()
{
	/* roll_turn_if_due() */
	record_rungs();
	rung_usable = rung_parked;
	if
	:: rung_image -> rung_usable = true /* image_check_beside() */
	:: true
	fi;
	record_turn();
	if
	:: turn == TURN_NONE
	:: turn == TURN_END -> happen(E_CANCEL)
	:: turn == TURN_ACCEPT -> happen(E_ACCEPT)
	:: turn == TURN_ONWARD -> happen(E_ONWARD)
	:: turn == TURN_UNDO -> happen(E_UNDO)
	:: turn == TURN_LEAVE_SICK -> happen(E_SICK)
	:: turn == TURN_GIVE_UP -> happen(E_UNHEALTHY)
	:: turn == TURN_KEEP -> trust = TRUST_KEPT; wish = WISH_NONE
	fi;
	rung_parked = false; rung_image = false; rung_usable = false; turn = 0
}

inline roll_do_finish()
{
	bury_old();
	custody = false
}

/* ---- imaging.c ---- */

inline roll_do_image()
{
	if
	:: rollback == ROLLBACK_PARKED -> happen(E_IMAGED)
	:: rollback != ROLLBACK_PARKED -> happen(E_IMAGE_FAILED) /* take_image() */
	:: rollback == ROLLBACK_AUTO -> job = DUMPS
	:: rollback != ROLLBACK_PARKED && rollback != ROLLBACK_AUTO -> job = DUMPS_AND_ENDS
	fi
}

inline roll_do_pack()
{
	if
	:: happen(E_IMAGE_FAILED)
	:: image != IMAGE_THERE -> job = DUMPS_AND_ENDS
	:: image == IMAGE_THERE ->
		old = OLD_SPENT;
		if
		:: alive_old -> kill_old = true
		:: else
		fi;
		happen(E_IMAGED)
	fi
}

inline on_imaged()
{
	if
	:: alive_old -> good = true
	:: true
	fi;
	if
	:: good && job == DUMPS_AND_ENDS -> kill_old = true
	:: else
	fi;
	if
	:: job != DUMPS || life_old != RUNS -> old = OLD_SPENT
	:: else
	fi;
	job = NO_JOB;
	if
	:: good -> image = IMAGE_THERE; happen(E_IMAGED)
	:: else -> happen(E_IMAGE_FAILED)
	fi;
	good = false
}

/* ---- backward.c: the roll beside this one, of which only what comes of it is modelled ---- */

inline roll_do_backward()
{
	inner = true
}

inline roll_return_new()
{
	inner = false;
	if
	:: state == S_BACKWARD && trust == TRUST_PROBATION -> trust = TRUST_NOT_LEFT
	:: else
	fi;
	if
	:: wish == WISH_UNDO || wish == WISH_ONWARD -> wish = WISH_NONE
	:: else
	fi;
	happen(E_BACKWARD_OFF)
}

inline roll_lose_new()
{
	inner = false;
	life_new = ENDED;
	do
	:: from_new[cur] ? _
	:: empty(from_new[cur]) -> break
	od;
	happen(E_NEW_GONE)
}

inline roll_turned()
{
	inner = false;
	serving_new[cur] = false;
	kill_new[cur] = true;
	serving_third = true;
	check_owners();
	happen(E_TURNED)
}

inline roll_sicken()
{
	if
	:: wish == WISH_LEAVE_SICK || trust == TRUST_KEPT
	:: else ->
		if
		:: wish < WISH_LEAVE_SICK -> wish = WISH_LEAVE_SICK
		:: else
		fi;
		happen(E_SICK)
	fi
}

/* ---- retreat.c ---- */

inline roll_do_kill_new()
{
	if
	:: life_new == ENDED -> happen(E_NEW_GONE)
	:: else ->
		if
		:: alive_new[cur] -> kill_new[cur] = true
		:: else
		fi
	fi
}

inline roll_do_choose()
{
	if
	:: have_old && life_old == LAST_WORDS
	:: else ->
		new_lives = (life_new != ENDED);
		old_lives = (life_old == RUNS);
#ifdef MISTAKE_COLD_START_BESIDE_OLD
		old_lives = old_lives && (old == OLD_STANDS || old == OLD_PARKED || old == OLD_RESTORED);
#endif
		record_retreat();
		if
		:: retreat == RETREAT_AWAIT_NEW
		:: retreat == RETREAT_END_OLD ->
			if
			:: alive_old -> kill_old = true
			:: else
			fi
		:: retreat == RETREAT_PARKED -> happen(E_RUNG_PARKED)
		:: retreat == RETREAT_IMAGE -> happen(E_RUNG_IMAGE)
		:: retreat == RETREAT_COLD -> happen(E_RUNG_COLD)
		fi;
		new_lives = false; old_lives = false; retreat = 0
	fi
}

inline roll_do_resume()
{
	assert(custody && have_old);
	stopped = false;
	TELL_OLD(RESUME);
	OR_KILLED;
	TELL_OLD(FDS)
}

inline roll_do_restore()
{
	assert(have_old && !alive_old);
	if
	:: image = IMAGE_SPENT; happen(E_RESTORE_FAILED)
	:: job = RESTORES
	fi
}

inline on_restored()
{
	job = NO_JOB;
	image = IMAGE_SPENT;
	if
	:: happen(E_RESTORE_FAILED)
	:: true ->
		restored = true;
		stopped = false;
		life_old = RUNS;
		old = OLD_RESTORED;
		happen(E_RESTORED)
	fi
}

inline roll_do_cold_start()
{
	if
	:: !stands_alone -> happen(E_NEW_GONE)
	:: else ->
		bury_new();
		custody = false;
		if
		:: happen(E_NEW_GONE) /* start_empty() */
		:: true ->
			cur = COLD;
			life_new = RUNS;
			alive_new[COLD] = true
		fi
	fi
}

/* ---- roll.c ---- */

inline act()
{
	if
	:: action == DO_NOTHING || action == DO_AWAIT_OLD || action == DO_PROVE || action == DO_END
	:: action == DO_KILL_NEW -> roll_do_kill_new()
	:: action == DO_PREPARE -> roll_do_prepare()
	:: action == DO_ASK_AGAIN -> roll_do_ask_again()
	:: action == DO_COMMIT -> TELL_NEW(COMMIT)
	:: action == DO_SETTLE -> roll_do_settle()
	:: action == DO_ABORT -> roll_do_abort()
	:: action == DO_CHECK_ABORTED -> roll_do_check_aborted()
	:: action == DO_PARK -> roll_do_park()
	:: action == DO_IMAGE -> roll_do_image()
	:: action == DO_PACK -> roll_do_pack()
	:: action == DO_BAKE -> roll_do_bake()
	:: action == DO_BACKWARD || action == DO_ONWARD -> roll_do_backward()
	:: action == DO_DROP_OLD -> roll_do_drop_old()
	:: action == DO_FINISH -> roll_do_finish()
	:: action == DO_CHOOSE -> roll_do_choose()
	:: action == DO_RESUME -> roll_do_resume()
	:: action == DO_RESTORE -> roll_do_restore()
	:: action == DO_COLD_START -> roll_do_cold_start()
	:: else -> assert(false) /* an action that this model does not know */
	fi
}

inline step()
{
	roll_step();
	assert(legal); /* a misfit: what the daemon calls a bug of its own */
	if
	:: next != state -> ask_armed = false; state = next
	:: else
	fi;
	act()
}

/* compare_totals(), where it may be due */
#define COMPARES (saved_told && loaded_told && !compared && state == S_LOADING)

inline run_queue()
{
	do
	:: !IS_OVER(state) && queue ? [event] ->
		queue ? event;
		step()
	:: empty(queue) && COMPARES ->
		compared = true;
		if
		:: misloaded[this_roll] -> happen(E_DISAGREE)
		:: else -> happen(E_TRANSFERRED)
		fi
	:: IS_OVER(state) && nempty(queue) -> queue ? event
	:: empty(queue) && !COMPARES -> break
	od;
	event = 0; next = 0; action = 0; legal = false
}

/* ---- hear.c ---- */

#ifdef MISTAKE_ANSWERS_ARE_TAKEN_AS_THEY_COME
#define LATE false
#else
#define LATE (question != asked) /* is_late() of process/instance.c */
#endif

inline hear_old()
{
	from_old ? said(question);
	if
	:: said == QUIESCED && !LATE && ACCEPTS_QUIESCED(state) && old != OLD_STANDS ->
		old = OLD_STANDS;
		happen(E_QUIESCED)
	:: said == NOT_YET && !LATE && ACCEPTS_NOT_YET(state) && old == OLD_ASKED ->
		old = OLD_GOES_ON;
		happen(E_NOT_YET)
	:: said == FDS && state == S_TRANSFER ->
		if
		:: happen(E_OLD_REFUSED) /* roll_take_fds() */
		:: custody = true; TELL_NEW(FDS)
		fi
	:: said == SAVED && !LATE && ACCEPTS_SAVED(state) && !saved_told ->
		saved_told = true;
		happen(E_SAVED)
	:: said == READER_GONE && !LATE && state == S_TRANSFER /* new's own end is on its way; else by the deadline */
	:: (said == REFUSED || (said == READER_GONE && state != S_TRANSFER)) && !LATE && ACCEPTS_OLD_REFUSED(state) ->
		if
		:: old == OLD_ASKED -> old = OLD_GOES_ON
		:: else
		fi;
		happen(E_OLD_REFUSED)
	:: said == PARKED && ACCEPTS_PARKED(state) ->
		if
		:: state == S_PARK && alive_old -> stopped = true
		:: else
		fi;
		if
		:: old == OLD_STANDS -> old = OLD_PARKED
		:: else
		fi;
		happen(E_PARKED)
	:: said == RESUMED && !LATE && ACCEPTS_RESUMED(state) && state != S_RETREAT ->
		if
		:: !committed && old != OLD_SPENT -> old = OLD_GOES_ON
		:: else
		fi;
		happen(E_RESUMED)
	:: else
	fi;
	said = 0; question = 0
}

inline hear_new()
{
	from_new[cur] ? said;
	if
	:: said == STANDBY && state == S_COLD -> TELL_NEW(WELCOME)
	:: said == STANDBY && state == S_STANDBY ->
		if
		:: happen(E_STANDBY)
		:: happen(E_INCOMPATIBLE)
		fi
	:: said == READY && ACCEPTS_STARTED(state) -> happen(E_STARTED)
	:: said == REFUSED && ACCEPTS_NEW_REFUSED(state) -> happen(E_NEW_REFUSED)
	:: said == LOADED && !loaded_told -> loaded_told = true
	:: said == COMMITTED && ACCEPTS_COMMITTED(state) ->
		if
		:: word[this_roll] != WORD_NEW -> happen(E_NEW_REFUSED)
		:: else -> committed = true; happen(E_COMMITTED)
		fi
	:: else
	fi;
	said = 0
}

/* ---- what the operator and the checks of health want ---- */

inline take_order()
{
	order = false;
	if
	:: ACCEPTS_CANCEL(state) ->
		if
		:: HAS_COMMITTED(state) -> ends_at_once = true
		:: else
		fi;
		happen(E_CANCEL)
	:: ACCEPTS_ACCEPT(state) ->
		wish = (wish < WISH_ACCEPT -> WISH_ACCEPT : wish);
		happen(E_ACCEPT)
	:: ACCEPTS_ONWARD(state) ->
		wish = (wish < WISH_ONWARD -> WISH_ONWARD : wish);
		happen(E_ONWARD)
	:: ACCEPTS_UNDO(state) ->
		wish = (wish < WISH_UNDO -> WISH_UNDO : wish);
		happen(E_UNDO)
	:: ACCEPTS_GIVE_UP(state) -> /* roll_give_up() */
		record_rungs();
		if
		:: rung_parked -> wish = (wish < WISH_PARKED -> WISH_PARKED : wish); happen(E_GIVE_UP)
		:: rung_image -> wish = (wish < WISH_IMAGE -> WISH_IMAGE : wish); happen(E_GIVE_UP)
		:: true
		fi;
		rung_parked = false; rung_image = false
	:: ACCEPTS_PACK(state) ->
		record_rungs();
		if
		:: rung_parked -> happen(E_PACK)
		:: else
		fi;
		rung_parked = false; rung_image = false
	fi
}

/* ---- the end of a roll ---- */

/* What its outcome promises. */
inline check_outcome()
{
	d_step {
		if
		:: state == S_DONE -> /* new is the owner */
			assert(word[this_roll] == WORD_NEW && !serving_old && serving_new[cur] == alive_new[cur])
		:: state == S_ROLLED_BACK -> /* old is */
			assert(serving_old == alive_old && !alive_new[cur])
		:: state == S_ABORTED ->
			assert(word[this_roll] == WORD_ABORTED && !SERVING_NEW && !new_served[this_roll])
		:: state == S_REFUSED ->
			/* It was never asked; but it may be busy still with a roll before, which it did not answer. */
			assert(word[this_roll] == WORD_OLD && (this_roll > 0 || serving_old == alive_old))
		:: state == S_TURNED || state == S_PASSED ->
			assert(serving_third)
		:: state == S_COLD_STARTED ->
			assert(!alive_old && cur == COLD && serving_new[COLD] == alive_new[COLD])
		:: state == S_FAILED ->
			assert(!SERVED)
		:: else -> assert(false)
		fi
	}
}

inline end_roll()
{
	check_outcome();
	/* roll_take_serving(), roll_free() */
	if
	:: SERVES_OLD(state) -> bury_new()
	:: SERVES_NEW(state) -> bury_old()
	:: else -> bury_new(); OR_KILLED; bury_old()
	fi;
	forget();
	busy = false
}

inline begin_roll()
{
	cur = this_roll;
	alive_new[cur] = true;
	life_new = RUNS;
	busy = true;
	stands_alone = true;
	state = S_STANDBY;
	old = OLD_SERVES; image = IMAGE_NONE; wish = WISH_NONE; trust = TRUST_PROBATION;
	have_old = true
}

/* Values of which nothing depends any more are made alike: fewer states have to be looked at. */
inline forget()
{
	old = 0; image = 0; wish = 0; trust = 0; rollback = 0; job = NO_JOB;
	ends_at_once = false; committed = false; stands_alone = false; inner = false;
	custody = false; saved_told = false; loaded_told = false; compared = false; ask_armed = false
}

/* ---- the loop ---- */

/* Last words are read to their end before anything else is done. */
#define CALM (life_old != LAST_WORDS && life_new != LAST_WORDS)

/* A deadline that changes nothing any more does not come for ever before what is there to be heard. */
#define DEADLINE_IS_IDLE \
	((KILLS_AGAIN(state) && (!alive_new[cur] || kill_new[cur])) || (state == S_ABORT && old == OLD_GOES_ON))
#define NOTHING_TO_HEAR (job == NO_JOB && empty(from_old) && empty(from_new[cur]) && (life_old == ENDED || alive_old || restored) && \
	(life_new == ENDED || alive_new[cur]))

active proctype Supervisor()
{
	byte event, next, action, retreat, overdue, turn, question;
	mtype said;
	bool legal, new_lives, old_lives, rung_usable, rung_parked, rung_image, ours, good;

next_roll:
	atomic { begin_roll() }
turn_of_loop:
	atomic {
		if
		:: have_old && life_old != ENDED && life_new != LAST_WORDS && nempty(from_old) -> hear_old()
		:: !inner && life_new != ENDED && life_old != LAST_WORDS && nempty(from_new[cur]) -> hear_new()
		/* spawned_on_exit() */
		:: CALM && have_old && life_old == RUNS && !alive_old && !restored -> life_old = LAST_WORDS
		:: CALM && !inner && life_new == RUNS && !alive_new[cur] -> life_new = LAST_WORDS
		:: life_old == LAST_WORDS && empty(from_old) -> /* on_old_exit() */
			life_old = ENDED;
			old = OLD_SPENT;
			happen(E_OLD_GONE)
		:: life_new == LAST_WORDS && empty(from_new[cur]) -> /* on_new_exit() */
			life_new = ENDED;
			happen(E_NEW_GONE)
		:: CALM && HAS_DEADLINE(state) && (!DEADLINE_IS_IDLE || NOTHING_TO_HEAR) -> /* on_deadline() */
			record_overdue();
			if
			:: overdue == E_SERVES_ON -> old = OLD_GOES_ON
			:: else
			fi;
			happen(overdue);
			overdue = 0
		:: CALM && ask_armed -> /* on_ask() */
			ask_armed = false;
			asked++;
			old = OLD_ASKED;
			TELL_OLD(PREPARE)
		:: CALM && state == S_BAKE && alive_new[cur] -> happen(E_BAKED) /* end_bake() */
		:: CALM && verdict && WATCHES_HEALTH(state) -> /* on_verdict() */
			verdict = false;
			if
			:: happen(E_UNHEALTHY)
			:: true -> roll_sicken()
			fi
		:: CALM && order -> take_order()
		:: CALM && (job == DUMPS || job == DUMPS_AND_ENDS) -> on_imaged()
		:: CALM && job == RESTORES -> on_restored()
		:: CALM && inner && life_new == RUNS && alive_new[cur] -> roll_return_new()
		:: CALM && inner && alive_new[cur] -> roll_turned()
		:: CALM && inner && alive_new[cur] && !kill_new[cur] -> kill_new[cur] = true
		:: CALM && inner && !alive_new[cur] -> roll_lose_new()
		:: crash_supervisor > 0 -> goto dead
		fi;
		run_queue();
		if
		:: IS_OVER(state) -> end_roll()
		:: else -> goto turn_of_loop
		fi
	}
	/* The same service is rolled again, if the version before serves. */
	atomic {
		if
		:: this_roll + 1 < ROLLS && SERVES_OLD(state) -> this_roll++; goto next_roll
		:: else
		fi
	}
end_idle:
	atomic {
		crash_supervisor > 0 -> goto dead
	}

dead: /* Nothing is left of what it knew. The kernel closes the channels, and wakes who was stopped. */
	atomic {
		crash_supervisor--;
		supervisor_gone = true;
		stopped = false;
		do
		:: from_old ? _(_)
		:: empty(from_old) -> break
		od;
		do
		:: from_new[cur] ? _
		:: empty(from_new[cur]) -> break
		od;
		do
		:: queue ? event
		:: empty(queue) -> break
		od;
		event = 0; next = 0; action = 0; legal = false; said = 0; question = 0;
		new_lives = false; old_lives = false; retreat = 0; ours = false;
		forget();
		life_old = RUNS; life_new = RUNS; have_old = false; asked = 0;
		state = (state == S_FAILED -> S_FAILED : S_STANDBY)
	}
	/* Started again it knows nobody, and does nothing by itself; and it may be killed again. */
end_anew:
	atomic {
		if
#ifdef MISTAKE_STARTS_BESIDE_WHO_SERVES
		:: SERVED -> serving_beside = true; check_owners() /* upgradectl start */
#endif
		:: crash_supervisor > 0 -> crash_supervisor--; goto end_anew
		fi
	}
}

init
{
	byte i;

	atomic {
		for (i : 0 .. ROLLS - 1) {
			run New(i)
		}
		run Cold(COLD);
		i = 0
	}
}
