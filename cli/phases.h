/* SPDX-License-Identifier: MIT */
/* What is said of a phase of a roll in numbers. */
#pragma once

#include "wire/control.pb-c.h"

#include <stdbool.h>
#include <stddef.h>

/** phase_is_way_back() - Does it come only because an earlier phase failed? */
bool phase_is_way_back(const char *phase);

/** phase_head() - What stands in place of the time while the phase @message->phase lasts: "12s of 20s left". Return: @buf, "" where
 * the time says it. */
const char *phase_head(const Upgraded__Wire__Progress *message, char *buf, size_t size);

/** phase_figures() - Of the phase @phase, by @message, which came while it lasted, or when the next one began (@over). What matters
 * most comes first: on a narrow terminal the rest is cut. Return: @buf, "" if there are none. */
const char *phase_figures(const char *phase, bool over, const Upgraded__Wire__Progress *message, char *buf, size_t size);
