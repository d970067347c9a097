/* SPDX-License-Identifier: MIT */
/* As whom and with what a process of a service runs: the service itself, and the commands that check it. */
#include "supervisor/unit/unit.h"

#include "base/child.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool names(const char *entry, const char *name, size_t length)
{
	return strncmp(entry, name, length) == 0 && entry[length] == '=';
}

/* Does Environment= set @name? Then ours is not passed on: of two entries with one name getenv() finds the first. */
static bool is_set(const struct unit *unit, const char *name, size_t length)
{
	for (size_t i = 0; i < unit->n_environment; i++)
		if (names(unit->environment[i], name, length))
			return true;
	return false;
}

static size_t add_more(char **env, const char *const *more, size_t n_more)
{
	for (size_t i = 0; i < n_more; i++)
		if (!(env[i] = strdup(more[i])))
			return i;
	return n_more;
}

char **unit_environment(const struct unit *unit, const char *const *more, size_t n_more)
{
	static const char *const passed[] = { "PATH", "LANG", "TZ", "HOME" };
	size_t n_passed = sizeof(passed) / sizeof(passed[0]);
	char **env = calloc(unit->n_environment + n_more + n_passed + 1, sizeof(char *));
	size_t n = 0;

	if (!env)
		return NULL;
	/* @more comes first, so that nothing in the service file can take its place. */
	n = add_more(env, more, n_more);
	if (n < n_more)
		return unit_command_free(env);
	for (size_t i = 0; i < unit->n_environment; i++)
		if (!(env[n++] = strdup(unit->environment[i])))
			return unit_command_free(env);
	for (size_t i = 0; i < n_passed; i++) {
		bool is_ours = *unit->user && strcmp(passed[i], "HOME") == 0;
		const char *value = getenv(passed[i]);

		if (!value || is_ours || is_set(unit, passed[i], strlen(passed[i])))
			continue;
		if (asprintf(&env[n], "%s=%s", passed[i], value) < 0) {
			env[n] = NULL;
			return unit_command_free(env);
		}
		n++;
	}
	return env;
}

/* Whoever is not root has no need to become it, unless the service file says so. Root is what it is anyway. */
static struct privileges privileges(const struct unit *unit, bool drops)
{
	bool no_new = unit->no_new_privileges == CHOICE_YES || (drops && unit->no_new_privileges == CHOICE_DEFAULT);

	return (struct privileges){
		.no_new = no_new,
		.bounded = unit->sets_bounding || (drops && no_new),
		.must_bound = unit->sets_bounding,
		.bounding = unit->sets_bounding ? unit->bounding : 0,
		.ambient = unit->ambient,
		.own_keyring = true,
	};
}

void unit_identity(const struct unit *unit, struct child_spec *spec)
{
	spec->uid = (uid_t)-1;
	spec->gid = (gid_t)-1;
	spec->user = *unit->user ? unit->user : NULL;
	spec->group = *unit->group ? unit->group : NULL;
	spec->sets_home = spec->user && !is_set(unit, "HOME", 4);
	spec->privileges = privileges(unit, false);
	spec->dropped = privileges(unit, true);
}
