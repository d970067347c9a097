/* SPDX-License-Identifier: MIT */
#include "wire/name.h"

#include <string.h>

enum wire_name wire_name_check(const char *name, size_t *ret_at)
{
	size_t good = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@-");

	if (!*name)
		return WIRE_NAME_EMPTY;
	if (name[0] == '.')
		return WIRE_NAME_DOTTED;
	if (name[good]) {
		*ret_at = good;
		return WIRE_NAME_CHARACTER;
	}
	return good > WIRE_NAME_MAX ? WIRE_NAME_LONG : WIRE_NAME_FITS;
}
