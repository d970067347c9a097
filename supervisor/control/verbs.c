/* SPDX-License-Identifier: MIT */
#include "supervisor/control/verbs.h"

#include "supervisor/control/check.h"
#include "supervisor/control/history.h"
#include "supervisor/control/images.h"
#include "supervisor/control/request.h"
#include "supervisor/control/statuses.h"
#include "supervisor/service/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef UPGRADED_VERSION
#define UPGRADED_VERSION "0.1.0"
#endif

/* ---- one service ---- */

static struct errand *run_start(const struct verb_call *call)
{
	int file = call->request->from_file ? wire_fds_claim(call->fds, 0) : -1;

	service_start(call->service, call->request->roll.version, file, call->asker);
	return NULL;
}

static struct errand *run_stop(const struct verb_call *call)
{
	service_stop(call->service, call->asker);
	return NULL;
}

static struct errand *run_roll(const struct verb_call *call)
{
	service_roll(call->service, &call->request->roll, call->asker);
	return NULL;
}

static struct errand *run_retry(const struct verb_call *call)
{
	service_retry(call->service, &call->request->roll, call->asker);
	return NULL;
}

static struct errand *run_version(const struct verb_call *call)
{
	Upgraded__Wire__Result with = UPGRADED__WIRE__RESULT__INIT;
	char text[64];

	snprintf(text, sizeof(text), "upgraded %s (pid %d)", UPGRADED_VERSION, (int)getpid());
	with.daemon_version = wire_text(UPGRADED_VERSION);
	asker_answer(call->asker, &(struct answer){ .code = WIRE_EXIT_DONE, .text = text, .with = &with });
	return NULL;
}

static struct errand *run_undo(const struct verb_call *call)
{
	service_undo(call->service, &call->request->roll, call->asker);
	return NULL;
}

static struct errand *run_save(const struct verb_call *call)
{
	service_save(call->service, wire_fds_claim(call->fds, 0), call->asker);
	return NULL;
}

static struct errand *run_plan(const struct verb_call *call)
{
	service_plan(call->service, &call->request->roll, call->asker);
	return NULL;
}

static struct errand *run_abort(const struct verb_call *call)
{
	service_abort(call->service, call->asker);
	return NULL;
}

static struct errand *run_accept(const struct verb_call *call)
{
	service_accept(call->service, call->asker);
	return NULL;
}

static struct errand *run_pack(const struct verb_call *call)
{
	service_pack(call->service, call->asker);
	return NULL;
}

/* ---- upgraded itself ---- */

struct self_errand {
	struct errand errand;
	struct registry *registry;
	struct asker *asker;
};

static void forget_self(struct errand *errand)
{
	struct self_errand *self = container_of(errand, struct self_errand, errand);

	self->registry->forget_self(self->registry->daemon, self->asker);
	free(self);
}

static struct errand *run_roll_self(const struct verb_call *call)
{
	struct registry *registry = call->registry;
	struct self_errand *self = registry->roll_self ? calloc(1, sizeof(*self)) : NULL;

	if (!self) {
		asker_answer(call->asker, &(struct answer){ .code = WIRE_EXIT_ERROR, .text = "out of memory" });
		return NULL;
	}
	*self = (struct self_errand){ .errand.free = forget_self, .registry = registry, .asker = call->asker };
	registry->roll_self(registry->daemon, call->request->program, call->asker);
	return &self->errand;
}

bool errand_is_self(const struct errand *errand)
{
	return errand && errand->free == forget_self;
}

/* By who knows that we are ended only to be started again: no signal says that. */
static struct errand *run_leave(const struct verb_call *call)
{
	struct registry *registry = call->registry;
	bool leaves = !call->request->stays_down;
	unsigned within_s = registry->leave ? registry->leave(registry->daemon, leaves) : 0;
	char text[160];

	if (!within_s) {
		asker_answer(call->asker, &(struct answer){ .code = WIRE_EXIT_REFUSED, .text = "upgraded is ending already" });
		return NULL;
	}
	if (leaves)
		snprintf(text, sizeof(text), "a SIGTERM within the next %u s ends upgraded and leaves its services running",
			 within_s);
	else
		snprintf(text, sizeof(text), "a SIGTERM ends upgraded and its services");
	asker_answer(call->asker, &(struct answer){ .code = WIRE_EXIT_DONE, .text = text });
	return NULL;
}

/* ---- the table ---- */

#define VERB(name) [UPGRADED__WIRE__VERB__VERB_##name]

static const struct verb verbs[] = {
	VERB(START) = { "start", VERB_SERVICE, VERB_FILE_IF_SAID, "start --from came without a file", .begins = true,
			.orders = true, .run = run_start },
	VERB(STOP) = { "stop", VERB_SERVICE, .orders = true, .run = run_stop },
	VERB(ROLL) = { "roll", VERB_SERVICE, .takes_rollback = true, .takes_verify = true,
		       .takes_again = true, .begins = true, .orders = true, .run = run_roll },
	VERB(UNDO) = { "undo", VERB_SERVICE, .takes_rollback = true, .takes_verify = true, .takes_way = true, .begins = true,
		       .orders = true, .run = run_undo },
	VERB(STATUS) = { "status", VERB_SERVICE_OR_ALL, .run = statuses_status },
	VERB(LIST) = { "list", VERB_NO_SERVICE, .run = statuses_list },
	VERB(CHECK) = { "check", VERB_NO_SERVICE, .begins = true, .run = check_run },
	VERB(SAVE) = { "save", VERB_SERVICE, VERB_FILE, "save came without a file to write to", .begins = true, .orders = true,
		       .run = run_save },
	VERB(PLAN) = { "plan", VERB_SERVICE, .needs_version = true, .takes_rollback = true, .takes_again = true, .begins = true,
		       .run = run_plan },
	VERB(IMAGES_LIST) = { "images list", VERB_NAME_OR_ALL, .run = images_list },
	VERB(IMAGES_SHOW) = { "images show", VERB_NAME, .run = images_show },
	VERB(IMAGES_VERIFY) = { "images verify", VERB_NAME, .begins = true, .run = images_verify },
	VERB(IMAGES_GC) = { "images gc", VERB_NAME_OR_ALL, .orders = true, .run = images_gc },
	VERB(RETRY) = { "retry", VERB_SERVICE, .takes_rollback = true, .takes_verify = true, .begins = true, .orders = true,
			.run = run_retry },
	VERB(VERSION) = { "version", VERB_NO_SERVICE, .run = run_version },
	VERB(PACK) = { "pack", VERB_SERVICE, .begins = true, .orders = true, .run = run_pack },
	VERB(ABORT) = { "abort", VERB_SERVICE, .orders = true, .run = run_abort },
	VERB(ACCEPT) = { "accept", VERB_SERVICE, .orders = true, .run = run_accept },
	VERB(ROLL_SELF) = { "roll upgraded", VERB_NO_SERVICE, .begins = true, .orders = true, .run = run_roll_self },
	VERB(HISTORY) = { "history", VERB_NAME, .run = history_history },
	VERB(EVENTS) = { "events", VERB_NAME_OR_ALL, .run = history_events },
	VERB(WATCH) = { "watch", VERB_SERVICE_OR_ALL, .run = history_watch },
	VERB(WAIT) = { "wait", VERB_SERVICE, .run = history_wait },
	VERB(LEAVE) = { "leave", VERB_NO_SERVICE, .run = run_leave },
};

#define N_VERBS (sizeof(verbs) / sizeof(*verbs))

const struct verb *verb_find(int number)
{
	return number > 0 && (size_t)number < N_VERBS && verbs[number].run ? &verbs[number] : NULL;
}

const struct verb *verb_next(const struct verb *verb)
{
	const struct verb *next = verb ? verb + 1 : verbs;

	while (next < verbs + N_VERBS && !next->run)
		next++;
	return next < verbs + N_VERBS ? next : NULL;
}

/* ---- a request ---- */

/* Return: false if the request is about a service that does not exist, and @asker was told. */
static bool find_service(struct verb_call *call)
{
	const struct request *request = call->request;
	enum verb_service wants = request->verb->service;
	struct why why = { 0 };
	char text[256];

	if (!*request->service || wants == VERB_NAME || wants == VERB_NAME_OR_ALL)
		return true;
	call->service = registry_find(call->registry, request->service, &why);
	if (call->service)
		return true;
	snprintf(text, sizeof(text), "there is no service %s", request->service);
	asker_answer(call->asker, &(struct answer){ .code = WIRE_EXIT_NO_SUCH_SERVICE,
						    .text = text,
						    .cause = why.text,
						    .next = "upgradectl list shows the services" });
	return false;
}

/* Whatever comes of it, it stands in the log who asked for what. */
static void take_order(struct events *events, const struct request *request, const Upgraded__Wire__Request *wire,
		       struct asker *asker)
{
	Upgraded__Wire__Event event;
	Upgraded__Wire__Who told;
	const char *with = *request->roll.version ? request->roll.version : wire->program;
	char who[WHO_BYTES];

	snprintf(asker->order, sizeof(asker->order), "%s%s%.160s", request->verb->name, *with ? " " : "", with);
	snprintf(asker->order_of, sizeof(asker->order_of), "%s", request->service);
	log_about(LOG_LEVEL_INFO, &(const struct log_about){ .service = *asker->order_of ? asker->order_of : NULL },
		  "%s: asked for by %s", asker->order, who_text(&asker->who, who));
	asker->events = events;
	upgraded__wire__event__init(&event);
	event.kind = wire_text("ordered");
	event.level = wire_text("info");
	event.service = asker->order_of;
	event.text = asker->order;
	who_tell(&asker->who, &told);
	event.asked_by = asker->who.asked ? &told : NULL;
	events_tell(events, &event);
}

struct errand *verbs_run(struct registry *registry, const Upgraded__Wire__Request *wire, struct wire_fds *fds,
			 struct asker *asker)
{
	struct request request;
	struct refusal refusal;
	struct verb_call call = { .registry = registry, .request = &request, .fds = fds, .asker = asker };

	if (request_parse(wire, fds->n, &request, &refusal) < 0) {
		asker_answer(asker, &refusal.answer);
		return NULL;
	}
	if (request.verb->orders)
		take_order(registry->host.events, &request, wire, asker);
	if (registry->leaving && request.verb->begins) {
		asker_answer(asker, &(struct answer){ .code = WIRE_EXIT_BUSY,
						      .text = "upgraded is being started anew",
						      .next = "ask again in a moment" });
		return NULL;
	}
	if (!find_service(&call))
		return NULL;
	asker->wait_commit = request.wait_commit;
	request.roll.who = asker->who;
	asker->phases = request.phases;
	asker->detach = wire->detach;
	return request.verb->run(&call);
}
