/* SPDX-License-Identifier: MIT */
/* The operator always gets through: `upgradectl abort`, and a stop while something else is under way.
 *
 * What has not committed can be called off. Where processes stand in the middle of something, that takes as long as they were
 * promised (roll/roll.c), and then it is over: whoever asked is answered then.
 */
#include "supervisor/service/private.h"

#include <string.h>

#define BY_ORDER "aborted by the operator"

/* ---- what is under way ---- */

/* Return: the roll that has not committed yet, or that starts the last good version empty; NULL: there is none. */
static struct roll *roll_to_call_off(const struct service *service)
{
	const struct member *member = service_member(service);

	if (member->back)
		return member->back;
	if (member->roll && (!roll_is_committed(member->roll) || roll_starts_empty(member->roll)))
		return member->roll;
	return NULL;
}

/* A member that starts, or would be started again. */
static bool ends_start(struct service *service, const char *reason)
{
	bool found = false;

	for (struct member *member = service->members; member; member = member->next) {
		if (member->state != MEMBER_STARTING)
			continue;
		service_answer(service, service->asker,
			       &(struct answer){ .code = WIRE_EXIT_ERROR, .cause = reason, .next = "start it again" },
			       "%s: the start of version %s was aborted", service->name, service->version);
		member_end_start(member);
		found = true;
	}
	return found;
}

/* ---- abort ---- */

static void wait_for_abort(struct service *service, struct asker *asker)
{
	/* Whoever asked before asked for the same. */
	if (service->abort_asker)
		service_answer(service, service->abort_asker, &(struct answer){ .code = WIRE_EXIT_DONE },
			       "%s: it is being aborted", service->name);
	service->abort_asker = asker;
	if (asker)
		asker->service = service;
}

static void answer_called_off(struct service *service, struct asker *asker, const char *what)
{
	service_answer(service, asker, &(struct answer){ .code = WIRE_EXIT_DONE }, "%s: the %s was aborted", service->name,
		       what);
}

/* What waits for a bake to begin was not begun. Its asker is told, if that has not gone away: a pack, which goes on, may have been
 * asked for since. */
static bool drop_wish(struct service *service)
{
	const struct member *member = service_member(service);

	if (!member->roll || !roll_drop_wish(member->roll))
		return false;
	service_answer(service, service->bake_call.packs ? NULL : service->bake_call.asker,
		       &(struct answer){ .code = WIRE_EXIT_REFUSED, .cause = BY_ORDER, .next = "nothing was touched" },
		       "%s: it was aborted before it began", service->name);
	return true;
}

/* An abort wins: what has committed is undone, with all its state, and the answer comes when the version before serves. */
static void undo_instead(struct service *service, struct asker *asker)
{
	const struct roll_request request = { .way = UNDO_AS_IT_GOES, .who = asker->who };

	asker->wait_commit = true;
	service_undo(service, &request, asker);
}

static void refuse_abort(struct service *service, struct asker *asker)
{
	const struct member *member = service_member(service);
	struct roll *roll = member->roll;

	if (roll && roll_may_undo(roll))
		undo_instead(service, asker);
	else if (roll)
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_REFUSED,
						 .next = "wait for it, or watch it with upgradectl watch" },
			       "%s: the roll to %s has committed (%s): there is nothing left to call off", service->name,
			       roll_report(roll)->to, roll_phase(roll));
	else if (member->state == MEMBER_STOPPING)
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_REFUSED, .next = "wait for it: StopTimeout= is its bound" },
			       "%s: it is being stopped, which cannot be aborted", service->name);
	else
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_DONE, .unchanged = true },
			       "%s: nothing is under way that could be aborted", service->name);
}

void service_abort(struct service *service, struct asker *asker)
{
	struct roll *roll = roll_to_call_off(service);

	if (service->plan) {
		service_plan_end(service, BY_ORDER);
		answer_called_off(service, asker, "look ahead");
	} else if (service->save) {
		service_save_fail(service, BY_ORDER);
		answer_called_off(service, asker, "save");
	} else if (roll) {
		wait_for_abort(service, asker);
		roll_cancel(roll);
	} else if (drop_wish(service)) {
		answer_called_off(service, asker, "request that waited for the bake");
	} else if (ends_start(service, BY_ORDER)) {
		wait_for_abort(service, asker);
	} else if (service_member(service)->state == MEMBER_WAITING) {
		member_stay_down(service_member(service));
		answer_called_off(service, asker, "restart");
	} else {
		refuse_abort(service, asker);
	}
}

void service_answer_abort(struct service *service, const struct roll_report *roll)
{
	struct asker *asker = service->abort_asker;
	bool committed = roll && roll->wire.commit_us && roll->outcome == ROLL_IS_UNDER_WAY;

	if (committed && asker) {
		service->abort_asker = NULL;
		asker->service = NULL;
		undo_instead(service, asker);
	} else if (roll) {
		service_answer(service, asker, &(struct answer){ .code = WIRE_EXIT_DONE, .roll = roll },
			       "%s: the roll to %s was aborted", service->name, roll->to);
	} else {
		service_answer(service, asker, &(struct answer){ .code = WIRE_EXIT_DONE }, "%s: the start was aborted",
			       service->name);
	}
}

/* ---- stop ---- */

/* Everything that would be in its way comes to an end, some of it at once. */
static void make_way(struct service *service)
{
	struct member *member = service_member(service);

	if (service->plan)
		service_plan_end(service, "the service is being stopped");
	service_save_fail(service, "the service is being stopped");
	if (member->roll)
		roll_cancel(member->roll); /* in a bake: accepted; where it cannot be yet, remembered */
	if (member->back)
		roll_cancel(member->back);
	if (!member->roll)
		ends_start(service, "the service is being stopped");
}

void service_stop(struct service *service, struct asker *asker)
{
	if (service->stop_wanted && service->stop_asker && asker) {
		service_answer(service, asker, &(struct answer){ .code = WIRE_EXIT_BUSY, .next = "wait for it" },
			       "%s: it is being stopped already", service->name);
		return;
	}
	service->stop_wanted = true;
	if (asker) {
		service->stop_asker = asker;
		asker->service = service;
	}
	make_way(service);
	service_stop_if_wanted(service);
}

void service_stop_if_wanted(struct service *service)
{
	struct member *member = service_member(service);
	struct asker *asker = service->stop_asker;

	if (!service->stop_wanted || member->state == MEMBER_RETURNING)
		return;
	if (member->roll) {
		/* The roll beside it was called off, and the bake is on again. */
		if (!member->back && roll_is_baking(member->roll))
			roll_cancel(member->roll);
		return;
	}
	service->stop_wanted = false;
	service->stop_asker = NULL;
	if (member->state == MEMBER_STOPPING) {
		/* A start that is being ended comes to the same. */
		if (!service->asker)
			service_wait(service, asker);
		else
			service_answer(service, asker, &(struct answer){ .code = WIRE_EXIT_BUSY, .next = "wait for it" },
				       "%s: it is being stopped already", service->name);
		return;
	}
	service_stop_now(service, asker);
}
