/* SPDX-License-Identifier: MIT */
/* Is there a way for the records of one program into another? By what both said of themselves; nothing is read or asked. */
#pragma once

#include "wire/wire.h"

#include <stddef.h>

struct why;

/* One program: its Hello, and what people call it. */
struct schema_holder {
	const Upgraded__Wire__Hello *hello;
	const char *version;
};

/** schema_known() - @name as @holder has it; NULL: it does not know the type. */
const Upgraded__Wire__Schema *schema_known(const struct schema_holder *holder, const char *name);

/**
 * schema_path_check() - Can @from's records of the type @have be read by @to?
 * @have: one of @from's schemas.
 *
 * Whoever holds the newer schema has to know the way: going up that is @to, going down @from.
 * Return: 0; -errno with the type and both versions in @why.
 */
int schema_path_check(const struct schema_holder *from, const struct schema_holder *to, const Upgraded__Wire__Schema *have,
		      struct why *why);

/** schema_path_check_all() - The same of every type that @from has, of which there must be one; the first that has no way is
 * told. */
int schema_path_check_all(const struct schema_holder *from, const struct schema_holder *to, struct why *why);
