/* SPDX-License-Identifier: MIT */
#include "supervisor/recover/left.h"

#include "base/base.h"
#include "supervisor/process/carried.h"
#include "supervisor/process/leftovers.h"
#include "supervisor/service/carried.h"

#include <errno.h>
#include <stdlib.h>

struct left {
	struct left_processes processes;
	struct carry *carry;
	struct registry *registry;
	struct spawner *spawner;
	struct {
		uint64_t id;
		struct instance *instance;
	} *of;
	size_t n;
};

static struct instance *take_left(struct left_processes *processes, uint64_t id)
{
	struct left *left = container_of(processes, struct left, processes);

	for (size_t i = 0; i < left->n; i++) {
		struct instance *instance = left->of[i].instance;

		if (left->of[i].id != id || !id)
			continue;
		left->of[i].instance = NULL;
		return instance;
	}
	return NULL;
}

/* Which of them serves nobody knows. */
static void join_kin(struct left *left)
{
	const Upgraded__Carry__Item *item = NULL;

	while ((item = carry_next(left->carry, UPGRADED__CARRY__ITEM__WHAT_PROCESS, item))) {
		struct instance *head = NULL, *kin;

		for (size_t i = 0; i < left->n; i++)
			if (left->of[i].id == item->process->id)
				head = left->of[i].instance;
		for (size_t i = 0; head && i < item->process->n_kin; i++)
			if ((kin = take_left(&left->processes, item->process->kin[i])))
				spawner_join(head, kin);
	}
}

static int read_left_processes(struct left *left, struct why *why)
{
	const Upgraded__Carry__Item *item = NULL;
	size_t n = 0;
	int r = 0;

	while ((item = carry_next(left->carry, UPGRADED__CARRY__ITEM__WHAT_PROCESS, item)))
		n++;
	left->of = calloc(n + 1, sizeof(*left->of));
	if (!left->of)
		return why_errno(why, -ENOMEM, "processes");
	while (r == 0 && (item = carry_next(left->carry, UPGRADED__CARRY__ITEM__WHAT_PROCESS, item))) {
		left->of[left->n].id = item->process->id;
		r = carried_take(left->spawner, left->carry, item->process, &left->of[left->n].instance, why);
		left->n += r == 0;
	}
	if (r == 0)
		join_kin(left);
	return r;
}

static int read_left_services(struct left *left, struct why *why)
{
	const Upgraded__Carry__Item *item = NULL;
	int r = 0;

	while (r == 0 && (item = carry_next(left->carry, UPGRADED__CARRY__ITEM__WHAT_SERVICE, item))) {
		struct service *service = registry_keep(left->registry, item->service->name, why);

		r = service ? service_take_left(service, left->carry, item, &left->processes, why) : -EINVAL;
	}
	return r;
}

int left_read(struct carry *carry, struct registry *registry, struct spawner *spawner, struct why *why)
{
	struct left left = { .processes.take = take_left, .carry = carry, .registry = registry, .spawner = spawner };
	const Upgraded__Carry__Item *item = NULL;
	int r = read_left_processes(&left, why);

	while (r == 0 && (item = carry_next(carry, UPGRADED__CARRY__ITEM__WHAT_LEFTOVER, item)))
		r = leftovers_take(spawner->leftovers, carry, item->leftover, why);
	if (r == 0)
		r = read_left_services(&left, why);
	free(left.of);
	return r;
}

bool left_has(struct carry *carry, uint64_t serial)
{
	const Upgraded__Carry__Item *item = NULL;

	while ((item = carry_next(carry, UPGRADED__CARRY__ITEM__WHAT_PROCESS, item)))
		if (item->process->serial == serial)
			return true;
	return false;
}
