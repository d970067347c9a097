/* SPDX-License-Identifier: MIT */
/* The life of one process of a service: start, run, restart after a failure, stop. */
#include "supervisor/service/private.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/wait.h>

#define STABLE_US (10 * USEC_PER_SEC) /* having served this long, a failure counts as the first again */
#define TELL_PROGRESS_US USEC_PER_SEC
#define BACKOFF_MAX 5u                /* doublings of RestartDelay= */

static const struct instance_events service_events;

/* Where the state of a start from a file is read; its owner from here on is the service. */
void member_set_state_file(struct service *service, int file_consume)
{
	fd_close(service->state_file);
	service->state_file = file_consume;
}

void member_answer_failed_start(struct service *service)
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

int member_spawn(struct service *service)
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
	if (member_spawn(service) < 0)
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

void member_on_exit(struct instance *instance)
{
	struct service *service = instance->owner;
	char how[64];

	timer_disarm(&service->deadline);
	member_set_state_file(service, -1);
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
		member_answer_failed_start(service);
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
	member_set_state_file(service, -1);
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
	asker_progress(service->asker, "start", service->instance->child.pid, text, service->instance->since_us);
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
	.on_message = on_message, .on_garbage = on_garbage, .on_exit = member_on_exit
};

static void on_stop_deadline(struct timer *timer)
{
	struct service *service = container_of(timer, struct service, deadline);

	log_warning("%s: pid %d did not end on SIGTERM within StopTimeout=; killing it", service->name,
		    service->instance->child.pid);
	instance_kill(service->instance, SIGKILL);
}

void member_stop(struct service *service)
{
	service->state = SERVICE_STOPPING;
	instance_kill(service->instance, SIGTERM);
	timer_arm(service->host->site.loop, &service->deadline, clock_now_us() + service->unit->stop_timeout_us,
		  on_stop_deadline);
}

void member_take_serving(struct service *service, struct roll *roll)
{
	service->instance = roll_take_serving(roll);
	if (!service->instance) {
		/* What is to be started by hand is the version that worked. */
		service_set_version(service, roll_result(roll)->from);
		service->failure = roll_result(roll)->cause;
		service->state = SERVICE_FAILED;
		return;
	}
	service->instance->events = &service_events;
	service->instance->owner = service;
	service->state = SERVICE_RUNNING;
	service_set_version(service, service->instance->version);
}
