/* SPDX-License-Identifier: MIT */
#include "supervisor/service/history.h"

#include <stdio.h>
#include <string.h>

static size_t find(const struct history *history, const char *version)
{
	size_t i = 0;

	while (i < history->n && strcmp(history->versions[i], version) != 0)
		i++;
	return i;
}

static void remove_at(struct history *history, size_t at)
{
	size_t behind = history->n - at - 1;

	unit_free(history->units[at]);
	fd_names_done(&history->had[at]);
	memmove(history->versions[at], history->versions[at + 1], behind * sizeof(history->versions[0]));
	memmove(&history->units[at], &history->units[at + 1], behind * sizeof(struct unit *));
	memmove(&history->had[at], &history->had[at + 1], behind * sizeof(history->had[0]));
	history->had[history->n - 1] = (struct fd_names){ .names = NULL };
	history->n--;
}

void history_forget(struct history *history, const char *version)
{
	size_t at = find(history, version);

	if (at < history->n)
		remove_at(history, at);
}

void history_move(struct history *history, const char *from, struct unit *unit, const char *to)
{
	history_forget(history, to);
	history_forget(history, from);
	if (history->n == HISTORY_MAX)
		remove_at(history, 0);
	history->units[history->n] = unit_ref(unit);
	snprintf(history->versions[history->n++], sizeof(history->versions[0]), "%s", from);
}

const char *history_latest(const struct history *history)
{
	return history->n ? history->versions[history->n - 1] : "";
}

bool history_has(const struct history *history, const char *version)
{
	return find(history, version) < history->n;
}

struct unit *history_unit(const struct history *history, const char *version)
{
	size_t at = find(history, version);

	return at < history->n ? history->units[at] : NULL;
}

void history_note(struct history *history, const char *version, struct fd_names *had_consume)
{
	size_t at = find(history, version);

	if (at < history->n)
		fd_names_move(&history->had[at], had_consume);
	fd_names_done(had_consume);
}

const struct fd_names *history_had(const struct history *history, const char *version)
{
	size_t at = find(history, version);

	return at < history->n ? &history->had[at] : NULL;
}

void history_clear(struct history *history)
{
	while (history->n)
		remove_at(history, history->n - 1);
}
