/* SPDX-License-Identifier: MIT */
/* Several processes of which each may be the one that serves, and none can be reached: to their service they are one instance. A
 * signal reaches all of them, and it has ended when the last one has: so a stop ends them all, and nothing is started beside one
 * that may serve. */
#include "supervisor/process/origin.h"
#include "supervisor/process/spawned_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static void take_out(const struct spawned *kin)
{
	struct spawned **link = &kin->head->kin;

	while (*link != kin)
		link = &(*link)->kin;
	*link = kin->kin;
}

static void on_exit_of_kin(struct instance *instance)
{
	take_out(spawned_of(instance));
	instance_free(instance);
}

static const struct instance_events kin_events = { .on_exit = on_exit_of_kin };

void spawner_join(struct instance *instance, struct instance *kin_consume)
{
	struct spawned *head = spawned_of(instance), *kin = spawned_of(kin_consume), **end = &head->kin;

	while (*end)
		end = &(*end)->kin;
	*end = kin;
	kin->head = head;
	instance_own(kin_consume, &kin_events, NULL);
}

/* @from is watched as @head's own one from here on. */
static int watch(struct spawned *head, struct spawned *from, struct why *why)
{
	struct instance *instance = &head->instance;
	struct loop *loop = head->spawner->loop;
	pid_t pid = from->instance.pid;
	int pidfd = fcntl(from->child.pidfd, F_DUPFD_CLOEXEC, 0);

	child_let_go(&from->child);
	child_done(&head->child);
	child_init(&head->child);
	instance->pid = pid;
	instance->kind = from->instance.kind;
	if (child_adopt(loop, &head->child, pid, spawned_on_exit, NULL) == 0) {
		fd_close(pidfd);
		return 0;
	}
	return pidfd < 0 ? why_errno(why, -EMFILE, "pid %d", (int)pid) :
			   child_regain(loop, &head->child, pid, pidfd, spawned_on_exit, why);
}

bool spawned_goes_on(struct spawned *head)
{
	struct instance *instance = &head->instance;
	struct spawned *next = head->kin;
	pid_t ended = instance->pid;
	struct why why = { 0 };
	int r;

	if (!next)
		return false;
	take_out(next);
	r = watch(head, next, &why);
	if (r == 0) {
		log_service(INFO, instance->service, "pid %d has ended; pid %d may serve as well", (int)ended,
			    (int)instance->pid);
		spawned_cross_out(head->spawner, head->serial);
		head->serial = next->serial;
		head->our_inode = next->our_inode;
		instance->since_us = next->instance.since_us;
		memcpy(instance->version, next->instance.version, sizeof(instance->version));
	} else {
		log_service(WARNING, instance->service, "pid %d may serve, and cannot be watched: %s",
			    (int)instance->pid, why.text);
	}
	instance_free(&next->instance);
	return r == 0;
}

void spawned_free_kin(struct spawned *head)
{
	while (head->kin) {
		struct spawned *kin = head->kin;

		take_out(kin);
		instance_free(&kin->instance);
	}
}
