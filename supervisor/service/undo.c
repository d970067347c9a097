/* SPDX-License-Identifier: MIT */
/* Back: `upgradectl undo`, a version that does not do well, and what else may be asked of a bake.
 *
 * Undo is a roll in the other direction. Outside of a bake it is like any other. Within one it runs beside the roll that bakes
 * (service->back beside service->roll): if it is called off, everything is as it was, the rungs of the first roll included; when it
 * commits, the first roll ends and it takes its place.
 */
#include "supervisor/service/private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- the roll backward, within a bake ---- */

static void on_back_commit(struct roll *back)
{
	struct service *service = roll_owner(back);
	struct roll *roll = service->roll;

	service->roll = back;
	service->back = NULL;
	roll_stand_alone(back);
	roll_turned(roll);
	service_on_roll_commit(back);
}

/* It is over without a commit: nothing has changed, or nothing of the new version is left. */
static void end_back(struct service *service, struct roll *back)
{
	struct instance *new = roll_take_serving(back);
	struct roll_result result = *roll_result(back);
	struct why why = result.cause;
	bool serves = new && !new->exit_told;

	service->back = NULL;
	roll_free(back);
	log_info("%s: roll %s -> %s: %s", service->name, result.from, result.to, roll_outcome_name(result.outcome));
	if (new)
		roll_return_new(service->roll, new, &why);
	else
		roll_lose_new(service->roll, &why);
	/* If it died meanwhile, what comes of that is what whoever asked wants to know. */
	if (serves)
		service_answer_roll(service, service->visitor, &result);
}

static void on_back_end(struct roll *back)
{
	struct service *service = roll_owner(back);

	if (service->back == back)
		end_back(service, back);
	else
		service_on_roll_end(back);
}

static void on_aside(struct roll *back, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	struct service *service = roll_owner(back);

	if (service->back == back)
		roll_hear_aside(service->roll, message, fds);
}

void service_on_backward(struct roll *roll)
{
	struct service *service = roll_owner(roll);
	struct roll callbacks = {
		.owner = service, .on_progress = service_on_roll_progress, .on_commit = on_back_commit, .on_aside = on_aside,
		.on_backward = service_on_backward, .on_packed = service_on_packed, .on_end = on_back_end
	};
	struct roll_options options = {
		.version = roll_result(roll)->from, .rollback = service->unit->rollback, .verify = VERIFY_NONE,
		.bake_us = service->unit->bake_us, .generation = ++service->host->generation, .backward = true,
		.retreats = roll_is_sick(roll),
	};
	struct instance *new = roll_lend_new(roll);
	char version[UNIT_NAME_MAX + 1];
	struct why why = { 0 };

	/* What undo was asked with counts for its own bake. */
	if (!roll_is_sick(roll))
		options.bake_us = service->undo_bake_us ? service->undo_bake_us : options.bake_us;
	if (roll_start(&service->host->site, service->unit, &options, new, &callbacks, &service->back, &why) == 0)
		return;
	snprintf(version, sizeof(version), "%s", options.version);
	roll_return_new(roll, new, &why);
	service_answer(service, service->visitor, WIRE_EXIT_REFUSED, NULL, NULL, why.text, "nothing was touched",
		       "%s: the roll back to %s was refused", service->name, version);
}

void service_cancel_roll(struct service *service)
{
	if (service->back)
		roll_cancel(service->back);
	else if (service->roll)
		roll_cancel(service->roll);
}

/* ---- undo ---- */

static bool receive_visitor(struct service *service, struct asker *asker)
{
	if (service->visitor) {
		service_answer(service, asker, WIRE_EXIT_BUSY, NULL, NULL, NULL, "wait for it, or watch it with upgradectl status",
			       "%s: something else was asked of this roll", service->name);
		return false;
	}
	service->visitor = asker;
	service->visitor_packs = false;
	asker->service = service;
	return true;
}

/* By order, and knowing that what was written since the commit is lost: the rung is named. */
static void undo_by_rung(struct service *service, const char *way, struct asker *asker)
{
	enum roll_rung rung = strcmp(way, "parked") == 0 ? ROLL_RUNG_PARKED : ROLL_RUNG_IMAGE;

	struct why why = { 0 };

	if (!service->roll || !roll_is_baking(service->roll)) {
		service_answer(service, asker, WIRE_EXIT_REFUSED, NULL, NULL, NULL,
			       "nothing was touched; upgradectl undo without --way goes back with all state",
			       "%s: a version is parked or an image within the bake of its roll only", service->name);
		return;
	}
	if (!receive_visitor(service, asker) || roll_give_up(service->roll, rung, &why) == 0)
		return;
	service_answer(service, asker, WIRE_EXIT_REFUSED, NULL, NULL, why.text,
		       "nothing was touched; upgradectl status shows which way back there is",
		       "%s: there is no version before that is %s", service->name,
		       rung == ROLL_RUNG_PARKED ? "parked in memory" : "an image that can be used");
}

static void undo_in_bake(struct service *service, const Upgraded__Wire__Request *request, struct asker *asker)
{
	const char *from = roll_result(service->roll)->from;

	if (*request->version && strcmp(request->version, from) != 0) {
		service_answer(service, asker, WIRE_EXIT_REFUSED, NULL, NULL, NULL,
			       "nothing was touched; wait for the end of the bake, or undo without --to first",
			       "%s: within the bake undo goes to version %s, not to %s", service->name,
			       from, request->version);
		return;
	}
	if (!receive_visitor(service, asker))
		return;
	service->undo_bake_us = request->bake_us;
	roll_undo(service->roll);
}

void service_undo(struct service *service, const Upgraded__Wire__Request *request, struct asker *asker)
{
	const char *version = *request->version ? request->version : history_latest(&service->history);
	char name[UNIT_NAME_MAX + 1];

	if (strcmp(request->way, "parked") == 0 || strcmp(request->way, "image") == 0) {
		undo_by_rung(service, request->way, asker);
		return;
	}
	if (*request->way && strcmp(request->way, "live") != 0) {
		service_answer(service, asker, WIRE_EXIT_USAGE, NULL, NULL, NULL, NULL, "way is one of live, parked, image");
		return;
	}
	if (service->roll && !service->back && roll_may_undo(service->roll)) {
		undo_in_bake(service, request, asker);
		return;
	}
	if (service_refuse_busy(service, asker) || service_refuse_not_running(service, asker) ||
	    service_reload_unit(service, asker) < 0)
		return;
	if (!*version) {
		service_answer(service, asker, WIRE_EXIT_REFUSED, NULL, NULL, NULL,
			       "to go to a certain version use upgradectl roll",
			       "%s: there is nothing to undo: version %s was not rolled to", service->name, service->version);
		return;
	}
	if (!history_has(&service->history, version)) {
		service_answer(service, asker, WIRE_EXIT_REFUSED, NULL, NULL, NULL,
			       "nothing was touched; upgradectl status lists the versions before, roll goes to any other",
			       "%s: version %s did not serve before %s", service->name, version, service->version);
		return;
	}
	snprintf(name, sizeof(name), "%s", version);
	service_begin_roll(service, name, request, asker);
}

/* ---- out of memory ---- */

void service_pack(struct service *service, struct asker *asker)
{
	struct why why = { 0 };
	int r = why_set(&why, -EBUSY, "no roll is under way");

	if (!receive_visitor(service, asker))
		return;
	service->visitor_packs = true;
	if (service->roll && !service->back)
		r = roll_pack(service->roll, &why);
	if (r < 0)
		service_answer(service, asker, WIRE_EXIT_REFUSED, NULL, NULL, why.text, "nothing was touched",
			       "%s: there is no parked version that could become an image", service->name);
}

void service_on_packed(struct roll *roll, const char *failure)
{
	struct service *service = roll_owner(roll);

	if (!service->visitor || !service->visitor_packs)
		return;
	if (failure)
		service_answer(service, service->visitor, WIRE_EXIT_ERROR, NULL, NULL, failure,
			       "upgradectl status shows which way back is left", "%s: version %s did not become an image",
			       service->name, roll_result(roll)->from);
	else
		service_answer(service, service->visitor, WIRE_EXIT_DONE, NULL, NULL, NULL, NULL,
			       "%s: version %s has left memory; its image is the way back", service->name, roll_result(roll)->from);
}

void service_tell_visitor(struct service *service, const struct roll_result *result)
{
	bool went_back = result->outcome == ROLL_IS_BACK_PARKED || result->outcome == ROLL_IS_BACK_IMAGE;
	char lost[96] = "";

	if (!service->visitor)
		return;
	if (result->lost_us)
		snprintf(lost, sizeof(lost), "; what was written in the %.1f s since the commit is gone",
			 (double)result->lost_us / 1e6);
	service_answer(service, service->visitor, went_back ? WIRE_EXIT_DONE : WIRE_EXIT_WAY_BACK_FAILED, NULL, result,
		       went_back ? "" : result->cause.text, "", went_back ? "%s: version %s serves again%s" : "%s: version %s: %s",
		       service->name, result->from, went_back ? lost : "its way back failed");
}
