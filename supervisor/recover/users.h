/* SPDX-License-Identifier: MIT */
/* As whom services run. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct registry;
struct unit;

#define USERS_NOBODY ((uid_t)-1)

/** users_find() - By this machine's own list of users: the others would have to be asked for over a network. Return: USERS_NOBODY:
 * it is not there. */
uid_t users_find(const struct unit *unit);

/** users_list() - Those of all service files that can be read, each once. @ret_users: release with free(). Return: 0 or -ENOMEM. */
int users_list(const struct registry *registry, uid_t **ret_users, size_t *ret_n);
