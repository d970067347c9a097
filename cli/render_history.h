/* SPDX-License-Identifier: MIT */
/* What was, for people: rolls and events. */
#pragma once

#include "cli/term.h"
#include "wire/control.pb-c.h"

/** render_history() - A line for each roll. */
void render_history(const struct term *term, const Upgraded__Wire__Result *result);
/** render_history_one() - One roll in full, with its phases and their times. */
void render_history_one(const struct term *term, const char *service, const Upgraded__Wire__RollReport *roll);
/** render_event() - One line. */
void render_event(const struct term *term, const Upgraded__Wire__Event *event);

/** who_name() - "root (pid 12)", "ann as root (pid 12)", "upgraded itself". @who: NULL: nobody. Return: @buf. */
const char *who_name(const Upgraded__Wire__Who *who, char *buf, size_t size);
