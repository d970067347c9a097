/* SPDX-License-Identifier: MIT */
#include "supervisor/custody/hold.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void hold_clear(struct hold *hold)
{
	custody_clear(&hold->custody);
	fd_ref_drop(hold->state);
	for (size_t i = 0; i < hold->n_journals; i++)
		fd_ref_drop(hold->journals[i]);
	*hold = (struct hold){ .number = hold->number };
}

static void drop_named(struct hold *hold, const Upgraded__Wire__FdInfo *info)
{
	for (size_t i = hold->custody.n; i > 0; i--) {
		const struct custody_entry *entry = &hold->custody.entries[i - 1];

		if (entry->tag == info->tag && strcmp(entry->name, info->name) == 0)
			custody_drop_at(&hold->custody, i - 1, false);
	}
}

int hold_take(struct hold *hold, const Upgraded__Wire__Fds *message, struct wire_fds *fds, bool again, struct why *why)
{
	size_t first;
	int r;

	for (size_t i = 0; again && i < message->n_fds; i++)
		drop_named(hold, message->fds[i]);
	first = hold->custody.n;
	r = custody_take(&hold->custody, message, fds, why);

	if (message->next_tag > hold->next_tag)
		hold->next_tag = message->next_tag;
	for (size_t i = first; i < hold->custody.n; i++) {
		hold->custody.entries[i].since = message->fds[i - first]->since;
		/* A door that it closes has nobody behind it: it is not kept. */
		hold->custody.entries[i].since_commit = true;
	}
	return r;
}

int hold_add_journal(struct hold *hold, struct fd_ref *journal, size_t most)
{
	if (hold->n_journals >= most)
		return -ENOSPC;
	hold->journals[hold->n_journals++] = fd_ref_use(journal);
	return 0;
}

static size_t find(const struct hold *hold, const struct fd_ref *journal)
{
	size_t i = 0;

	while (i < hold->n_journals && hold->journals[i] != journal)
		i++;
	return i;
}

bool hold_has_journal(const struct hold *hold, const struct fd_ref *journal)
{
	return find(hold, journal) < hold->n_journals;
}

void hold_drop_journal(struct hold *hold, const struct fd_ref *journal)
{
	size_t at = find(hold, journal);

	if (at == hold->n_journals)
		return;
	fd_ref_drop(hold->journals[at]);
	hold->n_journals--;
	memmove(&hold->journals[at], &hold->journals[at + 1], (hold->n_journals - at) * sizeof(struct fd_ref *));
}

void hold_advance(struct hold *hold, uint64_t number, struct fd_ref *state_consume, const struct fd_ref *journal)
{
	size_t at = find(hold, journal);

	fd_ref_drop(hold->state);
	hold->state = state_consume;
	hold->number = number;
	for (size_t i = 0; i < at; i++)
		fd_ref_drop(hold->journals[i]);
	hold->n_journals -= at;
	memmove(hold->journals, &hold->journals[at], hold->n_journals * sizeof(struct fd_ref *));
}

void hold_break(struct hold *hold, const char *reason)
{
	if (!*hold->broken.text)
		why_set(&hold->broken, 0, "%s", reason);
}

void hold_drop_broken(struct hold *hold)
{
	while (*hold->broken.text && hold->n_journals)
		hold_drop_journal(hold, hold->journals[0]);
}
