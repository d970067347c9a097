/* SPDX-License-Identifier: MIT */
/* The versions of a service that undo can go back to: those that were accepted before the one that serves. */
#pragma once

#include "supervisor/custody/names.h"
#include "supervisor/unit/unit.h"

#include <stdbool.h>
#include <stddef.h>

#define HISTORY_MAX 16u /* beyond it the oldest is forgotten */

struct history {
	char versions[HISTORY_MAX][UNIT_NAME_MAX + 1]; /* the latest last, each once */
	struct unit *units[HISTORY_MAX];                /* what each was started with; references */
	struct fd_names had[HISTORY_MAX]; /* what each of them handed over when it was left */
	size_t n;
};

/** history_move() - @from was left for @to. So an undo can be undone.
 * @unit: what @from was started with; a reference is taken. NULL: nobody knows. */
void history_move(struct history *history, const char *from, struct unit *unit, const char *to);

/** history_forget() - @version is nothing to go back to. */
void history_forget(struct history *history, const char *version);

/** history_latest() - Return: borrowed; "" if there is none. */
const char *history_latest(const struct history *history);
/** history_unit() - What @version was started with, borrowed. Return: NULL if nobody knows. */
struct unit *history_unit(const struct history *history, const char *version);
bool history_has(const struct history *history, const char *version);
/** history_note() - @version, if it is there, had these descriptors when it was left. */
void history_note(struct history *history, const char *version, struct fd_names *had_consume);
/** history_had() - Return: what it had, borrowed until the history changes; NULL: it is not there. */
const struct fd_names *history_had(const struct history *history, const char *version);
/** history_clear() - Also releases what belongs to it. */
void history_clear(struct history *history);
