/* SPDX-License-Identifier: MIT */
/* The answer to `plan`. Whether fields would be lost on the way back is for upgradectl to say: it reads the schemas that the two
 * programs carry, and this room never reads state. */
#include "supervisor/plan/plan.h"

#include "supervisor/process/schema_path.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The answer is one datagram of at most 64 KiB. */
#define PATHS_MAX 60u
#define NAME_BYTES 128
#define CAUSE_BYTES 224

static char *copy(const char *text, int bytes)
{
	char *made = NULL;

	return asprintf(&made, "%.*s", bytes, text) < 0 ? NULL : made;
}

static void set_text(char **at, const char *text)
{
	char *made = *text ? copy(text, CAUSE_BYTES * 2) : NULL;

	if (made)
		*at = made;
}

/* ---- paths of types ---- */

static void add_path(Upgraded__Wire__PlanPath ***list, size_t *n, const Upgraded__Wire__Schema *have,
		     const Upgraded__Wire__Schema *want, const char *cause)
{
	Upgraded__Wire__PlanPath *path = malloc(sizeof(*path));

	if (!path)
		return;
	upgraded__wire__plan_path__init(path);
	path->type = copy(have->name, NAME_BYTES);
	path->from = have->version;
	path->to = want ? want->version : 0;
	path->ok = !cause;
	path->cause = copy(cause ? cause : "", CAUSE_BYTES);
	(*list)[(*n)++] = path;
}

/* Those without a way first, as the list may be cut. */
static void tell_paths(const struct schema_holder *from, const struct schema_holder *to, Upgraded__Wire__PlanPath ***list,
		       size_t *ret_n)
{
	*list = calloc(PATHS_MAX, sizeof(Upgraded__Wire__PlanPath *));
	for (int good = 0; *list && good < 2; good++) {
		for (size_t i = 0; i < from->hello->n_schemas && *ret_n < PATHS_MAX; i++) {
			const Upgraded__Wire__Schema *have = from->hello->schemas[i];
			struct why cause = { 0 };
			bool bad = schema_path_check(from, to, have, &cause) < 0;

			if (bad != (good == 1))
				add_path(list, ret_n, have, schema_known(to, have->name), bad ? cause.text : NULL);
		}
	}
}

/* ---- obstacles ---- */

static void tell_obstacles(const struct plan *plan, Upgraded__Wire__Plan *answer)
{
	const struct obstacles_report *report = &plan->obstacles;

	answer->fatal = (uint32_t)report->n_fatal;
	answer->warnings = (uint32_t)report->n_warnings;
	answer->obstacles = calloc(report->n + 1, sizeof(*answer->obstacles));
	for (int level = OBSTACLE_FATAL; answer->obstacles && level >= OBSTACLE_WARNING; level--) {
		for (size_t i = 0; i < report->n; i++) {
			const struct obstacle *obstacle = &report->obstacle[i];
			Upgraded__Wire__PlanObstacle *told;

			if ((int)obstacle->level != level || !(told = malloc(sizeof(*told))))
				continue;
			upgraded__wire__plan_obstacle__init(told);
			told->fd = obstacle->fd;
			told->kind = copy(obstacle->kind, NAME_BYTES);
			told->fatal = level == OBSTACLE_FATAL;
			told->text = copy(obstacle->text, CAUSE_BYTES);
			answer->obstacles[answer->n_obstacles++] = told;
		}
	}
}

/* ---- child processes ---- */

static const char *fate_of(const struct plan_child *child, enum unit_children children)
{
	if (child->is_alone)
		return "is in a process group of its own: nothing ends it here";
	switch (children) {
	case CHILDREN_HAND_OVER:
		return "goes on when this version was replaced, and ends with the service (Children=hand-over)";
	case CHILDREN_END:
		return "ends with this version (Children=end)";
	case CHILDREN_KEEP:
		break;
	}
	return "goes on when this version ends, however that is (Children=keep)";
}

static void tell_children(const struct plan *plan, Upgraded__Wire__Plan *answer)
{
	answer->children = calloc(plan->n_children + 1, sizeof(*answer->children));
	for (size_t i = 0; answer->children && i < plan->n_children; i++) {
		Upgraded__Wire__PlanChild *told = malloc(sizeof(*told));

		if (!told)
			return;
		upgraded__wire__plan_child__init(told);
		told->pid = plan->children[i].pid;
		told->name = copy(plan->children[i].name, NAME_BYTES);
		told->fate = copy(fate_of(&plan->children[i], plan->running->children), CAUSE_BYTES);
		answer->children[answer->n_children++] = told;
	}
}

/* ---- pauses ---- */

static int compare_pauses(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void tell_pauses(const struct plan_pauses *pauses, Upgraded__Wire__Plan *answer)
{
	uint64_t sorted[PLAN_PAUSES];

	for (unsigned i = 0; i < pauses->n; i++)
		sorted[i] = pauses->last[i].pause_us;
	qsort(sorted, pauses->n, sizeof(*sorted), compare_pauses);
	answer->rolls = pauses->n;
	if (!pauses->n)
		return;
	answer->pause_min_us = sorted[0];
	answer->pause_median_us = sorted[pauses->n / 2];
	answer->pause_max_us = sorted[pauses->n - 1];
	answer->pause_records = pauses->last[(pauses->next + PLAN_PAUSES - 1) % PLAN_PAUSES].size.records;
}

/* ---- ways back ---- */

static void add_way(Upgraded__Wire__Plan *answer, const char *name, bool wanted, const char *cause, const char *cost)
{
	Upgraded__Wire__PlanWay *way = malloc(sizeof(*way));

	if (!way)
		return;
	upgraded__wire__plan_way__init(way);
	way->name = copy(name, NAME_BYTES);
	way->wanted = wanted;
	way->there = !*cause;
	way->cause = copy(cause, CAUSE_BYTES);
	way->cost = copy(cost, CAUSE_BYTES);
	answer->ways[answer->n_ways++] = way;
}

/* What this version has not, as nobody knows yet what the other one will open. */
static const char *live_closes(const struct plan *plan)
{
	const Upgraded__Wire__AppMessage *hello = plan->running->hello;

	return hello && hello->hello->leaves ? "; what only the new version opens is closed then" :
					       "; listeners that only the new version opens are closed then";
}

static void tell_live(const struct plan *plan, const struct why *down, Upgraded__Wire__Plan *answer)
{
	char cost[CAUSE_BYTES];

	if (plan->pauses.n)
		snprintf(cost, sizeof(cost),
			 "a roll backwards, at any time while the new version lives: a pause of about %" PRIu64
			 ".%" PRIu64 " ms; what was written is carried back%s",
			 answer->pause_median_us / 1000, answer->pause_median_us / 100 % 10, live_closes(plan));
	else
		snprintf(cost, sizeof(cost),
			 "a roll backwards, at any time while the new version lives: a pause like the roll's; "
			 "what was written is carried back%s",
			 live_closes(plan));
	add_way(answer, "live", plan->rollback != ROLLBACK_NONE, down->text, cost);
}

/* What becomes of what new has written. Whether both versions can keep a journal is known when they meet. */
static const char *loss(const struct plan *plan)
{
	return plan->unit->journal ? "what was written since the commit is in the journal, if both versions can keep one" :
				     "what was written since the commit is lost";
}

static void tell_parked(const struct plan *plan, Upgraded__Wire__Plan *answer)
{
	bool wanted = plan->rollback == ROLLBACK_AUTO || plan->rollback == ROLLBACK_PARKED;
	char cost[CAUSE_BYTES], cause[64] = "";

	if (!wanted)
		snprintf(cause, sizeof(cause), "Rollback=%s does not keep the process",
			 unit_rollback_name(plan->rollback));
	else if (!plan->unit->bake_us)
		snprintf(cause, sizeof(cause), "Bake=0: the new version is accepted at once");
	snprintf(cost, sizeof(cost),
		 "%" PRIu64 " MiB of memory for the bake of %" PRIu64 " ms; back in milliseconds; %s",
		 plan->room.memory >> 20, plan->unit->bake_us / 1000, loss(plan));
	add_way(answer, "parked", wanted, cause, cost);
}

static void tell_image(const struct plan *plan, Upgraded__Wire__Plan *answer)
{
	bool wanted = plan->rollback == ROLLBACK_AUTO || plan->rollback == ROLLBACK_IMAGE;
	struct why cause = { 0 };
	char cost[CAUSE_BYTES];

	plan_image_there(plan, &cause);
	snprintf(cost, sizeof(cost),
		 "about %" PRIu64 " MiB on disk; back by a restore with the same pid; %s", (plan->room.image >> 20) + 1,
		 loss(plan));
	add_way(answer, "image", wanted, cause.text, cost);
}

static void tell_ways(const struct plan *plan, const struct why *down, Upgraded__Wire__Plan *answer)
{
	answer->ways = calloc(4, sizeof(*answer->ways));
	if (!answer->ways)
		return;
	tell_live(plan, down, answer);
	tell_parked(plan, answer);
	tell_image(plan, answer);
	add_way(answer, "cold", true, plan->cold_cause.text,
		"the last resort: the version before starts empty; all state and every connection is lost");
}

/* ---- all of it ---- */

static void tell_schemas(const struct plan *plan, Upgraded__Wire__Plan *answer, struct why *up, struct why *down)
{
	struct schema_holder old = { .version = plan->running->version }, new = { .version = plan->version };

	if (!plan->tried)
		return;
	if (!plan->running->hello)
		why_set(up, 0, "version %s never said hello", old.version);
	else if (!plan->hello)
		*up = plan->trial_cause;
	if (*up->text) {
		why_set(down, 0, "nobody knows what version %s can migrate", new.version);
		return;
	}
	old.hello = plan->running->hello->hello;
	new.hello = plan->hello->hello;
	tell_paths(&old, &new, &answer->up, &answer->n_up);
	tell_paths(&new, &old, &answer->down, &answer->n_down);
	schema_path_check_all(&old, &new, up);
	schema_path_check_all(&new, &old, down);
}

/* What a roll would change besides the program. */
static void tell_changed(const struct plan *plan, Upgraded__Wire__Plan *answer)
{
	const char *keys[UNIT_KEYS_MAX];
	size_t n = plan->running->unit ? unit_differs(plan->running->unit, plan->unit, keys) : 0;

	answer->changed = calloc(n + 1, sizeof(*answer->changed));
	for (size_t i = 0; answer->changed && i < n; i++)
		if ((answer->changed[answer->n_changed] = copy(keys[i], NAME_BYTES)))
			answer->n_changed++;
}

/* Which group it is that has no more room than that. */
static void tell_group(const struct cgroup_memory *group, Upgraded__Wire__Plan *answer)
{
	char text[CAUSE_BYTES * 2];

	if (!group->limit_bytes)
		return;
	snprintf(text, sizeof(text), "%s/%s, %" PRIu64 " of %" PRIu64 " MiB used", group->path, group->file,
		 group->used_bytes >> 20,
		 group->limit_bytes >> 20);
	set_text(&answer->memory_group, text);
}

static void tell_loose(const struct plan *plan, Upgraded__Wire__Plan *answer)
{
	answer->loose = calloc(plan->n_loose + 1, sizeof(*answer->loose));
	for (size_t i = 0; answer->loose && i < plan->n_loose; i++)
		if ((answer->loose[answer->n_loose] = copy(plan->loose[i], CAUSE_BYTES)))
			answer->n_loose++;
}

static void tell_closed(const struct plan *plan, Upgraded__Wire__Plan *answer)
{
	answer->goes_back = plan->known != NULL;
	answer->closed = calloc(plan->n_closed + 1, sizeof(*answer->closed));
	for (size_t i = 0; answer->closed && i < plan->n_closed; i++)
		answer->closed[answer->n_closed++] = copy(plan->closed[i], NAME_BYTES);
}

static void tell_crash(const struct plan *plan, Upgraded__Wire__Plan *answer)
{
	char text[CAUSE_BYTES];
	struct why why = { 0 };

	if (plan->unit->journal != UNIT_JOURNAL_ALWAYS || !plan->hello)
		return;
	if (hello_may_checkpoint(plan->hello->hello, plan->version, &why) == 0)
		snprintf(text, sizeof(text), "nothing, once the first checkpoint after the bake is there");
	else
		snprintf(text, sizeof(text), "everything: %.200s", why.text);
	set_text(&answer->crash, text);
}

static void tell_facts(const struct plan *plan, Upgraded__Wire__Plan *answer)
{
	set_text(&answer->from, plan->running->version);
	set_text(&answer->to, plan->version);
	answer->pid = plan->running->pid;
	set_text(&answer->from_program, plan->from_program);
	set_text(&answer->to_program, plan->to_program);
	answer->inventory = plan->inventory;
	answer->registered = (uint32_t)plan->n_registered;
	answer->image_bytes = plan->room.image;
	answer->image_free_bytes = plan->room.image_free;
	answer->memory_bytes = plan->room.memory;
	answer->memory_free_bytes = plan->room.memory_free;
	set_text(&answer->images, plan->criu_detail);
	tell_changed(plan, answer);
	tell_group(&plan->room.group, answer);
	tell_loose(plan, answer);
	set_text(&answer->rollback, unit_rollback_name(plan->rollback));
	answer->bake_us = plan->unit->bake_us;
	tell_closed(plan, answer);
	tell_crash(plan, answer);
	tell_obstacles(plan, answer);
	tell_children(plan, answer);
	tell_pauses(&plan->pauses, answer);
	if (!plan->counted)
		return;
	answer->counted = true;
	answer->records = plan->now.records;
	answer->state_bytes = plan->now.bytes;
	answer->pause_expected_us = plan_pauses_expect(&plan->pauses, &plan->now);
}

/* One sentence, and what upgradectl ends with. */
static enum wire_exit judge(const Upgraded__Wire__Plan *answer, const char *service, struct why *text)
{
	char missing[64] = "";
	size_t used = 0;

	for (size_t i = 0; i < answer->n_ways; i++)
		if (answer->ways[i]->wanted && !answer->ways[i]->there)
			used += (size_t)snprintf(missing + used, sizeof(missing) - used, "%s%s", used ? ", " : "",
						 answer->ways[i]->name);
	if (!answer->possible) {
		why_set(text, 0, "%s: the roll from %s to %s would be refused", service, answer->from, answer->to);
		return WIRE_EXIT_REFUSED;
	}
	if (used) {
		why_set(text, 0, "%s: the roll from %s to %s can be done, but not every way back would be there (%s)",
			service, answer->from, answer->to, missing);
		return WIRE_EXIT_ERROR;
	}
	if (answer->memory_bytes > answer->memory_free_bytes) {
		why_set(text, 0,
			"%s: the roll from %s to %s may run out of memory: both versions hold the state at once%s%s",
			service, answer->from, answer->to, *answer->memory_group ? ", under the limit of " : "",
			answer->memory_group);
		return WIRE_EXIT_ERROR;
	}
	why_set(text, 0, "%s: the roll from %s to %s can be done, and every way back would be there", service,
		answer->from, answer->to);
	return WIRE_EXIT_DONE;
}

enum wire_exit plan_tell(const struct plan *plan, Upgraded__Wire__Plan **ret_plan, struct why *text)
{
	Upgraded__Wire__Plan *answer = malloc(sizeof(*answer));
	struct why up = { 0 }, down = { 0 };

	*ret_plan = answer;
	if (!answer) {
		why_set(text, 0, "out of memory");
		return WIRE_EXIT_ERROR;
	}
	upgraded__wire__plan__init(answer);
	tell_facts(plan, answer);
	tell_schemas(plan, answer, &up, &down);
	tell_ways(plan, &down, answer);
	if (!*up.text)
		up = plan->descriptors_cause;
	if (!*up.text)
		up = plan->others_read;
	if (!*up.text && plan->require_image && plan_image_there(plan, &up) < 0)
		why_prefix(&up, 0, "an image is required, and there would be none");
	answer->possible = !*up.text;
	set_text(&answer->cause, up.text);
	return judge(answer, plan->unit->name, text);
}
