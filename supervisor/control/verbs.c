/* SPDX-License-Identifier: MIT */
#include "supervisor/control/verbs.h"

#include "supervisor/control/check.h"
#include "supervisor/control/images.h"
#include "supervisor/control/request.h"
#include "supervisor/control/statuses.h"
#include "supervisor/service/registry.h"

#include <stdio.h>
#include <stdlib.h>

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

/* ---- the table ---- */

#define VERB(name) [UPGRADED__WIRE__VERB__VERB_##name]

static const struct verb verbs[] = {
	VERB(START) = { "start", VERB_SERVICE, VERB_FILE_IF_SAID, "start --from came without a file", .run = run_start },
	VERB(STOP) = { "stop", VERB_SERVICE, .run = run_stop },
	VERB(ROLL) = { "roll", VERB_SERVICE, .needs_version = true, .takes_rollback = true, .takes_verify = true,
		       .takes_again = true, .run = run_roll },
	VERB(UNDO) = { "undo", VERB_SERVICE, .takes_rollback = true, .takes_verify = true, .takes_way = true, .run = run_undo },
	VERB(STATUS) = { "status", VERB_SERVICE_OR_ALL, .run = statuses_status },
	VERB(LIST) = { "list", VERB_NO_SERVICE, .run = statuses_list },
	VERB(CHECK) = { "check", VERB_NO_SERVICE, .run = check_run },
	VERB(SAVE) = { "save", VERB_SERVICE, VERB_FILE, "save came without a file to write to", .run = run_save },
	VERB(PLAN) = { "plan", VERB_SERVICE, .needs_version = true, .takes_rollback = true, .takes_again = true, .run = run_plan },
	VERB(IMAGES_LIST) = { "images list", VERB_NAME_OR_ALL, .run = images_list },
	VERB(IMAGES_SHOW) = { "images show", VERB_NAME, .run = images_show },
	VERB(IMAGES_VERIFY) = { "images verify", VERB_NAME, .run = images_verify },
	VERB(IMAGES_GC) = { "images gc", VERB_NAME_OR_ALL, .run = images_gc },
	VERB(PACK) = { "pack", VERB_SERVICE, .run = run_pack },
	VERB(ABORT) = { "abort", VERB_SERVICE, .run = run_abort },
	VERB(ACCEPT) = { "accept", VERB_SERVICE, .run = run_accept },
	VERB(ROLL_SELF) = { "roll upgraded", VERB_NO_SERVICE, .run = run_roll_self },
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
	if (!find_service(&call))
		return NULL;
	asker->wait_commit = request.wait_commit;
	asker->phases = request.phases;
	return request.verb->run(&call);
}
