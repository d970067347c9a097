/* SPDX-License-Identifier: MIT */
/* What old and new say during a roll, turned into events. Nothing a process says is trusted further than its own roll. */
#include "supervisor/roll/roll.h"

#include <inttypes.h>
#include <string.h>

static const char *reason_of(const char *reason)
{
	return reason && *reason ? reason : "no reason given";
}

/* ---- old ---- */

/* Into custody, and on to new. Messages that wait to be sent refer to what lies in custody. */
static void hear_fds(struct roll *roll, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	int numbers[WIRE_FDS_MAX];
	size_t first = roll->custody.n, n = message->fds->n_fds;
	struct why why = { 0 };

	/* The hand-over follows Quiesced. What came before is of another roll's bake, in which old serves still. */
	if (!roll->old_stands && roll->on_aside) {
		roll->on_aside(roll, message, fds);
		return;
	}
	if (roll->state != ROLL_TRANSFER)
		return;
	if (custody_take(&roll->custody, message->fds, fds, &why) < 0) {
		roll_blame(roll, "version %s (pid %d): %s", roll->result.from, roll->old->child.pid, why.text);
		roll_happen(roll, ROLL_EV_OLD_REFUSED);
		return;
	}
	for (size_t i = 0; i < n; i++)
		numbers[i] = roll->custody.entries[first + i].fd;
	instance_send(roll->new, message, numbers, n);
	roll->result.fds = (uint32_t)roll->custody.n;
	/* Old stands still and new has not served: what the connections have carried up to here is the state at commit. */
	if (message->fds->last)
		custody_sample(&roll->custody, roll->site->conntable, &roll->before);
}

static void compare_totals(struct roll *roll)
{
	const Upgraded__Wire__Totals *saved = &roll->saved, *loaded = &roll->loaded;

	if (!roll->has_saved || !roll->has_loaded)
		return;
	if (saved->records != loaded->records || saved->digest_lo != loaded->digest_lo ||
	    saved->digest_hi != loaded->digest_hi || saved->payload_bytes != loaded->payload_bytes ||
	    roll->saved_fds != roll->loaded_fds) {
		roll_blame(roll,
			   "what was saved and what was loaded disagree: %" PRIu64 " and %" PRIu64
			   " records, %u and %u descriptors%s",
			   saved->records, loaded->records, roll->saved_fds, roll->loaded_fds,
			   saved->records == loaded->records ? ", digests differ" : "");
		roll_happen(roll, ROLL_EV_DISAGREE);
		return;
	}
	roll->result.records = saved->records;
	roll->result.state_bytes = saved->payload_bytes;
	roll->result.verified = roll->options.verify == VERIFY_ROUNDTRIP;
	roll_say(roll, "verify", roll->new->child.pid,
		 "counts and digests agree: %" PRIu64 " records, %" PRIu64 " bytes, %u descriptors%s",
		 saved->records, saved->payload_bytes, roll->saved_fds,
		 roll->result.verified ? "; the round trip back loses nothing" : "");
	roll_happen(roll, ROLL_EV_TRANSFERRED);
}

static void hear_quiesced(struct roll *roll, const Upgraded__Wire__Quiesced *quiesced)
{
	roll->old_stands = true;
	/* From here each of us has what it needs; copies here would hide the end of the stream from its reader. */
	roll_close_transfer(roll);
	roll_say(roll, "quiesce", roll->old->child.pid, "every thread of %s stands at an update point after %" PRIu64 " us",
		 roll->result.from, quiesced->nanoseconds / 1000);
	roll_happen(roll, ROLL_EV_QUIESCED);
}

static void hear_old_refused(struct roll *roll, const Upgraded__Wire__Refused *refused)
{
	const char *reason = refused->reason;

	/* Nobody reads old's state any more: new's own end is on its way to us, and says why. The deadline is for a new that
	 * closed its end and lives. */
	if (refused->reader_gone && roll->state == ROLL_TRANSFER && instance_is_alive(roll->new)) {
		roll_expect_soon(roll);
		return;
	}
	if (roll_has_committed(roll->state) && roll->state != ROLL_RESUME)
		log_warning("%s[%s %d]: cannot lie parked: %s", roll->old->service, roll->old->version, roll->old->child.pid,
			    reason_of(reason));
	else
		roll_blame(roll, "version %s (pid %d): %s", roll->result.from, roll->old->child.pid, reason_of(reason));
	roll_journal_hear_refused(roll, reason_of(reason));
	/* Before it stood, a refusal means that it never stopped serving. */
	if (!roll->old_stands)
		roll->old_goes_on = true;
	roll_happen(roll, ROLL_EV_OLD_REFUSED);
}

static void hear_resumed(struct roll *roll, const Upgraded__Wire__Resumed *resumed)
{
	roll->old_goes_on = true;
	roll->old_stands = false;
	roll->result.resume_us = resumed->at_us;
	roll_journal_hear_resumed(roll, resumed);
	if (roll->state == ROLL_TRANSFER || roll->state == ROLL_COMMIT)
		roll_blame(roll, "version %s (pid %d) went on by itself: the roll took too long", roll->result.from,
			   roll->old->child.pid);
	/* Before anybody is told of it: who looks then finds no connection that is neither kept nor reset. */
	custody_reset_given_up(&roll->custody);
	roll_happen(roll, ROLL_EV_RESUMED);
}

static void on_old_message(struct instance *old, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	struct roll *roll = old->owner;

	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_QUIESCED:
		hear_quiesced(roll, message->quiesced);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_NOT_YET:
		roll->old_goes_on = true;
		roll_happen(roll, ROLL_EV_NOT_YET);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED:
		hear_old_refused(roll, message->refused);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_FDS:
		hear_fds(roll, message, fds);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED:
		if (!message->saved->totals || roll->has_saved)
			break;
		roll->saved = *message->saved->totals;
		roll->saved_fds = message->saved->fds;
		roll->has_saved = true;
		roll_say(roll, "transfer", old->child.pid, "version %s saved %" PRIu64 " records", roll->result.from,
			 roll->saved.records);
		compare_totals(roll);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_PARKED:
		roll_happen(roll, ROLL_EV_PARKED);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_RESUMED:
		hear_resumed(roll, message->resumed);
		break;
	default: /* a pong or a close from before the roll: old news, unless another roll's bake is on */
		if (roll->on_aside)
			roll->on_aside(roll, message, fds);
		break;
	}
}

static void on_old_garbage(struct instance *old, const char *reason)
{
	struct roll *roll = old->owner;

	/* It may have been descriptors, for which there was no room: what is missing now will be missed at the end anyway. */
	if (roll->state == ROLL_QUIESCE || roll->state == ROLL_TRANSFER) {
		roll_blame(roll, "from version %s (pid %d): %s", old->version, old->child.pid, reason);
		roll_happen(roll, ROLL_EV_OLD_REFUSED);
		return;
	}
	log_warning("%s[%s %d]: %s; ignored", old->service, old->version, old->child.pid, reason);
}

static void on_old_exit(struct instance *old)
{
	struct roll *roll = old->owner;
	char how[64];

	child_describe(&old->child, how, sizeof(how));
	if (roll->state < ROLL_COMMIT)
		roll_blame(roll, "version %s (pid %d) %s during the roll", old->version, old->child.pid, how);
	roll->old_stands = false;
	/* All it had is in new already: as long as that lives, nothing is lost but the way back. */
	if (roll->state == ROLL_TRANSFER && roll->has_saved)
		return;
	if (roll->state == ROLL_BAKE || roll->state == ROLL_BACKWARD)
		roll->result.way_back = roll->image ? "image" : "none";
	roll_happen(roll, ROLL_EV_OLD_GONE);
}

/* ---- new ---- */

static void hear_standby(struct roll *roll)
{
	struct why why = { 0 };

	if (roll->state == ROLL_COLD) {
		Upgraded__Wire__Welcome welcome = UPGRADED__WIRE__WELCOME__INIT;
		Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_WELCOME, .welcome = &welcome);

		welcome.protocol = WIRE_PROTOCOL;
		welcome.service = roll->new->service;
		welcome.fresh = true;
		instance_send(roll->new, &message, NULL, 0);
		return;
	}
	if (roll->state != ROLL_STANDBY)
		return;
	if (roll_compatible(roll, &why) < 0) {
		roll_blame(roll, "%s", why.text);
		roll_happen(roll, ROLL_EV_INCOMPATIBLE);
		return;
	}
	roll_say(roll, "standby", roll->new->child.pid, "version %s is ready to receive", roll->result.to);
	roll_happen(roll, ROLL_EV_STANDBY);
}

static void hear_committed(struct roll *roll, uint64_t at_us)
{
	uint64_t now = clock_now_us();

	if (roll->state != ROLL_COMMIT && roll->state != ROLL_SETTLE)
		return;
	/* The word is the truth, the message only news of it. */
	if (commit_owner(&roll->word) != COMMIT_NEW) {
		roll_blame(roll, "version %s (pid %d) claims a commit that the commit word does not show", roll->result.to,
			   roll->new->child.pid);
		roll_happen(roll, ROLL_EV_NEW_REFUSED);
		return;
	}
	roll->result.commit_us = at_us >= roll->prepared_us && at_us <= now ? at_us : now;
	roll_happen(roll, ROLL_EV_COMMITTED);
}

static void hear_closed(struct roll *roll, const Upgraded__Wire__Closed *closed)
{
	/* Before it serves it has closed nothing of old's, and messages that still wait may borrow what it names. */
	if (!roll_has_committed(roll->state))
		return;
	for (size_t i = 0; i < closed->n_fds; i++)
		custody_drop(&roll->custody, closed->fds[i]->name, closed->fds[i]->tag);
	roll->result.closed += (uint32_t)closed->n_fds;
}

void roll_hear_new(struct roll *roll, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_CLOSED:
		hear_closed(roll, message->closed);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_FDS:
		roll_journal_hear_fds(roll, message->fds, fds);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_FULL:
		roll_journal_hear_full(roll, message->journal_full->bytes);
		break;
	default:
		log_warning("%s: %s from version %s does not belong here; ignored", roll->unit->name, wire_app_name(message),
			    roll->result.to);
	}
}

static void on_new_message(struct instance *new, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	struct roll *roll = new->owner;

	if (!new->hello) {
		roll_blame(roll, "version %s (pid %d) spoke before it said hello", roll->result.to, new->child.pid);
		roll_happen(roll, ROLL_EV_NEW_REFUSED);
		return;
	}
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_STANDBY:
		hear_standby(roll);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_READY:
		if (roll->state == ROLL_COLD)
			roll_happen(roll, ROLL_EV_STARTED);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED:
		roll_blame(roll, "version %s (pid %d) refused to take over: %s", roll->result.to, new->child.pid,
			   reason_of(message->refused->reason));
		roll_happen(roll, ROLL_EV_NEW_REFUSED);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_LOADED:
		if (!message->loaded->totals || roll->has_loaded)
			break;
		roll->loaded = *message->loaded->totals;
		roll->loaded_fds = message->loaded->fds;
		roll->has_loaded = true;
		compare_totals(roll);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_COMMITTED:
		hear_committed(roll, message->committed->at_us);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_PONG:
		health_pong(&roll->health);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_START_PROGRESS:
		roll_start_progresses(roll, message->start_progress->text);
		health_progress(&roll->health, message->start_progress->text);
		break;
	default:
		roll_hear_new(roll, message, fds);
	}
}

static void on_new_garbage(struct instance *new, const char *reason)
{
	struct roll *roll = new->owner;

	/* Once it serves, its connections count for more than its manners. */
	if (roll_has_committed(roll->state) && roll->state != ROLL_COLD) {
		log_warning("%s[%s %d]: %s; ignored", new->service, new->version, new->child.pid, reason);
		return;
	}
	roll_blame(roll, "version %s (pid %d): %s", new->version, new->child.pid, reason);
	roll_happen(roll, ROLL_EV_NEW_REFUSED);
}

static void on_new_exit(struct instance *new)
{
	struct roll *roll = new->owner;
	char how[64];

	if (!roll->result.died_us)
		roll->result.died_us = new->exited_us;
	roll_blame(roll, "version %s (pid %d) %s", new->version, new->child.pid, child_describe(&new->child, how, sizeof(how)));
	roll_happen(roll, ROLL_EV_NEW_GONE);
}

const struct instance_events roll_old_events = {
	.on_message = on_old_message, .on_garbage = on_old_garbage, .on_exit = on_old_exit
};
const struct instance_events roll_new_events = {
	.on_message = on_new_message, .on_garbage = on_new_garbage, .on_exit = on_new_exit
};
