/* SPDX-License-Identifier: MIT */
/* A service under a daemon that is measured. What goes wrong ends the program: the rig has said why. */
#pragma once

#include "tests/rig/rig.h"

void bench_must(int rc);

/** bench_ctl() - upgradectl VERB cached [VERSION [OPTION]]; NULL: without. */
void bench_ctl(struct rig *rig, const char *verb, const char *version, const char *option);

/** bench_pid_of() - The process of the service `cached` in this state; 0: there is none. */
pid_t bench_pid_of(struct rig *rig, const char *state);
