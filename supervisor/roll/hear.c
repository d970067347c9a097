/* SPDX-License-Identifier: MIT */
/* What old and new say during a roll becomes events. Nothing a process says is trusted further than its own roll: a message whose
 * event has no cell in the present state has no effect. */
#include "supervisor/roll/private.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define COUNTS_MAX 64u /* likewise */
#define SKIPPED_MAX 16u /* types in one message: no more are told by the library */
#define TELL_WAIT_US USEC_PER_SEC
#define CLOSED_MAX 256u /* the library tells no more of them in one message; for each the custody is searched */

static const char *reason_of(const char *reason)
{
	return reason && *reason ? reason : "no reason given";
}

/* Return: true if @event may come now; otherwise @speaker said what it must not say, and that is logged. */
static bool belongs(const struct roll *roll, const struct instance *speaker, enum roll_event event)
{
	if (roll_accepts(roll->record.state, event))
		return true;
	log_instance(WARNING, speaker, "its message (%s) does not belong in %s; ignored", roll_event_name(event),
		     roll_phase(roll));
	return false;
}

/* ---- state: what was saved, and what was loaded ---- */

static void note_totals(struct roll_totals *at, const Upgraded__Wire__Totals *totals, uint32_t fds)
{
	*at = (struct roll_totals){
		.told = true,
		.records = totals->records,
		.payload_bytes = totals->payload_bytes,
		.digest_lo = totals->digest_lo,
		.digest_hi = totals->digest_hi,
		.fds = fds,
	};
}

static bool same_content(const struct roll_totals *a, const struct roll_totals *b)
{
	return a->payload_bytes == b->payload_bytes && a->digest_lo == b->digest_lo && a->digest_hi == b->digest_hi;
}

static bool agree(const struct roll_totals *a, const struct roll_totals *b)
{
	return a->records == b->records && a->fds == b->fds && same_content(a, b);
}

static void compare_totals(struct roll *roll)
{
	const struct roll_totals *saved = &roll->saved, *loaded = &roll->loaded;

	if (!saved->told || !loaded->told || roll->record.state != ROLL_LOADING)
		return;
	if (!agree(saved, loaded)) {
		roll_blame(roll,
			   "what was saved and what was loaded disagree: %" PRIu64 " and %" PRIu64
			   " records, %u and %u descriptors%s",
			   saved->records, loaded->records, saved->fds, loaded->fds,
			   saved->records == loaded->records && !same_content(saved, loaded) ? ", digests differ" : "");
		roll_happen(roll, ROLL_EV_DISAGREE);
		return;
	}
	roll->report.wire.counted = true;
	roll->report.wire.records = saved->records;
	roll->report.wire.state_bytes = saved->payload_bytes;
	roll->report.wire.verified = roll->options.verify == VERIFY_ROUNDTRIP;
	roll_say(roll, "verify", roll->new,
		 "counts and digests agree: %" PRIu64 " records, %" PRIu64 " bytes, %u descriptors%s",
		 saved->records, saved->payload_bytes, saved->fds,
		 roll->report.wire.verified ? "; the round trip back loses nothing" : "");
	roll_happen(roll, ROLL_EV_TRANSFERRED);
}

/* ---- old ---- */

/* Into custody, and on to new. */
static void hear_fds(struct roll *roll, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	size_t first = roll->custody.n;
	struct why why = { 0 };

	if (roll->record.state != ROLL_TRANSFER)
		return;
	if (roll_take_fds(roll, message->fds, fds, &why) < 0) {
		roll_blame(roll, "version %s (pid %d): %s", roll->record.from, roll->old->pid, why.text);
		roll_happen(roll, ROLL_EV_OLD_REFUSED);
		return;
	}
	roll->next_tag = message->fds->next_tag;
	roll_hand_on(roll, first, message->fds->last && !roll->options.kept);
	roll->report.wire.fds = (uint32_t)roll->custody.n;
	if (!message->fds->last)
		return;
	/* Old stands still and new has not served: what the connections have carried up to here is their state at the commit. */
	conn_sample_done(&roll->before);
	custody_sample(&roll->custody, roll->site->conntable, &roll->before);
	fd_names_note(&roll->handed, &roll->custody);
	if (roll->options.kept)
		roll_hand_on(roll, roll_lend_kept(roll), true);
}

/* Where old says when its attempt began, that is the truth, as it may have served for a while with the question unread. */
static void note_stop(struct roll *roll, uint64_t begun_us)
{
	struct roll_record *record = &roll->record;

	if (begun_us > record->stops_us && begun_us <= clock_now_us())
		record->stops_us = begun_us;
	roll->report.wire.waited_us = roll->report.wire.asked > 1 ? record->stops_us - record->prepared_us : 0;
}

/* Return: @buf, to be put behind a sentence; "" if it was ready at once. */
static const char *waiting_text(const struct roll *roll, char *buf, size_t size)
{
	const Upgraded__Wire__RollReport *report = &roll->report.wire;

	*buf = 0;
	if (report->asked > 1)
		snprintf(buf, size, "; it was asked %" PRIu32 " times in %" PRIu64 " ms until it was ready", report->asked,
			 report->waited_us / 1000);
	return buf;
}

static void hear_quiesced(struct roll *roll, const Upgraded__Wire__Quiesced *quiesced)
{
	uint64_t most = roll->unit->quiesce_timeout_us, took = quiesced->nanoseconds / 1000;
	char waited[96];

	/* Once: what it says again buys it no more time. */
	if (!belongs(roll, roll->old, ROLL_EV_QUIESCED) || roll->record.old == OLD_STANDS)
		return;
	roll->record.old = OLD_STANDS;
	note_stop(roll, quiesced->begun_us);
	roll->phase.quiesce_us = took < most ? took : most; /* whatever it says */
	/* From here on both processes have their ends of the pipe; copies here would hide the end of the stream from its reader. */
	roll_close_pipe(roll);
	roll_say(roll, "quiesce", roll->old, "all threads of %s stopped after %" PRIu64 " us%s",
		 roll->record.from, roll->phase.quiesce_us, waiting_text(roll, waited, sizeof(waited)));
	roll_happen(roll, ROLL_EV_QUIESCED);
}

static void hear_saved(struct roll *roll, const Upgraded__Wire__Saved *saved)
{
	if (!saved->totals || roll->saved.told || !belongs(roll, roll->old, ROLL_EV_SAVED))
		return;
	note_totals(&roll->saved, saved->totals, saved->fds + roll->n_lent - roll->n_withheld);
	roll->answered_before = saved->traffic && saved->traffic->answered;
	roll_say(roll, "transfer", roll->old, "version %s saved %" PRIu64 " records", roll->record.from, roll->saved.records);
	roll_happen(roll, ROLL_EV_SAVED);
	compare_totals(roll);
}

static void hear_old_refused(struct roll *roll, const Upgraded__Wire__Refused *refused)
{
	const char *reason = reason_of(refused->reason);
	const struct instance *old = roll->old;

	if (!belongs(roll, old, ROLL_EV_OLD_REFUSED))
		return;
	/* Nobody reads old's state any more: new's own end is on its way to us, and says why. The deadline is for a new that
	 * closed its end and lives. */
	if (refused->reader_gone && roll->record.state == ROLL_TRANSFER) {
		roll->reader_gone = true;
		roll_expect_soon(roll);
		return;
	}
	if (roll->record.state == ROLL_RESUME)
		roll_note(roll, "resume", old, "version %s (pid %d) does not come back: %s", roll->record.from, old->pid, reason);
	else if (roll_is_committed(roll))
		log_instance(WARNING, old, "cannot lie parked: %s", reason);
	else
		roll_blame(roll, "version %s (pid %d): %s", roll->record.from, old->pid, reason);
	roll_journal_hear_refused(roll, reason);
	/* A refusal before Quiesced: old never stopped serving. */
	if (roll->record.old == OLD_ASKED)
		roll->record.old = OLD_GOES_ON;
	roll_happen(roll, ROLL_EV_OLD_REFUSED);
}

/* Why it is not ready: for the report, and told when it is another reason, but not every time that it is asked. */
static void note_wait(struct roll *roll)
{
	const struct rest *rest = &roll->rest;
	struct why *last = &roll->report.waited_for;
	uint64_t now_us = clock_now_us();
	char most[28];

	roll->report.wire.waited_us = now_us - roll->record.prepared_us;
	roll->report.wire.child = rest->child_us ? rest->child : 0;
	roll->report.wire.child_since_us = rest->child_us;
	if (strcmp(rest->reason.text, last->text) == 0)
		return;
	*last = rest->reason;
	if (!*last->text || (roll->told_wait_us && now_us - roll->told_wait_us < TELL_WAIT_US))
		return;
	roll->told_wait_us = now_us;
	if (rest->child_us)
		roll_say(roll, "quiesce", roll->old, "version %s waits for %s; it has %s for that (ChildTimeout=)",
			 roll->record.from, last->text, rest_child_timeout(rest, most, sizeof(most)));
	else
		roll_say(roll, "quiesce", roll->old, "version %s is not ready yet: %s", roll->record.from, last->text);
}

static void hear_not_yet(struct roll *roll, const Upgraded__Wire__NotYet *not_yet)
{
	if (!belongs(roll, roll->old, ROLL_EV_NOT_YET))
		return;
	/* One answer to each question. */
	if (roll->record.old != OLD_ASKED)
		return;
	roll->record.old = OLD_GOES_ON;
	if (roll->record.state == ROLL_QUIESCE) {
		rest_hear(&roll->rest, roll->old, not_yet);
		note_wait(roll);
	}
	roll_happen(roll, ROLL_EV_NOT_YET);
}

static void hear_resumed(struct roll *roll, const Upgraded__Wire__Resumed *resumed)
{
	/* In RETREAT it comes too late: the next rung counts what goes on and what is reset anew. */
	if (!belongs(roll, roll->old, ROLL_EV_RESUMED) || roll->record.state == ROLL_RETREAT)
		return;
	if (!roll->record.commit_us && roll->record.old != OLD_SPENT) {
		if (roll->record.stops_us && resumed->at_us > roll->record.stops_us && resumed->at_us <= clock_now_us())
			roll->report.wire.pause_us = resumed->at_us - roll->record.stops_us; /* clients waited, for nothing */
		roll->record.old = OLD_GOES_ON;
		if (roll->record.state != ROLL_ABORT)
			roll_blame(roll, "version %s (pid %d) went on by itself: the roll took too long", roll->record.from,
				   roll->old->pid);
	}
	roll->report.wire.resume_us = resumed->at_us;
	for (size_t i = 0; i < resumed->n_missed && i < CLOSED_MAX && roll->record.state == ROLL_RESUME; i++)
		roll_note_missed(roll, resumed->missed[i]->name, resumed->missed[i]->tag);
	roll_journal_hear_resumed(roll, resumed);
	/* Before anybody is told of it: who looks then finds no connection that is neither kept nor reset. */
	custody_reset_given_up(&roll->custody);
	roll_happen(roll, ROLL_EV_RESUMED);
}

static void hear_parked(struct roll *roll, const Upgraded__Wire__Parked *parked)
{
	if (!belongs(roll, roll->old, ROLL_EV_PARKED))
		return;
	/* Threads that the library does not know run until here. On the way back it is about to be told to go on. */
	if (parked->still && roll->record.state == ROLL_PARK)
		instance_stop(roll->old);
	if (roll->record.old == OLD_STANDS)
		roll->record.old = OLD_PARKED;
	roll_happen(roll, ROLL_EV_PARKED);
}

static bool old_stands(const struct roll *roll)
{
	return roll->record.old != OLD_SERVES && roll->record.old != OLD_ASKED && roll->record.old != OLD_GOES_ON;
}

static void send_expected(struct roll *roll, const Upgraded__Wire__Inventory *inventory)
{
	Upgraded__Wire__Expected expected = UPGRADED__WIRE__EXPECTED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_EXPECTED, .expected = &expected);

	roll->expects = false;
	if (inventory) {
		expected.n_counts = inventory->n_counts < COUNTS_MAX ? inventory->n_counts : COUNTS_MAX;
		expected.counts = inventory->counts;
	}
	if (instance_is_alive(roll->new))
		instance_send(roll->new, &message, NULL, 0);
}

static void on_old_message(struct instance *old, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	struct roll *roll = old->owner;

	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_QUIESCED:
		hear_quiesced(roll, message->quiesced);
		return;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_NOT_YET:
		hear_not_yet(roll, message->not_yet);
		return;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED:
		hear_old_refused(roll, message->refused);
		return;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED:
		hear_saved(roll, message->saved);
		return;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_PARKED:
		hear_parked(roll, message->parked);
		return;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_RESUMED:
		hear_resumed(roll, message->resumed);
		return;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_FDS:
		if (!old_stands(roll) && roll->events->on_early)
			break;
		/* The hand-over follows Quiesced. What came before is of another roll's bake, in which old serves still. */
		if (old_stands(roll) || !roll->events->on_aside) {
			hear_fds(roll, message, fds);
			return;
		}
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_INVENTORY:
		if (!roll->expects)
			break;
		if (message->inventory->last)
			send_expected(roll, message->inventory);
		return;
	default: /* a pong or a close from before the roll: old news, unless another roll's bake is on */
		break;
	}
	if (roll->events->on_early && !old_stands(roll))
		roll->events->on_early(roll, message, fds);
	if (roll->events->on_aside)
		roll->events->on_aside(roll, message, fds);
}

static void on_old_garbage(struct instance *old, const char *reason)
{
	struct roll *roll = old->owner;

	if (roll->events->on_early_garbage && !old_stands(roll))
		roll->events->on_early_garbage(roll, reason);
	/* It may have been descriptors, for which there was no room: where a refusal would call the roll off, this does, since
	 * what is missing now will be missed at the end anyway. */
	if (roll_step(roll->record.state, ROLL_EV_OLD_REFUSED).action == ROLL_DO_SETTLE) {
		roll_blame(roll, "from version %s (pid %d): %s", old->version, old->pid, reason);
		roll_happen(roll, ROLL_EV_OLD_REFUSED);
		return;
	}
	log_instance(WARNING, old, "%s; ignored", reason);
}

/* Nobody wanted it to end: we wait for the end of old's use, and not for CRIU, which ends it when it was imaged. */
static bool is_unexpected(const struct roll *roll)
{
	enum roll_state state = roll->record.state;
	bool waits = state == ROLL_PARK || state == ROLL_BAKE || state == ROLL_BACKWARD || state == ROLL_ONWARD ||
		     (state == ROLL_IMAGE && roll->options.rollback == ROLLBACK_AUTO);

	return waits && (roll->record.old == OLD_STANDS || roll->record.old == OLD_PARKED);
}

static void on_old_exit(struct instance *old)
{
	struct roll *roll = old->owner;
	char how[INSTANCE_END_BYTES];
	bool lost;

	/* A cause, if anything comes of it. */
	if (!roll->record.commit_us && roll_step(roll->record.state, ROLL_EV_OLD_GONE).action != ROLL_DO_NOTHING)
		roll_blame_old(roll, "version %s (pid %d) %s during the roll", old->version, old->pid,
			       instance_describe_end(old, how, sizeof(how)));
	if (roll->record.state == ROLL_RESUME)
		roll_note(roll, "resume", old, "version %s (pid %d) does not come back: it %s", old->version, old->pid,
			 instance_describe_end(old, how, sizeof(how)));
	lost = is_unexpected(roll);
	roll->record.old = OLD_SPENT;
	roll_rungs_changed(roll);
	if (lost)
		roll_lost_rung(roll, old, "the %s of version %s %s",
			       roll->record.moves_nothing ? "process" : "parked process", old->version,
			       instance_describe_end(old, how, sizeof(how)));
	roll_happen(roll, ROLL_EV_OLD_GONE);
}

/* ---- new ---- */

static void blame_new(struct roll *roll, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* In COLD new is the fresh process: what keeps it from serving is not what the roll failed of, and is told beside that. */
static void blame_new(struct roll *roll, const char *fmt, ...)
{
	struct why why;
	va_list args;

	va_start(args, fmt);
	vsnprintf(why.text, sizeof(why.text), fmt, args);
	va_end(args);
	if (roll->record.state == ROLL_COLD)
		roll_say(roll, "cold", roll->new, "%s", why.text);
	else
		roll_blame(roll, "%s", why.text);
}

static void welcome_cold(struct roll *roll)
{
	struct why why = { 0 };

	if (instance_knows_listen(roll->new, &why) < 0) {
		blame_new(roll, "%s", why.text);
		roll_happen(roll, ROLL_EV_NEW_REFUSED);
		return;
	}
	instance_welcome(roll->new);
}

static void hear_standby(struct roll *roll)
{
	struct why why = { 0 };

	if (roll->record.state == ROLL_COLD) {
		if (!roll->new->stood_by)
			welcome_cold(roll);
		roll->new->stood_by = true;
		return;
	}
	/* In DISMISS it comes too late, and nobody is to hear that this version is ready. */
	if (!belongs(roll, roll->new, ROLL_EV_STANDBY) || roll->record.state != ROLL_STANDBY)
		return;
	if (roll_compatible(roll, &why) < 0 || roll_others_read(roll, &why) < 0) {
		roll_blame(roll, "%s", why.text);
		roll_happen(roll, ROLL_EV_INCOMPATIBLE);
		return;
	}
	roll_say(roll, "standby", roll->new, roll->record.moves_nothing ? "version %s is ready" : "version %s is ready to receive",
		 roll->record.to);
	roll_happen(roll, ROLL_EV_STANDBY);
}

/* Old is asked while it serves. Where it is late, new goes on without. */
static void hear_ask_expected(struct roll *roll)
{
	if (roll->record.state != ROLL_STANDBY || !instance_is_alive(roll->old)) {
		send_expected(roll, NULL);
		return;
	}
	if (!roll->expects)
		instance_ask_inventory(roll->old);
	roll->expects = true;
}

static void hear_loaded(struct roll *roll, const Upgraded__Wire__Loaded *loaded)
{
	if (!loaded->totals || roll->loaded.told)
		return;
	note_totals(&roll->loaded, loaded->totals, loaded->fds);
	for (size_t i = 0; i < loaded->n_left && i < CLOSED_MAX; i++)
		roll_note_left(roll, loaded->left[i]->name, loaded->left[i]->tag);
	for (size_t i = 0; i < loaded->n_skipped && i < SKIPPED_MAX; i++)
		roll_note_skipped(roll, loaded->skipped[i]);
	compare_totals(roll);
}

static void hear_committed(struct roll *roll, uint64_t at_us)
{
	uint64_t now = clock_now_us();

	/* Often it comes when the commit word was read already. */
	if (!roll_accepts(roll->record.state, ROLL_EV_COMMITTED))
		return;
	/* The commit word is the truth, the message only news of it. */
	if (commit_owner(&roll->word->word) != COMMIT_NEW) {
		roll_blame(roll, "version %s (pid %d) claims a commit that the commit word does not show", roll->record.to,
			   roll->new->pid);
		roll_happen(roll, ROLL_EV_NEW_REFUSED);
		return;
	}
	roll->record.commit_us = at_us >= roll->record.stops_us && at_us <= now ? at_us : now;
	roll_happen(roll, ROLL_EV_COMMITTED);
}

static void hear_closed(struct roll *roll, const Upgraded__Wire__Closed *closed)
{
	/* Before it serves it has closed nothing of old's. */
	if (!roll_is_committed(roll))
		return;
	custody_closed(&roll->custody, closed->fds, closed->n_fds < CLOSED_MAX ? closed->n_fds : CLOSED_MAX);
}

static void hear_new_refused(struct roll *roll, const char *reason)
{
	if (!belongs(roll, roll->new, ROLL_EV_NEW_REFUSED))
		return;
	blame_new(roll, "version %s (pid %d) refused to %s: %s", roll->new->version, roll->new->pid,
		  roll->record.state == ROLL_COLD ? "start" : "take over", reason);
	roll_happen(roll, ROLL_EV_NEW_REFUSED);
}

void roll_hear_serving(struct roll *roll, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_CLOSED:
		hear_closed(roll, message->closed);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_FDS:
		roll_journal_hear_fds(roll, message->fds, fds);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_FULL:
		roll_journal_hear_full(roll, message->journal_full);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_GAPS:
		roll_journal_hear_gaps(roll, message->journal_gaps);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_TRAFFIC:
		roll->traffic.unanswered = message->traffic->unanswered;
		roll->traffic.answered = message->traffic->answered;
		break;
	default:
		log_service(WARNING, roll->unit->name, "%s from version %s does not belong here; ignored",
			    wire_app_name(message), roll->record.to);
	}
}

static void on_new_message(struct instance *new, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	struct roll *roll = new->owner;

	if (!new->hello) {
		if (!belongs(roll, new, ROLL_EV_NEW_REFUSED))
			return;
		blame_new(roll, "version %s (pid %d) spoke before it said hello", new->version, new->pid);
		roll_happen(roll, ROLL_EV_NEW_REFUSED);
		return;
	}
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_STANDBY:
		hear_standby(roll);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_ASK_EXPECTED:
		hear_ask_expected(roll);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_READY:
		if (belongs(roll, new, ROLL_EV_STARTED))
			roll_happen(roll, ROLL_EV_STARTED);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED:
		hear_new_refused(roll, reason_of(message->refused->reason));
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_LOADED:
		hear_loaded(roll, message->loaded);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_COMMITTED:
		hear_committed(roll, message->committed->at_us);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_PONG:
		health_pong(&roll->health, message->pong->nonce);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_START_PROGRESS:
		roll_start_progresses(roll, message->start_progress->text);
		health_progress(&roll->health, message->start_progress->text);
		break;
	default:
		roll_hear_serving(roll, message, fds);
	}
}

static void on_new_garbage(struct instance *new, const char *reason)
{
	struct roll *roll = new->owner;

	/* Once it serves, its connections count for more than its manners. */
	if ((roll_is_committed(roll) && roll->record.state != ROLL_COLD) ||
	    !roll_accepts(roll->record.state, ROLL_EV_NEW_REFUSED)) {
		log_instance(WARNING, new, "%s; ignored", reason);
		return;
	}
	blame_new(roll, "version %s (pid %d): %s", new->version, new->pid, reason);
	roll_happen(roll, ROLL_EV_NEW_REFUSED);
}

static void on_new_exit(struct instance *new)
{
	struct roll *roll = new->owner;
	char how[INSTANCE_END_BYTES];

	if (!roll->report.wire.died_us)
		roll->report.wire.died_us = new->exited_us;
	blame_new(roll, "version %s (pid %d) %s", new->version, new->pid, instance_describe_end(new, how, sizeof(how)));
	roll_happen(roll, ROLL_EV_NEW_GONE);
}

const struct instance_events roll_old_events = {
	.on_message = on_old_message, .on_garbage = on_old_garbage, .on_exit = on_old_exit
};
const struct instance_events roll_new_events = {
	.on_message = on_new_message, .on_garbage = on_new_garbage, .on_exit = on_new_exit
};
