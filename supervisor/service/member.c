/* SPDX-License-Identifier: MIT */
#include "supervisor/process/graveyard.h"
#include "supervisor/service/private.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#define STABLE_US (10 * USEC_PER_SEC) /* having served this long, a failure counts as the first again */
#define TELL_PROGRESS_US USEC_PER_SEC
#define BACKOFF_MAX 5u                /* doublings of RestartDelay= */

static const struct instance_events member_events;

static struct loop *loop_of(const struct member *member)
{
	return member->service->host->site.loop;
}

static void set_state_file(struct member *member, struct fd_ref *file_consume)
{
	fd_ref_drop(member->state_file);
	member->state_file = file_consume;
}

/* ---- starting ---- */

/* Is this deadline put off, as the process has said something that was not heard yet? */
static bool put_off(struct member *member, void (*on_due)(struct timer *timer))
{
	if (instance_is_heard_out(member->instance))
		return false;
	timer_arm(loop_of(member), &member->deadline, clock_now_us() + INSTANCE_HEAR_US, on_due);
	return true;
}

static void on_start_deadline(struct timer *timer)
{
	struct member *member = container_of(timer, struct member, deadline);

	if (put_off(member, on_start_deadline))
		return;
	instance_describe_slow_start(member->instance, member->service->unit, member->told_progress_us, &member->failure);
	instance_kill(member->instance, SIGKILL);
}

/* The library ends a load that takes too long at TransferTimeout=, and says why: this is for a process that says nothing. */
static void on_load_deadline(struct timer *timer)
{
	struct member *member = container_of(timer, struct member, deadline);
	const struct instance *instance = member->instance;
	char record[128];

	if (put_off(member, on_load_deadline))
		return;
	instance_in_hand(instance, record, sizeof(record));
	why_set(&member->failure, 0, "version %s (pid %d) did not load the state file within %" PRIu64 " ms (TransferTimeout=)%s%s",
		instance->version, instance->pid, member->service->unit->transfer_timeout_us / 1000,
		*record ? ": it is at " : "", record);
	instance_kill(member->instance, SIGKILL);
}

/* Every process that serves without a roll is started here. */
static int spawn(struct member *member)
{
	struct service *service = member->service;
	struct why why = { 0 };
	int r;

	r = service_start_process(service, service->unit, service->version, NULL, &member_events, member, &member->instance, &why);
	if (r < 0) {
		member->failure = why;
		return r;
	}
	*member->failure.text = 0;
	member->told_progress_us = 0;
	member->state = MEMBER_STARTING;
	service_changed(service);
	timer_arm(loop_of(member), &member->deadline, clock_now_us() + service->unit->start_timeout_us, on_start_deadline);
	log_service(INFO, service->name, "version %s starts as pid %d", service->version, member->instance->pid);
	return 0;
}

static void start_again_later(struct member *member);

int member_start_now(struct member *member)
{
	int r;

	timer_disarm(&member->restart);
	/* A child that wrote a checkpoint was let live until now. */
	if (keeper_starts(&member->keeper))
		service_end_children(member->service);
	/* What keeps it from being started may pass: a binary being replaced, a machine without memory. */
	r = spawn(member);
	if (r < 0)
		start_again_later(member);
	return r;
}

static void on_restart(struct timer *timer)
{
	(void)member_start_now(container_of(timer, struct member, restart));
}

static void wait_for_start(struct member *member, uint64_t due_us)
{
	member->restarts++;
	member->state = MEMBER_WAITING;
	service_changed(member->service);
	service_listen_early(member->service);
	timer_arm(loop_of(member), &member->restart, due_us, on_restart);
}

/* Another process takes the place of the one that ended, with all that is kept of it. */
static void go_on_at(struct member *member, uint64_t due_us, const char *when)
{
	wait_for_start(member, due_us);
	log_service(WARNING, member->service->name, "%s; version %s goes on from its checkpoint%s",
		    member->failure.text, member->service->version, when);
}

static void start_again_later(struct member *member)
{
	unsigned doublings = member->failures < BACKOFF_MAX ? member->failures : BACKOFF_MAX;
	uint64_t delay = member->service->unit->restart_delay_us << doublings;

	member->failures++;
	wait_for_start(member, clock_now_us() + delay);
	log_service(WARNING, member->service->name, "%s; starting version %s again in %" PRIu64 " ms, %s",
		    member->failure.text, member->service->version, delay / 1000,
		    keeper_starts(&member->keeper) ? "from its checkpoint" : "empty");
}

static void forget_failures(struct member *member)
{
	keeper_end(member);
	timer_disarm(&member->restart);
	member->restarts = member->failures = 0;
}

int member_start_unasked(struct member *member, bool or_later)
{
	int r;

	forget_failures(member);
	member->unasked = true;
	r = spawn(member);
	if (r < 0 && or_later && member->service->unit->restart != RESTART_NO) {
		start_again_later(member);
	} else if (r < 0) {
		member->state = MEMBER_FAILED;
		if (or_later)
			log_error("%s: %s", member->service->name, member->failure.text);
	}
	service_listen_trim(member->service);
	return r;
}

int member_start(struct member *member, int state_file_consume)
{
	struct fd_ref *file = NULL;
	int r;

	if (state_file_consume >= 0 && !(file = fd_ref_new_foreign(state_file_consume)))
		return why_errno(&member->failure, -ENOMEM, "state file");
	set_state_file(member, file);
	forget_failures(member);
	member->unasked = false;
	r = spawn(member);
	if (r < 0) {
		set_state_file(member, NULL);
		member->state = MEMBER_FAILED;
	}
	service_listen_trim(member->service);
	return r;
}

/* ---- what the process says ---- */

#define SKIPPED_MAX 16u

/* What a start says, to the log and to whoever waits for it. */
static void tell(const struct member *member, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void tell(const struct member *member, const char *fmt, ...)
{
	const struct instance *instance = member->instance;
	char text[SKIPPED_BYTES + 64];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	log_service(INFO, member->service->name, "version %s (pid %d): %s", instance->version, instance->pid, text);
	asker_progress(member->service->asker, "start", instance->pid, text, instance->since_us);
}

static void tell_loaded(const struct member *member, const Upgraded__Wire__Ready *ready)
{
	char text[SKIPPED_BYTES];

	if (!member->state_file || !ready->totals)
		return;
	tell(member, "%" PRIu64 " records loaded, %" PRIu64 " bytes", ready->totals->records, ready->totals->payload_bytes);
	for (size_t i = 0; i < ready->n_skipped && i < SKIPPED_MAX; i++)
		tell(member, "skipped %s", roll_skipped_text(ready->skipped[i], text));
}

static void hear_ready(struct member *member, const Upgraded__Wire__Ready *ready)
{
	if (member->state != MEMBER_STARTING)
		return;
	tell_loaded(member, ready);
	timer_disarm(&member->deadline);
	set_state_file(member, NULL);
	keeper_hear_ready(member, ready);
	member->state = MEMBER_RUNNING;
	instance_set_place(member->instance, INSTANCE_SERVES);
	pulse_begin(member);
	service_listen_settle(member->service);
	service_on_ready(member);
	keeper_begin(member);
}

/* A slow start that gets on has its time anew, up to StartTimeoutMax=; where it had more left already, it keeps that. */
static void hear_progress(struct member *member, const char *text)
{
	const struct instance *instance = member->instance;
	uint64_t now = clock_now_us(), due = now + unit_start_patience(member->service->unit, now - instance->since_us);

	if (member->state != MEMBER_STARTING || !member->deadline.loop)
		return;
	if (due > member->deadline.due_us)
		timer_arm(loop_of(member), &member->deadline, due, on_start_deadline);
	if (now - member->told_progress_us < TELL_PROGRESS_US)
		return;
	member->told_progress_us = now;
	log_service(INFO, member->service->name, "version %s (pid %d) gets on: %s", instance->version, instance->pid,
		    text);
	asker_progress(member->service->asker, "start", instance->pid, text, instance->since_us);
}

static void send_state_file(struct member *member)
{
	const struct unit *unit = member->service->unit;
	Upgraded__Wire__Receive receive = UPGRADED__WIRE__RECEIVE__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_RECEIVE, .receive = &receive);
	uint64_t due = clock_now_us() + unit->transfer_timeout_us;
	Upgraded__Wire__Limits limits = instance_limits(unit);
	struct fd_ref *fds[] = { member->state_file, instance_lend_in_hand(member->instance) };

	instance_hand_listeners(member->instance);
	receive.from_file = true;
	receive.in_hand = fds[1] != NULL;
	receive.limits = &limits;
	receive.deadline_us = due;
	timer_arm(loop_of(member), &member->deadline, due + USEC_PER_SEC, on_load_deadline);
	instance_send(member->instance, &message, fds, fds[1] ? 2 : 1);
	fd_ref_drop(fds[1]);
}

static void send_what_was_kept(struct member *member)
{
	uint64_t due = clock_now_us() + member->service->unit->transfer_timeout_us;

	instance_hand_listeners(member->instance);
	timer_arm(loop_of(member), &member->deadline, due + USEC_PER_SEC, on_load_deadline);
	keeper_send(member, due);
}

static void hear_standby(struct member *member)
{
	if (member->state != MEMBER_STARTING || member->instance->stood_by)
		return;
	member->instance->stood_by = true;
	if (instance_knows_listen(member->instance, &member->failure) < 0)
		instance_kill(member->instance, SIGKILL); /* its end tells why */
	else if (keeper_starts(&member->keeper))
		send_what_was_kept(member);
	else if (member->state_file)
		send_state_file(member);
	else
		instance_welcome(member->instance);
}

/* Without a version that serves nobody knows. */
static void tell_nothing_expected(struct instance *instance)
{
	Upgraded__Wire__Expected expected = UPGRADED__WIRE__EXPECTED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_EXPECTED, .expected = &expected);

	instance_send(instance, &message, NULL, 0);
}

static void on_message(struct instance *instance, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	struct member *member = instance->owner;

	if (keeper_hear(member, message, fds) || service_hear(member, message))
		return;
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_STANDBY:
		hear_standby(member);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_ASK_EXPECTED:
		tell_nothing_expected(instance);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_READY:
		hear_ready(member, message->ready);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_START_PROGRESS:
		hear_progress(member, message->start_progress->text);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED:
		if (member->state == MEMBER_STARTING)
			why_set(&member->failure, 0, "pid %d: %s", instance->pid, message->refused->reason);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_PONG:
		/* Of the last ping or of an earlier one: the library finishes one before it looks at others. */
		if (member->state == MEMBER_RUNNING && message->pong->nonce <= member->pulse.nonce)
			pulse_hear(member);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_CLOSED:
		/* Nobody is to wait at a door that it has closed. */
		if (member->state == MEMBER_RUNNING)
			service_listen_settle(member->service);
		break;
	default: /* news of a roll that is over */
		break;
	}
}

static void on_garbage(struct instance *instance, const char *reason)
{
	log_instance(WARNING, instance, "on its channel: %s; ignored", reason);
	keeper_hear_garbage(instance->owner, reason);
}

/* ---- the end of the process ---- */

static void on_start_failed(struct member *member)
{
	const struct instance *instance = member->instance;
	char how[INSTANCE_END_BYTES];

	if (!*member->failure.text)
		why_set(&member->failure, 0, "pid %d %s%s", instance->pid, instance_describe_end(instance, how, sizeof(how)),
			*instance->failure.text ? "" : " before it was ready");
	if (keeper_on_start_failed(member) == KEEPER_AT_ONCE) {
		go_on_at(member, clock_now_us(), ", once more");
		return;
	}
	if ((member->restarts || member->unasked) && member->service->unit->restart != RESTART_NO) {
		start_again_later(member);
	} else {
		member->state = MEMBER_FAILED;
		log_service(ERROR, member->service->name, "%s", member->failure.text);
	}
	service_on_start_failed(member);
}

/* In the place of a process that failed. */
static void go_on(struct member *member)
{
	uint64_t now = clock_now_us(), transfer_us = member->service->unit->transfer_timeout_us;

	switch (keeper_on_exit(member)) {
	case KEEPER_AT_ONCE:
		go_on_at(member, now, "");
		break;
	case KEEPER_AWAITS:
		go_on_at(member, now + transfer_us + USEC_PER_SEC, " when it is whole");
		break;
	case KEEPER_LATER:
	case KEEPER_EMPTY:
		start_again_later(member);
		break;
	}
}

static void on_running_exit(struct member *member)
{
	const struct service *service = member->service;
	const struct instance *instance = member->instance;
	bool clean = WIFEXITED(instance->status) && WEXITSTATUS(instance->status) == 0;
	bool ended_by_us = member->pulse.silent_us && service->unit->ends_unanswered; /* the failure stands: it was silent */
	char how[INSTANCE_END_BYTES];

	if (clock_now_us() - instance->place_us > STABLE_US)
		member->failures = 0;
	if (!ended_by_us)
		why_set(&member->failure, 0, "version %s (pid %d) %s", service->version, instance->pid,
			instance_describe_end(instance, how, sizeof(how)));
	if (clean || service->unit->restart == RESTART_NO)
		keeper_end(member);
	if (clean) {
		log_service(INFO, service->name, "%s", member->failure.text);
		member->state = MEMBER_STOPPED;
	} else if (service->unit->restart == RESTART_NO) {
		log_service(ERROR, service->name, "%s", member->failure.text);
		member->state = MEMBER_FAILED;
	} else {
		go_on(member);
	}
}

static void on_exit_of(struct instance *instance)
{
	struct member *member = instance->owner;

	timer_disarm(&member->deadline);
	set_state_file(member, NULL);
	/* Nobody takes over: what it and versions before it have started ends, too, where it was to end with the service. */
	if (!keeper_needs_child(member))
		service_end_children(member->service);
	service_on_exit(member);
	switch (member->state) {
	case MEMBER_STARTING:
		on_start_failed(member);
		break;
	case MEMBER_STOPPING:
		member->state = MEMBER_STOPPED;
		service_on_stopped(member);
		break;
	case MEMBER_RUNNING:
		on_running_exit(member);
		break;
	case MEMBER_STOPPED:
	case MEMBER_WAITING:
	case MEMBER_FAILED:
	case MEMBER_RETURNING:
		break;
	}
	pulse_end(member);
	member->instance = instance_free(instance);
	service_listen_trim(member->service);
	service_write_down(member->service);
}

static const struct instance_events member_events = {
	.on_message = on_message, .on_garbage = on_garbage, .on_exit = on_exit_of
};

void member_check_exit(struct member *member)
{
	if (member->instance && instance_is_over(member->instance))
		on_exit_of(member->instance);
}

/* ---- stopping ---- */

/* That of the version that serves, as it was started. */
static int stop_signal(const struct member *member)
{
	const struct unit *unit = member->instance->unit ? member->instance->unit : member->service->unit;

	return unit->stop_signal;
}

static void on_stop_deadline(struct timer *timer)
{
	struct member *member = container_of(timer, struct member, deadline);

	log_service(WARNING, member->service->name, "pid %d did not end on %s within StopTimeout=; killing it",
		    member->instance->pid, unit_signal_name(stop_signal(member)));
	instance_kill(member->instance, SIGKILL);
}

void member_stop(struct member *member)
{
	member->state = MEMBER_STOPPING;
	service_write_down(member->service); /* should we end now, it is not started again */
	member->stopping_us = clock_now_us();
	pulse_end(member);
	keeper_end(member);
	service_listen_trim(member->service); /* as of a process that ends: who comes now is refused */
	instance_kill(member->instance, stop_signal(member));
	/* Whoever was replaced, and serves somebody yet, has as long as that. */
	graveyard_hurry(member->service->host->site.graveyard, member->service->name,
			clock_now_us() + member->service->unit->stop_timeout_us);
	timer_arm(loop_of(member), &member->deadline, clock_now_us() + member->service->unit->stop_timeout_us, on_stop_deadline);
}

void member_end_start(struct member *member)
{
	member->state = MEMBER_STOPPING;
	member->stopping_us = clock_now_us();
	timer_disarm(&member->deadline);
	service_listen_trim(member->service);
	instance_kill(member->instance, SIGKILL); /* it has nothing yet that is not elsewhere */
}

bool member_stay_down(struct member *member)
{
	bool waited = member->state == MEMBER_WAITING;

	timer_disarm(&member->restart);
	if (member->keeper.awaits_child)
		service_end_children(member->service);
	keeper_end(member);
	member->state = MEMBER_STOPPED;
	service_listen_trim(member->service);
	return waited;
}

/* ---- after a roll ---- */

void member_take_serving(struct member *member, struct roll *roll)
{
	member->instance = roll_take_serving(roll);
	if (!member->instance) {
		keeper_end(member);
		member->failure = roll_report(roll)->cause;
		member->state = MEMBER_FAILED;
		return;
	}
	instance_own(member->instance, &member_events, member);
	instance_set_place(member->instance, INSTANCE_SERVES);
	member->state = MEMBER_RUNNING;
	pulse_begin(member);
	keeper_begin(member);
}

/* ---- after a supervisor's end ---- */

void member_come_back(struct member *member, struct instance *instance)
{
	Upgraded__Wire__Baked baked = UPGRADED__WIRE__BAKED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_BAKED, .baked = &baked);

	member->instance = instance;
	instance_own(instance, &member_events, member);
	instance_set_place(instance, INSTANCE_SERVES);
	member->state = MEMBER_RUNNING;
	service_listen_return(member->service, instance);
	/* There may have been a bake. What was kept to go back with is gone. */
	instance_send(instance, &message, NULL, 0);
	if (!instance->unreachable)
		pulse_begin(member);
	keeper_begin(member);
}

void member_go_on(struct member *member, enum member_state state, struct instance *instance, uint64_t restart_due_us)
{
	member->state = state;
	member->instance = instance;
	if (instance) {
		instance_own(instance, &member_events, member);
		if (state == MEMBER_RUNNING && !instance->unreachable)
			pulse_begin(member);
		if (state == MEMBER_RUNNING)
			keeper_begin(member);
	}
	if (state == MEMBER_WAITING)
		timer_arm(loop_of(member), &member->restart, restart_due_us, on_restart);
}

void member_start_again(struct member *member)
{
	start_again_later(member);
}

/* ---- how it is ---- */

const struct instance *member_serving(const struct member *member)
{
	if (member->back)
		return roll_serving(member->back);
	return member->roll ? roll_serving(member->roll) : member->instance;
}

bool member_is_idle(const struct member *member)
{
	return !member->instance && !member->roll;
}

bool member_is_out_of_reach(const struct member *member)
{
	return member->state == MEMBER_RUNNING && member->instance && member->instance->unreachable;
}

const char *member_doing(const struct member *member)
{
	if (member->roll)
		return roll_phase(member->roll);
	switch (member->state) {
	case MEMBER_STARTING:
		return "starting";
	case MEMBER_STOPPING:
		return "stopping";
	case MEMBER_RETURNING:
		return "returning";
	case MEMBER_STOPPED:
	case MEMBER_RUNNING:
	case MEMBER_WAITING:
	case MEMBER_FAILED:
		break;
	}
	return NULL;
}

const char *member_state_name(const struct member *member)
{
	static const char *const names[] = {
		[MEMBER_STOPPED] = "stopped",	[MEMBER_STARTING] = "starting",		 [MEMBER_RUNNING] = "running",
		[MEMBER_STOPPING] = "stopping", [MEMBER_WAITING] = "waiting to restart", [MEMBER_FAILED] = "failed",
		[MEMBER_RETURNING] = "returning",
	};
	if (member->roll)
		return !member->back && roll_is_baking(member->roll) ? "baking" : "rolling";
	if (member->pulse.silent_us)
		return "not answering";
	return member_is_out_of_reach(member) ? "out of reach" : names[member->state];
}

/* ---- life ---- */

struct member *member_new(struct service *service)
{
	struct member *member = calloc(1, sizeof(*member));

	if (!member)
		return NULL;
	member->service = service;
	keeper_init(&member->keeper);
	return member;
}

struct member *member_free(struct member *member)
{
	if (!member)
		return NULL;
	timer_disarm(&member->deadline);
	timer_disarm(&member->restart);
	pulse_end(member);
	keeper_done(&member->keeper);
	fd_ref_drop(member->state_file);
	roll_free(member->back);
	roll_free(member->roll);
	graveyard_bury(member->service->host->site.graveyard, member->instance);
	free(member);
	return NULL;
}
