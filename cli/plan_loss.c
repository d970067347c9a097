/* SPDX-License-Identifier: MIT */
#include "cli/plan_loss.h"

#include <errno.h>

/* Does the roll itself lead to older schemas? The version with the newer schemas knows the way down, on which fields can be
 * lost. */
static bool goes_down(const Upgraded__Wire__Plan *plan)
{
	bool down = false;

	for (size_t i = 0; i < plan->n_up; i++) {
		const Upgraded__Wire__PlanPath *path = plan->up[i];

		if (path->to > path->from)
			return false;
		down |= path->to && path->to < path->from;
	}
	return down;
}

static int compare(const Upgraded__Wire__Plan *plan, struct plan_loss *loss)
{
	const char *paths[] = { plan->from_program, plan->to_program };
	struct compat_side sides[2];

	for (size_t i = 0; i < 2; i++) {
		int rc = *paths[i] ? schema_source_open(paths[i], NULL, 0, &loss->sources[i], &loss->cause)
				   : why_set(&loss->cause, -ENOENT, "the program is not known");

		if (rc < 0)
			return rc;
		sides[i] = (struct compat_side){ loss->sources[i].set, loss->sources[i].file };
	}
	return compat_new(&sides[loss->forward], &sides[!loss->forward], &loss->compat, &loss->cause);
}

void plan_loss_find(const Upgraded__Wire__Plan *plan, struct plan_loss *ret_loss)
{
	*ret_loss = (struct plan_loss){ .forward = goes_down(plan) };
	ret_loss->known = compare(plan, ret_loss) == 0;
}

void plan_loss_done(struct plan_loss *loss)
{
	compat_free(loss->compat);
	schema_source_close(&loss->sources[0]);
	schema_source_close(&loss->sources[1]);
}

bool plan_loss_tells(const struct compat_finding *finding)
{
	switch (finding->verdict) {
	case COMPAT_BY_HAND:
	case COMPAT_ACCEPTED:
	case COMPAT_LOSES:
	case COMPAT_MISSING:
		return true;
	case COMPAT_SAME:
	case COMPAT_CARRIES:
	case COMPAT_CHECKED:
		break;
	}
	return false;
}

static json_t *fields_json(const struct compat *compat)
{
	json_t *fields = json_array();

	for (size_t i = 0; compat && i < compat->n_types; i++) {
		const struct compat_type *type = &compat->types[i];

		for (size_t j = 0; j < type->n_findings; j++) {
			const struct compat_finding *finding = &type->findings[j];

			if (plan_loss_tells(finding))
				json_array_append_new(fields, json_pack("{s:s, s:s, s:s, s:s, s:s}", "type", type->name,
									"field", finding->field, "verdict",
									compat_verdict_name(finding->verdict), "change",
									finding->change, "loss", finding->loss));
		}
	}
	return fields;
}

json_t *plan_loss_json(const struct plan_loss *loss)
{
	return json_pack("{s:b, s:s, s:s, s:o}", "known", loss->known, "cause", loss->known ? "" : loss->cause.text,
			 "by", loss->forward ? "roll" : "undo", "fields", fields_json(loss->compat));
}
