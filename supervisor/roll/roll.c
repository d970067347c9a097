/* SPDX-License-Identifier: MIT */
#include "supervisor/roll/roll.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SOON_US (5 * USEC_PER_SEC) /* for steps that involve no work of the application's */
#define TELL_PROGRESS_US USEC_PER_SEC
#define RESUME_US (10 * USEC_PER_SEC)

const char *roll_outcome_name(enum roll_outcome outcome)
{
	static const char *const names[] = {
		[ROLL_IS_DONE] = "done",
		[ROLL_IS_REFUSED] = "refused",
		[ROLL_IS_ABORTED] = "aborted",
		[ROLL_IS_BACK_LIVE] = "rolled-back-live",
		[ROLL_IS_BACK_PARKED] = "rolled-back-parked",
		[ROLL_IS_BACK_IMAGE] = "rolled-back-image",
		[ROLL_IS_COLD] = "cold-start",
		[ROLL_IS_FAILED] = "failed",
	};
	return names[outcome];
}

void roll_say(struct roll *roll, const char *phase, pid_t pid, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	log_info("%s: roll %s -> %s: %s: %s", roll->unit->name, roll->result.from, roll->result.to, phase, text);
	roll->on_progress(roll, phase, pid, text);
}

void roll_blame(struct roll *roll, const char *fmt, ...)
{
	va_list args;

	if (*roll->result.cause.text)
		return;
	va_start(args, fmt);
	vsnprintf(roll->result.cause.text, sizeof(roll->result.cause.text), fmt, args);
	va_end(args);
}

/* ---- deadlines ---- */

/* Old goes on by itself at the deadline it was given, and until then it may be busy: waiting for a thread, saving. It holds the
 * only copy of the state, so nobody gives it up before it has broken that promise. */
static uint64_t abort_patience_us(const struct roll *roll)
{
	uint64_t now = clock_now_us();
	uint64_t until = roll->old_stands ? roll->settles_us : roll->prepared_us + roll->unit->quiesce_timeout_us;

	return SOON_US + (roll->old_told && until > now ? until - now : 0);
}

/* Return: true if old may be waited for, or done without, instead of being given up. */
static bool spare_old(struct roll *roll)
{
	if (roll->state != ROLL_ABORT)
		return false;
	if (roll->old_stands) {
		uint64_t due_us = roll->settles_us + SOON_US;

		if (clock_now_us() >= due_us)
			return false;
		timer_arm(roll->site->loop, &roll->deadline, due_us, roll->deadline.on_due);
		return true;
	}
	/* It never said that it stood still, so it serves, perhaps without ever having read what it was asked. Should it read that
	 * later, the word is taken and the stream closed: it goes on. */
	roll->old_goes_on = true;
	roll_check_aborted(roll);
	return true;
}

static uint64_t patience_us(const struct roll *roll, enum roll_state state)
{
	switch (state) {
	case ROLL_STANDBY:
	case ROLL_COLD:
		return roll->unit->start_timeout_us;
	case ROLL_QUIESCE:
		/* Old keeps the same deadline itself and names the thread that missed it: ours is for an old that says nothing. */
		return roll->unit->quiesce_timeout_us + USEC_PER_SEC;
	case ROLL_TRANSFER:
		return roll->unit->transfer_timeout_us;
	case ROLL_ABORT:
		return abort_patience_us(roll);
	case ROLL_DISMISS:
	case ROLL_COMMIT:
	case ROLL_RETREAT_IMAGING:
		return SOON_US;
	case ROLL_RESUME:
		/* Applying a journal is work of the application's, like loading. */
		return RESUME_US + (roll_journal_usable(roll) ? roll->unit->transfer_timeout_us : 0);
	case ROLL_PARK:
	case ROLL_RETREAT:
		return RESUME_US;
	case ROLL_SETTLE:  /* decided within the action */
	case ROLL_IMAGE:   /* CRIU has a deadline of its own */
	case ROLL_RESTORE:
	case ROLL_BAKE:    /* the bake's timer */
	case ROLL_BACKWARD: /* the roll in the other direction has its own */
	case ROLL_TURNED:
	case ROLL_DONE:
	case ROLL_REFUSED:
	case ROLL_ABORTED:
	case ROLL_ROLLED_BACK:
	case ROLL_COLD_STARTED:
	case ROLL_FAILED:
	case ROLL_STATES:
		break;
	}
	return 0;
}

static void blame_timeout(struct roll *roll)
{
	switch ((int)roll->state) {
	case ROLL_STANDBY:
		if (!roll->new->hello)
			roll_blame(roll, "version %s (pid %d) did not say hello within %llu ms: "
				   "is it linked with libupgrade, and does it call upg_open()?",
				   roll->result.to, roll->new->child.pid, (unsigned long long)roll->unit->start_timeout_us / 1000);
		else
			roll_blame(roll, "version %s (pid %d) did not become ready to receive within %llu ms (StartTimeout=)%s",
				   roll->result.to, roll->new->child.pid, (unsigned long long)roll->unit->start_timeout_us / 1000,
				   roll->told_progress_us ? " of its last word of progress" : "");
		break;
	case ROLL_QUIESCE:
		roll_blame(roll, "version %s (pid %d) did not answer within QuiesceTimeout=", roll->result.from,
			   roll->old->child.pid);
		break;
	case ROLL_TRANSFER:
		roll_blame(roll, "the state was not transferred within %llu ms (TransferTimeout=): %s",
			   (unsigned long long)roll->unit->transfer_timeout_us / 1000,
			   roll->has_saved ? "the new version did not finish loading" : "the old version did not finish saving");
		break;
	case ROLL_COMMIT:
		roll_blame(roll, "version %s (pid %d) was told to take over and did not", roll->result.to, roll->new->child.pid);
		break;
	default:
		break;
	}
}

static void on_deadline(struct timer *timer)
{
	struct roll *roll = container_of(timer, struct roll, deadline);

	if (spare_old(roll))
		return;
	blame_timeout(roll);
	roll_happen(roll, ROLL_EV_TIMEOUT);
}

void roll_expect_soon(struct roll *roll)
{
	timer_arm(roll->site->loop, &roll->deadline, clock_now_us() + USEC_PER_SEC, on_deadline);
}

void roll_start_progresses(struct roll *roll, const char *text)
{
	uint64_t now = clock_now_us();

	if (roll->state != ROLL_STANDBY && roll->state != ROLL_COLD)
		return;
	timer_arm(roll->site->loop, &roll->deadline, now + roll->unit->start_timeout_us, on_deadline);
	if (now - roll->told_progress_us < TELL_PROGRESS_US)
		return;
	roll->told_progress_us = now;
	roll_say(roll, roll_state_name(roll->state), roll->new->child.pid, "version %s gets on: %s", roll->new->version, text);
}

static void enter(struct roll *roll, enum roll_state next)
{
	uint64_t patience;

	if (next != roll->state)
		log_debug("%s: roll %s -> %s: %s -> %s", roll->unit->name, roll->result.from, roll->result.to,
			  roll_state_name(roll->state), roll_state_name(next));
	/* Staying buys no more time, however much a process talks; only a deadline that has passed is set anew. */
	if (next == roll->state && roll->deadline.loop)
		return;
	roll->state = next;
	timer_disarm(&roll->ask);
	timer_disarm(&roll->deadline);
	patience = patience_us(roll, next);
	if (patience)
		timer_arm(roll->site->loop, &roll->deadline, clock_now_us() + patience, on_deadline);
	if (next == ROLL_RETREAT_IMAGING)
		image_take_hurry(&roll->image_job); /* what it causes waits until this step is done */
	if (next != ROLL_BAKE && next != ROLL_PARK && next != ROLL_IMAGE) {
		health_stop(&roll->health);
		timer_disarm(&roll->bake);
	}
	if (next != ROLL_BAKE)
		timer_disarm(&roll->memory);
}

/* ---- events ---- */

static void set_outcome(struct roll *roll)
{
	switch ((int)roll->state) {
	case ROLL_DONE:
		roll->result.outcome = ROLL_IS_DONE;
		break;
	case ROLL_REFUSED:
		roll->result.outcome = ROLL_IS_REFUSED;
		break;
	case ROLL_ABORTED:
		roll->result.outcome = ROLL_IS_ABORTED;
		break;
	case ROLL_TURNED:
		roll->result.outcome = ROLL_IS_BACK_LIVE;
		break;
	case ROLL_ROLLED_BACK:
		roll->result.outcome = roll->from_image ? ROLL_IS_BACK_IMAGE : ROLL_IS_BACK_PARKED;
		break;
	case ROLL_COLD_STARTED:
		roll->result.outcome = ROLL_IS_COLD;
		break;
	default:
		roll->result.outcome = ROLL_IS_FAILED;
	}
}

static void keep_lines(struct roll *roll)
{
	if (roll->new && roll->state != ROLL_DONE && !roll->result.lines.n)
		roll->result.lines = roll->new->lines;
}

void roll_happen(struct roll *roll, enum roll_event event)
{
	if (roll_is_over(roll->state))
		return;
	/* An action may cause events; they wait until it is done. */
	if (roll->n_queue < sizeof(roll->queue) / sizeof(roll->queue[0]))
		roll->queue[roll->n_queue++] = event;
	if (roll->stepping)
		return;
	roll->stepping = true;
	while (roll->n_queue && !roll_is_over(roll->state)) {
		struct roll_step step = roll_step(roll->state, roll->queue[0]);
		enum roll_event now = roll->queue[0];

		memmove(roll->queue, roll->queue + 1, --roll->n_queue * sizeof(roll->queue[0]));
		if (!step.legal) {
			log_warning("%s: roll: %s does not belong in %s; ignored", roll->unit->name, roll_event_name(now),
				    roll_state_name(roll->state));
			continue;
		}
		enter(roll, step.next);
		roll_act(roll, step.action);
	}
	roll->stepping = false;
	if (roll_is_over(roll->state)) {
		roll->result.over = true;
		set_outcome(roll);
		keep_lines(roll);
		roll->on_end(roll);
	}
}

void roll_act(struct roll *roll, enum roll_action action)
{
	switch (action) {
	case ROLL_DO_NOTHING:
		break;
	case ROLL_DO_KILL_NEW:
		if (instance_is_alive(roll->new))
			instance_kill(roll->new, SIGKILL);
		else
			roll_happen(roll, ROLL_EV_NEW_GONE);
		break;
	case ROLL_DO_PREPARE:
		roll_do_prepare(roll);
		break;
	case ROLL_DO_ASK_AGAIN:
		roll_do_ask_again(roll);
		break;
	case ROLL_DO_CHECK_ABORTED:
		roll_check_aborted(roll);
		break;
	case ROLL_DO_COMMIT:
		roll_do_commit(roll);
		break;
	case ROLL_DO_SETTLE:
		roll_do_settle(roll);
		break;
	case ROLL_DO_ABORT:
		roll_do_abort(roll);
		break;
	case ROLL_DO_PARK:
		roll_do_park(roll);
		break;
	case ROLL_DO_IMAGE:
		roll_do_image(roll);
		break;
	case ROLL_DO_PACK:
		roll_do_pack(roll);
		break;
	case ROLL_DO_BAKE:
		roll_do_bake(roll);
		break;
	case ROLL_DO_BACKWARD:
		roll_do_backward(roll);
		break;
	case ROLL_DO_DROP_OLD:
		roll_do_drop_old(roll);
		break;
	case ROLL_DO_FINISH:
		roll_do_finish(roll);
		break;
	case ROLL_DO_CHOOSE:
		roll_do_choose(roll);
		break;
	case ROLL_DO_RESUME:
		roll_do_resume(roll);
		break;
	case ROLL_DO_RESTORE:
		roll_do_restore(roll);
		break;
	case ROLL_DO_COLD_START:
		roll_do_cold_start(roll);
		break;
	case ROLL_DO_END:
	case ROLL_ACTIONS:
		break;
	}
}

/* ---- life ---- */

int roll_start(const struct roll_site *site, const struct unit *unit, const struct roll_options *options,
	       struct instance *old, const struct roll *callbacks, struct roll **ret_roll, struct why *why)
{
	struct roll *roll = calloc(1, sizeof(*roll));
	int r;

	if (!roll)
		return why_errno(why, -ENOMEM, "roll");
	roll->site = site;
	roll->unit = unit;
	roll->options = *options;
	roll->owner = callbacks->owner;
	roll->on_progress = callbacks->on_progress;
	roll->on_commit = callbacks->on_commit;
	roll->on_backward = callbacks->on_backward;
	roll->on_aside = callbacks->on_aside;
	roll->on_packed = callbacks->on_packed;
	roll->on_end = callbacks->on_end;
	roll->word_fd = roll->state_in = roll->state_out = -1;
	roll->lent_channel = roll->lent_log = roll->journal_fd = -1;
	roll->begun_us = clock_now_us();
	roll->result.started_s = time(NULL);
	roll->result.way_back = "none";
	image_job_init(&roll->image_job, roll);
	snprintf(roll->result.from, sizeof(roll->result.from), "%s", old->version);
	snprintf(roll->result.to, sizeof(roll->result.to), "%s", options->version);
	roll->options.version = roll->result.to;
	r = unit_checks_usable(unit, roll->result.to, why);
	if (r == 0)
		r = instance_start(site->loop, unit, roll->result.to, &roll_new_events, roll, &roll->new, why);
	if (r < 0) {
		free(roll);
		return r;
	}
	roll->old = old;
	old->events = &roll_old_events;
	old->owner = roll;
	enter(roll, ROLL_STANDBY);
	roll_say(roll, "standby", roll->new->child.pid, "version %s started as pid %d; version %s (pid %d) serves on",
		 roll->result.to, roll->new->child.pid, roll->result.from, old->child.pid);
	*ret_roll = roll;
	return 0;
}

void roll_cancel(struct roll *roll)
{
	if (!roll_has_committed(roll->state))
		roll_blame(roll, "called off by the operator");
	roll_happen(roll, ROLL_EV_CANCEL);
}

void roll_close_transfer(struct roll *roll)
{
	roll->word_fd = fd_close(roll->word_fd);
	roll->state_in = fd_close(roll->state_in);
	roll->state_out = fd_close(roll->state_out);
}

/* Messages that still wait to be sent refer to descriptors in custody. */
void roll_end_custody(struct roll *roll)
{
	if (roll->old)
		outbox_clear(&roll->old->outbox);
	if (roll->new)
		outbox_clear(&roll->new->outbox);
	custody_clear(&roll->custody);
	roll->journal_fd = fd_close(roll->journal_fd);
}

/* ---- what may be asked ---- */

void *roll_owner(const struct roll *roll)
{
	return roll->owner;
}

const struct roll_result *roll_result(const struct roll *roll)
{
	return &roll->result;
}

uint64_t roll_begun_us(const struct roll *roll)
{
	return roll->begun_us;
}

const char *roll_phase(const struct roll *roll)
{
	return roll_state_name(roll->state);
}

bool roll_is_committed(const struct roll *roll)
{
	return roll_has_committed(roll->state);
}

bool roll_is_baking(const struct roll *roll)
{
	return roll->state == ROLL_BAKE;
}

bool roll_may_undo(const struct roll *roll)
{
	return roll->state == ROLL_PARK || roll->state == ROLL_IMAGE || roll->state == ROLL_BAKE;
}

bool roll_is_sick(const struct roll *roll)
{
	return roll->sick;
}

bool roll_retreats(const struct roll *roll)
{
	return roll->options.retreats;
}

uint64_t roll_image_generation(const struct roll *roll)
{
	return roll->image ? roll->image->generation : 0;
}

const struct instance *roll_old(const struct roll *roll)
{
	return roll->old;
}

const struct instance *roll_new(const struct roll *roll)
{
	return roll->new;
}

const struct health *roll_health(const struct roll *roll)
{
	return roll->health.loop ? &roll->health : NULL;
}

size_t roll_descriptors(const struct roll *roll)
{
	return roll->custody.n;
}

void roll_stand_alone(struct roll *roll)
{
	roll->options.backward = false;
}

const struct instance *roll_serving(const struct roll *roll)
{
	switch (roll->state) {
	case ROLL_STANDBY:
	case ROLL_DISMISS:
	case ROLL_ABORT:
	case ROLL_REFUSED:
	case ROLL_ABORTED:
	case ROLL_ROLLED_BACK:
		return roll->old;
	case ROLL_PARK:
	case ROLL_IMAGE:
	case ROLL_BAKE:
	case ROLL_DONE:
	case ROLL_COLD_STARTED:
		return roll->new;
	case ROLL_BACKWARD: /* it was lent: the roll in the other direction knows */
	case ROLL_TURNED:
	case ROLL_QUIESCE: /* between two versions, or two lives, nobody serves */
	case ROLL_TRANSFER:
	case ROLL_COMMIT:
	case ROLL_SETTLE:
	case ROLL_RETREAT:
	case ROLL_RETREAT_IMAGING:
	case ROLL_RESUME:
	case ROLL_RESTORE:
	case ROLL_COLD:
	case ROLL_FAILED:
	case ROLL_STATES:
		break;
	}
	return NULL;
}

struct instance *roll_take_serving(struct roll *roll)
{
	struct instance **slot = NULL, *instance;

	switch ((int)roll->state) {
	case ROLL_DONE:
	case ROLL_COLD_STARTED:
		slot = &roll->new;
		break;
	case ROLL_REFUSED:
	case ROLL_ABORTED:
	case ROLL_ROLLED_BACK:
		slot = &roll->old;
		/* Nothing that waits for it may name descriptors which end with the roll. */
		if (roll->old)
			outbox_clear(&roll->old->outbox);
		break;
	default:
		return NULL;
	}
	instance = *slot;
	*slot = NULL;
	return instance;
}

struct image *roll_take_image(struct roll *roll)
{
	/* After a way back that failed the image is kept, too: it may be the last that is left of the state. */
	bool kept = roll->state == ROLL_DONE || roll->state == ROLL_COLD_STARTED || roll->state == ROLL_FAILED;
	struct image *image = kept ? roll->image : NULL;

	if (image)
		roll->image = NULL;
	return image;
}

struct roll *roll_free(struct roll *roll)
{
	if (!roll)
		return NULL;
	timer_disarm(&roll->deadline);
	timer_disarm(&roll->look);
	timer_disarm(&roll->bake);
	timer_disarm(&roll->ask);
	health_stop(&roll->health);
	timer_disarm(&roll->memory);
	image_job_done(&roll->image_job);
	roll->lent_channel = fd_close(roll->lent_channel);
	roll->lent_log = fd_close(roll->lent_log);
	roll_close_transfer(roll);
	roll_end_custody(roll);
	commit_unmap(&roll->word);
	conn_sample_done(&roll->before);
	graveyard_bury(roll->site->graveyard, roll->old);
	graveyard_bury(roll->site->graveyard, roll->new);
	if (roll->image)
		image_drop(roll->image);
	free(roll);
	return NULL;
}
