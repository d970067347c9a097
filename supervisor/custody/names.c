/* SPDX-License-Identifier: MIT */
#include "supervisor/custody/names.h"

#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 4096u

static int compare(const struct fd_name *one, const struct fd_name *two)
{
	if (one->door != two->door)
		return one->door ? 1 : -1;
	if (one->door && one->tag != two->tag)
		return one->tag > two->tag ? 1 : -1;
	return strcmp(one->name, two->name);
}

static int compare_names(const void *a, const void *b)
{
	return compare(a, b);
}

/* Borrows the name. */
static struct fd_name name_of(const struct custody_entry *entry)
{
	return (struct fd_name){ .name = entry->name, .tag = entry->tag, .door = entry->door != DOOR_NONE };
}

/* Of @all, in order, each once. */
static bool keep_each(struct fd_names *names, const struct fd_name *all, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct fd_name *kept = &names->names[names->n];

		if (names->n && compare(&all[i], kept - 1) == 0)
			continue;
		if (names->n == NAMES_MAX)
			return false;
		*kept = all[i];
		kept->name = strdup(all[i].name);
		if (!kept->name)
			return false;
		names->n++;
	}
	return true;
}

void fd_names_note(struct fd_names *names, const struct custody *custody)
{
	size_t n = custody->n;
	struct fd_name *all = calloc(n + 1, sizeof(*all));

	fd_names_done(names);
	names->names = calloc(n < NAMES_MAX ? n + 1 : NAMES_MAX, sizeof(*names->names));
	names->cut = !all || !names->names;
	for (size_t i = 0; !names->cut && i < n; i++)
		all[i] = name_of(&custody->entries[i]);
	if (!names->cut) {
		qsort(all, n, sizeof(*all), compare_names);
		names->cut = !keep_each(names, all, n);
	}
	free(all);
}

bool fd_names_have(const struct fd_names *names, const struct custody_entry *entry)
{
	const struct fd_name key = name_of(entry);

	return names->cut || (names->n && bsearch(&key, names->names, names->n, sizeof(key), compare_names));
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
