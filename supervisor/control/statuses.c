/* SPDX-License-Identifier: MIT */
#include "supervisor/control/statuses.h"

#include "supervisor/process/query.h"
#include "supervisor/service/registry.h"
#include "supervisor/service/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A process that serves answers within a millisecond. One that is busy is told of without its number. */
#define ASKED_US (100 * USEC_PER_MSEC)

/* One `list` or `status`, while processes are asked how many descriptors they have registered. */
struct statuses_call {
	struct errand errand;
	struct registry *registry;
	struct asker *asker;
	char service[UNIT_NAME_MAX + 1]; /* "": all */
	struct timer due;
	struct ask {
		struct query query;
		struct statuses_call *call;
	} *asks;
	size_t n_asks, n_waited_for;
};

/* ---- the answer ---- */

/* @only: NULL: all. @statuses, @list: have room for all. Return: how many there are. */
static size_t fill_statuses(const struct registry *registry, const struct service *only, struct status *statuses,
			    Upgraded__Wire__ServiceStatus **list)
{
	size_t n = 0;

	for (const struct service *s = registry_next(registry, NULL); s; s = registry_next(registry, s)) {
		if (only && s != only)
			continue;
		service_status(s, &statuses[n]);
		if (only)
			service_status_file(s, &statuses[n]);
		list[n] = &statuses[n].message;
		n++;
	}
	return n;
}

static size_t count_services(const struct registry *registry)
{
	size_t n = 0;

	for (const struct service *s = registry_next(registry, NULL); s; s = registry_next(registry, s))
		n++;
	return n;
}

static void answer_statuses(struct registry *registry, const struct service *only, struct asker *asker)
{
	Upgraded__Wire__Result with = UPGRADED__WIRE__RESULT__INIT;
	struct answer answer = { .code = WIRE_EXIT_ERROR, .text = "out of memory" };
	size_t n = count_services(registry);
	struct status *statuses = calloc(n + 1, sizeof(*statuses));

	with.services = calloc(n + 1, sizeof(*with.services));
	if (statuses && with.services) {
		with.n_services = fill_statuses(registry, only, statuses, with.services);
		answer = (struct answer){ .code = only && service_is_idle(only) ? WIRE_EXIT_NOT_RUNNING : WIRE_EXIT_DONE,
					  .with = &with };
	}
	asker_answer(asker, &answer);
	for (size_t i = 0; i < with.n_services; i++)
		status_done(&statuses[i]);
	free(with.services);
	free(statuses);
}

/* ---- asking ---- */

static void on_due(struct timer *timer)
{
	struct statuses_call *call = container_of(timer, struct statuses_call, due);
	const struct service *only = *call->service ? registry_known(call->registry, call->service) : NULL;

	for (size_t i = 0; i < call->n_asks; i++)
		query_forget(&call->asks[i].query);
	if (*call->service && !only)
		asker_answer(call->asker, &(struct answer){ .code = WIRE_EXIT_NO_SUCH_SERVICE,
							    .text = "the service was removed meanwhile" });
	else
		answer_statuses(call->registry, only, call->asker);
}

/* Whoever tells it may be about to go: what there is to say is looked at from the loop. */
static void on_told(struct query *query)
{
	struct statuses_call *call = container_of(query, struct ask, query)->call;

	if (--call->n_waited_for == 0)
		timer_arm(call->registry->host.site.loop, &call->due, clock_now_us(), on_due);
}

static void free_call(struct errand *errand)
{
	struct statuses_call *call = container_of(errand, struct statuses_call, errand);

	timer_disarm(&call->due);
	for (size_t i = 0; i < call->n_asks; i++)
		query_forget(&call->asks[i].query);
	free(call->asks);
	free(call);
}

/* Return: NULL if memory is out. */
static struct statuses_call *call_new(const struct verb_call *verb)
{
	struct statuses_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->asks = calloc(count_services(verb->registry) + 1, sizeof(*call->asks));
	if (!call->asks) {
		free(call);
		return NULL;
	}
	call->errand.free = free_call;
	call->registry = verb->registry;
	call->asker = verb->asker;
	if (verb->service)
		snprintf(call->service, sizeof(call->service), "%s", service_name(verb->service));
	return call;
}

static void ask(struct statuses_call *call, struct instance *instance)
{
	struct ask *ask = &call->asks[call->n_asks++];

	ask->call = call;
	ask->query.on_told = on_told;
	call->n_waited_for++;
	query_ask(&ask->query, instance);
}

static struct errand *begin(const struct verb_call *verb)
{
	struct statuses_call *call = call_new(verb);

	if (!call) {
		answer_statuses(verb->registry, verb->service, verb->asker);
		return NULL;
	}
	for (struct service *s = registry_next(verb->registry, NULL); s; s = registry_next(verb->registry, s)) {
		struct instance *instance = service_askable(s);

		if (instance && (!verb->service || s == verb->service))
			ask(call, instance);
	}
	if (!call->n_asks) {
		free_call(&call->errand);
		answer_statuses(verb->registry, verb->service, verb->asker);
		return NULL;
	}
	if (!call->due.loop)
		timer_arm(verb->registry->host.site.loop, &call->due, clock_now_us() + ASKED_US, on_due);
	return &call->errand;
}

struct errand *statuses_list(const struct verb_call *call)
{
	struct why why = { 0 };

	if (registry_scan(call->registry, &why) == 0)
		return begin(call);
	asker_answer(call->asker, &(struct answer){ .code = WIRE_EXIT_ERROR,
						    .text = "the services cannot be listed",
						    .cause = why.text,
						    .next = "is the configuration directory there?" });
	return NULL;
}

struct errand *statuses_status(const struct verb_call *call)
{
	return call->service ? begin(call) : statuses_list(call);
}
