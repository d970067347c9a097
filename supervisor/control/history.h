/* SPDX-License-Identifier: MIT */
/* What was, and what is to come: the verbs `history`, `events`, `watch` and `wait`. */
#pragma once

#include "supervisor/control/verbs.h"

struct errand *history_history(const struct verb_call *call);
struct errand *history_events(const struct verb_call *call);
struct errand *history_watch(const struct verb_call *call);
struct errand *history_wait(const struct verb_call *call);
