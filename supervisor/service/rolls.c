/* SPDX-License-Identifier: MIT */
/* Rolls of a service: they begin here, and what they say and end in is heard here. */
#include "supervisor/service/private.h"

#include <errno.h>
#include <string.h>

void service_on_roll_progress(struct roll *roll, const char *phase, pid_t pid, const char *text)
{
	struct service *service = roll_owner(roll);

	asker_progress(roll == service->back && service->visitor ? service->visitor : service->asker, phase, pid, text,
		      roll_begun_us(roll));
}

void service_on_roll_commit(struct roll *roll)
{
	struct service *service = roll_owner(roll);

	service_set_version(service, roll_result(roll)->to);
	if (service->asker && service->asker->wait_commit)
		service_answer_roll(service, service->asker, roll_result(roll));
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
	member_take_serving(service, roll);
	note_history(service, roll);
	service_images_settle(service, roll_take_image(roll), service->last.outcome);
	roll_free(roll);
	log_info("%s: roll %s -> %s: %s", service->name, service->last.from, service->last.to,
		 roll_outcome_name(service->last.outcome));
	service_answer_roll(service, service->asker, &service->last);
	service_tell_visitor(service, &service->last);
	/* It may have ended while the roll was on, before anything was done to it. */
	if (service->instance && service->instance->exit_told)
		member_on_exit(service->instance);
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
