/* SPDX-License-Identifier: MIT */
#include "supervisor/process/graveyard.h"

#include "supervisor/process/instance.h"

#include <signal.h>
#include <stdlib.h>

struct buried {
	struct buried *next;
	struct graveyard *graveyard;
	struct instance *instance;
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
	instance_free(instance);
	free(buried);
}

static const struct instance_events buried_events = {
	.on_message = ignore_message, .on_garbage = ignore_garbage, .on_exit = on_exit_buried
};

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
	instance_kill(instance, SIGKILL);
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
		instance_free(buried->instance);
		free(buried);
	}
}
