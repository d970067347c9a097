/* SPDX-License-Identifier: MIT */
/* `upgradectl plan`, and the look ahead before a roll that must be able to go back by an image. */
#include "supervisor/service/private.h"

#include <stdlib.h>
#include <string.h>

/* A plan under way: somebody wants to know, or a roll waits for what it finds. */
struct service_plan {
	struct service *service;
	struct plan *plan;
	struct asker *asker; /* who wants to know; NULL: went away, or a roll waits, and the service's asker waits for that */
	bool is_gate;        /* a roll waits */
	struct roll_request request;
};

static void end_plan(struct service *service)
{
	struct service_plan *job = service->plan;

	service->plan = NULL;
	plan_free(job->plan);
	free(job);
}

static struct asker *whose(const struct service *service)
{
	return service->plan->is_gate ? service->asker : service->plan->asker;
}

/* ---- the end ---- */

static void answer_plan(struct service *service, const struct plan *plan)
{
	Upgraded__Wire__Result with = UPGRADED__WIRE__RESULT__INIT;
	struct asker *asker = whose(service);
	struct why text = { 0 };
	enum wire_exit code;

	if (!asker)
		return;
	code = plan_tell(plan, &with.plan, &text);
	service->plan->asker = NULL; /* the plan stays until the answer is sent, which borrows from it */
	service_answer(service, asker,
		       &(struct answer){ .code = code,
					 .cause = with.plan ? with.plan->cause : NULL,
					 .lines = &plan->lines,
					 .with = &with },
		       "%s", text.text);
	if (with.plan)
		upgraded__wire__plan__free_unpacked(with.plan, NULL);
}

static void roll_on(struct service *service)
{
	struct roll_request request = service->plan->request;
	struct unit *unit = unit_ref(service->plan->plan->unit);
	struct why why = { 0 };
	int r = plan_image_there(service->plan->plan, &why);

	end_plan(service);
	if (r < 0)
		service_answer(service, service->asker,
			       &(struct answer){ .code = WIRE_EXIT_REFUSED,
						 .cause = why.text,
						 .next = "nothing was touched; fix the cause, or roll without --require-image "
							 "(RequireImage=)" },
			       "%s: the roll to %s was refused: it could not go back by an image", service->name,
			       request.version);
	else
		service_roll_now(service, unit, &request, service->asker);
	unit_free(unit);
}

static void on_done(struct plan *plan)
{
	struct service_plan *job = plan->owner;
	struct service *service = job->service;

	if (job->is_gate) {
		roll_on(service);
		return;
	}
	answer_plan(service, plan);
	end_plan(service);
}

void service_plan_end(struct service *service, const char *reason)
{
	struct asker *asker;
	bool rolls;

	if (!service->plan)
		return;
	asker = whose(service);
	rolls = service->plan->is_gate;
	end_plan(service);
	service_answer(service, asker,
		       &(struct answer){ .code = rolls ? WIRE_EXIT_REFUSED : WIRE_EXIT_BUSY,
					 .cause = reason,
					 .next = "nothing was touched" },
		       rolls ? "%s: the roll was refused" : "%s: the plan was given up", service->name);
}

bool service_plan_is_gate(const struct service *service)
{
	return service->plan && service->plan->is_gate;
}

void service_plan_give_way(struct service *service)
{
	if (service->plan && !service->plan->is_gate)
		service_plan_end(service, "something else was asked of the service meanwhile");
}

void service_plan_forget(struct service *service, const struct asker *asker)
{
	if (!service->plan || service->plan->asker != asker || service->plan->is_gate)
		return;
	end_plan(service); /* nobody wants to know any more */
}

bool service_plan_hear(struct service *service, const Upgraded__Wire__AppMessage *message)
{
	return service->plan && plan_hear(service->plan->plan, message);
}

/* ---- the beginning ---- */

/* Whatever @spec leaves open. */
static int start(struct service_plan *job, struct plan_spec *spec, struct why *why)
{
	struct service *service = job->service;

	spec->site = &service->host->site;
	spec->origin = service->host->origin;
	spec->criu_detail = service->host->criu_detail ? service->host->criu_detail->text : "";
	spec->running = service_member(service)->instance;
	spec->version = job->request.version;
	spec->pauses = &service->pauses;
	spec->known = service_had(service, &job->request);
	spec->owner = job;
	spec->on_done = on_done;
	return plan_start(spec, &job->plan, why);
}

static void begin(struct service *service, struct plan_spec *spec, bool is_gate, const struct roll_request *request,
		  struct asker *asker)
{
	struct service_plan *job = calloc(1, sizeof(*job));
	struct why why = { 0 };

	if (!job) {
		unit_free(spec->unit_consume);
	} else {
		job->service = service;
		job->is_gate = is_gate;
		job->request = *request;
	}
	if (!job || start(job, spec, &why) < 0) {
		free(job);
		service_answer(service, asker, &(struct answer){ .code = WIRE_EXIT_ERROR, .cause = why.text },
			       "%s: out of memory", service->name);
		return;
	}
	service->plan = job;
	if (is_gate) {
		service_wait(service, asker);
		return;
	}
	job->asker = asker;
	asker->service = service;
}

static int load_unit(struct service *service, struct unit **ret_unit, struct asker *asker)
{
	struct why why = { 0 };
	int r = unit_load(service->host->config_dir, service->name, ret_unit, &why);

	if (r < 0)
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_REFUSED, .cause = why.text, .next = "fix the service file" },
			       "the service file of %s cannot be used: a roll would be refused", service->name);
	return r;
}

void service_plan(struct service *service, const struct roll_request *request, struct asker *asker)
{
	struct plan_spec spec = { .try_version = true };
	struct roll_options options;

	if (service_refuse_busy(service, asker) || service_refuse_not_running(service, asker) ||
	    service_refuse_same(service, request, asker) || load_unit(service, &spec.unit_consume, asker) < 0)
		return;
	if (service_refuse_kind(service, spec.unit_consume, request, asker) ||
	    service_plan_plain(service, spec.unit_consume, request, asker)) {
		unit_free(spec.unit_consume);
		return;
	}
	options = service_roll_options(spec.unit_consume, request);
	spec.rollback = options.rollback;
	spec.require_image = options.require_image;
	begin(service, &spec, false, request, asker);
}

void service_plan_gate(struct service *service, struct unit *unit, const struct roll_request *request, struct asker *asker)
{
	struct plan_spec spec = { .require_image = true, .unit_consume = unit_ref(unit) };

	spec.rollback = service_roll_options(unit, request).rollback;
	begin(service, &spec, true, request, asker);
}
