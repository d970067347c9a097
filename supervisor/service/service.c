/* SPDX-License-Identifier: MIT */
#include "supervisor/service/service.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define STABLE_US (10 * USEC_PER_SEC) /* having served this long, a failure counts as the first again */
#define TELL_PROGRESS_US USEC_PER_SEC
#define BACKOFF_MAX 5u                /* doublings of RestartDelay= */

static const struct instance_events service_events;

static void set_version(struct service *service, const char *version)
{
	snprintf(service->version, sizeof(service->version), "%s", version);
}

/* Where the state of a start from a file is read; its owner from here on is the service. */
static void set_state_file(struct service *service, int file_consume)
{
	fd_close(service->state_file);
	service->state_file = file_consume;
}

static void tell_progress(struct asker *asker, const char *phase, pid_t pid, const char *text, uint64_t since_us)
{
	Upgraded__Wire__Progress progress = UPGRADED__WIRE__PROGRESS__INIT;

	if (!asker)
		return;
	progress.at_us = clock_now_us();
	progress.phase = (char *)(uintptr_t)phase;
	progress.text = (char *)(uintptr_t)text;
	progress.pid = pid;
	progress.elapsed_us = progress.at_us - since_us;
	asker->on_progress(asker, &progress);
}

/* ---- starting and stopping ---- */

static void answer_failed_start(struct service *service)
{
	const struct lines *lines = service->instance ? &service->instance->lines : NULL;

	service_answer(service, service->asker, WIRE_EXIT_ERROR, lines, NULL, service->failure.text,
		       "mend the cause, then start it again", "%s version %s could not be started", service->name,
		       service->version);
}

static void on_start_deadline(struct timer *timer)
{
	struct service *service = container_of(timer, struct service, deadline);
	const struct instance *instance = service->instance;

	if (instance->hello)
		why_set(&service->failure, 0, "pid %d did not become ready within %" PRIu64 " ms (StartTimeout=)%s",
			instance->child.pid, service->unit->start_timeout_us / 1000,
			service->told_progress_us ? " of its last word of progress" : "");
	else
		why_set(&service->failure, 0,
			"pid %d did not say hello within %" PRIu64
			" ms (StartTimeout=): is %s linked with libupgrade, and does it call upg_open()?",
			instance->child.pid, service->unit->start_timeout_us / 1000, service->name);
	instance_kill(service->instance, SIGKILL);
}

static int spawn(struct service *service)
{
	struct why why = { 0 };
	int r;

	r = instance_start(service->host->site.loop, service->unit, service->version, &service_events, service,
			   &service->instance, &why);
	if (r < 0) {
		service->failure = why;
		return r;
	}
	*service->failure.text = 0;
	service->told_progress_us = 0;
	service->state = SERVICE_STARTING;
	timer_arm(service->host->site.loop, &service->deadline, clock_now_us() + service->unit->start_timeout_us,
		  on_start_deadline);
	log_info("%s: version %s starts as pid %d", service->name, service->version, service->instance->child.pid);
	return 0;
}

static void start_again_later(struct service *service);

static void on_restart(struct timer *timer)
{
	struct service *service = container_of(timer, struct service, restart);

	/* What keeps it from being started may pass: a binary being replaced, a machine without memory. */
	if (spawn(service) < 0)
		start_again_later(service);
}

static void start_again_later(struct service *service)
{
	unsigned doublings = service->failures < BACKOFF_MAX ? service->failures : BACKOFF_MAX;
	uint64_t delay = service->unit->restart_delay_us << doublings;

	service->failures++;
	service->restarts++;
	service->state = SERVICE_WAITING;
	log_warning("%s: %s; starting version %s again in %" PRIu64 " ms, empty", service->name, service->failure.text,
		    service->version, delay / 1000);
	timer_arm(service->host->site.loop, &service->restart, clock_now_us() + delay, on_restart);
}

static void on_running_exit(struct service *service, const struct child *child)
{
	bool clean = WIFEXITED(child->status) && WEXITSTATUS(child->status) == 0;
	char how[64];

	if (clock_now_us() - service->instance->since_us > STABLE_US)
		service->failures = 0;
	why_set(&service->failure, 0, "version %s (pid %d) %s", service->version, child->pid,
		child_describe(child, how, sizeof(how)));
	if (clean) {
		log_info("%s: %s", service->name, service->failure.text);
		service->state = SERVICE_STOPPED;
	} else if (service->unit->restart == RESTART_NO) {
		log_error("%s: %s", service->name, service->failure.text);
		service->state = SERVICE_FAILED;
	} else {
		start_again_later(service);
	}
}

static void on_exit_of(struct instance *instance)
{
	struct service *service = instance->owner;
	char how[64];

	timer_disarm(&service->deadline);
	set_state_file(service, -1);
	service_save_fail(service, "it ended meanwhile");
	service_plan_end(service, "the process ended meanwhile");
	switch (service->state) {
	case SERVICE_STARTING:
		if (!*service->failure.text)
			why_set(&service->failure, 0, "pid %d %s before it was ready", instance->child.pid,
				child_describe(&instance->child, how, sizeof(how)));
		if (service->restarts && service->unit->restart != RESTART_NO) {
			start_again_later(service);
		} else {
			service->state = SERVICE_FAILED;
			log_error("%s: %s", service->name, service->failure.text);
		}
		answer_failed_start(service);
		break;
	case SERVICE_STOPPING:
		service->state = SERVICE_STOPPED;
		history_clear(&service->history); /* its state is gone: there is nothing to go back with */
		log_info("%s: stopped", service->name);
		service_answer(service, service->asker, WIRE_EXIT_DONE, NULL, NULL, NULL, NULL,
			       "%s is stopped", service->name);
		break;
	case SERVICE_RUNNING:
		on_running_exit(service, &instance->child);
		break;
	case SERVICE_STOPPED:
	case SERVICE_WAITING:
	case SERVICE_FAILED:
		break;
	}
	service->instance = instance_free(instance);
}

static void hear_ready(struct service *service)
{
	if (service->state != SERVICE_STARTING)
		return;
	timer_disarm(&service->deadline);
	set_state_file(service, -1);
	service->state = SERVICE_RUNNING;
	log_info("%s: version %s serves as pid %d", service->name, service->version, service->instance->child.pid);
	service_answer(service, service->asker, WIRE_EXIT_DONE, NULL, NULL, NULL, NULL,
		       "%s version %s serves (pid %d)", service->name, service->version, service->instance->child.pid);
}

/* Its time begins anew; where it had more already, it keeps that. */
static void hear_progress(struct service *service, const char *text)
{
	uint64_t now = clock_now_us(), due = now + service->unit->start_timeout_us;

	if (service->state != SERVICE_STARTING || !service->deadline.loop)
		return;
	if (due > service->deadline.due_us)
		timer_arm(service->host->site.loop, &service->deadline, due, on_start_deadline);
	if (now - service->told_progress_us < TELL_PROGRESS_US)
		return;
	service->told_progress_us = now;
	log_info("%s: version %s (pid %d) gets on: %s", service->name, service->version, service->instance->child.pid, text);
	tell_progress(service->asker, "start", service->instance->child.pid, text, service->instance->since_us);
}

static void send_state_file(struct service *service)
{
	Upgraded__Wire__Receive receive = UPGRADED__WIRE__RECEIVE__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_RECEIVE, .receive = &receive);
	uint64_t due = clock_now_us() + service->unit->transfer_timeout_us;
	Upgraded__Wire__Limits limits = instance_limits(service->unit);

	receive.from_file = true;
	receive.limits = &limits;
	receive.deadline_us = due;
	/* Its own deadline ends it sooner, and says why. */
	timer_arm(service->host->site.loop, &service->deadline, due + USEC_PER_SEC, on_start_deadline);
	instance_send(service->instance, &message, &service->state_file, 1);
}

static void hear_standby(struct service *service)
{
	Upgraded__Wire__Welcome welcome = UPGRADED__WIRE__WELCOME__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_WELCOME, .welcome = &welcome);

	if (service->state != SERVICE_STARTING)
		return;
	if (service->state_file >= 0) {
		send_state_file(service);
		return;
	}
	welcome.protocol = WIRE_PROTOCOL;
	welcome.service = service->name;
	welcome.fresh = true;
	instance_send(service->instance, &message, NULL, 0);
}

static void on_message(struct instance *instance, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	struct service *service = instance->owner;

	(void)fds;
	if (service_save_hear(service, message) || service_plan_hear(service, message))
		return;
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_STANDBY:
		hear_standby(service);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_READY:
		hear_ready(service);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_START_PROGRESS:
		hear_progress(service, message->start_progress->text);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED:
		if (service->state == SERVICE_STARTING)
			why_set(&service->failure, 0, "pid %d: %s", instance->child.pid, message->refused->reason);
		break;
	default: /* a pong, a close, or news of a roll that is over */
		break;
	}
}

static void on_garbage(struct instance *instance, const char *reason)
{
	log_warning("%s[%s %d]: on its channel: %s; ignored", instance->service, instance->version, instance->child.pid, reason);
}

static const struct instance_events service_events = {
	.on_message = on_message, .on_garbage = on_garbage, .on_exit = on_exit_of
};

/* The service file anew, as the operator may have changed it. On failure the old one stays in force. */
int service_reload_unit(struct service *service, struct asker *asker)
{
	struct unit *unit;
	struct why why = { 0 };
	int r = unit_load(service->host->config_dir, service->name, &unit, &why);

	if (r < 0) {
		/* One that runs is a service, whatever became of its file. */
		bool none = r == -ENOENT && !service->instance;

		service_answer(service, asker,
			       none ? WIRE_EXIT_NO_SUCH_SERVICE :
				      (service->instance ? WIRE_EXIT_REFUSED :
							   WIRE_EXIT_ERROR),
			       NULL, NULL, why.text,
			       none ? "upgradectl list shows the services" :
			       service->instance ? "nothing was touched; mend the service file" : "mend the service file",
			       none ? "there is no service %s" : "the service file of %s cannot be used", service->name);
		return r;
	}
	unit_free(service->unit);
	service->unit = unit;
	return 0;
}

bool service_refuse_busy(struct service *service, struct asker *asker)
{
	const char *doing = service->roll			 ? roll_phase(service->roll) :
			    service->saving			 ? "saving" :
			    service_plan_is_gate(service)	 ? "preflight" :
			    service->state == SERVICE_STARTING ? "starting" :
								   "stopping";

	service_plan_give_way(service);
	if (!service->roll && !service->saving && !service->plan && service->state != SERVICE_STARTING &&
	    service->state != SERVICE_STOPPING)
		return false;
	service_answer(service, asker, WIRE_EXIT_BUSY, NULL, NULL, NULL,
		       service->roll && roll_is_baking(service->roll) ?
			       "wait for the end of the bake, or go back with upgradectl undo" :
			       "wait for it, or watch it with upgradectl status",
		       "%s: another %s is under way (%s)", service->name,
		       service->roll ? "roll" : "change", doing);
	return true;
}

/* Return: true if it may be started, with its service file read and its version chosen; else @asker was told why not. */
static bool may_start(struct service *service, const char *version, struct asker *asker)
{
	if (service_refuse_busy(service, asker))
		return false;
	if (service->state == SERVICE_RUNNING) {
		service_answer(service, asker, WIRE_EXIT_ERROR, NULL, NULL, NULL, "to change its version use upgradectl roll",
			       "%s runs already: version %s (pid %d)", service->name, service->version,
			       service->instance->child.pid);
		return false;
	}
	if (service_reload_unit(service, asker) < 0)
		return false;
	if (!*version)
		version = *service->version ? service->version : service->unit->version;
	if (!*version) {
		service_answer(service, asker, WIRE_EXIT_USAGE, NULL, NULL, NULL, "name one: upgradectl start SERVICE VERSION",
			       "%s: no version was named and %s sets no Version=", service->name, service->unit->path);
		return false;
	}
	if (version != service->version)
		set_version(service, version);
	return true;
}

void service_start(struct service *service, const char *version, int state_file_consume, struct asker *asker)
{
	if (!may_start(service, version, asker)) {
		fd_close(state_file_consume);
		return;
	}
	set_state_file(service, state_file_consume);
	timer_disarm(&service->restart);
	service->restarts = service->failures = 0;
	history_clear(&service->history);
	service->asker = asker;
	asker->service = service;
	if (spawn(service) < 0) {
		service->state = SERVICE_FAILED;
		answer_failed_start(service);
	}
}

static void on_stop_deadline(struct timer *timer)
{
	struct service *service = container_of(timer, struct service, deadline);

	log_warning("%s: pid %d did not end on SIGTERM within StopTimeout=; killing it", service->name,
		    service->instance->child.pid);
	instance_kill(service->instance, SIGKILL);
}

void service_stop(struct service *service, struct asker *asker)
{
	/* Stopping accepts a version that is still baking: the roll ends here. */
	if (service->roll && roll_is_baking(service->roll))
		roll_cancel(service->roll);
	if (service_refuse_busy(service, asker))
		return;
	if (service->state != SERVICE_RUNNING) {
		bool waited = service->state == SERVICE_WAITING;

		timer_disarm(&service->restart);
		service->state = SERVICE_STOPPED;
		service_answer(service, asker, waited ? WIRE_EXIT_DONE : WIRE_EXIT_NOT_RUNNING, NULL, NULL, NULL, NULL,
			       waited ? "%s will not be started again" : "%s is not running", service->name);
		return;
	}
	service->state = SERVICE_STOPPING;
	service->asker = asker;
	asker->service = service;
	instance_kill(service->instance, SIGTERM);
	timer_arm(service->host->site.loop, &service->deadline, clock_now_us() + service->unit->stop_timeout_us,
		  on_stop_deadline);
}

/* ---- rolling ---- */

void service_on_roll_progress(struct roll *roll, const char *phase, pid_t pid, const char *text)
{
	struct service *service = roll_owner(roll);

	tell_progress(roll == service->back && service->visitor ? service->visitor : service->asker, phase, pid, text,
		      roll_begun_us(roll));
}

void service_on_roll_commit(struct roll *roll)
{
	struct service *service = roll_owner(roll);

	set_version(service, roll_result(roll)->to);
	if (service->asker && service->asker->wait_commit)
		service_answer_roll(service, service->asker, roll_result(roll));
}

static void take_over_serving(struct service *service, struct roll *roll)
{
	service->instance = roll_take_serving(roll);
	if (!service->instance) {
		/* What is to be started by hand is the version that worked. */
		set_version(service, roll_result(roll)->from);
		service->failure = roll_result(roll)->cause;
		service->state = SERVICE_FAILED;
		return;
	}
	service->instance->events = &service_events;
	service->instance->owner = service;
	service->state = SERVICE_RUNNING;
	set_version(service, service->instance->version);
}

static void note_history(struct service *service, const struct roll *roll)
{
	const struct roll_result *result = roll_result(roll);

	if (result->outcome == ROLL_IS_COLD)
		history_clear(&service->history);
	if (result->outcome != ROLL_IS_DONE)
		return;
	history_move(&service->history, result->from, result->to);
	if (roll_retreats(roll))
		history_forget(&service->history, result->from);
}

/* The roll backward, in whose favour it ended, goes on as the service's roll: that one has who serves. */
static void on_turned(struct service *service, struct roll *roll)
{
	roll_free(roll);
	log_info("%s: roll %s -> %s: %s", service->name, service->last.from, service->last.to,
		 roll_outcome_name(service->last.outcome));
	service_answer_roll(service, service->asker, &service->last);
	service->asker = service->visitor;
	service->visitor = NULL;
}

void service_on_roll_end(struct roll *roll)
{
	struct service *service = roll_owner(roll);

	service->last = *roll_result(roll);
	service->has_last = true;
	if (service->last.outcome == ROLL_IS_BACK_LIVE) {
		on_turned(service, roll);
		return;
	}
	service->roll = NULL;
	if (service->last.commit_us)
		plan_pauses_note(&service->pauses, service->last.pause_us, service->last.records);
	take_over_serving(service, roll);
	note_history(service, roll);
	service_images_settle(service, roll_take_image(roll), service->last.outcome);
	roll_free(roll);
	log_info("%s: roll %s -> %s: %s", service->name, service->last.from, service->last.to,
		 roll_outcome_name(service->last.outcome));
	service_answer_roll(service, service->asker, &service->last);
	service_tell_visitor(service, &service->last);
	/* It may have ended while the roll was on, before anything was done to it. */
	if (service->instance && service->instance->exit_told)
		on_exit_of(service->instance);
}

int service_roll_options(const struct service *service, const Upgraded__Wire__Request *request, const char *version,
			struct roll_options *ret)
{
	*ret = (struct roll_options){
		.version = version,
		.rollback = service->unit->rollback,
		.verify = service->unit->verify,
		.require_image = request->require_image || service->unit->require_image,
		.bake_us = request->bake_us ? request->bake_us : service->unit->bake_us,
	};
	if (*request->rollback && !unit_rollback_parse(request->rollback, &ret->rollback))
		return -EINVAL;
	if (*request->verify && !unit_verify_parse(request->verify, &ret->verify))
		return -EINVAL;
	return 0;
}

void service_roll_now(struct service *service, const char *version, const Upgraded__Wire__Request *request,
		      struct asker *asker)
{
	struct roll callbacks = {
		.owner = service, .on_progress = service_on_roll_progress, .on_commit = service_on_roll_commit,
		.on_backward = service_on_backward, .on_packed = service_on_packed, .on_end = service_on_roll_end
	};
	struct roll_options options;
	struct why why = { 0 };

	if (service_roll_options(service, request, version, &options) < 0) {
		service_answer(service, asker, WIRE_EXIT_USAGE, NULL, NULL, NULL, NULL,
			       "rollback is one of auto, parked, image, none; verify is none or roundtrip");
		return;
	}
	options.generation = ++service->host->generation;
	service->asker = asker;
	if (asker)
		asker->service = service;
	if (roll_start(&service->host->site, service->unit, &options, service->instance, &callbacks, &service->roll, &why) < 0) {
		service_answer(service, asker, WIRE_EXIT_REFUSED, NULL, NULL, why.text,
			       "nothing was touched", "%s: the roll to %s was refused", service->name, version);
		return;
	}
	service->instance = NULL;
}

void service_begin_roll(struct service *service, const char *version, const Upgraded__Wire__Request *request,
			struct asker *asker)
{
	if (request->require_image || service->unit->require_image)
		service_plan_gate(service, version, request, asker);
	else
		service_roll_now(service, version, request, asker);
}

bool service_refuse_not_running(struct service *service, struct asker *asker)
{
	if (service->state == SERVICE_RUNNING)
		return false;
	service_answer(service, asker, WIRE_EXIT_NOT_RUNNING, NULL, NULL, service->failure.text,
		       "start it: upgradectl start SERVICE VERSION", "%s is not running", service->name);
	return true;
}

void service_roll(struct service *service, const Upgraded__Wire__Request *request, struct asker *asker)
{
	if (service_refuse_busy(service, asker) || service_refuse_not_running(service, asker) ||
	    service_reload_unit(service, asker) < 0)
		return;
	if (strcmp(request->version, service->version) == 0) {
		service_answer(service, asker, WIRE_EXIT_REFUSED, NULL, NULL, NULL,
			       "nothing was touched; versions live at paths of their own, so a new build needs a new name",
			       "%s runs version %s already", service->name, service->version);
		return;
	}
	service_begin_roll(service, request->version, request, asker);
}

/* ---- life ---- */

struct service *service_new(struct service_host *host, const char *name)
{
	struct service *service = calloc(1, sizeof(*service));

	if (!service)
		return NULL;
	service->host = host;
	service->state_file = service->save_file = -1;
	snprintf(service->name, sizeof(service->name), "%s", name);
	return service;
}

struct service *service_free(struct service *service)
{
	if (!service)
		return NULL;
	timer_disarm(&service->deadline);
	timer_disarm(&service->restart);
	timer_disarm(&service->save_timer);
	timer_disarm(&service->save_deadline);
	fd_close(service->state_file);
	fd_close(service->save_file);
	service_plan_end(service, "upgraded ends");
	if (service->asker)
		service_forget(service->asker);
	if (service->visitor)
		service_forget(service->visitor);
	roll_free(service->back);
	roll_free(service->roll);
	graveyard_bury(service->host->site.graveyard, service->instance);
	unit_free(service->unit);
	free(service);
	return NULL;
}

void service_forget(struct asker *asker)
{
	if (asker->service && asker->service->asker == asker)
		asker->service->asker = NULL;
	if (asker->service)
		service_plan_forget(asker->service, asker);
	if (asker->service && asker->service->visitor == asker)
		asker->service->visitor = NULL;
	asker->service = NULL;
}

bool service_is_idle(const struct service *service)
{
	return !service->instance && !service->roll;
}
