/* SPDX-License-Identifier: MIT */
#include "supervisor/process/graveyard.h"
#include "supervisor/service/private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void service_set_version(struct service *service, const char *version, struct unit *unit)
{
	struct unit *before = service->unit;

	if (version != service->version)
		snprintf(service->version, sizeof(service->version), "%s", version);
	if (!unit)
		return;
	service->unit = unit_ref(unit);
	unit_free(before);
}

/* The first of its members that is in @state, or NULL. */
static struct member *member_in(const struct service *service, enum member_state state)
{
	struct member *member = service->members;

	while (member && member->state != state)
		member = member->next;
	return member;
}

void service_end_children(const struct service *service)
{
	/* One that was replaced, and drains, is in the same control group. */
	bool drains = graveyard_drains(service->host->site.graveyard, service->name, 0);

	if (service->unit && service->unit->children != CHILDREN_KEEP && !drains)
		origin_end_rest(service->host->origin, service->name);
	else
		origin_end_children(service->host->origin, service->name);
}

void service_changed(const struct service *service)
{
	if (service->host->on_change)
		service->host->on_change(service->host->change_arg);
}

struct member *service_member(const struct service *service)
{
	return service->members;
}

/* ---- refusals ---- */

static int refuse_unit(struct service *service, struct asker *asker, int r, const struct why *why)
{
	/* A service whose process runs exists, even if its file was removed. */
	bool runs = service_member(service)->instance;

	if (r == -ENOENT && !runs)
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_NO_SUCH_SERVICE,
						 .cause = why->text,
						 .next = "upgradectl list shows the services" },
			       "there is no service %s", service->name);
	else
		service_answer(service, asker,
			       &(struct answer){ .code = runs ? WIRE_EXIT_REFUSED : WIRE_EXIT_ERROR,
						 .cause = why->text,
						 .next = runs ? "nothing was touched; fix the service file" :
								"fix the service file" },
			       "the service file of %s cannot be used", service->name);
	return r;
}

int service_load_unit(struct service *service, struct unit **ret_unit, struct asker *asker)
{
	struct why why = { 0 };
	int r = unit_load(service->host->config_dir, service->name, ret_unit, &why);

	return r < 0 ? refuse_unit(service, asker, r, &why) : 0;
}

/* Return: what is under way, so that nothing else can be begun; NULL: nothing. */
static const char *doing(const struct service *service)
{
	const char *what = NULL;

	for (const struct member *member = service->members; member && !what; member = member->next)
		what = member_doing(member);
	if (what)
		return what;
	if (service->stop_wanted)
		return "stopping";
	return service->save ? "saving" : service_plan_is_gate(service) ? "preflight" : NULL;
}

bool service_refuse_busy(struct service *service, struct asker *asker)
{
	const struct roll *roll = service_member(service)->roll;
	const char *what;

	service_plan_give_way(service);
	what = doing(service);
	if (!what)
		return false;
	if (service_member(service)->state == MEMBER_RETURNING) {
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_BUSY,
						 .cause = service_member(service)->failure.text,
						 .next = "wait for it, or end that process by hand" },
			       "%s: its process has not come back yet", service->name);
		return true;
	}
	service_answer(service, asker,
		       &(struct answer){ .code = WIRE_EXIT_BUSY,
					 .next = roll && roll_is_baking(roll) ?
							 "wait for the end of the bake, end it with upgradectl accept, or go "
							 "back with upgradectl undo" :
							 "wait for it, or abort it with upgradectl abort" },
		       "%s: another %s is under way (%s)", service->name, roll ? "roll" : "change", what);
	return true;
}

bool service_refuse_not_running(struct service *service, struct asker *asker)
{
	const struct member *member = member_in(service, MEMBER_RUNNING);

	if (member && member_is_out_of_reach(member)) {
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_REFUSED,
						 .cause = "it was started by an upgraded that has ended, and its "
							  "channel is lost",
						 .next = "it serves on; to have it back in hand: upgradectl stop, then "
							 "upgradectl start" },
			       "%s: version %s (pid %d) is out of reach", service->name, service->version,
			       (int)member->instance->pid);
		return true;
	}
	if (member)
		return false;
	service_answer(service, asker,
		       &(struct answer){ .code = WIRE_EXIT_NOT_RUNNING,
					 .cause = service_member(service)->failure.text,
					 .next = "start it: upgradectl start SERVICE VERSION" },
		       "%s is not running", service->name);
	return true;
}

/* ---- starting ---- */

static bool refuse_running(struct service *service, const char *version, bool has_file, struct asker *asker)
{
	const struct member *member = member_in(service, MEMBER_RUNNING);

	if (!member)
		return false;
	/* Of one that is out of reach nobody knows whether it serves. */
	if (!has_file && !member_is_out_of_reach(member) && (!*version || strcmp(version, service->version) == 0)) {
		service_answer(service, asker, &(struct answer){ .code = WIRE_EXIT_DONE, .unchanged = true },
			       "%s runs already: version %s (pid %d)", service->name, service->version, member->instance->pid);
		return true;
	}
	service_answer(service, asker,
		       &(struct answer){ .code = WIRE_EXIT_ERROR, .next = "to change its version use upgradectl roll" },
		       "%s runs already: version %s (pid %d)", service->name, service->version, member->instance->pid);
	return true;
}

/* It waits to go on from what was kept of a process that failed. */
static bool is_kept(const struct member *member)
{
	return member->state == MEMBER_WAITING && (keeper_starts(&member->keeper) || member->keeper.awaits_child);
}

/* A start as of old would throw away what was kept, which is to be said first. */
static bool refuse_loss(struct service *service, const char *version, bool has_file, struct asker *asker)
{
	if (!is_kept(service_member(service)) || (!has_file && strcmp(version, service->version) == 0))
		return false;
	service_answer(service, asker,
		       &(struct answer){ .code = WIRE_EXIT_REFUSED,
					 .cause = "its last checkpoint, and what was written since, would be lost",
					 .next = "to go on from it: upgradectl start SERVICE; to do without: stop it first" },
		       "%s waits to go on with version %s", service->name, service->version);
	return true;
}

/* Until it serves: what was asked for once, and did not work, is not what the next start takes. */
static void remember_start(struct service *service, const char *version, struct unit *unit)
{
	snprintf(service->before, sizeof(service->before), "%s", service->version);
	unit_free(service->unit_before);
	service->unit_before = unit_ref(service->unit);
	service->starts_by_hand = true;
	service_set_version(service, version, unit);
}

static void end_start(struct service *service)
{
	service->unit_before = unit_free(service->unit_before);
	service->starts_by_hand = false;
}

/* Return: true if it may be started, with its service file read and its version chosen; else @asker was told why not. */
static bool may_start(struct service *service, const char *version, bool has_file, struct asker *asker)
{
	struct unit *unit;
	bool named;

	if (service_refuse_busy(service, asker) || refuse_running(service, version, has_file, asker) ||
	    service_load_unit(service, &unit, asker) < 0)
		return false;
	if (!*version)
		version = *service->version ? service->version : unit->version;
	named = *version;
	if (named && (service_refuse_plain_start(service, unit, has_file, asker) ||
		      refuse_loss(service, version, has_file, asker)))
		named = false;
	else if (named)
		remember_start(service, version, unit);
	else
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_USAGE,
						 .next = "name one: upgradectl start SERVICE VERSION" },
			       "%s: no version was named and %s sets no Version=", service->name, unit->path);
	unit_free(unit);
	return named;
}

void service_forget_start(struct service *service)
{
	if (service->starts_by_hand)
		service_set_version(service, service->before, service->unit_before);
	end_start(service);
}

void service_start(struct service *service, const char *version, int state_file_consume, struct asker *asker)
{
	struct member *member = service_member(service);

	if (!may_start(service, version, state_file_consume >= 0, asker)) {
		fd_give_up(state_file_consume);
		return;
	}
	if (is_kept(member)) {
		service_wait(service, asker);
		if (keeper_starts(&member->keeper) && member_start_now(member) < 0)
			service_on_start_failed(member);
		return;
	}
	history_clear(&service->history);
	service_wait(service, asker);
	if (member_start(member, state_file_consume) < 0)
		service_on_start_failed(member);
}

void service_on_ready(struct member *member)
{
	struct service *service = member->service;
	pid_t pid = member->instance->pid;

	end_start(service);
	log_service(INFO, service->name, "version %s serves as pid %d", service->version, pid);
	service_tell(service, "serving", LOG_LEVEL_INFO, member->instance, "version %s serves", service->version);
	service_write_down(service);
	service_answer(service, service->asker, &(struct answer){ .code = WIRE_EXIT_DONE }, "%s version %s serves (pid %d)",
		       service->name, service->version, pid);
	service_look_followers(service);
}

void service_on_start_failed(struct member *member)
{
	struct service *service = member->service;

	service_tell(service, "start-failed", LOG_LEVEL_ERROR, member->instance, "%s", member->failure.text);
	service_answer(service, service->asker,
		       &(struct answer){ .code = WIRE_EXIT_ERROR,
					 .cause = member->failure.text,
					 .next = "fix the cause, then start it again",
					 .lines = member->instance ? &member->instance->lines : NULL },
		       "%s version %s could not be started", service->name, service->version);
	service_forget_start(service);
}

bool service_hear(struct member *member, const Upgraded__Wire__AppMessage *message)
{
	return service_save_hear(member->service, message) || service_plan_hear(member->service, message);
}

void service_on_exit(struct member *member)
{
	service_save_fail(member->service, "it ended meanwhile");
	service_plan_end(member->service, "the process ended meanwhile");
}

/* ---- stopping ---- */

static void stay_down(struct service *service, struct asker *asker)
{
	bool waited = false;

	for (struct member *member = service->members; member; member = member->next)
		waited |= member_stay_down(member);
	service_write_down(service);
	service_answer(service, asker, &(struct answer){ .code = WIRE_EXIT_DONE, .unchanged = !waited },
		       waited ? "%s will not be started again" : "%s is stopped already", service->name);
}

void service_stop_now(struct service *service, struct asker *asker)
{
	if (!member_in(service, MEMBER_RUNNING)) {
		stay_down(service, asker);
		return;
	}
	service_wait(service, asker);
	for (struct member *member = service->members; member; member = member->next)
		if (member->state == MEMBER_RUNNING)
			member_stop(member);
		else
			member_stay_down(member);
}

void service_on_stopped(struct member *member)
{
	struct service *service = member->service;

	if (member_in(service, MEMBER_STOPPING))
		return;
	service_forget_start(service);
	history_clear(&service->history); /* the state is gone: there is nothing to go back with */
	log_service(INFO, service->name, "stopped");
	service_tell(service, "stopped", LOG_LEVEL_INFO, NULL, "stopped");
	service_answer(service, service->asker, &(struct answer){ .code = WIRE_EXIT_DONE }, "%s is stopped", service->name);
	service_answer_abort(service, NULL);
	service_look_followers(service);
}

void service_end(struct service *service)
{
	bool ends = service->stop_wanted || service_is_idle(service) || member_in(service, MEMBER_STOPPING);

	if (ends && !member_in(service, MEMBER_WAITING))
		return;
	service->ends_with_us = true;
	service_stop(service, NULL);
}

/* ---- life ---- */

struct service *service_new(struct service_host *host, const char *name)
{
	struct service *service = calloc(1, sizeof(*service));

	if (!service)
		return NULL;
	service->host = host;
	service->starts_with_us = true;
	service->listeners.activation = host->activation;
	snprintf(service->name, sizeof(service->name), "%s", name);
	service->members = member_new(service);
	return service->members ? service : service_free(service);
}

struct service *service_free(struct service *service)
{
	if (!service)
		return NULL;
	timer_disarm(&service->phases);
	service_save_free(service);
	service_plan_end(service, "upgraded ends");
	if (service->asker)
		service_forget(service->asker);
	if (service->bake_call.asker)
		service_forget(service->bake_call.asker);
	if (service->abort_asker)
		service_forget(service->abort_asker);
	if (service->stop_asker)
		service_forget(service->stop_asker);
	while (service->followers) /* the answer forgets it */
		service_answer(service, service->followers,
			       &(struct answer){ .code = WIRE_EXIT_NO_SUCH_SERVICE, .next = "upgradectl list shows the services" },
			       "%s is no service any more: its file was removed", service->name);
	while (service->members) {
		struct member *member = service->members;

		service->members = member->next;
		member_free(member);
	}
	listeners_clear(&service->listeners);
	history_clear(&service->history);
	unit_free(service->bake_call.unit);
	unit_free(service->unit_before);
	unit_free(service->unit);
	free(service);
	return NULL;
}

bool service_has_roll(const struct service *service, uint64_t id)
{
	for (const struct member *member = service->members; member; member = member->next)
		if ((member->roll && roll_report(member->roll)->id == id) || (member->back && roll_report(member->back)->id == id))
			return true;
	return false;
}

const char *service_name(const struct service *service)
{
	return service->name;
}

bool service_is_idle(const struct service *service)
{
	for (const struct member *member = service->members; member; member = member->next)
		if (!member_is_idle(member))
			return false;
	return true;
}
