/* SPDX-License-Identifier: MIT */
/* The machine with hands: events in, states entered, deadlines, life. */
#include "supervisor/roll/private.h"

#include "supervisor/machine/procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SOON_US (5 * USEC_PER_SEC) /* for steps that involve no work of the application's */
#define TELL_PROGRESS_US USEC_PER_SEC
#define PARK_US (10 * USEC_PER_SEC)
#define RESUME_US (10 * USEC_PER_SEC)

/* ---- deadlines ---- */

/* Old goes on by itself at the deadline it was told, and until then it may be busy: waiting for a thread, saving. It holds the
 * only copy of the state, so nobody gives it up before it has broken that promise. */
static uint64_t abort_patience_us(const struct roll *roll)
{
	const struct roll_record *record = &roll->record;
	uint64_t now = clock_now_us();
	uint64_t until = record->old == OLD_STANDS ? record->settles_us : roll->rest.due_us;
	bool promised = record->old == OLD_STANDS || record->old == OLD_ASKED;

	return SOON_US + (promised && until > now ? until - now : 0);
}

static uint64_t patience_us(const struct roll *roll, enum roll_patience patience)
{
	const struct unit *unit = roll->unit;

	switch (patience) {
	case PATIENCE_START:
		return unit->start_timeout_us;
	case PATIENCE_QUIESCE:
		/* Old keeps the same deadline itself and names the thread that missed it: ours is for an old that says nothing. */
		return unit->quiesce_timeout_us + USEC_PER_SEC;
	case PATIENCE_TRANSFER:
		return unit->transfer_timeout_us;
	case PATIENCE_ABORT:
		return abort_patience_us(roll);
	case PATIENCE_SOON:
		return SOON_US;
	case PATIENCE_PARK:
		return PARK_US;
	case PATIENCE_RESUME:
		/* Applying a journal is work of the application's, like loading. */
		return RESUME_US + (roll_journal_usable(roll) ? unit->transfer_timeout_us : 0);
	case PATIENCE_NONE:
	case PATIENCE_ELSEWHERE:
	case PATIENCE_AS_BEFORE:
		break;
	}
	return 0;
}

static void on_deadline(struct timer *timer);

static void set_deadline(struct roll *roll, uint64_t patience)
{
	timer_arm(roll->site->loop, &roll->deadline, clock_now_us() + patience, on_deadline);
}

/* Whoever said in time what was waited for is heard first. */
static void on_deadline(struct timer *timer)
{
	struct roll *roll = container_of(timer, struct roll, deadline);
	bool old_is_heard = instance_is_heard_out(roll->old), new_is_heard = instance_is_heard_out(roll->new);
	enum roll_event overdue = record_overdue(&roll->record);

	if (!old_is_heard || !new_is_heard) {
		set_deadline(roll, INSTANCE_HEAR_US);
		return;
	}
	if (overdue != ROLL_EV_SERVES_ON)
		roll_blame_delay(roll);
	else if (roll->record.old == OLD_ASKED)
		roll_note_unanswered(roll);
	if (overdue == ROLL_EV_SERVES_ON)
		roll->record.old = OLD_GOES_ON;
	roll_happen(roll, overdue);
}

void roll_expect_soon(struct roll *roll)
{
	if (!roll->deadline.loop || roll->deadline.due_us > clock_now_us() + USEC_PER_SEC)
		set_deadline(roll, USEC_PER_SEC);
}

void roll_expect_rest(struct roll *roll)
{
	set_deadline(roll, roll->rest.due_us - clock_now_us() + USEC_PER_SEC);
}

void roll_do_await_old(struct roll *roll)
{
	set_deadline(roll, abort_patience_us(roll));
}

void roll_start_progresses(struct roll *roll, const char *text)
{
	uint64_t now = clock_now_us();

	if (roll_facts(roll->record.state)->patience != PATIENCE_START)
		return;
	set_deadline(roll, unit_start_patience(roll->unit, now - roll->new->since_us));
	snprintf(roll->phase.doing, sizeof(roll->phase.doing), "%s", text);
	if (now - roll->told_progress_us < TELL_PROGRESS_US)
		return;
	roll->told_progress_us = now;
	roll_say(roll, roll_phase(roll), roll->new, "version %s gets on: %s", roll->new->version, text);
}

static void set_patience(struct roll *roll, enum roll_patience patience)
{
	uint64_t us = patience_us(roll, patience);

	if (us)
		set_deadline(roll, us);
}

/* ---- states ---- */

static void stop_waiting(struct roll *roll)
{
	rest_end(&roll->rest);
	roll->report.wire.child = 0;
	roll->report.wire.child_since_us = 0;
}

/* A supervisor that is started anew finds the parked version by the one that serves. */
static void store_old(const struct roll *roll)
{
	int end = roll->old && roll->record.old == OLD_PARKED ? instance_our_end(roll->old) : -1;
	struct fd_ref *stored = end < 0 ? NULL : fd_ref_new(fcntl(end, F_DUPFD_CLOEXEC, 0));

	if (roll->new && instance_is_alive(roll->new) && stored && stored->fd >= 0)
		instance_store(roll->new, stored);
	fd_ref_drop(stored);
}

void roll_tell_bake(struct roll *roll, bool on)
{
	if (on)
		store_old(roll);
	else if (roll->new)
		instance_forget_stored(roll->new);
	if (roll->events->on_bake)
		roll->events->on_bake(roll, on);
}

/* For the report: the phase that people see, with its own time. */
static void note_span(struct roll *roll)
{
	const char *shown = roll_facts(roll->record.state)->shown;
	struct roll_report *report = &roll->report;
	unsigned n = report->n_spans;

	if (!shown && !roll_is_over(roll->record.state)) /* the one before goes on */
		return;
	if (!roll_report_span(report, shown, clock_now_us()) || !roll->events->on_span)
		return;
	roll->events->on_span(roll, n ? &report->spans[n - 1] : NULL,
			      report->n_spans > n ? &report->spans[report->n_spans - 1] : NULL);
}

static void enter(struct roll *roll, enum roll_state next)
{
	const struct roll_facts *facts = roll_facts(next);
	bool baked = roll->record.state == ROLL_BAKE, bakes = next == ROLL_BAKE;

	log_service(DEBUG, roll->unit->name, "roll %s -> %s: %s -> %s", roll->record.from, roll->record.to,
		    roll_phase(roll), facts->name);
	roll->record.state = next;
	note_span(roll);
	timer_disarm(&roll->ask);
	if (next != ROLL_QUIESCE)
		stop_waiting(roll);
	if (facts->patience != PATIENCE_AS_BEFORE)
		timer_disarm(&roll->deadline);
	set_patience(roll, facts->patience);
	if (next == ROLL_RETREAT_IMAGING)
		roll->site->imaging->take_hurry(&roll->image_job); /* what it causes waits until this step is done */
	if (!(facts->watches & ROLL_WATCH_HEALTH))
		health_stop(&roll->health);
	if (!(facts->watches & ROLL_WATCH_BAKE))
		timer_disarm(&roll->bake);
	if (!(facts->watches & ROLL_WATCH_MEMORY))
		timer_disarm(&roll->memory);
	if (baked != bakes)
		roll_tell_bake(roll, bakes);
	roll_phase_begins(roll);
}

/* Staying buys no more time, however much a process talks; only a deadline that has passed is set anew. */
static void stay(struct roll *roll)
{
	if (!roll->deadline.loop)
		set_patience(roll, roll_facts(roll->record.state)->patience);
}

void roll_rungs_changed(struct roll *roll)
{
	if (roll_facts(roll->record.state)->counts_rungs)
		roll->report.rungs = record_rungs(&roll->record);
}

/* ---- events ---- */

static void act(struct roll *roll, enum roll_action action)
{
	static void (*const hands[ROLL_ACTIONS])(struct roll *roll) = {
		[ROLL_DO_KILL_NEW] = roll_do_kill_new,
		[ROLL_DO_PREPARE] = roll_do_prepare,
		[ROLL_DO_ASK_AGAIN] = roll_do_ask_again,
		[ROLL_DO_COMMIT] = roll_do_commit,
		[ROLL_DO_SETTLE] = roll_do_settle,
		[ROLL_DO_ABORT] = roll_do_abort,
		[ROLL_DO_AWAIT_OLD] = roll_do_await_old,
		[ROLL_DO_CHECK_ABORTED] = roll_do_check_aborted,
		[ROLL_DO_PARK] = roll_do_park,
		[ROLL_DO_IMAGE] = roll_do_image,
		[ROLL_DO_PACK] = roll_do_pack,
		[ROLL_DO_BAKE] = roll_do_bake,
		[ROLL_DO_PROVE] = roll_do_prove,
		[ROLL_DO_ONWARD] = roll_do_onward,
		[ROLL_DO_BACKWARD] = roll_do_backward,
		[ROLL_DO_DROP_OLD] = roll_do_drop_old,
		[ROLL_DO_FINISH] = roll_do_finish,
		[ROLL_DO_CHOOSE] = roll_do_choose,
		[ROLL_DO_RESUME] = roll_do_resume,
		[ROLL_DO_RESTORE] = roll_do_restore,
		[ROLL_DO_COLD_START] = roll_do_cold_start,
	};

	if (hands[action])
		hands[action](roll);
}

static void step(struct roll *roll, enum roll_event event)
{
	struct roll_step next = roll_step(roll->record.state, event);

	roll->site->counts.steps++;
	if (!next.legal) {
		roll->site->counts.misfits++;
		log_service(ERROR, roll->unit->name,
			    "roll: %s does not belong in %s; ignored. This is a bug in upgraded",
			    roll_event_name(event), roll_phase(roll));
		return;
	}
	if (next.next == roll->record.state)
		stay(roll);
	else
		enter(roll, next.next);
	act(roll, next.action);
}

static void end(struct roll *roll)
{
	roll->report.outcome = record_outcome(&roll->record);
	roll->report.ended_s = time(NULL);
	/* A new that serves has not failed, and neither has a fresh process in its place. */
	if (roll->new && roll_facts(roll->record.state)->serves != ROLL_NEW && !roll->report.lines.n)
		roll->report.lines = roll->new->lines;
	roll->events->on_end(roll);
}

void roll_happen(struct roll *roll, enum roll_event event)
{
	const unsigned room = sizeof(roll->queue) / sizeof(roll->queue[0]);

	if (roll_is_over(roll->record.state))
		return;
	/* An action may cause events; they wait until it is done. */
	if (roll->n_queue == room) {
		roll->site->counts.misfits++;
		log_service(ERROR, roll->unit->name,
			    "roll: more than %u events wait; %s is lost. This is a bug in upgraded", room,
			    roll_event_name(event));
		return;
	}
	roll->queue[roll->n_queue++] = event;
	if (roll->stepping)
		return;
	roll->stepping = true;
	while (roll->n_queue && !roll_is_over(roll->record.state)) {
		enum roll_event first = roll->queue[0];

		memmove(roll->queue, roll->queue + 1, --roll->n_queue * sizeof(roll->queue[0]));
		step(roll, first);
	}
	roll->stepping = false;
	if (roll_is_over(roll->record.state))
		end(roll);
}

/* ---- life ---- */

int roll_start(struct roll_site *site, struct unit *unit, const struct roll_options *options, struct instance *old,
	       struct instance *new, const struct roll_events *events, void *owner, struct roll **ret_roll, struct why *why)
{
	struct roll *roll = calloc(1, sizeof(*roll));

	if (!roll)
		return why_errno(why, -ENOMEM, "roll");
	roll->site = site;
	roll->unit = unit_ref(unit);
	roll->unit_before = unit_ref(old->unit);
	roll->options = *options;
	roll->events = events;
	roll->owner = owner;
	roll->lent_channel = roll->lent_log = -1;
	roll->begun_us = clock_now_us();
	roll_report_init(&roll->report, old->version, options->version);
	roll->report.wire.bake_us = options->bake_us;
	roll->report.asked_by = options->asked_by;
	roll->report.id = options->generation;
	roll->report.number = options->number;
	roll->report.purpose = options->purpose;
	roll->record = (struct roll_record){ .generation = options->generation,
					     .purpose = options->purpose,
					     .stands_alone = options->purpose == PURPOSE_FORWARD,
					     .moves_nothing = !instance_can(old, INSTANCE_CAN_MOVE) };
	roll->report.wire.plain = roll->record.moves_nothing;
	memcpy(roll->record.from, roll->report.from, sizeof(roll->record.from));
	memcpy(roll->record.to, roll->report.to, sizeof(roll->record.to));
	roll->options.version = roll->record.to;
	roll->word = roll_word_use(options->word);
	roll->options.word = NULL;
	image_job_init(&roll->image_job, roll);
	roll->image_job.sums.graveyard = site->graveyard;
	roll->old = old;
	roll->new = new;
	instance_own(old, &roll_old_events, roll);
	instance_own(new, &roll_new_events, roll);
	enter(roll, ROLL_STANDBY);
	*ret_roll = roll; /* whoever is told of progress may ask it already */
	roll_say(roll, "standby", new, "version %s started as pid %d; version %s (pid %d) serves on", roll->record.to, new->pid,
		 roll->record.from, old->pid);
	return 0;
}

void roll_cancel(struct roll *roll)
{
	if (roll_is_committed(roll))
		roll->record.ends_at_once = true; /* where it cannot be now */
	else
		roll_blame(roll, "aborted by the operator");
	roll_happen(roll, ROLL_EV_CANCEL);
}

void roll_close_pipe(struct roll *roll)
{
	roll->state_in = fd_ref_drop(roll->state_in);
	roll->state_out = fd_ref_drop(roll->state_out);
}

static size_t limit_of(const struct roll *roll, const struct instance *instance)
{
	size_t most = instance_is_alive(instance) ? procfs_open_files(instance->pid) : 0;

	if (!most)
		most = roll->unit->limit_nofile ? roll->unit->limit_nofile : fd_limit_at_start();
	return most;
}

/* The kernel is asked only when it matters: a process may have raised its limit meanwhile. */
int roll_take_fds(struct roll *roll, const Upgraded__Wire__Fds *message, struct wire_fds *fds, struct why *why)
{
	struct custody *custody = &roll->custody;

	if (!custody->most || custody->n + fds->n > custody->most) {
		size_t old = limit_of(roll, roll->old), new = limit_of(roll, roll->new);

		custody->most = old > new ? old : new;
	}
	return custody_take(custody, message, fds, why);
}

void roll_end_custody(struct roll *roll)
{
	custody_clear(&roll->custody);
	roll->journal = fd_ref_drop(roll->journal);
}

struct instance *roll_take_serving(struct roll *roll)
{
	enum roll_side serves = roll_facts(roll->record.state)->serves;
	struct instance **slot = serves == ROLL_OLD ? &roll->old : &roll->new, *instance;

	if (!roll_is_over(roll->record.state) || serves == ROLL_NOBODY)
		return NULL;
	instance = *slot;
	*slot = NULL;
	return instance;
}

struct fd_names roll_take_handed(struct roll *roll)
{
	struct fd_names handed = { .names = NULL };

	fd_names_move(&handed, &roll->handed);
	return handed;
}

struct image *roll_take_image(struct roll *roll)
{
	struct image *image = roll_facts(roll->record.state)->keeps_image ? roll->image : NULL;

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
	timer_disarm(&roll->memory);
	rest_end(&roll->rest);
	health_stop(&roll->health);
	image_job_done(&roll->image_job);
	roll->lent_channel = fd_close(roll->lent_channel);
	roll->lent_log = fd_close(roll->lent_log);
	roll_close_pipe(roll);
	roll_end_custody(roll);
	roll_word_drop(roll->word);
	conn_sample_done(&roll->before);
	fd_names_done(&roll->handed);
	graveyard_bury(roll->site->graveyard, roll->old);
	graveyard_bury(roll->site->graveyard, roll->new);
	if (roll->image)
		image_drop(roll->image);
	unit_free(roll->unit);
	unit_free(roll->unit_before);
	free(roll);
	return NULL;
}

/* ---- what may be asked ---- */

void *roll_owner(const struct roll *roll)
{
	return roll->owner;
}

const struct roll_record *roll_record(const struct roll *roll)
{
	return &roll->record;
}

const struct roll_report *roll_report(const struct roll *roll)
{
	return &roll->report;
}

struct unit *roll_unit(const struct roll *roll)
{
	return roll->unit;
}

struct unit *roll_unit_before(const struct roll *roll)
{
	return roll->unit_before;
}

uint64_t roll_begun_us(const struct roll *roll)
{
	return roll->begun_us;
}

const char *roll_phase(const struct roll *roll)
{
	return roll_state_name(roll->record.state);
}

bool roll_is_committed(const struct roll *roll)
{
	return roll_has_committed(roll->record.state);
}

bool roll_starts_empty(const struct roll *roll)
{
	return roll->record.state == ROLL_COLD;
}

bool roll_is_baking(const struct roll *roll)
{
	return roll->record.state == ROLL_BAKE;
}

bool roll_may_undo(const struct roll *roll)
{
	return roll_accepts(roll->record.state, ROLL_EV_UNDO);
}

bool roll_may_accept(const struct roll *roll)
{
	return roll_accepts(roll->record.state, ROLL_EV_ACCEPT);
}

bool roll_may_go_onward(const struct roll *roll)
{
	return roll_accepts(roll->record.state, ROLL_EV_ONWARD);
}

bool roll_is_sick(const struct roll *roll)
{
	return roll->record.wish == WISH_LEAVE_SICK;
}

const struct image *roll_image(const struct roll *roll)
{
	return roll->image;
}

uint64_t roll_image_generation(const struct roll *roll)
{
	return roll->image ? roll->image->generation : 0;
}

const struct instance *roll_old(const struct roll *roll)
{
	return roll->old_dropped ? NULL : roll->old;
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

const struct custody *roll_custody(const struct roll *roll)
{
	return &roll->custody;
}

const struct fd_names *roll_handed(const struct roll *roll)
{
	return &roll->handed;
}

uint64_t roll_due_us(const struct roll *roll)
{
	const struct timer *timers[] = { &roll->deadline, &roll->ask, &roll->bake };
	uint64_t due_us = 0;

	for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++)
		if (timers[i]->loop && (!due_us || timers[i]->due_us < due_us))
			due_us = timers[i]->due_us;
	return due_us;
}

const struct instance *roll_serving(const struct roll *roll)
{
	switch (roll_facts(roll->record.state)->serves) {
	case ROLL_OLD:
		return roll->old;
	case ROLL_NEW:
		return roll->new;
	case ROLL_NOBODY:
		break;
	}
	/* New serves before it is lent, and when it was returned because the other roll could not begin. */
	return roll->record.state == ROLL_BACKWARD || roll->record.state == ROLL_ONWARD ? roll->new : NULL;
}
