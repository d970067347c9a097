/* SPDX-License-Identifier: MIT */
#include "supervisor/roll/state.h"

#define TO(next_state, what) { .legal = true, .next = ROLL_##next_state, .action = ROLL_DO_##what }

/* A late word about something that is settled already, or one that another event will follow. */
#define STAY(state) TO(state, NOTHING)

static const struct roll_step table[ROLL_STATES][ROLL_EVENTS] = {
	[ROLL_STANDBY] = {
		[ROLL_EV_STANDBY] = TO(QUIESCE, PREPARE),
		[ROLL_EV_INCOMPATIBLE] = TO(DISMISS, KILL_NEW),
		[ROLL_EV_NEW_REFUSED] = TO(DISMISS, KILL_NEW),
		[ROLL_EV_NEW_GONE] = TO(REFUSED, END),
		[ROLL_EV_OLD_GONE] = TO(DISMISS, KILL_NEW),
		[ROLL_EV_TIMEOUT] = TO(DISMISS, KILL_NEW),
		[ROLL_EV_CANCEL] = TO(DISMISS, KILL_NEW),
	},
	[ROLL_DISMISS] = {
		[ROLL_EV_NEW_GONE] = TO(REFUSED, END),
		[ROLL_EV_NEW_REFUSED] = STAY(DISMISS),
		[ROLL_EV_STANDBY] = STAY(DISMISS),
		[ROLL_EV_INCOMPATIBLE] = STAY(DISMISS),
		[ROLL_EV_OLD_GONE] = STAY(DISMISS),
		[ROLL_EV_CANCEL] = STAY(DISMISS),
		[ROLL_EV_TIMEOUT] = TO(DISMISS, KILL_NEW),
	},
	[ROLL_QUIESCE] = {
		[ROLL_EV_QUIESCED] = TO(TRANSFER, NOTHING),
		[ROLL_EV_NOT_YET] = TO(QUIESCE, ASK_AGAIN),
		[ROLL_EV_OLD_REFUSED] = TO(SETTLE, SETTLE),
		[ROLL_EV_NEW_REFUSED] = TO(SETTLE, SETTLE),
		[ROLL_EV_NEW_GONE] = TO(SETTLE, SETTLE),
		[ROLL_EV_OLD_GONE] = TO(RETREAT, KILL_NEW),
		[ROLL_EV_TIMEOUT] = TO(SETTLE, SETTLE),
		[ROLL_EV_CANCEL] = TO(SETTLE, SETTLE),
	},
	[ROLL_TRANSFER] = {
		[ROLL_EV_TRANSFERRED] = TO(COMMIT, COMMIT),
		[ROLL_EV_DISAGREE] = TO(SETTLE, SETTLE),
		[ROLL_EV_OLD_REFUSED] = TO(SETTLE, SETTLE),
		[ROLL_EV_NEW_REFUSED] = TO(SETTLE, SETTLE),
		[ROLL_EV_NEW_GONE] = TO(SETTLE, SETTLE),
		[ROLL_EV_OLD_GONE] = TO(RETREAT, KILL_NEW),
		[ROLL_EV_RESUMED] = TO(SETTLE, SETTLE), /* old called it off by its own deadline */
		[ROLL_EV_TIMEOUT] = TO(SETTLE, SETTLE),
		[ROLL_EV_CANCEL] = TO(SETTLE, SETTLE),
	},
	[ROLL_COMMIT] = {
		[ROLL_EV_COMMITTED] = TO(PARK, PARK),
		[ROLL_EV_NEW_REFUSED] = TO(SETTLE, SETTLE),
		[ROLL_EV_NEW_GONE] = TO(SETTLE, SETTLE),
		[ROLL_EV_OLD_GONE] = STAY(COMMIT), /* all it had is in new */
		[ROLL_EV_RESUMED] = TO(SETTLE, SETTLE),
		[ROLL_EV_TIMEOUT] = TO(SETTLE, SETTLE),
		[ROLL_EV_CANCEL] = TO(SETTLE, SETTLE),
	},
	[ROLL_SETTLE] = {
		[ROLL_EV_ABORT_WON] = TO(ABORT, ABORT),
		[ROLL_EV_COMMITTED] = TO(PARK, PARK),
	},
	[ROLL_ABORT] = {
		[ROLL_EV_ABORT_COMPLETE] = TO(ABORTED, END),
		[ROLL_EV_NEW_GONE] = TO(ABORT, CHECK_ABORTED),
		[ROLL_EV_NEW_REFUSED] = STAY(ABORT),
		[ROLL_EV_RESUMED] = TO(ABORT, CHECK_ABORTED),
		[ROLL_EV_OLD_REFUSED] = TO(ABORT, CHECK_ABORTED),
		[ROLL_EV_QUIESCED] = STAY(ABORT),
		[ROLL_EV_NOT_YET] = TO(ABORT, CHECK_ABORTED),
		[ROLL_EV_TRANSFERRED] = STAY(ABORT),
		[ROLL_EV_DISAGREE] = STAY(ABORT),
		[ROLL_EV_CANCEL] = STAY(ABORT),
		[ROLL_EV_OLD_GONE] = TO(RETREAT, KILL_NEW),
		[ROLL_EV_TIMEOUT] = TO(RETREAT, DROP_OLD), /* it was told to go on and does not: it hangs */
	},
	[ROLL_PARK] = {
		[ROLL_EV_PARKED] = TO(IMAGE, IMAGE),
		[ROLL_EV_NO_WAY_BACK] = TO(BAKE, BAKE),
		[ROLL_EV_OLD_REFUSED] = TO(PARK, DROP_OLD),
		[ROLL_EV_OLD_GONE] = TO(PARK, DROP_OLD),
		[ROLL_EV_TIMEOUT] = TO(PARK, DROP_OLD),
		[ROLL_EV_NEW_GONE] = TO(RETREAT, CHOOSE),
		[ROLL_EV_NEW_REFUSED] = TO(RETREAT, KILL_NEW),
		[ROLL_EV_UNHEALTHY] = TO(RETREAT, KILL_NEW),
		[ROLL_EV_SICK] = STAY(PARK), /* remembered until the bake */
		[ROLL_EV_UNDO] = STAY(PARK),
		[ROLL_EV_CANCEL] = STAY(PARK),
	},
	[ROLL_IMAGE] = {
		[ROLL_EV_IMAGED] = TO(BAKE, BAKE),
		[ROLL_EV_IMAGE_FAILED] = TO(BAKE, BAKE),
		[ROLL_EV_OLD_GONE] = STAY(IMAGE), /* as the dump's last step, or we learn of it by the dump */
		[ROLL_EV_OLD_REFUSED] = STAY(IMAGE),
		[ROLL_EV_NEW_GONE] = TO(RETREAT_IMAGING, NOTHING),
		[ROLL_EV_NEW_REFUSED] = TO(RETREAT_IMAGING, KILL_NEW),
		[ROLL_EV_UNHEALTHY] = TO(RETREAT_IMAGING, KILL_NEW),
		[ROLL_EV_SICK] = STAY(IMAGE),
		[ROLL_EV_UNDO] = STAY(IMAGE),
		[ROLL_EV_CANCEL] = STAY(IMAGE),
	},
	[ROLL_BAKE] = {
		[ROLL_EV_BAKED] = TO(DONE, FINISH),
		[ROLL_EV_CANCEL] = TO(DONE, FINISH),
		[ROLL_EV_NEW_GONE] = TO(RETREAT, CHOOSE),
		[ROLL_EV_NEW_REFUSED] = TO(RETREAT, KILL_NEW),
		[ROLL_EV_UNHEALTHY] = TO(RETREAT, KILL_NEW),
		[ROLL_EV_SICK] = TO(BACKWARD, BACKWARD),
		[ROLL_EV_UNDO] = TO(BACKWARD, BACKWARD),
		[ROLL_EV_GIVE_UP] = TO(RETREAT, KILL_NEW),
		[ROLL_EV_PACK] = TO(IMAGE, PACK),
		[ROLL_EV_OLD_GONE] = STAY(BAKE), /* a way back less */
		[ROLL_EV_OLD_REFUSED] = STAY(BAKE),
	},
	[ROLL_BACKWARD] = {
		[ROLL_EV_TURNED] = TO(TURNED, END),
		[ROLL_EV_BACKWARD_OFF] = TO(BAKE, BAKE),
		[ROLL_EV_NEW_GONE] = TO(RETREAT, CHOOSE),
		[ROLL_EV_OLD_GONE] = STAY(BACKWARD),
		[ROLL_EV_OLD_REFUSED] = STAY(BACKWARD),
		[ROLL_EV_CANCEL] = STAY(BACKWARD), /* the roll under way is what can be called off */
	},
	[ROLL_RETREAT] = {
		[ROLL_EV_NEW_GONE] = TO(RETREAT, CHOOSE),
		[ROLL_EV_RUNG_PARKED] = TO(RESUME, RESUME),
		[ROLL_EV_RUNG_IMAGE] = TO(RESTORE, RESTORE),
		[ROLL_EV_RUNG_COLD] = TO(COLD, COLD_START),
		[ROLL_EV_OLD_GONE] = TO(RETREAT, CHOOSE), /* dropped, and now its pid is free */
		[ROLL_EV_OLD_REFUSED] = STAY(RETREAT),
		[ROLL_EV_NEW_REFUSED] = STAY(RETREAT),
		[ROLL_EV_PARKED] = STAY(RETREAT),
		[ROLL_EV_RESUMED] = STAY(RETREAT),
		[ROLL_EV_UNHEALTHY] = STAY(RETREAT),
		[ROLL_EV_SICK] = STAY(RETREAT),
		[ROLL_EV_CANCEL] = STAY(RETREAT),
		[ROLL_EV_NO_WAY_BACK] = TO(RETREAT, CHOOSE),
		[ROLL_EV_TIMEOUT] = TO(RETREAT, KILL_NEW),
	},
	[ROLL_RETREAT_IMAGING] = {
		[ROLL_EV_IMAGED] = TO(RETREAT, CHOOSE),
		[ROLL_EV_IMAGE_FAILED] = TO(RETREAT, CHOOSE),
		[ROLL_EV_NEW_GONE] = STAY(RETREAT_IMAGING),
		[ROLL_EV_NEW_REFUSED] = STAY(RETREAT_IMAGING),
		[ROLL_EV_OLD_GONE] = STAY(RETREAT_IMAGING),
		[ROLL_EV_OLD_REFUSED] = STAY(RETREAT_IMAGING),
		[ROLL_EV_UNHEALTHY] = STAY(RETREAT_IMAGING),
		[ROLL_EV_SICK] = STAY(RETREAT_IMAGING),
		[ROLL_EV_CANCEL] = STAY(RETREAT_IMAGING),
		[ROLL_EV_TIMEOUT] = TO(RETREAT_IMAGING, KILL_NEW),
	},
	[ROLL_RESUME] = {
		[ROLL_EV_RESUMED] = TO(ROLLED_BACK, END),
		[ROLL_EV_OLD_GONE] = TO(RETREAT, CHOOSE),
		[ROLL_EV_OLD_REFUSED] = TO(RETREAT, DROP_OLD),
		[ROLL_EV_PARKED] = STAY(RESUME), /* was on its way when the word to resume left */
		[ROLL_EV_TIMEOUT] = TO(RETREAT, DROP_OLD),
		[ROLL_EV_CANCEL] = STAY(RESUME),
	},
	[ROLL_RESTORE] = {
		[ROLL_EV_RESTORED] = TO(RESUME, RESUME),
		[ROLL_EV_RESTORE_FAILED] = TO(RETREAT, CHOOSE),
		[ROLL_EV_OLD_GONE] = STAY(RESTORE),
		[ROLL_EV_CANCEL] = STAY(RESTORE),
	},
	[ROLL_COLD] = {
		[ROLL_EV_STARTED] = TO(COLD_STARTED, END),
		[ROLL_EV_NEW_REFUSED] = TO(COLD, KILL_NEW),
		[ROLL_EV_NEW_GONE] = TO(FAILED, END),
		[ROLL_EV_OLD_GONE] = STAY(COLD),
		[ROLL_EV_TIMEOUT] = TO(COLD, KILL_NEW),
		[ROLL_EV_CANCEL] = TO(COLD, KILL_NEW),
	},
};

struct roll_step roll_step(enum roll_state state, enum roll_event event)
{
	if ((unsigned)state >= ROLL_STATES || (unsigned)event >= ROLL_EVENTS)
		return (struct roll_step){ .legal = false, .next = state };
	if (!table[state][event].legal)
		return (struct roll_step){ .legal = false, .next = state };
	return table[state][event];
}

bool roll_is_over(enum roll_state state)
{
	return state >= ROLL_DONE;
}

bool roll_has_committed(enum roll_state state)
{
	static const bool committed[ROLL_STATES] = {
		[ROLL_PARK] = true,	   [ROLL_IMAGE] = true, [ROLL_BAKE] = true,    [ROLL_RETREAT] = true,
		[ROLL_RETREAT_IMAGING] = true, [ROLL_RESUME] = true, [ROLL_RESTORE] = true, [ROLL_COLD] = true,
		[ROLL_DONE] = true,	   [ROLL_ROLLED_BACK] = true, [ROLL_COLD_STARTED] = true, [ROLL_FAILED] = true,
		[ROLL_BACKWARD] = true,	   [ROLL_TURNED] = true,
	};
	return (unsigned)state < ROLL_STATES && committed[state];
}

const char *roll_state_name(enum roll_state state)
{
	static const char *const names[ROLL_STATES] = {
		[ROLL_STANDBY] = "standby",
		[ROLL_DISMISS] = "dismiss",
		[ROLL_QUIESCE] = "quiesce",
		[ROLL_TRANSFER] = "transfer",
		[ROLL_COMMIT] = "commit",
		[ROLL_SETTLE] = "settle",
		[ROLL_ABORT] = "abort",
		[ROLL_PARK] = "park",
		[ROLL_IMAGE] = "image",
		[ROLL_BAKE] = "bake",
		[ROLL_BACKWARD] = "backward",
		[ROLL_RETREAT] = "retreat",
		[ROLL_RETREAT_IMAGING] = "retreat-imaging",
		[ROLL_RESUME] = "resume",
		[ROLL_RESTORE] = "restore",
		[ROLL_COLD] = "cold",
		[ROLL_DONE] = "done",
		[ROLL_REFUSED] = "refused",
		[ROLL_ABORTED] = "aborted",
		[ROLL_ROLLED_BACK] = "rolled-back",
		[ROLL_TURNED] = "turned",
		[ROLL_COLD_STARTED] = "cold-started",
		[ROLL_FAILED] = "failed",
	};
	return (unsigned)state < ROLL_STATES ? names[state] : "?";
}

const char *roll_event_name(enum roll_event event)
{
	static const char *const names[ROLL_EVENTS] = {
		[ROLL_EV_STANDBY] = "standby",
		[ROLL_EV_INCOMPATIBLE] = "incompatible",
		[ROLL_EV_NEW_REFUSED] = "new-refused",
		[ROLL_EV_NEW_GONE] = "new-gone",
		[ROLL_EV_OLD_GONE] = "old-gone",
		[ROLL_EV_QUIESCED] = "quiesced",
		[ROLL_EV_NOT_YET] = "not-yet",
		[ROLL_EV_OLD_REFUSED] = "old-refused",
		[ROLL_EV_TRANSFERRED] = "transferred",
		[ROLL_EV_DISAGREE] = "disagree",
		[ROLL_EV_COMMITTED] = "committed",
		[ROLL_EV_ABORT_WON] = "abort-won",
		[ROLL_EV_ABORT_COMPLETE] = "abort-complete",
		[ROLL_EV_PARKED] = "parked",
		[ROLL_EV_NO_WAY_BACK] = "no-way-back",
		[ROLL_EV_IMAGED] = "imaged",
		[ROLL_EV_IMAGE_FAILED] = "image-failed",
		[ROLL_EV_UNHEALTHY] = "unhealthy",
		[ROLL_EV_SICK] = "sick",
		[ROLL_EV_BAKED] = "baked",
		[ROLL_EV_UNDO] = "undo",
		[ROLL_EV_GIVE_UP] = "give-up",
		[ROLL_EV_PACK] = "pack",
		[ROLL_EV_TURNED] = "turned",
		[ROLL_EV_BACKWARD_OFF] = "backward-off",
		[ROLL_EV_RUNG_PARKED] = "rung-parked",
		[ROLL_EV_RUNG_IMAGE] = "rung-image",
		[ROLL_EV_RUNG_COLD] = "rung-cold",
		[ROLL_EV_RESUMED] = "resumed",
		[ROLL_EV_RESTORED] = "restored",
		[ROLL_EV_RESTORE_FAILED] = "restore-failed",
		[ROLL_EV_STARTED] = "started",
		[ROLL_EV_TIMEOUT] = "timeout",
		[ROLL_EV_CANCEL] = "cancel",
	};
	return (unsigned)event < ROLL_EVENTS ? names[event] : "?";
}
