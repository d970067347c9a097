/* SPDX-License-Identifier: MIT */
/* Answers for people. Nothing here reads a clock: the caller says what time it is. */
#pragma once

#include "cli/args.h"
#include "cli/term.h"
#include "wire/control.pb-c.h"

#include <stdint.h>
#include <time.h>

/* One instant by two clocks: the supervisor tells times of the monotonic one, people read the other. */
struct moment {
	uint64_t monotonic_us;
	time_t wall;
};

/** render_summary() - Print what a verb did, when it went well. */
void render_summary(const struct term *term, const struct args *args, const Upgraded__Wire__Result *result);

/** render_failure() - Print what failed and why, the failed version's last words, what serves now, what to do next. */
void render_failure(const struct term *term, const struct args *args, const Upgraded__Wire__Result *result);

/** render_roll() - The numbers of a roll, one to a line. */
void render_roll(const struct term *term, const Upgraded__Wire__RollReport *roll);
/** render_log_lines() - A version's last words. */
void render_log_lines(const struct term *term, size_t n, char *const *lines);

/** render_status() - Print a block for each service. */
void render_status(const struct term *term, const Upgraded__Wire__Result *result, struct moment now);

/** render_list() - Print a line for each service. @wide: with more columns. */
void render_list(const struct term *term, const Upgraded__Wire__Result *result, bool wide);

/** render_line() - Print a text on a line of its own. */
void render_line(const struct term *term, const char *text);

/** render_names() - Print the names of what the answer is about, one to a line, and nothing else. */
void render_names(const struct term *term, const struct args *args, const Upgraded__Wire__Result *result);

/** render_checks() - Print a line for each check. */
void render_checks(const struct term *term, const Upgraded__Wire__Result *result);
