/* SPDX-License-Identifier: MIT */
#include "supervisor/service/report.h"

#include "supervisor/process/graveyard.h"
#include "supervisor/service/private.h"

#include <stdio.h>
#include <stdlib.h>

static void add_instance_since(struct status *status, const struct instance *instance, const char *state, uint64_t since_us)
{
	Upgraded__Wire__ServiceStatus *message = &status->message;
	Upgraded__Wire__Instance *entry = malloc(sizeof(*entry)), **list;

	list = reallocarray(message->instances, message->n_instances + 1, sizeof(Upgraded__Wire__Instance *));
	if (list)
		message->instances = list;
	if (!list || !entry) {
		free(entry);
		return;
	}
	upgraded__wire__instance__init(entry);
	entry->pid = instance->pid;
	entry->version = wire_text(instance->version);
	entry->state = wire_text(state);
	entry->since_us = since_us;
	entry->says = wire_text(instance_says(instance));
	entry->drain_due_us = instance->drain_due_us;
	message->instances[message->n_instances++] = entry;
}

/* Since when it is what @state says: its process may be older than that. */
static void add_instance(struct status *status, const struct instance *instance, const char *state)
{
	add_instance_since(status, instance, state, instance->place_us);
}

static void add_roll_instances(struct status *status, const struct roll *roll, const struct instance *serving)
{
	const struct instance *old = roll_old(roll), *new = roll_new(roll);
	bool committed = roll_is_committed(roll);

	if (new && instance_is_alive(new))
		add_instance(status, new, new == serving ? "serving" : "standby");
	if (old && instance_is_alive(old) && old != serving && !committed)
		add_instance_since(status, old, "quiesced", roll_record(roll)->stops_us);
	else if (old && instance_is_alive(old))
		add_instance(status, old,
			     old == serving			       ? "serving" :
			     roll_record(roll)->moves_nothing ? "kept" :
								"parked");
	else if (old && roll_image_generation(roll))
		add_instance_since(status, old, "imaged", old->exited_us);
}

static void add_member_instances(struct status *status, const struct member *member)
{
	const struct instance *serving = member_serving(member);

	if (member->back)
		add_roll_instances(status, member->back, serving);
	if (member->roll)
		add_roll_instances(status, member->roll, serving);
	else if (member->pulse.silent_us)
		add_instance_since(status, member->instance, member_state_name(member), member->pulse.silent_us);
	else if (member->instance && instance_is_alive(member->instance) && member->state == MEMBER_STOPPING)
		add_instance_since(status, member->instance, member_state_name(member), member->stopping_us);
	else if (member->instance && instance_is_alive(member->instance))
		add_instance(status, member->instance,
			     member->state == MEMBER_RUNNING ? "serving" : member_state_name(member));
}

/* Replaced, and with somebody yet whom they serve. */
static void add_draining(struct status *status, const struct service *service)
{
	const struct graveyard *graveyard = service->host->site.graveyard;
	const struct instance *instance;

	for (size_t i = 0; (instance = graveyard_drains(graveyard, service->name, i)); i++)
		add_instance(status, instance, "draining");
}

static Upgraded__Wire__HealthCheck *add_health(struct status *status)
{
	Upgraded__Wire__HealthCheck *entry = &status->health[status->message.n_health];

	upgraded__wire__health_check__init(entry);
	status->health_list[status->message.n_health++] = entry;
	return entry;
}

void status_health(struct status *status, const struct health *health)
{
	Upgraded__Wire__HealthCheck *entry = add_health(status);

	status->message.health = status->health_list;
	entry->check = wire_text("heartbeat");
	entry->state = wire_text(health_heartbeat(health, status->heartbeat, sizeof(status->heartbeat)));
	entry->detail = status->heartbeat;
	for (size_t i = 0; i < health->n_checks; i++) {
		const struct health_check *check = &health->checks[i];

		snprintf(status->checks[i], sizeof(status->checks[i]), "%s=%s", unit_check_key(check->unit->kind), check->value);
		entry = add_health(status);
		entry->check = status->checks[i];
		entry->state = wire_text(health_state(check));
		entry->detail = wire_text(check->detail);
		entry->failures = check->failures;
		entry->runs = check->runs;
	}
}

static void add_history(struct status *status, const struct history *history)
{
	status->message.previous = wire_text(history_latest(history));
	for (size_t i = 0; i < history->n; i++)
		status->history[i] = wire_text(history->versions[i]);
	status->message.n_history = history->n;
	status->message.history = status->history;
}

static const char *listener_state(const struct listener *listener)
{
	return listener->ref ? "held" : listener->unused ? "unused" : "not held";
}

static void add_listeners(struct status *status, const struct listeners *listeners)
{
	Upgraded__Wire__Listener *entries = calloc(listeners->n + 1, sizeof(*entries));
	Upgraded__Wire__Listener **list = calloc(listeners->n + 1, sizeof(Upgraded__Wire__Listener *));

	for (size_t i = 0; entries && list && i < listeners->n; i++) {
		upgraded__wire__listener__init(&entries[i]);
		entries[i].address = wire_text(listeners->list[i].place.text);
		entries[i].state = wire_text(listener_state(&listeners->list[i]));
		entries[i].detail = wire_text(listeners->list[i].why.text);
		entries[i].name = wire_text(listeners->list[i].place.options.name);
		list[i] = &entries[i];
	}
	status->listeners = entries;
	status->message.listeners = list;
	status->message.n_listeners = entries && list ? listeners->n : 0;
}

static void add_roll(struct status *status, const struct roll *roll)
{
	/* Once the new version serves, undo goes back to the one it came from. */
	if (roll_is_committed(roll))
		status->message.previous = wire_text(roll_report(roll)->from);
	if (roll_health(roll))
		status_health(status, roll_health(roll));
	status->message.descriptors = (uint32_t)roll_descriptors(roll);
	status->message.descriptors_told = status->message.descriptors > 0;
}

struct instance *service_askable(const struct service *service)
{
	const struct member *member = service_member(service);

	/* What is asked while state is under way, calls that off. */
	if (member->state != MEMBER_RUNNING || member->roll || service->save || member->pulse.silent_us)
		return NULL;
	/* Of one that knows nothing of us nobody can tell. */
	return instance_is_alive(member->instance) && instance_can(member->instance, INSTANCE_CAN_MOVE) ? member->instance : NULL;
}

static void add_registered(struct status *status, const struct service *service)
{
	const struct instance *instance = service_askable(service);
	uint64_t count;

	if (!instance || !instance_registered(instance, &count))
		return;
	status->message.descriptors = (uint32_t)count;
	status->message.descriptors_told = true;
}

static void tell_phase(struct roll *roll, Upgraded__Wire__RollReport *report)
{
	struct roll_phase phase;

	if (!roll)
		return;
	roll_phase_look(roll, &phase);
	report->phase = wire_text(phase.name);
	report->bake_ends_us = phase.bake_ends_us;
}

static void tell_serving(struct status *status, const struct instance *serving)
{
	if (!instance_is_alive(serving))
		return;
	upgraded__wire__serving__init(&status->serving);
	status->serving.version = wire_text(serving->version);
	status->serving.pid = serving->pid;
	status->message.serving = &status->serving;
}

void service_status(const struct service *service, struct status *ret)
{
	const struct member *member = service_member(service);
	const struct instance *serving = member_serving(member);
	Upgraded__Wire__ServiceStatus *message = &ret->message;

	upgraded__wire__service_status__init(message);
	message->name = wire_text(service->name);
	message->state = wire_text(member_state_name(member));
	message->version = wire_text(serving ? serving->version : service->version);
	message->restarts = member->restarts;
	tell_serving(ret, serving);
	message->unit_file = wire_text(service->unit ? service->unit->path : "");
	message->description = wire_text(member->state == MEMBER_RUNNING && !member->pulse.silent_us ? "" : member->failure.text);
	add_history(ret, &service->history);
	add_listeners(ret, &service->listeners);
	add_registered(ret, service);
	message->crash = (char *)(uintptr_t)keeper_tell(member, ret->crash, sizeof(ret->crash));
	if (member->roll)
		add_roll(ret, member->roll);
	for (member = service->members; member; member = member->next)
		add_member_instances(ret, member);
	add_draining(ret, service);
	member = service_member(service);
	if (member->roll || service->has_last) {
		roll_report_tell(member->roll ? roll_report(member->roll) : &service->last, &ret->texts, &ret->report);
		message->last_roll = &ret->report;
		tell_phase(member->roll, &ret->report);
	}
}

void service_status_file(const struct service *service, struct status *ret)
{
	const char *keys[UNIT_KEYS_MAX];
	struct unit *unit;

	if (!service->unit || service_is_idle(service))
		return;
	if (unit_load(service->host->config_dir, service->name, &unit, &ret->file_error) < 0) {
		ret->message.file_error = ret->file_error.text;
		return;
	}
	ret->message.changed = ret->changed;
	ret->message.n_changed = unit_differs(service->unit, unit, keys);
	for (size_t i = 0; i < ret->message.n_changed; i++)
		ret->changed[i] = wire_text(keys[i]);
	unit_free(unit);
}

void status_done(struct status *status)
{
	for (size_t i = 0; i < status->message.n_instances; i++)
		free(status->message.instances[i]);
	free(status->message.instances);
	free(status->message.listeners);
	free(status->listeners);
}
