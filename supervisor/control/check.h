/* SPDX-License-Identifier: MIT */
/* `upgradectl check`: is everything there that rolls and their ways back need? */
#pragma once

#include "supervisor/control/verbs.h"

/** check_run() - Look, try CRIU, and tell. */
struct errand *check_run(const struct verb_call *verb);
