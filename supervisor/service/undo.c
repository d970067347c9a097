/* SPDX-License-Identifier: MIT */
/* Back: `upgradectl undo`, a version that does not do well, and what else may be asked of a bake.
 *
 * Undo is a roll in the other direction. Outside of a bake it is a roll like any other. Within a bake it runs beside the roll that
 * bakes (member->back beside member->roll). If it is called off, everything is as it was, and the first roll still has its ways
 * back. When it commits, the first roll ends and it takes that one's place.
 */
#include "supervisor/service/private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- the roll backward, within a bake ---- */

void service_on_back_commit(struct roll *back)
{
	struct member *member = roll_owner(back);
	struct roll *roll = member->roll;

	member->roll = back;
	member->back = NULL;
	roll_turned(roll);
	service_on_roll_commit(back);
}

/* It is over without a commit: nothing has changed, or nothing of the new version is left. */
static void end_back(struct member *member, struct roll *back)
{
	struct service *service = member->service;
	struct instance *new = roll_take_serving(back);
	struct roll_report result = *roll_report(back);
	struct why why = result.cause;

	member->back = NULL;
	roll_free(back);
	service_listen_trim(service);
	/* The service is to stop: the first roll is accepted and ends in what follows, and its end is no answer to this. */
	if (new && service->stop_wanted)
		service_answer_roll(service, service->bake_call.asker, &result);
	if (new)
		roll_return_new(member->roll, new, &why);
	else
		roll_lose_new(member->roll, &why);
	service_log_outcome(service, &result);
	/* If the new version died meanwhile, or is ended since it is not well, the first roll goes its way back, and its end
	 * answers the caller. */
	if (member->roll && roll_is_baking(member->roll))
		service_answer_roll(service, service->bake_call.asker, &result);
	service_answer_abort(service, &result);
	service_stop_if_wanted(service);
}

void service_on_back_end(struct roll *back)
{
	struct member *member = roll_owner(back);

	if (member->back == back)
		end_back(member, back);
	else
		service_on_roll_end(back);
}

void service_on_aside(struct roll *back, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	struct member *member = roll_owner(back);

	if (member->back == back)
		roll_hear_aside(member->roll, message, fds);
}

void service_on_backward(struct roll *roll)
{
	struct member *member = roll_owner(roll);
	struct service *service = member->service;
	struct unit *before = roll_unit_before(roll), *unit = before ? before : service->unit;
	struct roll_options options = {
		.version = roll_report(roll)->from, .rollback = unit->rollback, .verify = VERIFY_NONE, .bake_us = unit->bake_us,
		.purpose = roll_is_sick(roll) ? PURPOSE_LEAVE_SICK : PURPOSE_UNDO, .known = roll_handed(roll),
		.kept = roll_custody(roll),
	};
	struct instance *new = roll_lend_new(roll);
	char version[UNIT_NAME_MAX + 1];
	struct why why = { 0 };

	if (roll_record(roll)->state == ROLL_ONWARD) {
		unit = service->bake_call.unit;
		options = service_roll_options(unit, &service->bake_call.request);
		options.purpose = PURPOSE_ONWARD;
		options.known = service_had(service, &service->bake_call.request);
		options.kept = roll_custody(roll);
	} else if (roll_is_sick(roll) && service->bake_call.accepts) {
		service_answer(service, service->bake_call.asker,
			       &(struct answer){ .code = WIRE_EXIT_ROLLED_BACK, .cause = roll_report(roll)->cause.text,
						 .next = "upgradectl status shows what serves" },
			       "%s: version %s was not accepted: it is being rolled back", service->name, roll_report(roll)->to);
	}
	/* What undo was asked with counts for the bake that follows it. */
	if (options.purpose == PURPOSE_UNDO && service->bake_call.undo_bake_us)
		options.bake_us = service->bake_call.undo_bake_us;
	if (options.purpose == PURPOSE_UNDO)
		options.asked_by = service->bake_call.who;
	service->bake_call.undo_bake_us = 0;
	if (service_roll_back(member, unit, &options, new, &why) == 0) {
		service_answer_detached(service, service->bake_call.asker, roll_report(member->back));
		return;
	}
	snprintf(version, sizeof(version), "%s", options.version);
	roll_return_new(roll, new, &why);
	if (roll_is_sick(roll)) /* it is ended, or kept if there is no other way back: the end of the roll answers the caller */
		return;
	service_answer(service, service->bake_call.asker,
		       &(struct answer){ .code = WIRE_EXIT_REFUSED, .cause = why.text, .next = "nothing was touched" },
		       options.purpose == PURPOSE_ONWARD ? "%s: the roll to %s was refused" : "%s: the roll back to %s was refused",
		       service->name, version);
}

/* ---- undo ---- */

static void refuse_taken(struct service *service, struct asker *asker)
{
	service_answer(service, asker,
		       &(struct answer){ .code = WIRE_EXIT_BUSY, .next = "wait for it, or watch it with upgradectl status" },
		       "%s: something else was asked of this roll", service->name);
}

/* A stronger wish waits for the bake, although whoever had it may have gone away: the end of that is no answer to this one. */
static bool refuse_outdone(struct service *service, enum roll_wish wish, struct asker *asker)
{
	if (roll_record(service_member(service)->roll)->wish <= wish)
		return false;
	refuse_taken(service, asker);
	return true;
}

/* Return: false if somebody else's call is not answered yet, and @asker was told. */
static bool take_bake_call(struct service *service, struct asker *asker)
{
	if (service->bake_call.asker) {
		refuse_taken(service, asker);
		return false;
	}
	service->bake_call.asker = asker;
	service->bake_call.who = asker->who;
	service->bake_call.packs = service->bake_call.accepts = false;
	asker->service = service;
	return true;
}

/* By order, and knowing that what was written since the commit is lost: the process to go back to is named. */
static void undo_by_rung(struct service *service, enum roll_rung rung, struct asker *asker)
{
	struct roll *roll = service_member(service)->roll;
	struct why why = { 0 };

	if (!roll || !roll_is_baking(roll)) {
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_REFUSED,
						 .next = "nothing was touched; upgradectl undo without --way goes back "
							 "with all state" },
			       "%s: a version is parked or an image within the bake of its roll only", service->name);
		return;
	}
	if (!take_bake_call(service, asker) || roll_give_up(roll, rung, &why) == 0)
		return;
	service_answer(service, asker,
		       &(struct answer){ .code = WIRE_EXIT_REFUSED,
					 .cause = why.text,
					 .next = "nothing was touched; upgradectl status shows which way back there is" },
		       "%s: there is no version before that is %s", service->name,
		       rung == ROLL_RUNG_PARKED ? "parked in memory" : "an image that can be used");
}

static void undo_in_bake(struct service *service, const struct roll_request *request, struct asker *asker)
{
	struct roll *roll = service_member(service)->roll;
	const char *from = roll_report(roll)->from;

	if (*request->version && strcmp(request->version, from) != 0) {
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_REFUSED,
						 .next = "nothing was touched; wait for the end of the bake, or undo "
							 "without --to first" },
			       "%s: within the bake undo goes to version %s, not to %s", service->name, from, request->version);
		return;
	}
	if (!take_bake_call(service, asker))
		return;
	service->bake_call.undo_bake_us = request->bake_us;
	roll_undo(roll);
}

/* What the version was started with, as far as that is known. */
static struct unit *wanted_unit(const struct service *service, const char *version)
{
	struct unit *unit = history_unit(&service->history, version);

	return unit ? unit : service->unit;
}

/* Outside of a bake. */
static void undo_by_roll(struct service *service, const struct roll_request *request, struct asker *asker)
{
	struct roll_request chosen = *request;
	struct unit *unit;

	if (service_refuse_busy(service, asker) || service_refuse_not_running(service, asker))
		return;
	if (!*chosen.version)
		snprintf(chosen.version, sizeof(chosen.version), "%s", history_latest(&service->history));
	if (!*chosen.version)
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_REFUSED,
						 .next = "to go to a certain version use upgradectl roll" },
			       "%s: there is nothing to undo: version %s was not rolled to", service->name, service->version);
	else if (!history_has(&service->history, chosen.version))
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_REFUSED,
						 .next = "nothing was touched; upgradectl status lists the versions before, "
							 "roll goes to any other" },
			       "%s: version %s did not serve before %s", service->name, chosen.version, service->version);
	else if (!service_refuse_kind(service, unit = wanted_unit(service, chosen.version), &chosen, asker))
		service_begin_roll(service, unit, &chosen, asker);
}

void service_undo(struct service *service, const struct roll_request *request, struct asker *asker)
{
	const struct member *member = service_member(service);

	if (request->way == UNDO_PARKED || request->way == UNDO_IMAGE)
		undo_by_rung(service, request->way == UNDO_PARKED ? ROLL_RUNG_PARKED : ROLL_RUNG_IMAGE, asker);
	else if (member->roll && !member->back && roll_may_undo(member->roll))
		undo_in_bake(service, request, asker);
	else
		undo_by_roll(service, request, asker);
}

/* ---- the end of a bake by order, and a roll onward ---- */

void service_accept(struct service *service, struct asker *asker)
{
	const struct member *member = service_member(service);

	if (!member->roll || member->back || !roll_may_accept(member->roll)) {
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_REFUSED,
						 .next = member->back ? "abort what is under way first: upgradectl abort" :
									"upgradectl status shows what is under way" },
			       "%s: no bake is on that could be ended", service->name);
		return;
	}
	if (refuse_outdone(service, WISH_ACCEPT, asker) || !take_bake_call(service, asker))
		return;
	service->bake_call.accepts = true;
	roll_accept(member->roll);
}

/* The version that bakes becomes old in a roll of its own, beside the first. The process that is parked stays the way back until
 * the third version has taken over; from then on it is the second version. So the first roll is accepted by the commit of the
 * second, and by nothing else. */
bool service_roll_onward(struct service *service, const struct roll_request *request, struct asker *asker)
{
	struct member *member = service_member(service);
	struct unit *unit;

	if (!member->roll || member->back || service->stop_wanted || !roll_may_go_onward(member->roll))
		return false;
	if (service_refuse_same(service, request, asker) || service_load_unit(service, &unit, asker) < 0)
		return true;
	if (service_refuse_kind(service, unit, request, asker)) {
		/* it was told */
	} else if (request->require_image || unit->require_image) {
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_BUSY,
						 .next = "end the bake first: upgradectl accept, or upgradectl undo" },
			       "%s: whether there could be an image cannot be looked for within a bake", service->name);
	} else if (!refuse_outdone(service, WISH_ONWARD, asker) && take_bake_call(service, asker)) {
		unit_free(service->bake_call.unit);
		service->bake_call.unit = unit_ref(unit);
		service->bake_call.request = *request;
		roll_onward(member->roll);
	}
	unit_free(unit);
	return true;
}

/* ---- out of memory ---- */

void service_pack(struct service *service, struct asker *asker)
{
	const struct member *member = service_member(service);
	struct why why = { 0 };
	int r = why_set(&why, -EBUSY, "no roll is under way");

	if (service_refuse_plain(service, "there is no image", asker))
		return;
	if (!take_bake_call(service, asker))
		return;
	service->bake_call.packs = true;
	if (member->roll && !member->back)
		r = roll_pack(member->roll, &why);
	if (r < 0)
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_REFUSED, .cause = why.text, .next = "nothing was touched" },
			       "%s: there is no parked version that could become an image", service->name);
}

void service_on_packed(struct roll *roll, const char *failure)
{
	const struct member *member = roll_owner(roll);
	struct service *service = member->service;
	const char *from = roll_report(roll)->from;

	if (!service->bake_call.asker || !service->bake_call.packs)
		return;
	if (failure)
		service_answer(service, service->bake_call.asker,
			       &(struct answer){ .code = WIRE_EXIT_ERROR,
						 .cause = failure,
						 .next = "upgradectl status shows which way back is left" },
			       "%s: version %s did not become an image", service->name, from);
	else
		service_answer(service, service->bake_call.asker, &(struct answer){ .code = WIRE_EXIT_DONE },
			       "%s: version %s has left memory; its image is the way back", service->name, from);
}

/* The new version serves on. Was that wanted? */
static void answer_done(struct service *service, const struct roll_report *result)
{
	if (*result->cause.text)
		service_answer(service, service->bake_call.asker,
			       &(struct answer){ .code = WIRE_EXIT_REFUSED, .cause = result->cause.text, .roll = result },
			       "%s: version %s serves on: there was no way back from it", service->name, result->to);
	else if (service->bake_call.accepts)
		service_answer(service, service->bake_call.asker, &(struct answer){ .code = WIRE_EXIT_DONE, .roll = result },
			       "%s: version %s is accepted", service->name, result->to);
	else
		service_answer(service, service->bake_call.asker,
			       &(struct answer){ .code = WIRE_EXIT_REFUSED, .next = "nothing was touched" },
			       "%s: version %s was accepted meanwhile: the bake is over", service->name, result->to);
}

void service_end_bake_call(struct service *service, const struct roll_report *result)
{
	bool went_back = result->outcome == ROLL_IS_BACK_PARKED || result->outcome == ROLL_IS_BACK_IMAGE;
	char lost[96] = "";

	if (result->wire.lost_us)
		snprintf(lost, sizeof(lost), "; what was written in the %.1f s since the commit is gone",
			 (double)result->wire.lost_us / 1e6);
	if (result->outcome == ROLL_IS_BACK_PART)
		service_answer_roll(service, service->bake_call.asker, result);
	else if (result->outcome == ROLL_IS_DONE)
		answer_done(service, result);
	else if (went_back && service->bake_call.packs)
		service_answer(service, service->bake_call.asker,
			       &(struct answer){ .code = WIRE_EXIT_ERROR, .cause = result->cause.text, .roll = result },
			       "%s: version %s did not become an image: it serves again%s", service->name, result->from, lost);
	else if (went_back)
		service_answer(service, service->bake_call.asker, &(struct answer){ .code = WIRE_EXIT_DONE, .roll = result },
			       "%s: version %s serves again%s", service->name, result->from, lost);
	else
		service_answer(service, service->bake_call.asker,
			       &(struct answer){ .code = WIRE_EXIT_WAY_BACK_FAILED, .cause = result->cause.text, .roll = result },
			       "%s: version %s: its way back failed", service->name, result->from);
}
