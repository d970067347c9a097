/* SPDX-License-Identifier: MIT */
#include "supervisor/process/graveyard.h"

#include "base/base.h"
#include "supervisor/process/instance.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct buried {
	struct buried *next;
	struct graveyard *graveyard;
	struct instance *instance;
	struct timer due; /* until then it may take to end */
};

static void ignore_message(struct instance *instance, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	(void)instance;
	(void)message;
	(void)fds;
}

static void ignore_garbage(struct instance *instance, const char *reason)
{
	(void)instance;
	(void)reason;
}

static void on_exit_buried(struct instance *instance)
{
	struct buried *buried = instance->owner;

	for (struct buried **link = &buried->graveyard->first; *link; link = &(*link)->next) {
		if (*link == buried) {
			*link = buried->next;
			break;
		}
	}
	if (instance->drain_due_us)
		log_info("%s: version %s (pid %d) has drained%s", instance->service, instance->version, (int)instance->pid,
			 instance->killed ? " no further: it was killed" : "");
	timer_disarm(&buried->due);
	instance_free(instance);
	free(buried);
}

static const struct instance_events buried_events = {
	.on_message = ignore_message, .on_garbage = ignore_garbage, .on_exit = on_exit_buried
};

/* ---- those that drain ---- */

static void on_due(struct timer *timer)
{
	struct buried *buried = container_of(timer, struct buried, due);
	const struct instance *instance = buried->instance;

	log_warning("%s: version %s (pid %d) has not ended on %s by its time to drain: killing it, with the connections that it "
		    "has", instance->service, instance->version, (int)instance->pid, unit_signal_name(instance->unit->stop_signal));
	instance_kill(buried->instance, SIGKILL);
}

static bool may_drain(const struct graveyard *graveyard, const struct instance *instance)
{
	return graveyard->loop && instance->life == INSTANCE_RUNS && !instance_can(instance, INSTANCE_CAN_MOVE) && instance->unit &&
	       !instance->killed;
}

const struct instance *graveyard_drains(const struct graveyard *graveyard, const char *service, size_t i)
{
	for (const struct buried *buried = graveyard->first; buried; buried = buried->next)
		if (buried->instance->drain_due_us && strcmp(buried->instance->service, service) == 0 && i-- == 0)
			return buried->instance;
	return NULL;
}

void graveyard_hurry(struct graveyard *graveyard, const char *service, uint64_t due_us)
{
	for (struct buried *buried = graveyard->first; buried; buried = buried->next) {
		struct instance *instance = buried->instance;

		if (instance->drain_due_us <= due_us || (service && strcmp(instance->service, service) != 0))
			continue;
		instance->drain_due_us = due_us;
		timer_arm(graveyard->loop, &buried->due, due_us, on_due);
	}
}

struct instance *graveyard_bury(struct graveyard *graveyard, struct instance *instance)
{
	struct buried *buried;

	if (!instance || instance->life == INSTANCE_ENDED || graveyard->lets_go)
		return instance_free(instance);
	buried = calloc(1, sizeof(*buried));
	if (!buried) /* then we do wait */
		return instance_free(instance);
	*buried = (struct buried){ .next = graveyard->first, .graveyard = graveyard, .instance = instance };
	graveyard->first = buried;
	instance_own(instance, &buried_events, buried);
	if (may_drain(graveyard, instance)) {
		instance_drain(instance);
		timer_arm(graveyard->loop, &buried->due, instance->drain_due_us, on_due);
	} else {
		instance_kill(instance, SIGKILL);
	}
	return NULL;
}

/* ---- other processes ---- */

struct buried_child {
	struct buried_child *next;
	struct graveyard *graveyard;
	struct child child;
};

static void on_exit_buried_child(struct child *child)
{
	struct buried_child *buried = container_of(child, struct buried_child, child);

	for (struct buried_child **link = &buried->graveyard->first_child; *link; link = &(*link)->next) {
		if (*link == buried) {
			*link = buried->next;
			break;
		}
	}
	child_done(child);
	free(buried);
}

void graveyard_bury_child(struct graveyard *graveyard, struct child *child)
{
	struct buried_child *buried;

	if (child->pidfd < 0) {
		child_init(child);
		return;
	}
	buried = calloc(1, sizeof(*buried));
	if (buried)
		child_init(&buried->child);
	if (!buried || child_move(child, &buried->child, on_exit_buried_child) < 0) {
		free(buried);
		child_done(child); /* then we do wait */
		return;
	}
	buried->graveyard = graveyard;
	buried->next = graveyard->first_child;
	graveyard->first_child = buried;
	child_kill_group(&buried->child);
}

void graveyard_done(struct graveyard *graveyard)
{
	while (graveyard->first_child) {
		struct buried_child *buried = graveyard->first_child;

		graveyard->first_child = buried->next;
		child_done(&buried->child);
		free(buried);
	}
	while (graveyard->first) {
		struct buried *buried = graveyard->first;

		graveyard->first = buried->next;
		timer_disarm(&buried->due);
		instance_free(buried->instance);
		free(buried);
	}
}
