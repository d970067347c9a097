/* SPDX-License-Identifier: MIT */
/* The old version's side: shim/roll.c, and dispatch() of shim/upg.c. */

/* channel_say(): without a supervisor it fails, and what is due then is done where the end of the channel is read. */
#define OLD_SAYS(what) \
	if \
	:: supervisor_gone \
	:: !supervisor_gone -> assert(nfull(from_old)); from_old ! what(question) \
	fi

byte not_yet = 1; /* how often old asks to be asked again */

active proctype Old()
{
	byte question, roll;
	bool ours, is_due;

end_serves: /* dispatch() */
	atomic {
		if
		:: to_old ? PREPARE(question, roll) -> goto prepare
		:: to_old ? ABORT(_, _) -> goto end_serves /* crossed with our own message that the roll is off */
		:: to_old ? PARK(_, _) -> assert(false)
		:: to_old ? RESUME(_, _) -> assert(false)
		:: to_old ? FDS(_, _) -> assert(false)
		:: supervisor_gone && empty(to_old) -> goto end_alone
		OR_DIE(kill_old, crash_old, dead)
		fi
	}

end_alone: /* it serves on without a supervisor */
	atomic {
		if
		OR_DIE(kill_old, crash_old, dead)
		fi
	}

prepare: /* roll_leave(): take_descriptors(), quiesce() */
	atomic {
		if
		:: true -> question = 0; roll = 0; goto end_serves /* it was long over when it was read */
		:: true -> OLD_SAYS(REFUSED); question = 0; roll = 0; goto end_serves
		:: not_yet > 0 -> not_yet--; OLD_SAYS(NOT_YET); question = 0; roll = 0; goto end_serves
		:: serving_old = false
		OR_DIE(kill_old, crash_old, dead)
		fi
	}
	atomic { /* send_quiesced() */
		if
		:: true -> OLD_SAYS(QUIESCED)
		OR_DIE(kill_old, crash_old, dead)
		fi
	}
	atomic { /* hand_over(): fds_send() */
		if
		:: true -> OLD_SAYS(FDS)
		:: true -> OLD_SAYS(REFUSED); goto await_outcome
		OR_DIE(kill_old, crash_old, dead)
		fi
	}
	atomic { /* state_save() */
		if
		:: streamed[roll] = true
		:: true -> OLD_SAYS(REFUSED); goto await_outcome
		:: !alive_new[roll] -> OLD_SAYS(READER_GONE); goto await_outcome
		OR_DIE(kill_old, crash_old, dead)
		fi
	}
	atomic {
		if
		:: true -> OLD_SAYS(SAVED)
		OR_DIE(kill_old, crash_old, dead)
		fi
	}

await_outcome:
	is_due = true;
await_message:
	atomic {
		if
		:: to_old ? PARK(_, _) -> is_due = false; goto park
		:: to_old ? ABORT(_, _) ->
			commit_take(roll, WORD_ABORTED, ours);
			if
			:: ours -> ours = false; is_due = false; goto go_on
			:: else -> goto await_message
			fi
		:: to_old ? PREPARE(_, _) -> goto await_message /* dropped */
		:: to_old ? RESUME(_, _) -> goto await_message
		:: to_old ? FDS(_, _) -> goto await_message
#ifndef MISTAKE_OLD_SETTLES_NOTHING_BY_ITSELF
		:: is_due -> /* settle() at the deadline; where new was faster, Park is on its way */
			is_due = false;
#ifdef MISTAKE_OLD_GOES_ON_WITHOUT_THE_WORD
			ours = true;
#else
			commit_take(roll, WORD_ABORTED, ours);
#endif
			if
			:: ours -> ours = false; is_due = false; goto go_on
			:: else -> goto await_message
			fi
		:: supervisor_gone && empty(to_old) -> /* settle() when nobody will tell any more */
			commit_take(roll, WORD_ABORTED, ours);
			if
			:: ours -> ours = false; is_due = false; goto go_on
			:: else -> goto dead /* UPG_LEAVE */
			fi
#endif
		OR_DIE(kill_old, crash_old, dead)
		fi
	}

go_on: /* go_on(): release(), then Resumed */
	atomic {
		if
		:: serving_old = true; old_went_on[roll] = true;
			check_owners();
			check_exclusive(roll);
			OLD_SAYS(RESUMED);
			question = 0; roll = 0;
			goto end_serves
		OR_DIE(kill_old, crash_old, dead)
		fi
	}

park: /* park(): its sockets are given up; then Parked */
	atomic {
		if
		:: true -> OLD_SAYS(PARKED)
		:: true -> OLD_SAYS(REFUSED); goto dead /* UPG_LEAVE */
		OR_DIE(kill_old, crash_old, dead)
		fi
	}
end_parked: /* stay_parked(). Stopped, it goes on when its supervisor ends (shim/core/still.c). */
	atomic {
		if
		:: !stopped && nempty(to_old) ->
			if
			:: to_old ? RESUME(_, _) -> goto resume
			:: to_old ? ABORT(_, _) -> goto end_parked
			:: to_old ? PREPARE(_, _) -> assert(false)
			:: to_old ? PARK(_, _) -> assert(false)
			:: to_old ? FDS(_, _) -> assert(false)
			fi
		:: supervisor_gone && empty(to_old) -> goto dead
		OR_DIE(kill_old, crash_old, dead)
		fi
	}
resume: /* resume(): look_at_journal(), take_back() */
	atomic {
		if
		:: to_old ? FDS(_, _)
		:: true -> OLD_SAYS(REFUSED); goto dead
		:: supervisor_gone && empty(to_old) -> goto dead
		OR_DIE(kill_old, crash_old, dead)
		fi
	}
	atomic { /* serve_again() */
		if
		:: serving_old = true;
			check_owners();
			OLD_SAYS(RESUMED);
			question = 0; roll = 0;
			goto end_serves
		OR_DIE(kill_old, crash_old, dead)
		fi
	}

dead:
	atomic {
		alive_old = false;
		kill_old = false;
		serving_old = false;
		is_due = false; ours = false;
		do
		:: to_old ? _(_, _)
		:: empty(to_old) -> break
		od
	}
end_dead: /* for ever, unless CRIU brings it back */
	atomic {
		restored -> restored = false;
		assert(!alive_old);
		alive_old = true;
		goto end_parked
	}
}
