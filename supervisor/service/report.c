/* SPDX-License-Identifier: MIT */
/* What people and programs are told: what happened, what serves now, what to do next. */
#include "supervisor/service/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const struct instance *service_serving(const struct service *service)
{
	if (service->back)
		return roll_serving(service->back);
	return service->roll ? roll_serving(service->roll) : service->instance;
}

void service_fill_report(const struct roll_result *result, Upgraded__Wire__RollReport *report, char *started, size_t size,
			 char **lines)
{
	struct tm tm;
	unsigned n = 0;

	upgraded__wire__roll_report__init(report);
	report->from = text_of(result->from);
	report->to = text_of(result->to);
	report->outcome = text_of(result->over	     ? roll_outcome_name(result->outcome) :
				  result->commit_us ? "committed" :
						      "under way");
	report->records = result->records;
	report->state_bytes = result->state_bytes;
	report->fds = result->fds;
	report->pause_us = result->pause_us;
	report->commit_us = result->commit_us;
	report->died_us = result->died_us;
	report->resume_us = result->resume_us;
	report->kept = result->kept;
	report->reset = result->reset;
	report->image_bytes = result->image_bytes;
	report->image_us = result->image_us;
	report->restore_us = result->restore_us;
	report->verified = result->verified;
	report->lost_us = result->lost_us;
	report->journal = result->journal;
	report->replayed = result->replayed;
	report->adopted = result->adopted;
	report->journal_note = text_of(result->journal_note.text);
	report->way_back = text_of(result->way_back);
	report->cause = text_of(result->cause.text);
	for (unsigned i = 0; i < result->lines.n; i++)
		lines[n++] = text_of(result->lines.text[(result->lines.first + i) % INSTANCE_LINES]);
	report->n_log_lines = n;
	report->log_lines = lines;
	if (gmtime_r(&result->started_s, &tm) && strftime(started, size, "%Y-%m-%dT%H:%M:%SZ", &tm))
		report->started = started;
}

static const char *state_name(const struct service *service)
{
	static const char *const names[] = {
		[SERVICE_STOPPED] = "stopped",	 [SERVICE_STARTING] = "starting", [SERVICE_RUNNING] = "running",
		[SERVICE_STOPPING] = "stopping", [SERVICE_WAITING] = "waiting to restart", [SERVICE_FAILED] = "failed",
	};
	if (!service->roll)
		return names[service->state];
	if (service->back)
		return "rolling";
	return roll_is_baking(service->roll) ? "baking" : "rolling";
}

static void add_instance(const struct instance *instance, const char *state, Upgraded__Wire__ServiceStatus *status,
			 struct status_scratch *scratch)
{
	Upgraded__Wire__Instance *entry = &scratch->instances[status->n_instances];

	upgraded__wire__instance__init(entry);
	entry->pid = instance->child.pid;
	entry->version = text_of(instance->version);
	entry->state = text_of(state);
	entry->since_us = instance->since_us;
	scratch->list[status->n_instances++] = entry;
}

static void add_roll_instances(const struct roll *roll, const struct instance *who, Upgraded__Wire__ServiceStatus *status,
			       struct status_scratch *scratch)
{
	const struct instance *old = roll_old(roll), *new = roll_new(roll);
	bool committed = roll_is_committed(roll);

	if (new && instance_is_alive(new))
		add_instance(new, new == who ? "serving" : "standby", status, scratch);
	if (old && instance_is_alive(old))
		add_instance(old, old == who ? "serving" : committed ? "parked" : "quiesced", status, scratch);
	else if (old && roll_image_generation(roll))
		add_instance(old, "imaged", status, scratch);
}

static Upgraded__Wire__HealthCheck *add_health(Upgraded__Wire__ServiceStatus *status, struct status_scratch *scratch)
{
	Upgraded__Wire__HealthCheck *entry = &scratch->health[status->n_health];

	upgraded__wire__health_check__init(entry);
	scratch->health_list[status->n_health++] = entry;
	return entry;
}

static void fill_health(const struct health *health, Upgraded__Wire__ServiceStatus *status, struct status_scratch *scratch)
{
	Upgraded__Wire__HealthCheck *entry = add_health(status, scratch);

	entry->check = text_of("heartbeat");
	entry->state = text_of(health_heartbeat(health, scratch->heartbeat, sizeof(scratch->heartbeat)));
	entry->detail = scratch->heartbeat;
	for (size_t i = 0; i < health->n_checks; i++) {
		const struct health_check *check = &health->checks[i];

		snprintf(scratch->checks[i], sizeof(scratch->checks[i]), "%s=%s", unit_check_key(check->unit->kind),
			 check->value);
		entry = add_health(status, scratch);
		entry->check = scratch->checks[i];
		entry->state = text_of(health_state(check));
		entry->detail = text_of(check->detail);
		entry->failures = check->failures;
		entry->runs = check->runs;
	}
}

void service_status(const struct service *service, Upgraded__Wire__ServiceStatus *status, struct status_scratch *scratch)
{
	const struct instance *who = service_serving(service);

	upgraded__wire__service_status__init(status);
	status->name = text_of(service->name);
	status->state = text_of(state_name(service));
	status->version = text_of(who ? who->version : service->version);
	status->restarts = service->restarts;
	/* Once the new version serves, undo goes back to the one it came from. */
	status->previous = text_of(history_latest(&service->history));
	for (size_t i = 0; i < service->history.n; i++)
		scratch->history[i] = text_of(service->history.versions[i]);
	status->n_history = service->history.n;
	status->history = scratch->history;
	if (service->roll && roll_is_committed(service->roll))
		status->previous = text_of(roll_result(service->roll)->from);
	status->unit_file = text_of(service->unit ? service->unit->path : "");
	status->description = text_of(service->state == SERVICE_RUNNING ? "" : service->failure.text);
	status->instances = scratch->list;
	if (service->back)
		add_roll_instances(service->back, who, status, scratch);
	if (service->roll)
		add_roll_instances(service->roll, who, status, scratch);
	else if (service->instance && instance_is_alive(service->instance))
		add_instance(service->instance, service->state == SERVICE_RUNNING ? "serving" : state_name(service), status,
			     scratch);
	status->health = scratch->health_list;
	if (service->roll && roll_health(service->roll))
		fill_health(roll_health(service->roll), status, scratch);
	status->connections = service->roll ? (uint32_t)roll_descriptors(service->roll) : 0;
	if (service->roll || service->has_last) {
		service_fill_report(service->roll ? roll_result(service->roll) : &service->last, &scratch->report,
			    scratch->started, sizeof(scratch->started), scratch->lines);
		status->last_roll = &scratch->report;
	}
}
