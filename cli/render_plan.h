/* SPDX-License-Identifier: MIT */
/* `upgradectl plan` for people. */
#pragma once

#include "cli/plan_loss.h"
#include "cli/term.h"

void render_plan(const struct term *term, const Upgraded__Wire__Plan *plan, const struct plan_loss *loss);
