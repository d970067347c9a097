/* SPDX-License-Identifier: MIT */
/* Would the way between two versions lose fields? The supervisor cannot tell, as it never reads state. But each program carries its
 * schemas, which can be compared as `state compat` does. Here this is done for the two programs that a plan names. */
#pragma once

#include "base/why.h"
#include "cli/schema_source.h"
#include "statefmt/compat.h"
#include "wire/control.pb-c.h"

#include <jansson.h>
#include <stdbool.h>

struct plan_loss {
	bool known;
	bool forward; /* the roll itself goes to older schemas, so that it is what would lose */
	struct why cause; /* why it is not known */
	struct compat *compat;
	struct schema_source sources[2];
};

/** plan_loss_find() - Compare the schemas of the two programs. Cannot fail: what cannot be compared is not known. @ret_loss:
 * release with plan_loss_done(). */
void plan_loss_find(const Upgraded__Wire__Plan *plan, struct plan_loss *ret_loss);
void plan_loss_done(struct plan_loss *loss);

/** plan_loss_tells() - Is this a finding about a loss: one that happens, is accepted, or is known to a person only? */
bool plan_loss_tells(const struct compat_finding *finding);

/** plan_loss_json() - {"known", "cause", "by": "undo" or "roll", "fields": [...]}; NULL when out of memory. */
json_t *plan_loss_json(const struct plan_loss *loss);
