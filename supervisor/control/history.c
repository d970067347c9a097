/* SPDX-License-Identifier: MIT */
#include "supervisor/control/history.h"

#include "supervisor/control/request.h"
#include "supervisor/events/events.h"
#include "supervisor/service/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_MOST 10000u

/* ---- what was ---- */

/* One `history` or `events`, while the disk is read. */
struct look_call {
	struct errand errand;
	struct registry *registry;
	struct asker *asker;
	struct events_look *look;
	char service[WIRE_NAME_MAX + 1];
	uint64_t number; /* of a roll; 0: all */
};

static void free_look(struct errand *errand)
{
	struct look_call *call = container_of(errand, struct look_call, errand);

	events_look_forget(call->look);
	free(call);
}

/* Nobody has seen its end, and it is not under way: the supervisor that led it was killed, or the machine ended. */
static void settle(const struct registry *registry, const char *service, Upgraded__Wire__RollReport *report)
{
	const struct service *known = registry_known(registry, service);

	if (*report->ended || (known && service_has_roll(known, report->id)))
		return;
	report->outcome = wire_text("unknown");
	if (!*report->cause)
		report->cause = wire_text("nobody has seen the end of this roll: upgraded was killed, or the machine ended");
}

static bool is_asked_for(const struct look_call *call, const Upgraded__Wire__RollReport *report)
{
	return !call->number || report->number == call->number || report->id == call->number;
}

static void tell_none(const struct look_call *call, char *text, size_t size, struct answer *answer)
{
	answer->text = text;
	if (!call->number) {
		snprintf(text, size, "%s: no roll is known", call->service);
		return;
	}
	snprintf(text, size, "%s: there is no roll %llu", call->service, (unsigned long long)call->number);
	answer->code = WIRE_EXIT_ERROR;
	answer->next = "upgradectl history SERVICE shows which there are";
}

static void answer_rolls(struct look_call *call, struct events_look *look)
{
	Upgraded__Wire__Result with = UPGRADED__WIRE__RESULT__INIT;
	struct answer answer = { .code = WIRE_EXIT_DONE, .with = &with };
	Upgraded__Wire__RollReport *copies = calloc(look->list.n + 1, sizeof(*copies));
	Upgraded__Wire__RollReport **list = calloc(look->list.n + 1, sizeof(*list));
	struct why why = { 0 };
	char text[160];

	with.history = list;
	for (size_t i = 0; copies && list && i < look->list.n; i++) {
		copies[i] = *(Upgraded__Wire__RollReport *)look->list.entries[i];
		if (!is_asked_for(call, &copies[i]))
			continue;
		settle(call->registry, call->service, &copies[i]);
		with.history[with.n_history++] = &copies[i];
	}
	/* Numbers are given anew where the logbook was lost: the last one counts. */
	if (call->number && with.n_history > 1) {
		with.history += with.n_history - 1;
		with.n_history = 1;
	}
	if (!copies || !list)
		answer = (struct answer){ .code = WIRE_EXIT_ERROR, .text = "out of memory" };
	else if (!with.n_history)
		tell_none(call, text, sizeof(text), &answer);
	/* One whose file is gone has its history still. */
	if (!with.n_history && answer.code != WIRE_EXIT_ERROR && !registry_find(call->registry, call->service, &why)) {
		snprintf(text, sizeof(text), "there is no service %s, and no history of one", call->service);
		answer = (struct answer){ .code = WIRE_EXIT_NO_SUCH_SERVICE,
					  .text = text,
					  .cause = why.text,
					  .next = "upgradectl list shows the services" };
	}
	asker_answer(call->asker, &answer);
	free(list);
	free(copies);
}

static void answer_events(struct look_call *call, struct events_look *look)
{
	Upgraded__Wire__Result with = UPGRADED__WIRE__RESULT__INIT;

	with.events = (Upgraded__Wire__Event **)look->list.entries;
	with.n_events = look->list.n;
	asker_answer(call->asker, &(struct answer){ .code = WIRE_EXIT_DONE, .with = &with });
}

static void on_looked(struct events_look *look)
{
	struct look_call *call = look->owner;

	call->look = NULL;
	if (look->r < 0)
		asker_answer(call->asker, &(struct answer){ .code = WIRE_EXIT_ERROR,
							    .text = "what was kept cannot be read",
							    .cause = strerror(-look->r),
							    .next = "is the state directory of upgraded there?" });
	else if (look->rolls)
		answer_rolls(call, look);
	else
		answer_events(call, look);
}

static struct errand *look(const struct verb_call *verb, bool rolls)
{
	struct look_call *call = calloc(1, sizeof(*call));
	const char *service = verb->request->service;

	if (call) {
		*call = (struct look_call){ .errand.free = free_look, .registry = verb->registry, .asker = verb->asker,
					    .number = verb->request->generation };
		snprintf(call->service, sizeof(call->service), "%s", service);
		call->look = events_look_begin(verb->registry->host.events, service, rolls, verb->request->since_us, EVENTS_MOST,
					       on_looked, call);
	}
	if (call && call->look)
		return &call->errand;
	free(call);
	asker_answer(verb->asker, &(struct answer){ .code = WIRE_EXIT_ERROR,
						    .text = "nothing is kept of what was",
						    .cause = "the state directory cannot be written, or memory is out",
						    .next = "the log of upgraded says why" });
	return NULL;
}

struct errand *history_history(const struct verb_call *call)
{
	return look(call, true);
}

struct errand *history_events(const struct verb_call *call)
{
	return look(call, false);
}

/* ---- what is to come ---- */

/* One `watch` as events. */
struct watch_call {
	struct errand errand;
	struct events *events;
	struct events_listener listener;
	struct asker *asker;
	char service[WIRE_NAME_MAX + 1];
	struct events_look *look; /* what was before comes first; NULL: all of that was told */
	int64_t since_us;         /* ... from then on */
	bool missed;              /* something has happened since the look began */
};

static void free_watch(struct errand *errand)
{
	struct watch_call *call = container_of(errand, struct watch_call, errand);

	events_look_forget(call->look);
	events_unlisten(call->events, &call->listener);
	free(call);
}

static void on_event(struct events_listener *listener, const Upgraded__Wire__Event *event)
{
	struct watch_call *call = container_of(listener, struct watch_call, listener);

	if (*call->service && strcmp(call->service, event->service) != 0)
		return;
	if (call->look)
		call->missed = true; /* it is looked up */
	else
		call->asker->on_event(call->asker, event);
}

static void on_caught_up(struct events_look *look);

/* Where nothing is kept, nothing can be caught up with. */
static void catch_up(struct watch_call *call)
{
	call->missed = false;
	call->look = events_look_begin(call->events, call->service, false, call->since_us, EVENTS_MOST, on_caught_up, call);
}

static void on_caught_up(struct events_look *look)
{
	struct watch_call *call = look->owner;

	call->look = NULL;
	for (size_t i = 0; i < look->list.n; i++) {
		const Upgraded__Wire__Event *event = look->list.entries[i];

		call->asker->on_event(call->asker, event);
		call->since_us = event->wall_us + 1;
	}
	if (call->missed)
		catch_up(call);
}

struct errand *history_watch(const struct verb_call *verb)
{
	struct events *events = verb->registry->host.events;
	struct watch_call *call;

	if (verb->service)
		service_follow(verb->service, FOLLOWS_ROLL, verb->asker);
	if (verb->service && strcmp(verb->request->wait_for, "events") != 0)
		return NULL; /* it sees the roll as who asked for it does */
	call = events && verb->asker->on_event ? calloc(1, sizeof(*call)) : NULL;
	if (!call) {
		asker_answer(verb->asker, &(struct answer){ .code = WIRE_EXIT_ERROR, .text = "out of memory" });
		return NULL;
	}
	*call = (struct watch_call){ .errand = { .free = free_watch, .ends_with_us = true }, .events = events,
				     .listener.on_event = on_event, .asker = verb->asker };
	snprintf(call->service, sizeof(call->service), "%s", verb->request->service);
	events_listen(events, &call->listener);
	call->since_us = verb->request->since_us;
	if (call->since_us)
		catch_up(call);
	return &call->errand;
}

struct errand *history_wait(const struct verb_call *verb)
{
	enum asker_follows what;

	if (service_follow_parse(verb->request->wait_for, &what))
		service_follow(verb->service, what, verb->asker);
	else
		asker_answer(verb->asker, &(struct answer){ .code = WIRE_EXIT_USAGE,
							    .text = "wait for what? done, commit or serving" });
	return NULL;
}
