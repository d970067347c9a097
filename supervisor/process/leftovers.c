/* SPDX-License-Identifier: MIT */
#include "supervisor/process/leftovers.h"

#include "supervisor/machine/procfs.h"
#include "supervisor/process/instance.h"
#include "supervisor/process/output.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LISTED_MAX 65536u   /* of our own children */
#define LOOKED_AT_MAX 1024u /* of these, the youngest */
#define NAME_BYTES 64

struct leftover;

struct orphan {
	struct orphan *next;
	struct leftover *of;
	struct child child;
};

/* Of one process that has ended. */
struct leftover {
	struct leftover *next;
	struct leftovers *all;
	char service[UNIT_NAME_MAX + 1];
	pid_t group;
	bool ends;              /* with the service */
	bool killed;
	struct orphan *orphans;
	struct output *output;  /* NULL: nobody can write to it any more */
};

struct leftovers {
	struct loop *loop;
	struct leftover *first;
};

/* Those of our children that are in the process group. The kernel lists them in the order in which they became ours, and those
 * that are looked for have done so just now: another service's orphans, however many, do not hide them. Return: how many, in
 * @ret_pids of LOOKED_AT_MAX. */
static size_t members_of(pid_t group, pid_t *ret_pids)
{
	static pid_t pids[LISTED_MAX]; /* one loop thread */
	size_t all = procfs_children(getpid(), pids, LISTED_MAX), n = 0;

	for (size_t i = all > LOOKED_AT_MAX ? all - LOOKED_AT_MAX : 0; i < all; i++)
		if (procfs_group(pids[i]) == group)
			ret_pids[n++] = pids[i];
	return n;
}

static void leftover_free(struct leftover *leftover)
{
	for (struct leftover **link = &leftover->all->first; *link; link = &(*link)->next) {
		if (*link == leftover) {
			*link = leftover->next;
			break;
		}
	}
	while (leftover->orphans) {
		struct orphan *orphan = leftover->orphans;

		leftover->orphans = orphan->next;
		child_let_go(&orphan->child);
		free(orphan);
	}
	output_free(leftover->output);
	free(leftover);
}

static void free_if_over(struct leftover *leftover)
{
	if (!leftover->orphans && !leftover->output)
		leftover_free(leftover);
}

/* ---- processes ---- */

static void adopt_members(struct leftover *leftover);

static void on_orphan_exit(struct child *child)
{
	struct orphan *orphan = container_of(child, struct orphan, child);
	struct leftover *leftover = orphan->of;

	for (struct orphan **link = &leftover->orphans; *link; link = &(*link)->next) {
		if (*link == orphan) {
			*link = orphan->next;
			break;
		}
	}
	free(orphan);
	/* Its own children are ours now. */
	adopt_members(leftover);
	free_if_over(leftover);
}

static void adopt(struct leftover *leftover, pid_t pid)
{
	struct orphan *orphan = child_is_watched(pid) ? NULL : calloc(1, sizeof(*orphan));

	if (!orphan)
		return;
	child_init(&orphan->child);
	orphan->of = leftover;
	if (child_adopt(leftover->all->loop, &orphan->child, pid, on_orphan_exit, NULL) < 0) {
		free(orphan);
		return;
	}
	orphan->child.spares_group = true;
	orphan->next = leftover->orphans;
	leftover->orphans = orphan;
}

static void adopt_members(struct leftover *leftover)
{
	pid_t pids[LOOKED_AT_MAX];
	size_t n = members_of(leftover->group, pids);

	for (size_t i = 0; i < n; i++)
		adopt(leftover, pids[i]);
}

/* An orphan that was not reaped keeps the number of its group from being another's. */
static void kill_all(struct leftover *leftover)
{
	leftover->killed = true;
	for (struct orphan *orphan = leftover->orphans; orphan; orphan = orphan->next) {
		if (procfs_group(orphan->child.pid) == leftover->group)
			kill(-leftover->group, SIGKILL);
		child_kill(&orphan->child, SIGKILL);
	}
}

/* ---- their output ---- */

static void on_output_end(struct output *output)
{
	struct leftover *leftover = output->owner;

	leftover->output = output_free(output);
	free_if_over(leftover);
}

static void keep_output(struct leftover *leftover, struct output *output_consume)
{
	if (output_consume->fd < 0) { /* nobody can write to it any more */
		output_free(output_consume);
		return;
	}
	output_consume->lines = NULL;
	output_consume->owner = leftover;
	output_consume->on_end = on_output_end;
	leftover->output = output_consume;
}

/* ---- all of them ---- */

/* With those that are in the process group now. Return: NULL if memory is out. */
static struct leftover *leftover_new(struct leftovers *leftovers, const struct instance *instance)
{
	struct leftover *leftover = calloc(1, sizeof(*leftover));

	if (!leftover)
		return NULL;
	leftover->next = leftovers->first;
	leftover->all = leftovers;
	leftover->group = instance->pid;
	snprintf(leftover->service, sizeof(leftover->service), "%s", instance->service);
	leftovers->first = leftover;
	adopt_members(leftover);
	return leftover;
}

void leftovers_keep(struct leftovers *leftovers, const struct instance *instance, struct output *output_consume)
{
	struct leftover *leftover = leftover_new(leftovers, instance);
	char name[NAME_BYTES];

	if (!leftover) {
		output_free(output_consume);
		return;
	}
	leftover->ends = instance->children == CHILDREN_HAND_OVER;
	keep_output(leftover, output_consume);
	for (const struct orphan *orphan = leftover->orphans; orphan; orphan = orphan->next)
		log_service(INFO, instance->service,
			    "pid %d (%s), which version %s (pid %d) had started, goes on (Children=%s)",
			    (int)orphan->child.pid, procfs_name(orphan->child.pid, name, sizeof(name)),
			    instance->version, (int)instance->pid, unit_children_name(instance->children));
	free_if_over(leftover);
}

void leftovers_bury(struct leftovers *leftovers, const struct instance *instance)
{
	struct leftover *leftover = leftover_new(leftovers, instance);
	unsigned n = 0;
	char name[NAME_BYTES];

	if (!leftover)
		return;
	leftover->ends = true;
	for (const struct orphan *orphan = leftover->orphans; orphan; orphan = orphan->next)
		n++;
	if (n > 0)
		log_service(INFO, instance->service,
			    "with version %s (pid %d) %u of its child processes end (pid %d, %s%s)", instance->version,
			    (int)instance->pid, n, (int)leftover->orphans->child.pid,
			    procfs_name(leftover->orphans->child.pid, name, sizeof(name)), n > 1 ? ", ..." : "");
	kill_all(leftover);
	free_if_over(leftover);
}

bool leftovers_keeps(const struct leftovers *leftovers, const char *service)
{
	for (const struct leftover *leftover = leftovers->first; leftover; leftover = leftover->next)
		if (!leftover->ends && !leftover->killed && leftover->orphans && strcmp(leftover->service, service) == 0)
			return true;
	return false;
}

void leftovers_end(struct leftovers *leftovers, const char *service)
{
	for (struct leftover *leftover = leftovers->first, *next; leftover; leftover = next) {
		next = leftover->next;
		if (!leftover->ends || leftover->killed || strcmp(leftover->service, service) != 0)
			continue;
		for (const struct orphan *orphan = leftover->orphans; orphan; orphan = orphan->next)
			log_service(INFO, service, "pid %d ends with the service (Children=hand-over)",
				    (int)orphan->child.pid);
		kill_all(leftover);
		leftover->output = output_free(leftover->output);
		free_if_over(leftover); /* or when the last one was reaped */
	}
}

/* ---- over an execve ---- */

void leftovers_put(const struct leftovers *leftovers, struct carry *carry)
{
	for (const struct leftover *leftover = leftovers->first; leftover; leftover = leftover->next) {
		Upgraded__Carry__Leftover left = UPGRADED__CARRY__LEFTOVER__INIT;
		Upgraded__Carry__Item item = UPGRADED__CARRY__ITEM__INIT;

		left.service = (char *)(uintptr_t)leftover->service;
		left.group = leftover->group;
		left.ends = leftover->ends;
		if (leftover->output) {
			left.output = carry_hold(carry, leftover->output->fd);
			left.who = (char *)(uintptr_t)leftover->output->who;
			left.log_rate = leftover->output->line_rate.per_second;
			left.log_rate_bytes = leftover->output->byte_rate.per_second;
		}
		item.what_case = UPGRADED__CARRY__ITEM__WHAT_LEFTOVER;
		item.leftover = &left;
		carry_put(carry, &item);
	}
}

int leftovers_take(struct leftovers *leftovers, struct carry *carry, const Upgraded__Carry__Leftover *left, struct why *why)
{
	struct leftover *leftover = calloc(1, sizeof(*leftover));
	int fd = carry_take(carry, left->output), r = 0;

	if (!leftover)
		return why_errno(why, -ENOMEM, "%s", left->service);
	*leftover = (struct leftover){ .next = leftovers->first, .all = leftovers, .group = left->group, .ends = left->ends };
	snprintf(leftover->service, sizeof(leftover->service), "%s", left->service);
	leftovers->first = leftover;
	if (fd >= 0) {
		leftover->output = output_new(leftovers->loop, left->log_rate, left->log_rate_bytes, NULL);
		if (!leftover->output)
			return why_errno(why, -ENOMEM, "%s", left->service);
		output_name_as(leftover->output, left->who);
		leftover->output->owner = leftover;
		leftover->output->on_end = on_output_end;
		r = output_take(leftover->output, fd, NULL, 0, why);
	}
	adopt_members(leftover);
	if (r == 0)
		free_if_over(leftover);
	return r;
}

/* ---- life ---- */

struct leftovers *leftovers_new(struct loop *loop)
{
	struct leftovers *leftovers = calloc(1, sizeof(*leftovers));

	if (leftovers)
		leftovers->loop = loop;
	return leftovers;
}

struct leftovers *leftovers_free(struct leftovers *leftovers)
{
	if (!leftovers)
		return NULL;
	for (struct leftover *leftover = leftovers->first, *next; leftover; leftover = next) {
		next = leftover->next;
		if (leftover->ends) {
			kill_all(leftover);
			for (struct orphan *orphan = leftover->orphans; orphan; orphan = orphan->next)
				child_done(&orphan->child);
		}
		leftover_free(leftover);
	}
	free(leftovers);
	return NULL;
}
