/* SPDX-License-Identifier: MIT */
/* The names of services and of versions. The supervisor and upgradectl hold them to the same rule, each with its own words. */
#pragma once

#include <stddef.h>

#define WIRE_NAME_MAX 64u

enum wire_name {
	WIRE_NAME_FITS = 0,
	WIRE_NAME_EMPTY = 1,
	WIRE_NAME_DOTTED = 2,    /* begins with a dot */
	WIRE_NAME_CHARACTER = 3, /* holds one that is not allowed */
	WIRE_NAME_LONG = 4,
};

/**
 * wire_name_check() - Is @name 1..WIRE_NAME_MAX of [A-Za-z0-9._@-], not starting with a dot?
 * @ret_at: index of the first character that is not allowed; written only with WIRE_NAME_CHARACTER.
 *
 * Such a name can become part of a path and stays in its folder.
 *
 * Return: WIRE_NAME_FITS, or the first fault in the order of the enum.
 */
enum wire_name wire_name_check(const char *name, size_t *ret_at);
