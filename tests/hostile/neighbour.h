/* SPDX-License-Identifier: MIT */
/* A hostile service beside a healthy one. The hostile one is called `evil`, runs as nobody, and is of one character of
 * apps/upg-hostile.c; the healthy one is the example service of the stage, under load. */
#pragma once

#include "tests/integration/stage.h"

/** neighbour_start() - Both serve, the hostile one as @version; @lines: more of its service file, NULL: none. */
void neighbour_start(const char *version, const char *lines);

/** neighbour_pid() - The hostile process. */
pid_t neighbour_pid(void);

/** neighbour_must_not_matter() - The daemon answers at once, and the healthy service is rolled from @from to @to as if it was
 * alone. */
void neighbour_must_not_matter(const char *from, const char *to);

/** neighbour_measure() - Before the start: take the daemon without sanitizers, which keep what was freed. */
void neighbour_measure(void);

/** neighbour_memory_kib() - What the daemon holds of memory. */
unsigned long neighbour_memory_kib(void);
