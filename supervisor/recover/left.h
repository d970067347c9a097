/* SPDX-License-Identifier: MIT */
/* What the program before has left (carry/carry.h), taken: processes, services, bakes. */
#pragma once

#include "supervisor/carry/carry.h"
#include "supervisor/service/registry.h"

#include <stdbool.h>

/** left_read() - Go on with all of it. The logbook was read: it has what is not left here. Return: 0; -errno with words. Nothing is
 * released then: the program before needs all of it. */
int left_read(struct carry *carry, struct registry *registry, struct spawner *spawner, struct why *why);

/** left_has() - Is there a process of this serial? @carry: NULL: nothing was left. */
bool left_has(struct carry *carry, uint64_t serial);
