/* SPDX-License-Identifier: MIT */
/* The new version's side: shim/takeover.c. */

#define NEW_SAYS(what) \
	if \
	:: supervisor_gone \
	:: !supervisor_gone -> assert(nfull(from_new[i])); from_new[i] ! what \
	fi

inline new_ends()
{
	atomic {
		alive_new[i] = false;
		kill_new[i] = false;
		serving_new[i] = false;
		do
		:: to_new[i] ? _
		:: empty(to_new[i]) -> break
		od
	}
}

proctype New(byte i)
{
	bool ours;

end_not_started:
	alive_new[i];
	atomic { /* receive(): Standby, or the application refuses before that */
		if
		:: true -> NEW_SAYS(STANDBY)
		:: true -> NEW_SAYS(REFUSED); goto dead
		OR_DIE(kill_new[i], crash_new, dead)
		fi
	}
	atomic {
		if
		:: to_new[i] ? RECEIVE
		:: supervisor_gone && empty(to_new[i]) -> goto dead /* UPG_LEAVE */
		OR_DIE(kill_new[i], crash_new, dead)
		fi
	}
	atomic { /* receive_state(): fds_receive() */
		if
		:: to_new[i] ? FDS
		:: true -> NEW_SAYS(REFUSED); goto dead
		OR_DIE(kill_new[i], crash_new, dead)
		fi
	}
	atomic { /* state_load(), and ready_received() says Loaded */
		if
		:: streamed[i] -> NEW_SAYS(LOADED)
		:: streamed[i] -> misloaded[i] = true; NEW_SAYS(LOADED)
		:: true -> NEW_SAYS(REFUSED); goto dead
		OR_DIE(kill_new[i], crash_new, dead)
		fi
	}
	atomic { /* await_commit() */
		if
		:: to_new[i] ? COMMIT
#ifdef MISTAKE_NEW_TAKES_OVER_WHEN_THE_SUPERVISOR_IS_GONE
		:: supervisor_gone && empty(to_new[i])
#else
		:: supervisor_gone && empty(to_new[i]) -> goto dead
#endif
		OR_DIE(kill_new[i], crash_new, dead)
		fi
	}
	atomic { /* take_over(): from here on it may serve */
		if
		:: commit_take(i, WORD_NEW, ours);
#ifdef MISTAKE_NEW_SERVES_WITHOUT_THE_WORD
			ours = true;
#endif
			if
			:: ours -> assert(streamed[i] && !misloaded[i]); /* only what was verified may serve */
				serving_new[i] = true; new_served[i] = true;
				check_owners();
				check_exclusive(i);
				ours = false
			:: else -> goto dead /* UPG_LEAVE */
			fi
		OR_DIE(kill_new[i], crash_new, dead)
		fi
	}
	atomic {
		if
		:: true -> NEW_SAYS(COMMITTED)
		OR_DIE(kill_new[i], crash_new, dead)
		fi
	}
end_serves: /* dispatch(): with a supervisor or without one */
	atomic {
		if
		OR_DIE(kill_new[i], crash_new, dead)
		fi
	}
dead:
	new_ends()
}

/* The version before, started empty by roll_do_cold_start(): receive() says fresh, and send_ready(). */
proctype Cold(byte i)
{
end_not_started:
	alive_new[i];
	atomic {
		if
		:: true -> NEW_SAYS(STANDBY)
		:: true -> NEW_SAYS(REFUSED); goto dead
		OR_DIE(kill_new[i], crash_new, dead)
		fi
	}
	atomic {
		if
		:: to_new[i] ? WELCOME
		:: supervisor_gone && empty(to_new[i]) -> goto dead
		OR_DIE(kill_new[i], crash_new, dead)
		fi
	}
	atomic { /* without a supervisor Ready cannot be said, and it does not serve */
		if
		:: supervisor_gone -> goto dead
		:: !supervisor_gone -> NEW_SAYS(READY); serving_new[i] = true;
			assert(!alive_old); /* it might hold the listeners still */
			check_owners()
		OR_DIE(kill_new[i], crash_new, dead)
		fi
	}
end_serves:
	atomic {
		if
		OR_DIE(kill_new[i], crash_new, dead)
		fi
	}
dead:
	new_ends()
}
