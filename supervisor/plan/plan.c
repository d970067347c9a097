/* SPDX-License-Identifier: MIT */
#include "supervisor/plan/plan.h"

#include "supervisor/machine/procfs.h"
#include "supervisor/custody/names.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INVENTORY_US (2 * USEC_PER_SEC)
#define REGISTERED_MAX (1u << 20) /* what it says is not believed beyond this, or beyond what it may have open */

void plan_pauses_note(struct plan_pauses *pauses, uint64_t pause_us, const struct plan_size *size)
{
	pauses->last[pauses->next].pause_us = pause_us;
	pauses->last[pauses->next].size = *size;
	pauses->next = (pauses->next + 1) % PLAN_PAUSES;
	if (pauses->n < PLAN_PAUSES)
		pauses->n++;
}

/* What a roll costs, in parts of which only the ratio to each other counts: so much for itself, so much for each record, descriptor
 * and byte. What a service's rolls really took sets the scale. */
static double cost_of(const struct plan_size *size)
{
	return 1000 + 1.0 * (double)size->records + 10.0 * (double)size->fds + 0.002 * (double)size->bytes;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

uint64_t plan_pauses_expect(const struct plan_pauses *pauses, const struct plan_size *now)
{
	double scale[PLAN_PAUSES];

	if (!pauses->n)
		return 0;
	for (unsigned i = 0; i < pauses->n; i++)
		scale[i] = (double)pauses->last[i].pause_us / cost_of(&pauses->last[i].size);
	qsort(scale, pauses->n, sizeof(*scale), compare_doubles);
	return (uint64_t)(scale[pauses->n / 2] * cost_of(now));
}

static void on_done(struct timer *timer)
{
	struct plan *plan = container_of(timer, struct plan, done);

	plan_look(plan);
	plan->on_done(plan);
}

/* From the loop and not from within whatever was the last to come: it may free what is still being read from. */
static void check_complete(struct plan *plan)
{
	if (!plan->inventory_waits && !plan->trial)
		timer_arm(plan->site->loop, &plan->done, clock_now_us(), on_done);
}

/* ---- what the running version has registered ---- */

static void on_inventory_due(struct timer *timer)
{
	struct plan *plan = container_of(timer, struct plan, inventory_due);

	if (!instance_is_heard_out(plan->running)) {
		timer_arm(plan->site->loop, timer, clock_now_us() + INSTANCE_HEAR_US, on_inventory_due);
		return;
	}
	plan->inventory_waits = false;
	check_complete(plan);
}

static void ask_inventory(struct plan *plan)
{
	plan->inventory_waits = true;
	timer_arm(plan->site->loop, &plan->inventory_due, clock_now_us() + INVENTORY_US, on_inventory_due);
	instance_ask_inventory(plan->running);
}

/* Of these nobody hears anything else until the way back is taken. */
static void compare_doors(struct plan *plan, const Upgraded__Wire__Inventory *inventory)
{
	for (size_t i = 0; plan->known && i < inventory->n_doors && plan->n_closed < PLAN_CLOSED_MAX; i++) {
		const Upgraded__Wire__FdInfo *info = inventory->doors[i];
		struct custody_entry entry = { .name = info->name, .tag = info->tag, .door = DOOR_LISTENER };
		char *text = NULL;

		if (fd_names_have(plan->known, &entry) || asprintf(&text, "%.64s %" PRIu64, info->name, info->tag) < 0)
			continue;
		text_tame(text, strlen(text));
		plan->closed[plan->n_closed++] = text;
	}
}

static void take_threads(struct plan *plan, const Upgraded__Wire__Inventory *inventory)
{
	free(plan->threads);
	plan->n_threads = 0;
	plan->threads = calloc(inventory->n_threads, sizeof(*plan->threads));
	if (!plan->threads)
		return;
	memcpy(plan->threads, inventory->threads, inventory->n_threads * sizeof(*plan->threads));
	plan->n_threads = inventory->n_threads;
}

static void take_counts(struct plan *plan, const Upgraded__Wire__Inventory *inventory)
{
	plan->counted = inventory->n_counts > 0;
	plan->now.fds = plan->n_registered;
	for (size_t i = 0; i < inventory->n_counts; i++) {
		plan->now.records += inventory->counts[i]->records;
		plan->now.bytes += inventory->counts[i]->bytes;
	}
}

static void take_inventory(struct plan *plan, const Upgraded__Wire__Inventory *inventory)
{
	size_t most = procfs_open_files(plan->running->pid);
	uint32_t *more = NULL;

	if (!most || most > REGISTERED_MAX)
		most = REGISTERED_MAX;
	if (plan->n_registered + inventory->n_fds <= most)
		more = reallocarray(plan->registered, plan->n_registered + inventory->n_fds + 1, sizeof(*more));
	if (more) {
		if (inventory->n_fds) /* otherwise there is no array */
			memcpy(more + plan->n_registered, inventory->fds, inventory->n_fds * sizeof(*more));
		plan->registered = more;
		plan->n_registered += inventory->n_fds;
	}
	if (more && !inventory->last)
		return;
	if (more && inventory->n_threads)
		take_threads(plan, inventory);
	compare_doors(plan, inventory);
	take_counts(plan, inventory);
	plan->inventory = more != NULL;
	plan->inventory_waits = false;
	timer_disarm(&plan->inventory_due);
	check_complete(plan);
}

bool plan_hear(struct plan *plan, const Upgraded__Wire__AppMessage *message)
{
	if (message->body_case != UPGRADED__WIRE__APP_MESSAGE__BODY_INVENTORY)
		return false;
	if (plan->inventory_waits)
		take_inventory(plan, message->inventory);
	return true;
}

/* ---- what the other version says of itself ---- */

static void end_trial(struct plan *plan)
{
	timer_disarm(&plan->trial_due);
	if (!plan->hello)
		plan->lines = plan->trial->lines;
	plan->trial = graveyard_bury(plan->site->graveyard, plan->trial);
	check_complete(plan);
}

static void on_trial_hello(struct instance *trial)
{
	struct plan *plan = trial->owner;

	if (instance_knows_listen(trial, &plan->trial_cause) == 0) {
		plan->hello = trial->hello;
		trial->hello = NULL;
	}
	end_trial(plan);
}

static void on_trial_message(struct instance *trial, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	struct plan *plan = trial->owner;

	(void)fds;
	why_set(&plan->trial_cause, 0, "version %s (pid %d) spoke before it said hello (%s)", plan->version,
		trial->pid, wire_app_name(message));
	end_trial(plan);
}

static void on_trial_garbage(struct instance *trial, const char *reason)
{
	struct plan *plan = trial->owner;

	why_set(&plan->trial_cause, 0, "version %s (pid %d): %s", plan->version, trial->pid, reason);
	end_trial(plan);
}

static void on_trial_exit(struct instance *trial)
{
	struct plan *plan = trial->owner;
	char how[INSTANCE_END_BYTES];

	why_set(&plan->trial_cause, 0, "version %s (pid %d) %s%s", plan->version, trial->pid,
		instance_describe_end(trial, how, sizeof(how)), *trial->failure.text ? "" : " before it said hello");
	end_trial(plan);
}

static void on_trial_due(struct timer *timer)
{
	struct plan *plan = container_of(timer, struct plan, trial_due);

	if (!instance_is_heard_out(plan->trial)) {
		timer_arm(plan->site->loop, timer, clock_now_us() + INSTANCE_HEAR_US, on_trial_due);
		return;
	}
	instance_describe_slow_start(plan->trial, plan->unit, false, &plan->trial_cause);
	end_trial(plan);
}

static const struct instance_events trial_events = {
	.on_hello = on_trial_hello,
	.on_message = on_trial_message,
	.on_garbage = on_trial_garbage,
	.on_exit = on_trial_exit,
};

static void start_trial(struct plan *plan)
{
	plan->tried = true;
	if (origin_start_aside(plan->origin, plan->unit, plan->version, &trial_events, plan, &plan->trial, &plan->trial_cause) < 0)
		return;
	log_service(INFO, plan->unit->name, "plan: version %s is started as pid %d to hear what it reads",
		    plan->version, plan->trial->pid);
	timer_arm(plan->site->loop, &plan->trial_due, clock_now_us() + plan->unit->start_timeout_us, on_trial_due);
}

/* ---- life ---- */

int plan_start(const struct plan_spec *spec, struct plan **ret_plan, struct why *why)
{
	struct plan *plan = calloc(1, sizeof(*plan));

	if (!plan) {
		unit_free(spec->unit_consume);
		return why_errno(why, -ENOMEM, "plan");
	}
	plan->owner = spec->owner;
	plan->on_done = spec->on_done;
	plan->site = spec->site;
	plan->origin = spec->origin;
	plan->criu_detail = spec->criu_detail;
	plan->running = spec->running;
	plan->unit = spec->unit_consume;
	plan->rollback = spec->rollback;
	plan->require_image = spec->require_image;
	plan->pauses = *spec->pauses;
	plan->known = spec->known;
	snprintf(plan->version, sizeof(plan->version), "%s", spec->version);
	ask_inventory(plan);
	if (spec->try_version)
		start_trial(plan);
	*ret_plan = plan;
	return 0;
}

struct plan *plan_free(struct plan *plan)
{
	if (!plan)
		return NULL;
	timer_disarm(&plan->inventory_due);
	timer_disarm(&plan->trial_due);
	timer_disarm(&plan->done);
	graveyard_bury(plan->site->graveyard, plan->trial);
	if (plan->hello)
		upgraded__wire__app_message__free_unpacked(plan->hello, NULL);
	unit_free(plan->unit);
	while (plan->n_closed)
		free(plan->closed[--plan->n_closed]);
	free(plan->registered);
	free(plan->threads);
	free(plan);
	return NULL;
}
