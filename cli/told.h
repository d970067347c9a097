/* SPDX-License-Identifier: MIT */
/* The verbs `history`, `report`, `events`, `watch` and `wait`; and what is said when somebody ends the waiting for a roll. */
#pragma once

#include "cli/args.h"
#include "cli/term.h"

#include <stdbool.h>

/** told_has() - Is the verb one of them? */
bool told_has(const struct args *args);

/** told_run() - Carry it out. Return: the exit status. */
int told_run(const struct args *args, const struct term *out, const struct term *err);

/** told_goes_on() - Ctrl-C in a roll, which was in @phase: it goes on, and how to follow it, call it off and go back. */
void told_goes_on(const struct args *args, const char *phase, const struct term *err);
