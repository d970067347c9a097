/* SPDX-License-Identifier: MIT */
/* Internal to the successions: one pair of messages in the making. */
#pragma once

#include "base/why.h"
#include "statefmt/annotation.h"
#include "statefmt/arena.h"
#include "statefmt/succession.h"

struct succession_book {
	struct sf_arena arena;
	struct succession **pairs;
	size_t n_pairs, cap;
};

/* One pair in the making. */
struct work {
	struct succession_book *book;
	struct succession *pair;
	const Upgrade__Type *type; /* of the newer message; NULL: not annotated */
	struct succession_link *links;
	size_t n, cap;
	struct why *why;
};

/** work_format() - Format a text that lives as long as the book. Return: NULL when memory is out. */
const char *work_format(struct succession_book *book, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** work_wrong() - Say that the annotation of @field makes no sense. Return: -EINVAL. */
int work_wrong(const struct work *work, const struct schema_field *field, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/** work_path() - Find @name in the older message, a.b through single nested ones.
 * Return: 0; 1: there is no such field, and *@ret_reason says why; -ENOMEM. */
int work_path(struct work *work, const char *name, struct succession_path *ret_path, const char **ret_reason);

/** path_covers() - Is @outer the same as @inner, or around it, as "a" is around "a.b"? */
bool path_covers(const char *outer, const char *inner);

/** work_add() - Add a copy of @link. Return: 0 or -ENOMEM. */
int work_add(struct work *work, const struct succession_link *link);

/** work_link_fields() - Make a link for every field of the newer message, by annotation or by name. Nested messages come later.
 * Return: 0 or -errno. */
int work_link_fields(struct work *work);
