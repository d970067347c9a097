/* SPDX-License-Identifier: MIT */
#include "supervisor/process/schema_path.h"

#include "base/why.h"
#include "statefmt/statefmt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PATH_STEPS_MAX 64u

const Upgraded__Wire__Schema *schema_known(const struct schema_holder *holder, const char *name)
{
	const Upgraded__Wire__Schema *found = NULL;

	for (size_t i = 0; i < holder->hello->n_schemas; i++)
		if (strcmp(holder->hello->schemas[i]->name, name) == 0)
			found = holder->hello->schemas[i];
	return found;
}

static int find_steps(const Upgraded__Wire__Hello *knows, const Upgraded__Wire__Schema *have, uint32_t want, struct why *why)
{
	struct sf_migration *edges = calloc(knows->n_migrations + 1, sizeof(*edges));
	size_t steps[PATH_STEPS_MAX], n_steps;
	int r;

	if (!edges)
		return why_errno(why, -ENOMEM, "migrations");
	for (size_t i = 0; i < knows->n_migrations; i++)
		edges[i] = (struct sf_migration){ .type = knows->migrations[i]->type,
						  .from = knows->migrations[i]->from,
						  .to = knows->migrations[i]->to };
	r = sf_path_find(edges, knows->n_migrations, have->name, have->version, want, steps, PATH_STEPS_MAX, &n_steps, why);
	free(edges);
	return r;
}

int schema_path_check(const struct schema_holder *from, const struct schema_holder *to, const Upgraded__Wire__Schema *have,
		      struct why *why)
{
	const Upgraded__Wire__Schema *want = schema_known(to, have->name);
	const struct schema_holder *knows = to;

	if (!want)
		return why_set(why, -ENOENT, "version %s does not know the type %s of version %s: its records would be lost",
			       to->version, have->name, from->version);
	if (want->version == have->version) {
		if (want->fingerprint == have->fingerprint)
			return 0;
		return why_set(why, -EPROTO, "%s has version %u in %s and in %s, but not the same fields: raise the version of one",
			       have->name, have->version, from->version, to->version);
	}
	/* Whoever is newer knows the way. */
	if (want->version < have->version)
		knows = from;
	if (find_steps(knows->hello, have, want->version, why) == SF_PATH_FOUND)
		return 0;
	return why_prefix(why, -ENOENT, "no migration of %s from version %u (%s) to %u (%s) in %s", have->name, have->version,
			  from->version, want->version, to->version, knows->version);
}

int schema_path_check_all(const struct schema_holder *from, const struct schema_holder *to, struct why *why)
{
	if (!from->hello->n_schemas)
		return why_set(why, -ENOENT, "version %s names no type of record, and a state stream has at least one",
			       from->version);
	for (size_t i = 0; i < from->hello->n_schemas; i++) {
		int r = schema_path_check(from, to, from->hello->schemas[i], why);

		if (r < 0)
			return r;
	}
	return 0;
}
