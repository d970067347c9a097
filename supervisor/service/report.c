/* SPDX-License-Identifier: MIT */
/* What people and programs are told: what happened, what serves now, what to do next. */
#include "supervisor/service/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* protobuf-c's strings are not const, but packing does not write to them. */
static char *text_of(const char *text)
{
	return (char *)(uintptr_t)(text ? text : "");
}

static const struct instance *serving(const struct service *service)
{
	if (service->back)
		return roll_serving(service->back);
	return service->roll ? roll_serving(service->roll) : service->instance;
}

static void fill_report(const struct roll_result *result, Upgraded__Wire__RollReport *report, char *started, size_t size,
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
	const struct instance *who = serving(service);

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
		fill_report(service->roll ? roll_result(service->roll) : &service->last, &scratch->report,
			    scratch->started, sizeof(scratch->started), scratch->lines);
		status->last_roll = &scratch->report;
	}
}

void service_result(const struct service *service, struct asker *asker, Upgraded__Wire__Result *result)
{
	const struct instance *who = serving(service);
	char now[128];

	if (who && !who->exited)
		snprintf(now, sizeof(now), "version %s (pid %d)", who->version, who->child.pid);
	else
		snprintf(now, sizeof(now), "nothing");
	result->serving = now;
	asker->on_result(asker, result);
}

void service_answer(struct service *service, struct asker *asker, enum wire_exit code, const struct lines *lines,
		    const struct roll_result *roll, const char *cause, const char *next, const char *fmt, ...)
{
	Upgraded__Wire__Result result = UPGRADED__WIRE__RESULT__INIT;
	Upgraded__Wire__RollReport report;
	char text[512], started[32], *line_list[INSTANCE_LINES];
	va_list args;

	if (!asker)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	result.code = (uint32_t)code;
	result.text = text;
	result.cause = text_of(cause);
	result.next = text_of(next);
	if (roll) {
		fill_report(roll, &report, started, sizeof(started), line_list);
		result.roll = &report;
		lines = &roll->lines;
	}
	for (unsigned i = 0; lines && i < lines->n; i++)
		line_list[result.n_log_lines++] = text_of(lines->text[(lines->first + i) % INSTANCE_LINES]);
	result.log_lines = line_list;
	service_forget(asker);
	service_result(service, asker, &result);
}

void service_answer_roll(struct service *service, struct asker *asker, const struct roll_result *roll)
{
	static const struct {
		enum wire_exit code;
		const char *before, *after; /* the version that was rolled to */
		const char *next;
	} answers[] = {
		[ROLL_IS_DONE] = { WIRE_EXIT_DONE, "version ", " serves", "" },
		[ROLL_IS_REFUSED] = { WIRE_EXIT_REFUSED, "the roll to ", " was refused; nothing was touched",
				      "mend the cause and roll again" },
		[ROLL_IS_ABORTED] = { WIRE_EXIT_ROLLED_BACK,
				      "the roll to ", " was called off before it committed; nothing was lost",
				      "mend the cause and roll again" },
		[ROLL_IS_BACK_LIVE] = { WIRE_EXIT_ROLLED_BACK,
					"version ", " was left again with all its state: the version before serves",
					"mend the cause before you roll again" },
		[ROLL_IS_BACK_PARKED] = { WIRE_EXIT_ROLLED_BACK,
					  "version ", " failed after it had taken over; the version before came back from memory",
					  "what was written in between is lost; mend the cause before you roll again" },
		[ROLL_IS_BACK_IMAGE] = { WIRE_EXIT_ROLLED_BACK,
					 "version ", " failed after it had taken over; the version before came back from its image",
					 "what was written in between is lost; mend the cause before you roll again" },
		[ROLL_IS_COLD] = { WIRE_EXIT_WAY_BACK_FAILED,
				   "the roll to ", " failed and no way back was left; the version before was started empty",
				   "its state and connections are lost; see the log for why the way back failed" },
		[ROLL_IS_FAILED] = { WIRE_EXIT_WAY_BACK_FAILED,
				     "the roll to ", " failed, no way back was left, and the version before does not start",
				     "start it by hand: upgradectl start SERVICE VERSION" },
	};
	/* Before the end of the bake the outcome is not decided: the answer at the commit is that the new version serves. */
	enum roll_outcome outcome = roll->over ? roll->outcome : ROLL_IS_DONE;
	const char *next = answers[outcome].next;

	if (outcome == ROLL_IS_DONE && *roll->image_missed.text) {
		service_answer(service, asker, WIRE_EXIT_DONE, NULL, roll, roll->image_missed.text,
			       "a failure of it would be answered from memory, within the bake",
			       "%s: version %s serves, but the image that was required could not be taken; the way back is %s",
			       service->name, roll->to, roll->way_back);
		return;
	}
	if (roll->journal && (outcome == ROLL_IS_BACK_PARKED || outcome == ROLL_IS_BACK_IMAGE))
		next = "its journal made up for it: nothing is lost; mend the cause before you roll again";
	service_answer(service, asker, answers[outcome].code, NULL, roll, roll->cause.text, next,
		       "%s: %s%s%s", service->name, answers[outcome].before, roll->to, answers[outcome].after);
}
