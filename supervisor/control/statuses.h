/* SPDX-License-Identifier: MIT */
/* The verbs `list` and `status`. */
#pragma once

#include "supervisor/control/verbs.h"

struct errand *statuses_list(const struct verb_call *call);
struct errand *statuses_status(const struct verb_call *call);
