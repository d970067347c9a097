/* SPDX-License-Identifier: MIT */
#include "supervisor/recover/users.h"

#include "base/base.h"
#include "supervisor/service/registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uid_t users_find(const struct unit *unit)
{
	uid_t found;

	if (!*unit->user)
		return geteuid();
	return unit_local_user(unit->user, &found, NULL) == 0 ? found : USERS_NOBODY;
}

static int add(uid_t uid, uid_t **users, size_t *n)
{
	uid_t *more;

	for (size_t i = 0; i < *n; i++)
		if ((*users)[i] == uid)
			return 0;
	more = reallocarray(*users, *n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	*users = more;
	more[(*n)++] = uid;
	return 0;
}

int users_list(const struct registry *registry, uid_t **ret_users, size_t *ret_n)
{
	uid_t *users = NULL;
	size_t n = 0;
	int r = 0;

	for (const struct service *s = registry_next(registry, NULL); r == 0 && s; s = registry_next(registry, s)) {
		struct why why = { 0 };
		struct unit *unit;
		uid_t uid;

		r = unit_load(registry->host.config_dir, service_name(s), &unit, &why);
		if (r < 0) {
			r = r == -ENOMEM ? r : 0;
			continue;
		}
		uid = users_find(unit);
		unit_free(unit);
		r = uid == USERS_NOBODY ? 0 : add(uid, &users, &n);
	}
	if (r < 0) {
		free(users);
		return r;
	}
	*ret_users = users;
	*ret_n = n;
	return 0;
}
