/* SPDX-License-Identifier: MIT */
/* Services whose programs know nothing of us (Kind=plain): what cannot be asked of them, and when they are ready by their
 * checks. */
#include "supervisor/health/health.h"
#include "supervisor/service/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_US (50 * USEC_PER_MSEC)
#define NO_STATE "Kind=plain: no state and no connections move by a roll, and there is none that could be saved"

/* ---- what makes no sense ---- */

static bool is_plain(const struct service *service)
{
	const struct instance *serving = member_serving(service_member(service));

	return serving && serving->unit && serving->unit->kind == UNIT_PLAIN;
}

bool service_refuse_plain(struct service *service, const char *what, struct asker *asker)
{
	if (!is_plain(service))
		return false;
	service_answer(service, asker,
		       &(struct answer){ .code = WIRE_EXIT_REFUSED, .cause = NO_STATE, .next = "nothing was touched" },
		       "%s: %s of a program without the library", service->name, what);
	return true;
}

bool service_refuse_plain_start(struct service *service, const struct unit *unit, bool has_file, struct asker *asker)
{
	if (unit->kind != UNIT_PLAIN || !has_file)
		return false;
	service_answer(service, asker,
		       &(struct answer){ .code = WIRE_EXIT_REFUSED, .cause = NO_STATE, .next = "start it without --from" },
		       "%s: a program without the library cannot load a state file", service->name);
	return true;
}

/* Return: what was asked for beyond what there is, in words; NULL: nothing. */
static const char *excess(const struct roll_request *request)
{
	if (request->sets_verify && request->verify == VERIFY_ROUNDTRIP)
		return "--verify=roundtrip needs a state";
	if (request->require_image)
		return "--require-image needs an image, and there is none";
	if (request->sets_rollback && request->rollback == ROLLBACK_IMAGE)
		return "--rollback=image needs an image, and there is none";
	return request->way == UNDO_IMAGE ? "--way=image needs an image, and there is none" : NULL;
}

bool service_refuse_kind(struct service *service, const struct unit *unit, const struct roll_request *request, struct asker *asker)
{
	bool plain = is_plain(service);
	const char *more = plain ? excess(request) : NULL;

	if (plain != (unit->kind == UNIT_PLAIN)) {
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_REFUSED,
						 .cause = "a program without the library takes no state over, and hands none over",
						 .next = "nothing was touched; to change Kind=, stop the service and start the "
							 "other version" },
			       "%s: version %s is of Kind=%s, and what would be rolled to is of Kind=%s", service->name,
			       service->version, plain ? "plain" : "library", plain ? "library" : "plain");
		return true;
	}
	if (!more)
		return false;
	service_answer(service, asker,
		       &(struct answer){ .code = WIRE_EXIT_REFUSED, .cause = more,
					 .next = "nothing was touched; Kind=plain: the version before serves on until the bake is "
						 "over, and is the way back" },
		       "%s: that cannot be asked of a program without the library", service->name);
	return true;
}

/* Such a program is not started to be asked anything: at the listeners of the service it would serve. */
bool service_plan_plain(struct service *service, const struct unit *unit, const struct roll_request *request, struct asker *asker)
{
	struct why why = { 0 };
	int r;

	if (!is_plain(service))
		return false;
	r = origin_try(service->host->origin, unit, request->version, &why);
	service_answer(service, asker,
		       &(struct answer){ .code = r < 0 ? WIRE_EXIT_REFUSED : WIRE_EXIT_DONE,
					 .cause = r < 0 ? why.text : NULL,
					 .next = r < 0 ? "mend the cause: a roll would be refused" : NULL },
		       r < 0 ? "%s: a roll to %s would be refused" :
			       "%s: version %s would start beside the one that serves, at the same listeners (Kind=plain); no "
			       "state and no connections move, and there is no pause. The version before serves on until the bake "
			       "is over: it is the way back", service->name, request->version);
	return true;
}

/* ---- ready by its checks ---- */

/* Of one process, until its checks have succeeded or it has ended. */
struct proof {
	struct instance *instance;
	struct graveyard *graveyard;
	struct health health;
	struct timer look;
	bool succeeded[UNIT_CHECKS_MAX];
};

static void watch(struct proof *proof);

static void on_look(struct timer *timer)
{
	struct proof *proof = container_of(timer, struct proof, look);
	bool all = true;

	for (size_t i = 0; i < proof->health.n_checks; i++) {
		proof->succeeded[i] |= proof->health.checks[i].succeeded;
		all &= proof->succeeded[i];
	}
	if (all && proof->health.n_checks) {
		health_stop(&proof->health);
		instance_prove(proof->instance);
		return;
	}
	timer_arm(proof->graveyard->loop, timer, clock_now_us() + LOOK_US, on_look);
}

/* A check that fails is made again: how long, StartTimeout= says. */
static void on_verdict(struct health *health, enum health_verdict verdict)
{
	(void)verdict;
	watch(container_of(health, struct proof, health));
}

static void on_note(struct health *health, const char *text)
{
	const struct proof *proof = container_of(health, struct proof, health);

	log_info("%s[%s %d]: %s", proof->instance->service, proof->instance->version, (int)proof->instance->pid, text);
}

static void watch(struct proof *proof)
{
	const struct health_spec spec = { .loop = proof->graveyard->loop, .graveyard = proof->graveyard,
					  .unit = proof->instance->unit, .instance = proof->instance, .on_verdict = on_verdict,
					  .on_note = on_note, .checks_only = true };

	health_start(&proof->health, &spec);
}

static void end_proof(void *data)
{
	struct proof *proof = data;

	timer_disarm(&proof->look);
	health_stop(&proof->health);
	free(proof);
}

void service_prove(struct service *service, struct instance *instance)
{
	const struct unit *unit = instance->unit;
	struct graveyard *graveyard = service->host->site.graveyard;
	struct proof *proof;

	if (unit->kind != UNIT_PLAIN || unit->ready != READY_HEALTH || !graveyard->loop)
		return;
	proof = calloc(1, sizeof(*proof));
	if (!proof) {
		log_warning("%s[%s %d]: its checks cannot be made: out of memory", instance->service, instance->version,
			    (int)instance->pid);
		return;
	}
	proof->instance = instance;
	proof->graveyard = graveyard;
	instance->proof = (struct instance_proof){ .end = end_proof, .data = proof };
	watch(proof);
	timer_arm(graveyard->loop, &proof->look, clock_now_us() + LOOK_US, on_look);
}
