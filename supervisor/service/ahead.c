/* SPDX-License-Identifier: MIT */
/* `upgradectl plan`, and the look ahead before a roll that must be able to go back by an image. */
#include "supervisor/service/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A plan under way: somebody wants to know, or a roll waits for what it finds. */
struct service_plan {
	struct service *service;
	struct plan *plan;
	struct asker *asker; /* who wants to know; NULL: went away, or a roll waits (then it is the service's) */
	uint8_t *request; /* the roll that waits, packed; NULL: none */
	size_t request_size;
	char version[UNIT_NAME_MAX + 1];
};

static void end_plan(struct service *service)
{
	struct service_plan *job = service->plan;

	service->plan = NULL;
	plan_free(job->plan);
	free(job->request);
	free(job);
}

static struct asker *whose(const struct service *service)
{
	return service->plan->request ? service->asker : service->plan->asker;
}

/* ---- the end ---- */

static void answer_plan(struct service *service, const struct plan *plan)
{
	Upgraded__Wire__Result result = UPGRADED__WIRE__RESULT__INIT;
	struct asker *asker = whose(service);
	char *lines[INSTANCE_LINES];
	struct why text = { 0 };

	if (!asker)
		return;
	result.code = (uint32_t)plan_tell(plan, &result.plan, &text);
	result.text = text.text;
	if (result.plan)
		result.cause = result.plan->cause;
	for (unsigned i = 0; i < plan->lines.n; i++)
		lines[result.n_log_lines++] =
			(char *)(uintptr_t)plan->lines.text[(plan->lines.first + i) % INSTANCE_LINES];
	result.log_lines = lines;
	service->plan->asker = NULL; /* it is answered, not gone: what it is told of is still needed */
	service_forget(asker);
	service_result(service, asker, &result);
	if (result.plan)
		upgraded__wire__plan__free_unpacked(result.plan, NULL);
}

static void roll_on(struct service *service)
{
	struct service_plan *job = service->plan;
	Upgraded__Wire__Request *request = upgraded__wire__request__unpack(NULL, job->request_size, job->request);
	char version[UNIT_NAME_MAX + 1];
	struct why why = { 0 };

	snprintf(version, sizeof(version), "%s", job->version);
	if (plan_image_there(job->plan, &why) < 0 || !request) {
		end_plan(service);
		service_answer(service, service->asker, WIRE_EXIT_REFUSED, NULL, NULL, why.text,
			       "nothing was touched; mend the cause, or roll without --require-image (RequireImage=)",
			       "%s: the roll to %s was refused: it could not go back by an image", service->name,
			       version);
	} else {
		end_plan(service);
		service_roll_now(service, version, request, service->asker);
	}
	if (request)
		upgraded__wire__request__free_unpacked(request, NULL);
}

static void on_done(struct plan *plan)
{
	struct service_plan *job = plan->owner;
	struct service *service = job->service;

	if (job->request) {
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
	rolls = service->plan->request;
	end_plan(service);
	service_answer(service, asker, rolls ? WIRE_EXIT_REFUSED : WIRE_EXIT_BUSY, NULL, NULL, reason,
		       "nothing was touched", rolls ? "%s: the roll was refused" : "%s: the plan was given up",
		       service->name);
}

bool service_plan_is_gate(const struct service *service)
{
	return service->plan && service->plan->request;
}

void service_plan_give_way(struct service *service)
{
	if (service->plan && !service->plan->request)
		service_plan_end(service, "something else was asked of the service meanwhile");
}

void service_plan_forget(struct service *service, const struct asker *asker)
{
	if (!service->plan || service->plan->asker != asker || service->plan->request)
		return;
	end_plan(service); /* nobody wants to know any more */
}

bool service_plan_hear(struct service *service, const Upgraded__Wire__AppMessage *message)
{
	return service->plan && plan_hear(service->plan->plan, message);
}

/* ---- the beginning ---- */

static struct service_plan *job_new(struct service *service, const char *version, const Upgraded__Wire__Request *waits)
{
	struct service_plan *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->service = service;
	snprintf(job->version, sizeof(job->version), "%s", version);
	if (waits) {
		job->request_size = upgraded__wire__request__get_packed_size(waits);
		job->request = malloc(job->request_size + 1);
		if (!job->request) {
			free(job);
			return NULL;
		}
		upgraded__wire__request__pack(waits, job->request);
	}
	return job;
}

static void begin(struct service *service, const struct plan_spec *spec, const Upgraded__Wire__Request *waits,
		  struct asker *asker)
{
	struct service_plan *job = job_new(service, spec->version, waits);
	struct plan_spec whole = *spec;
	struct why why = { 0 };

	whole.site = &service->host->site;
	whole.images = service->host->images ? service->host->images->text : "";
	whole.running = service->instance;
	whole.pauses = &service->pauses;
	whole.owner = job;
	whole.on_done = on_done;
	if (!job || plan_start(&whole, &job->plan, &why) < 0) {
		if (job)
			free(job->request);
		else
			unit_free(spec->unit_consume);
		free(job);
		service_answer(service, asker, WIRE_EXIT_ERROR, NULL, NULL, why.text, NULL, "%s: out of memory",
			       service->name);
		return;
	}
	service->plan = job;
	if (waits)
		service->asker = asker;
	else
		job->asker = asker;
	if (asker)
		asker->service = service;
}

static int load_unit(struct service *service, struct unit **ret_unit, struct asker *asker)
{
	struct why why = { 0 };
	int r = unit_load(service->host->config_dir, service->name, ret_unit, &why);

	if (r < 0)
		service_answer(service, asker, WIRE_EXIT_REFUSED, NULL, NULL, why.text, "mend the service file",
			       "the service file of %s cannot be used: a roll would be refused", service->name);
	return r;
}

void service_plan(struct service *service, const Upgraded__Wire__Request *request, struct asker *asker)
{
	struct plan_spec spec = { .version = request->version, .try_version = true };

	if (service_refuse_busy(service, asker) || service_refuse_not_running(service, asker))
		return;
	if (strcmp(request->version, service->version) == 0) {
		service_answer(service, asker, WIRE_EXIT_REFUSED, NULL, NULL, NULL,
			       "versions live at paths of their own, so a new build needs a new name",
			       "%s runs version %s already", service->name, service->version);
		return;
	}
	if (load_unit(service, &spec.unit_consume, asker) < 0)
		return;
	spec.rollback = spec.unit_consume->rollback;
	spec.require_image = request->require_image || spec.unit_consume->require_image;
	if (*request->rollback && !unit_rollback_parse(request->rollback, &spec.rollback)) {
		unit_free(spec.unit_consume);
		service_answer(service, asker, WIRE_EXIT_USAGE, NULL, NULL, NULL, NULL,
			       "rollback is one of auto, parked, image, none");
		return;
	}
	begin(service, &spec, NULL, asker);
}

void service_plan_gate(struct service *service, const char *version, const Upgraded__Wire__Request *request,
		       struct asker *asker)
{
	struct plan_spec spec = { .version = version, .rollback = service->unit->rollback, .require_image = true };

	if (*request->rollback)
		unit_rollback_parse(request->rollback, &spec.rollback);
	if (load_unit(service, &spec.unit_consume, asker) < 0)
		return;
	begin(service, &spec, request, asker);
}
