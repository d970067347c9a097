/* SPDX-License-Identifier: MIT */
/* The listeners that upgraded holds for a service: from before its first start for as long as it is wanted. */
#include "supervisor/custody/bound.h"
#include "supervisor/service/private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Of an address that is in use, where the kernel tells. */
static void tell_holder(const struct unit_listen *place, struct why *why)
{
	char holder[64], text[sizeof(why->text)];

	if (!*bound_by((const struct sockaddr *)(const void *)place->at, place->type, holder, sizeof(holder)))
		return;
	snprintf(text, sizeof(text), "%s", why->text);
	why_set(why, 0, "%.400s: %s has it", text, holder);
}

static int hold(struct service *service, const struct unit *unit, bool anew, const struct instance *serving, struct why *why)
{
	const struct unit_listen *failed;
	int r = listeners_open(&service->listeners, unit, anew, serving, &failed, why);

	if (r == -EADDRINUSE && failed)
		tell_holder(failed, why);
	return r;
}

int service_listen(struct service *service, const struct unit *unit, const struct instance *serving, struct why *why)
{
	return hold(service, unit, true, serving, why);
}

int service_start_process(struct service *service, struct unit *unit, const char *version, const struct instance *serving,
			  const struct instance_events *events, void *owner, struct instance **ret_instance, struct why *why)
{
	struct origin *origin = service->host->origin;
	int r = service_listen(service, unit, serving, why);

	if (r < 0)
		return r;
	origin->listeners = &service->listeners;
	r = serving ? origin_start_aside(origin, unit, version, events, owner, ret_instance, why) :
		      origin_start(origin, unit, version, events, owner, ret_instance, why);
	origin->listeners = NULL;
	if (r < 0)
		return r;
	listeners_give(&service->listeners, unit, serving, *ret_instance);
	service_prove(service, *ret_instance);
	return 0;
}

void service_listen_early(struct service *service)
{
	struct why why = { 0 };

	/* The start that follows says so, if it cannot be had then either. */
	(void)hold(service, service->unit, false, NULL, &why);
}

void service_listen_return(struct service *service, const struct instance *serving)
{
	listeners_regain(&service->listeners, serving->unit, serving);
}

void service_listen_go_on(struct service *service)
{
	const struct instance *serving = member_serving(service_member(service));

	if (serving && serving->unit)
		service_listen_return(service, serving);
	else if (service_member(service)->state == MEMBER_WAITING && service->unit)
		service_listen_early(service);
}

/* Nobody serves, and nobody is about to. */
static bool is_down(const struct service *service)
{
	for (const struct member *member = service->members; member; member = member->next) {
		switch (member->state) {
		case MEMBER_STARTING:
		case MEMBER_RUNNING:
		case MEMBER_WAITING:
		case MEMBER_RETURNING:
			return false;
		case MEMBER_STOPPED:
		case MEMBER_STOPPING:
		case MEMBER_FAILED:
			break;
		}
		if (member->roll || member->back)
			return false;
	}
	return true;
}

void service_listen_trim(struct service *service)
{
	const struct member *member = service_member(service);
	const struct unit *wanted[5] = { service->unit };

	if (is_down(service)) {
		listeners_clear(&service->listeners);
		return;
	}
	if (member->roll) {
		wanted[1] = roll_unit(member->roll);
		wanted[2] = roll_unit_before(member->roll);
	}
	if (member->back) {
		wanted[3] = roll_unit(member->back);
		wanted[4] = roll_unit_before(member->back);
	}
	listeners_keep(&service->listeners, wanted, sizeof(wanted) / sizeof(wanted[0]));
}

void service_listen_settle(struct service *service)
{
	const struct instance *serving = service_member(service)->instance;

	service_listen_trim(service);
	/* One that is out of reach was not heard of either. */
	if (serving && serving->unit && instance_is_alive(serving))
		listeners_settle(&service->listeners, serving->unit, serving);
}
