/* SPDX-License-Identifier: MIT */
/* The actions from the start of a roll to the end of its bake, and of calling it off. */
#include "supervisor/roll/private.h"

#include "supervisor/machine/procfs.h"
#include "supervisor/process/schema_path.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define STATE_PIPE_BYTES (1 << 20)
#define COMMIT_GRACE_US (5 * USEC_PER_SEC)

int roll_compatible(const struct roll *roll, struct why *why)
{
	struct schema_holder old = { .version = roll->record.from }, new = { .version = roll->record.to };

	if (!roll->old->hello)
		return why_set(why, -EPROTO, "version %s (pid %d) never said hello", roll->record.from, roll->old->pid);
	if (!roll->new->hello)
		return why_set(why, -EPROTO, "version %s (pid %d) stands by without a hello", roll->record.to, roll->new->pid);
	if (instance_knows_listen(roll->new, why) < 0)
		return -ENOTSUP;
	if (roll->record.moves_nothing)
		return 0;
	old.hello = roll->old->hello->hello;
	new.hello = roll->new->hello->hello;
	return schema_path_check_all(&old, &new, why);
}

/* Which says so may be the file that old was started with, or the one that somebody changed since then so that it can be rolled. */
static bool allows_other_readers(const struct roll *roll)
{
	return roll->unit->other_readers || (roll->unit_before && roll->unit_before->other_readers);
}

int roll_others_read(const struct roll *roll, struct why *why)
{
	if (roll->record.moves_nothing || allows_other_readers(roll) || !procfs_maps(roll->old->pid, "anon_inode:[io_uring]"))
		return 0;
	return why_set(why, -EBUSY,
		       "version %s (pid %d) uses io_uring: requests that are under way would go on taking from its connections "
		       "beside version %s; where on_prepare() cancels them all, say OtherReaders=allow",
		       roll->record.from, roll->old->pid, roll->record.to);
}

/* ---- prepare ---- */

/* By then new gives up what has not come. */
static uint64_t receive_deadline_us(const struct roll *roll)
{
	return roll->rest.due_us + roll->unit->transfer_timeout_us;
}

static void send_prepare(struct roll *roll)
{
	struct instance_prepare prepare = {
		.unit = roll->unit,
		.generation = roll->word->word.generation,
		.rest_us = roll->rest.due_us,
		.settles_us = roll->record.settles_us,
		.other_readers = allows_other_readers(roll),
		.reader = roll->new->hello->hello,
	};
	struct fd_ref *fds[] = { roll->word->fd, roll->state_out };

	roll->record.old = OLD_ASKED;
	roll->record.stops_us = clock_now_us();
	roll->report.wire.asked++;
	instance_prepare(roll->old, &prepare, fds, 2);
}

static void send_receive(struct roll *roll)
{
	Upgraded__Wire__Receive receive = UPGRADED__WIRE__RECEIVE__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_RECEIVE, .receive = &receive);
	Upgraded__Wire__Limits limits = instance_limits(roll->unit);
	struct fd_ref *fds[4] = { roll->word->fd, roll->state_in }, *in_hand = instance_lend_in_hand(roll->new);
	size_t n = 2;

	instance_hand_listeners(roll->new);
	receive.limits = &limits;
	receive.generation = roll->word->word.generation;
	receive.verify_roundtrip = roll->options.verify == VERIFY_ROUNDTRIP;
	receive.deadline_us = receive_deadline_us(roll);
	receive.journal = roll->journal != NULL;
	roll_journal_limit(roll, &receive);
	receive.in_hand = in_hand != NULL;
	if (roll->journal)
		fds[n++] = roll->journal;
	if (in_hand)
		fds[n++] = in_hand;
	instance_send(roll->new, &message, fds, n);
	fd_ref_drop(in_hand);
}

static int open_pipe(struct roll *roll)
{
	int pair[2];

	if (pipe2(pair, O_CLOEXEC) < 0)
		return -errno;
	/* Room for old to run ahead of new; where the kernel's limit is lower, less is fine. */
	(void)fcntl(pair[1], F_SETPIPE_SZ, STATE_PIPE_BYTES);
	roll->state_in = fd_ref_new(pair[0]);
	roll->state_out = fd_ref_new(pair[1]);
	return roll->state_in && roll->state_out ? 0 : -ENOMEM;
}

static void on_child_gone(struct rest *rest);

void roll_do_prepare(struct roll *roll)
{
	int r = open_pipe(roll);

	if (r < 0) {
		roll_blame(roll, "pipe: %s", strerror(-r));
		roll_happen(roll, ROLL_EV_OLD_REFUSED);
		return;
	}
	roll->record.prepared_us = clock_now_us();
	rest_begin(&roll->rest, roll->site->loop, roll->unit, on_child_gone);
	roll->record.settles_us = receive_deadline_us(roll) + COMMIT_GRACE_US;
	roll_say(roll, "quiesce", roll->old, "version %s was asked to quiesce", roll->record.from);
	roll_journal_begin(roll);
	send_receive(roll);
	send_prepare(roll);
}

static void ask_later(struct roll *roll, uint64_t us);

/* All that old and new were told of deadlines counts from when old is to stand. */
static void postpone(struct roll *roll)
{
	Upgraded__Wire__Postponed postponed = UPGRADED__WIRE__POSTPONED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_POSTPONED, .postponed = &postponed);

	postponed.deadline_us = receive_deadline_us(roll);
	if (roll->record.settles_us == postponed.deadline_us + COMMIT_GRACE_US)
		return;
	roll->record.settles_us = postponed.deadline_us + COMMIT_GRACE_US;
	instance_send(roll->new, &message, NULL, 0);
	roll_expect_rest(roll);
}

/* One that does not read is not asked again: it has a question already. */
static void on_ask(struct timer *timer)
{
	struct roll *roll = container_of(timer, struct roll, ask);

	if (instance_awaits(roll->old, UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE)) {
		ask_later(roll, rest_pause_us(&roll->rest));
		return;
	}
	rest_ask(&roll->rest);
	postpone(roll);
	send_prepare(roll);
}

static void ask_later(struct roll *roll, uint64_t us)
{
	timer_arm(roll->site->loop, &roll->ask, clock_now_us() + us, on_ask);
}

/* If old has a question already, its answer is waited for. */
static void on_child_gone(struct rest *rest)
{
	struct roll *roll = container_of(rest, struct roll, rest);

	roll->report.wire.child = 0;
	roll->report.wire.child_since_us = 0;
	postpone(roll);
	if (roll->ask.loop)
		ask_later(roll, REST_CHILD_REAPED_US);
}

void roll_do_ask_again(struct roll *roll)
{
	const char *reason = roll->rest.reason.text;
	enum rest_overdue overdue = rest_overdue(&roll->rest);
	char most[28];

	if (overdue == REST_QUIESCE_OVER)
		roll_blame(roll, "version %s (pid %d) was not ready to be rolled within QuiesceTimeout=%s%s", roll->record.from,
			   roll->old->pid, *reason ? ": " : "", reason);
	if (overdue == REST_CHILD_OVER)
		roll_blame(roll, "version %s (pid %d) still waits after %s (ChildTimeout=) for %s", roll->record.from,
			   roll->old->pid, rest_child_timeout(&roll->rest, most, sizeof(most)), reason);
	if (overdue != REST_IN_TIME) {
		roll_happen(roll, ROLL_EV_TIMEOUT);
		return;
	}
	postpone(roll);
	ask_later(roll, rest_pause_us(&roll->rest));
}

/* ---- commit, settle, abort ---- */

void roll_do_commit(struct roll *roll)
{
	Upgraded__Wire__Commit commit = UPGRADED__WIRE__COMMIT__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_COMMIT, .commit = &commit);

	instance_send(roll->new, &message, NULL, 0);
}

/* One of us takes the commit word. If new was faster, it has served, and the way back is another one. */
void roll_do_settle(struct roll *roll)
{
	if (commit_take(&roll->word->word, COMMIT_ABORTED) || commit_owner(&roll->word->word) != COMMIT_NEW) {
		roll_happen(roll, ROLL_EV_ABORT_WON);
		return;
	}
	roll->record.commit_us = clock_now_us();
	roll_happen(roll, ROLL_EV_COMMITTED);
}

void roll_do_check_aborted(struct roll *roll)
{
	bool old_serves = roll->record.old == OLD_SERVES || roll->record.old == OLD_GOES_ON;

	if (!instance_is_alive(roll->new) && old_serves)
		roll_happen(roll, ROLL_EV_ABORT_COMPLETE);
}

void roll_do_abort(struct roll *roll)
{
	Upgraded__Wire__Abort abort = UPGRADED__WIRE__ABORT__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT, .abort = &abort);

	roll_say(roll, "abort", roll->old, "aborting: %s", roll->report.cause.text);
	if (!instance_is_alive(roll->old)) {
		roll_happen(roll, ROLL_EV_OLD_GONE);
		return;
	}
	/* End new first: old may be blocked writing state to it, and the broken pipe wakes it. */
	roll_do_kill_new(roll);
	roll_close_pipe(roll);
	/* Old has what it had. */
	roll_end_custody(roll);
	/* What it never heard of is not to be waited for, nor to be read when another roll is under way. */
	if (instance_retract(roll->old, UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE))
		roll->record.old = OLD_GOES_ON;
	abort.reason = roll->report.cause.text;
	if (roll->record.old != OLD_SERVES)
		instance_send(roll->old, &message, NULL, 0);
	roll_do_check_aborted(roll);
}

/* ---- after the commit ---- */

/* The roll's own part of the way back is there before anyone can need it: what old has to do for it, it does meanwhile. */
static void keep_old(struct roll *roll)
{
	bool kept = roll->options.rollback != ROLLBACK_NONE && instance_is_alive(roll->old) && roll->record.old != OLD_SPENT;

	roll->record.old = kept ? OLD_STANDS : OLD_SPENT;
	roll_rungs_changed(roll);
}

void roll_do_park(struct roll *roll)
{
	Upgraded__Wire__Park park = UPGRADED__WIRE__PARK__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PARK, .park = &park);
	Upgraded__Wire__RollReport *report = &roll->report.wire;

	roll->options.known = NULL; /* whoever lent it may be gone from here on */
	report->commit_us = roll->record.commit_us;
	report->pause_us = roll->record.moves_nothing ? 0 : report->commit_us - roll->record.stops_us;
	report->resume_us = 0;
	roll->word = roll_word_drop(roll->word);
	if (roll->record.moves_nothing)
		roll_say(roll, "commit", roll->new,
			 "version %s is ready, and serves beside version %s; no state and no connections move", roll->record.to,
			 roll->record.from);
	else
		roll_say(roll, "commit", roll->new, "version %s serves; the pause was %" PRIu64 ".%03" PRIu64 " ms",
			 roll->record.to, report->pause_us / 1000, report->pause_us % 1000);
	instance_set_place(roll->old, INSTANCE_IS_REPLACED);
	instance_set_place(roll->new, INSTANCE_SERVES);
	keep_old(roll);
	instance_set_victim(roll->new, false);
	instance_set_victim(roll->old, true);
	if (instance_is_alive(roll->new)) {
		/* What went wrong on the way here is not what anything later fails of. */
		*roll->report.cause.text = 0;
		roll_watch_health(roll);
		roll->record.stands_alone = true;
		roll->events->on_commit(roll);
	} else if (roll->new->life == INSTANCE_ENDED) {
		/* It took the commit word and ended; otherwise its end is yet to be told. */
		roll_happen(roll, ROLL_EV_NEW_GONE);
	}
	if (roll->record.old != OLD_SPENT) {
		roll_watch_connections(roll);
		instance_send(roll->old, &message, NULL, 0);
	} else if (instance_is_alive(roll->new)) {
		roll_do_drop_old(roll);
	}
}

/* While new serves, nothing is left to wait for. On the way back the next rung is looked for when old was reaped: until then it may
 * hold its listeners, and nothing that comes back could open them. So old is not buried here, but stays the roll's. */
void roll_do_drop_old(struct roll *roll)
{
	bool over = instance_is_over(roll->old);

	roll->record.old = OLD_SPENT;
	roll_rungs_changed(roll);
	if (!over && roll->record.moves_nothing && roll->record.state != ROLL_RETREAT) {
		/* It serves somebody yet. */
		roll->old = graveyard_bury(roll->site->graveyard, roll->old);
		over = true;
	} else if (!over) {
		instance_kill(roll->old, SIGKILL);
	}
	if (roll->record.state == ROLL_RETREAT) {
		if (!over)
			return;
	} else {
		roll->old_dropped = true;
		if (over)
			roll->old = graveyard_bury(roll->site->graveyard, roll->old);
	}
	roll_happen(roll, ROLL_EV_NO_WAY_BACK);
}

static void send_baked(struct roll *roll)
{
	Upgraded__Wire__Baked baked = UPGRADED__WIRE__BAKED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_BAKED, .baked = &baked);

	instance_send(roll->new, &message, NULL, 0);
}

/* Few clients may have reason to wait: a subscriber to whom nothing happens, a peer that only sends. */
#define UNANSWERED_MIN 3u

/* Is it alive and of no use? Judged only where old was seen to answer, and not against an order. */
static bool answers_nobody(struct roll *roll)
{
	return roll->unit->health_answers && roll->answered_before && !roll->traffic.answered &&
	       roll->traffic.unanswered >= UNANSWERED_MIN && roll->record.wish != WISH_ACCEPT &&
	       !record_is_last_resort(&roll->record) && !roll_answers(roll);
}

/* A version that has already ended, but whose end is still to be heard, is not accepted: its end follows, and the retreat
 * with it. */
static void end_bake(struct roll *roll)
{
	if (instance_has_ended(roll->new))
		return;
	roll_count_clients(roll);
	if (answers_nobody(roll))
		roll_sicken(roll,
			    "version %s has answered none of %" PRIu64
			    " clients that sent it something, and version %s did answer (HealthAnswers=)",
			    roll->record.to, roll->traffic.unanswered, roll->record.from);
	else
		roll_happen(roll, ROLL_EV_BAKED);
}

/* From here on it is over as soon as new has given a sign of life, which is asked for now. */
static void on_baked(struct timer *timer)
{
	struct roll *roll = container_of(timer, struct roll, bake);

	health_conclude(&roll->health, false);
}

void roll_do_prove(struct roll *roll)
{
	roll_say(roll, "bake", roll->new, "version %s is to be accepted now, by order: asking it for a sign of life",
		 roll->record.to);
	health_conclude(&roll->health, true);
}

void roll_watch_bake(struct roll *roll)
{
	timer_arm(roll->site->loop, &roll->bake, roll->record.commit_us + roll->options.bake_us, on_baked);
	if (!roll->health.loop) /* new came back from another roll, or all of this from another program */
		roll_watch_health(roll);
	roll_watch_memory(roll);
}

void roll_do_bake(struct roll *roll)
{
	if (roll->old_dropped) {
		roll_end_custody(roll);
		send_baked(roll);
	}
	roll_say(roll, "bake", roll->new, "watching version %s for %" PRIu64 " ms; way back: %s%s", roll->record.to,
		 roll->options.bake_us / 1000, record_rungs_text(&roll->record, roll->report.rungs),
		 roll_journal_usable(roll) ? ", with a journal" : "");
	roll_watch_bake(roll);
	roll_turn_if_due(roll);
}

void roll_do_finish(struct roll *roll)
{
	roll->old = graveyard_bury(roll->site->graveyard, roll->old);
	roll_end_custody(roll);
	send_baked(roll);
	roll_say(roll, "done", roll->new, "version %s is accepted", roll->record.to);
}

/* ---- health ---- */

static void on_verdict(struct health *health, enum health_verdict verdict)
{
	struct roll *roll = container_of(health, struct roll, health);

	if (verdict == HEALTH_SETTLED) {
		end_bake(roll);
		return;
	}
	if (verdict == HEALTH_SICK) {
		roll_sicken(roll, "%s", health->why.text);
		return;
	}
	roll_blame(roll, "%s", health->why.text);
	roll->new_hangs = true;
	roll_happen(roll, ROLL_EV_UNHEALTHY);
}

static void on_note(struct health *health, const char *text)
{
	struct roll *roll = container_of(health, struct roll, health);

	roll_note(roll, "health", roll->new, "%s", text);
}

static void on_beat(struct health *health, bool missed)
{
	struct roll *roll = container_of(health, struct roll, health);

	if (roll->events->on_beat)
		roll->events->on_beat(roll, missed ? health->unanswered_us : 0);
}

void roll_watch_health(struct roll *roll)
{
	const struct health_spec spec = { .loop = roll->site->loop, .graveyard = roll->site->graveyard, .unit = roll->unit,
					  .instance = roll->new, .on_verdict = on_verdict, .on_note = on_note, .on_beat = on_beat };

	health_start(&roll->health, &spec);
}
