/* SPDX-License-Identifier: MIT */
#include "supervisor/custody/names.h"

#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 4096u

static int order(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

/* Doors behind all others. */
static int compare(const struct fd_name *name, const struct custody_entry *entry)
{
	bool door = entry->door != DOOR_NONE;
	int r = order(name->door, door);

	if (r == 0)
		r = strcmp(name->name, entry->name);
	return r || !door ? r : order(name->tag, entry->tag);
}

/* Return: where it is, or where it would be. */
static size_t place_of(const struct fd_names *names, const struct custody_entry *entry, bool *ret_there)
{
	size_t low = 0, high = names->n;

	*ret_there = false;
	while (low < high && !*ret_there) {
		size_t middle = low + (high - low) / 2;
		int r = compare(&names->names[middle], entry);

		*ret_there = r == 0;
		if (r < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return high;
}

static bool add(struct fd_names *names, const struct custody_entry *entry, size_t at)
{
	struct fd_name *more = names->n < NAMES_MAX ? reallocarray(names->names, names->n + 1, sizeof(*more)) : NULL;
	char *name = more ? strdup(entry->name) : NULL;

	if (more)
		names->names = more;
	if (!name)
		return false;
	memmove(more + at + 1, more + at, (names->n++ - at) * sizeof(*more));
	more[at] = (struct fd_name){ .name = name, .tag = entry->tag, .door = entry->door != DOOR_NONE };
	return true;
}

/* Return: false if there is no room for it. */
static bool note(struct fd_names *names, const struct custody_entry *entry)
{
	bool there;
	size_t at = place_of(names, entry, &there);

	return there || add(names, entry, at);
}

void fd_names_note(struct fd_names *names, const struct custody *custody)
{
	fd_names_done(names);
	for (size_t i = 0; i < custody->n && !names->cut; i++)
		names->cut = !note(names, &custody->entries[i]);
}

bool fd_names_have(const struct fd_names *names, const struct custody_entry *entry)
{
	bool there;

	(void)place_of(names, entry, &there);
	return names->cut || there;
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
