/* SPDX-License-Identifier: MIT */
/* All services in one line: for `systemctl status upgraded`. */
#pragma once

#include "supervisor/service/registry.h"

#include <stddef.h>

#define SUMMARY_BYTES 512u

/** summary_write() - "3 of 4 services run; web: roll 1.0 -> 1.1, quiesce; cache: failed". What there is no room for is counted. */
void summary_write(const struct registry *registry, char text[static SUMMARY_BYTES]);
