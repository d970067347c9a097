/* SPDX-License-Identifier: MIT */
/* Who follows what is under way without having asked for it: it sees a roll as whoever asked for it does, and gets the same answer;
 * or it waits until something holds. Whatever is asked of the service meanwhile is not held up by that. */
#include "supervisor/service/phases.h"
#include "supervisor/service/private.h"

#include <string.h>

bool service_follow_parse(const char *text, enum asker_follows *ret)
{
	static const char *const names[] = { [FOLLOWS_DONE] = "done", [FOLLOWS_COMMIT] = "commit", [FOLLOWS_SERVING] = "serving" };

	for (unsigned i = FOLLOWS_DONE; i <= FOLLOWS_SERVING; i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = (enum asker_follows)i;
			return true;
		}
	}
	return false;
}

static bool serves(const struct service *service)
{
	const struct member *member = service_member(service);

	return instance_is_alive(member_serving(member)) && !member->pulse.silent_us && !member_is_out_of_reach(member);
}

/* Nothing is under way. What came of the last roll counts, if there was one. */
static void answer_done(struct service *service, struct asker *asker)
{
	if (service->has_last)
		service_answer_roll(service, asker, &service->last);
	else if (service->roll_was_cut)
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_ERROR,
						 .cause = "upgraded was killed while it was under way",
						 .next = "upgradectl history shows it, upgradectl status what serves" },
			       "%s: nobody has seen the end of the last roll", service->name);
	else if (serves(service))
		service_answer(service, asker, &(struct answer){ .code = WIRE_EXIT_DONE }, "%s: version %s serves", service->name,
			       service->version);
	else
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_NOT_RUNNING, .cause = service_member(service)->failure.text },
			       "%s is not running", service->name);
}

static bool is_at_rest(const struct service *service)
{
	const struct member *member = service_member(service);

	return !member->roll && !member_doing(member) && member->state != MEMBER_WAITING && !service->stop_wanted &&
	       !service->save && !service_plan_is_gate(service);
}

/* Return: false: it waits on. */
static bool answer_if_due(struct service *service, struct asker *asker)
{
	const struct member *member = service_member(service);
	bool rests = is_at_rest(service);

	switch (asker->follows) {
	case FOLLOWS_NOTHING:
	case FOLLOWS_ROLL: /* a roll's end answers it */
		return false;
	case FOLLOWS_DONE:
		break;
	case FOLLOWS_COMMIT:
		if (member->roll && !member->back && roll_is_committed(member->roll) && roll_serving(member->roll)) {
			service_answer_roll(service, asker, roll_report(member->roll));
			return true;
		}
		break;
	case FOLLOWS_SERVING:
		if (!serves(service))
			return false;
		service_answer(service, asker, &(struct answer){ .code = WIRE_EXIT_DONE }, "%s: version %s serves", service->name,
			       member_serving(member)->version);
		return true;
	}
	if (rests)
		answer_done(service, asker);
	return rests;
}

void service_look_followers(struct service *service)
{
	struct asker *next;

	for (struct asker *asker = service->followers; asker; asker = next) {
		next = asker->next_follower;
		(void)answer_if_due(service, asker);
	}
}

void service_answer_followers(struct service *service, const struct roll_report *roll)
{
	struct asker *next;

	for (struct asker *asker = service->followers; asker; asker = next) {
		next = asker->next_follower;
		if (asker->follows == FOLLOWS_ROLL)
			service_answer_roll(service, asker, roll);
	}
}

void service_follow(struct service *service, enum asker_follows what, struct asker *asker)
{
	asker->service = service;
	asker->follows = what;
	asker->next_follower = service->followers;
	service->followers = asker;
	if (answer_if_due(service, asker) || what != FOLLOWS_ROLL)
		return;
	if (service_member(service)->roll)
		service_tell_phase(service, asker);
	else
		asker_progress(asker, "watch", 0, "nothing is under way; waiting for the next roll", clock_now_us());
}

void service_unfollow(struct service *service, struct asker *asker)
{
	struct asker **link = &service->followers;

	while (*link && *link != asker)
		link = &(*link)->next_follower;
	if (*link)
		*link = asker->next_follower;
	asker->follows = FOLLOWS_NOTHING;
}
