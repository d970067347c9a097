/* SPDX-License-Identifier: MIT */
#include "supervisor/roll/state.h"

#define TO(next_state, what) { .legal = true, .next = ROLL_##next_state, .action = ROLL_DO_##what }

/* Nothing to do: a late message about what is settled already, or one whose consequence comes as another event. */
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
		[ROLL_EV_SAVED] = TO(LOADING, NOTHING),
		[ROLL_EV_OLD_REFUSED] = TO(SETTLE, SETTLE),
		[ROLL_EV_NEW_REFUSED] = TO(SETTLE, SETTLE),
		[ROLL_EV_NEW_GONE] = TO(SETTLE, SETTLE),
		[ROLL_EV_OLD_GONE] = TO(RETREAT, KILL_NEW),
		[ROLL_EV_RESUMED] = TO(SETTLE, SETTLE), /* old called it off by its own deadline */
		[ROLL_EV_TIMEOUT] = TO(SETTLE, SETTLE),
		[ROLL_EV_CANCEL] = TO(SETTLE, SETTLE),
	},
	[ROLL_LOADING] = {
		[ROLL_EV_TRANSFERRED] = TO(COMMIT, COMMIT),
		[ROLL_EV_DISAGREE] = TO(SETTLE, SETTLE),
		[ROLL_EV_OLD_REFUSED] = TO(SETTLE, SETTLE),
		[ROLL_EV_NEW_REFUSED] = TO(SETTLE, SETTLE),
		[ROLL_EV_NEW_GONE] = TO(SETTLE, SETTLE),
		[ROLL_EV_OLD_GONE] = STAY(LOADING), /* all it had is on its way into new: only a way back is lost */
		[ROLL_EV_RESUMED] = TO(SETTLE, SETTLE),
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
		[ROLL_EV_QUIESCED] = TO(ABORT, AWAIT_OLD),
		[ROLL_EV_NOT_YET] = TO(ABORT, CHECK_ABORTED),
		[ROLL_EV_SERVES_ON] = TO(ABORT, CHECK_ABORTED),
		[ROLL_EV_SAVED] = STAY(ABORT),
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
		[ROLL_EV_ACCEPT] = STAY(PARK),
		[ROLL_EV_ONWARD] = STAY(PARK),
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
		[ROLL_EV_ACCEPT] = STAY(IMAGE),
		[ROLL_EV_ONWARD] = STAY(IMAGE),
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
		[ROLL_EV_ACCEPT] = TO(BAKE, PROVE),
		[ROLL_EV_ONWARD] = TO(ONWARD, ONWARD),
		[ROLL_EV_GIVE_UP] = TO(RETREAT, KILL_NEW),
		[ROLL_EV_PACK] = TO(PACK, PACK),
		[ROLL_EV_OLD_GONE] = STAY(BAKE), /* a way back less */
		[ROLL_EV_OLD_REFUSED] = STAY(BAKE),
	},
	[ROLL_PACK] = {
		[ROLL_EV_IMAGED] = TO(BAKE, BAKE),
		[ROLL_EV_IMAGE_FAILED] = TO(BAKE, BAKE),
		[ROLL_EV_OLD_GONE] = STAY(PACK), /* as the dump's last step, or we learn of it by the dump */
		[ROLL_EV_OLD_REFUSED] = STAY(PACK),
		[ROLL_EV_NEW_GONE] = TO(RETREAT_IMAGING, NOTHING),
		[ROLL_EV_NEW_REFUSED] = TO(RETREAT_IMAGING, KILL_NEW),
		[ROLL_EV_UNHEALTHY] = TO(RETREAT_IMAGING, KILL_NEW),
		[ROLL_EV_BAKED] = STAY(PACK), /* the bake goes on first, and ends as its time is over then */
		[ROLL_EV_SICK] = STAY(PACK), /* remembered until the bake goes on */
		[ROLL_EV_UNDO] = STAY(PACK),
		[ROLL_EV_ACCEPT] = STAY(PACK),
		[ROLL_EV_ONWARD] = STAY(PACK),
		[ROLL_EV_CANCEL] = STAY(PACK),
	},
	[ROLL_BACKWARD] = {
		[ROLL_EV_TURNED] = TO(TURNED, END),
		[ROLL_EV_BACKWARD_OFF] = TO(BAKE, BAKE),
		[ROLL_EV_NEW_GONE] = TO(RETREAT, CHOOSE),
		[ROLL_EV_OLD_GONE] = STAY(BACKWARD),
		[ROLL_EV_OLD_REFUSED] = STAY(BACKWARD),
		[ROLL_EV_CANCEL] = STAY(BACKWARD), /* the roll under way is what can be called off; this is remembered */
	},
	[ROLL_ONWARD] = {
		[ROLL_EV_TURNED] = TO(PASSED, END),
		[ROLL_EV_BACKWARD_OFF] = TO(BAKE, BAKE),
		[ROLL_EV_NEW_GONE] = TO(RETREAT, CHOOSE),
		[ROLL_EV_OLD_GONE] = STAY(ONWARD),
		[ROLL_EV_OLD_REFUSED] = STAY(ONWARD),
		[ROLL_EV_CANCEL] = STAY(ONWARD),
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
		[ROLL_EV_PARKED] = STAY(RESUME), /* was on its way when Resume left */
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
	if ((unsigned)state >= ROLL_STATES || (unsigned)event >= ROLL_EVENTS || !table[state][event].legal)
		return (struct roll_step){ .legal = false, .next = state };
	return table[state][event];
}

bool roll_accepts(enum roll_state state, enum roll_event event)
{
	return roll_step(state, event).legal;
}

#define COMMITTED .committed = true

/* Between two versions, or two lives of one, nobody serves; in BACKWARD and ONWARD the roll beside this one knows who does. */
static const struct roll_facts rows[ROLL_STATES] = {
	[ROLL_STANDBY] = { .name = "standby", .shown = "standby", .serves = ROLL_OLD, .patience = PATIENCE_START },
	[ROLL_DISMISS] = { .name = "dismiss", .serves = ROLL_OLD, .patience = PATIENCE_SOON },
	[ROLL_QUIESCE] = { .name = "quiesce", .shown = "quiesce", .patience = PATIENCE_QUIESCE },
	[ROLL_TRANSFER] = { .name = "transfer", .shown = "transfer", .patience = PATIENCE_TRANSFER },
	[ROLL_LOADING] = { .name = "loading", .shown = "transfer", .patience = PATIENCE_AS_BEFORE },
	[ROLL_COMMIT] = { .name = "commit", .shown = "commit", .patience = PATIENCE_SOON },
	[ROLL_SETTLE] = { .name = "settle" },
	[ROLL_ABORT] = { .name = "abort", .shown = "abort", .serves = ROLL_OLD, .patience = PATIENCE_ABORT },
	[ROLL_PARK] = { .name = "park", .shown = "park", COMMITTED, .counts_rungs = true, .serves = ROLL_NEW,
			.patience = PATIENCE_PARK,
			.watches = ROLL_WATCH_HEALTH | ROLL_WATCH_BAKE },
	[ROLL_IMAGE] = { .name = "image", .shown = "image", COMMITTED, .counts_rungs = true, .serves = ROLL_NEW,
			 .patience = PATIENCE_ELSEWHERE,
			 .watches = ROLL_WATCH_HEALTH | ROLL_WATCH_BAKE },
	[ROLL_BAKE] = { .name = "bake", .shown = "bake", COMMITTED, .counts_rungs = true, .serves = ROLL_NEW,
			 .patience = PATIENCE_ELSEWHERE,
			.watches = ROLL_WATCH_HEALTH | ROLL_WATCH_BAKE | ROLL_WATCH_MEMORY },
	[ROLL_PACK] = { .name = "pack", .shown = "image", COMMITTED, .counts_rungs = true, .serves = ROLL_NEW,
			 .patience = PATIENCE_ELSEWHERE,
			.watches = ROLL_WATCH_HEALTH | ROLL_WATCH_BAKE },
	[ROLL_BACKWARD] = { .name = "backward", .shown = "undo", COMMITTED, .counts_rungs = true, .patience = PATIENCE_ELSEWHERE },
	[ROLL_ONWARD] = { .name = "onward", .shown = "roll", COMMITTED, .counts_rungs = true, .patience = PATIENCE_ELSEWHERE },
	[ROLL_RETREAT] = { .name = "retreat", COMMITTED, .patience = PATIENCE_PARK },
	[ROLL_RETREAT_IMAGING] = { .name = "retreat-imaging", COMMITTED, .counts_rungs = true, .patience = PATIENCE_SOON },
	[ROLL_RESUME] = { .name = "resume", .shown = "resume", COMMITTED, .patience = PATIENCE_RESUME },
	[ROLL_RESTORE] = { .name = "restore", .shown = "restore", COMMITTED, .patience = PATIENCE_ELSEWHERE },
	[ROLL_COLD] = { .name = "cold", .shown = "cold", COMMITTED, .patience = PATIENCE_START },
	[ROLL_DONE] = { .name = "done", COMMITTED, .keeps_image = true, .serves = ROLL_NEW, .outcome = ROLL_IS_DONE },
	[ROLL_REFUSED] = { .name = "refused", .serves = ROLL_OLD, .outcome = ROLL_IS_REFUSED },
	[ROLL_ABORTED] = { .name = "aborted", .serves = ROLL_OLD, .outcome = ROLL_IS_ABORTED },
	[ROLL_ROLLED_BACK] = { .name = "rolled-back", COMMITTED, .serves = ROLL_OLD, .outcome = ROLL_IS_BACK_PARKED },
	[ROLL_TURNED] = { .name = "turned", COMMITTED, .outcome = ROLL_IS_BACK_LIVE },
	[ROLL_PASSED] = { .name = "passed", COMMITTED, .keeps_image = true, .outcome = ROLL_IS_DONE },
	/* After a way back that failed the image is kept, too: it may be the last that is left of the state. */
	[ROLL_COLD_STARTED] = { .name = "cold-started", COMMITTED, .keeps_image = true, .serves = ROLL_NEW,
				.outcome = ROLL_IS_COLD },
	[ROLL_FAILED] = { .name = "failed", COMMITTED, .keeps_image = true, .outcome = ROLL_IS_FAILED },
};

const struct roll_facts *roll_facts(enum roll_state state)
{
	static const struct roll_facts none = { .name = "?" };

	return (unsigned)state < ROLL_STATES ? &rows[state] : &none;
}

bool roll_is_over(enum roll_state state)
{
	return roll_facts(state)->outcome != ROLL_IS_UNDER_WAY;
}

bool roll_has_committed(enum roll_state state)
{
	return roll_facts(state)->committed;
}

const char *roll_state_name(enum roll_state state)
{
	return roll_facts(state)->name;
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
		[ROLL_EV_SAVED] = "saved",
		[ROLL_EV_TRANSFERRED] = "transferred",
		[ROLL_EV_DISAGREE] = "disagree",
		[ROLL_EV_COMMITTED] = "committed",
		[ROLL_EV_ABORT_WON] = "abort-won",
		[ROLL_EV_SERVES_ON] = "serves-on",
		[ROLL_EV_ABORT_COMPLETE] = "abort-complete",
		[ROLL_EV_PARKED] = "parked",
		[ROLL_EV_NO_WAY_BACK] = "no-way-back",
		[ROLL_EV_IMAGED] = "imaged",
		[ROLL_EV_IMAGE_FAILED] = "image-failed",
		[ROLL_EV_UNHEALTHY] = "unhealthy",
		[ROLL_EV_SICK] = "sick",
		[ROLL_EV_BAKED] = "baked",
		[ROLL_EV_ACCEPT] = "accept",
		[ROLL_EV_ONWARD] = "onward",
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
