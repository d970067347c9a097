/* SPDX-License-Identifier: MIT */
#include "supervisor/custody/names.h"

#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 4096u

static bool is(const struct fd_name *name, const struct custody_entry *entry)
{
	bool door = entry->door != DOOR_NONE;

	return name->door == door && (!door || name->tag == entry->tag) && strcmp(name->name, entry->name) == 0;
}

/* Most descriptors are connections of one name: the latest names are looked at first. */
static bool find(const struct fd_names *names, const struct custody_entry *entry)
{
	for (size_t i = names->n; i > 0; i--)
		if (is(&names->names[i - 1], entry))
			return true;
	return false;
}

static bool add(struct fd_names *names, const struct custody_entry *entry)
{
	struct fd_name *more = names->n < NAMES_MAX ? reallocarray(names->names, names->n + 1, sizeof(*more)) : NULL;

	if (!more)
		return false;
	names->names = more;
	more += names->n;
	*more = (struct fd_name){ .name = strdup(entry->name), .tag = entry->tag, .door = entry->door != DOOR_NONE };
	names->n += more->name != NULL;
	return more->name;
}

void fd_names_note(struct fd_names *names, const struct custody *custody)
{
	fd_names_done(names);
	for (size_t i = 0; i < custody->n && !names->cut; i++)
		names->cut = !find(names, &custody->entries[i]) && !add(names, &custody->entries[i]);
}

bool fd_names_have(const struct fd_names *names, const struct custody_entry *entry)
{
	return names->cut || find(names, entry);
}

void fd_names_move(struct fd_names *to, struct fd_names *from)
{
	fd_names_done(to);
	*to = *from;
	*from = (struct fd_names){ .names = NULL };
}

void fd_names_done(struct fd_names *names)
{
	while (names->n)
		free(names->names[--names->n].name);
	free(names->names);
	*names = (struct fd_names){ .names = NULL };
}
