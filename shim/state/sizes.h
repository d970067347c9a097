/* SPDX-License-Identifier: MIT */
/* How much state there is, by type: what this process tells of its own while it serves, and what it hears, while it starts, of that
 * of the version that serves.
 *
 * A type with a count() is counted when somebody asks. Of another the last save or load is told. Bytes are those of that save or
 * load for each record. All of it belongs to the thread that called upg_open(). */
#pragma once

#include "shim/upgrade.h"

#include "wire/app.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct application;

#define SIZES_TOLD_MAX 64u /* types in one message */

struct type_size {
	uint64_t records, bytes;
	bool known;
};

struct sizes {
	const struct application *application;
	/* By type of the application; NULL: nothing is known yet. */
	struct type_size *last;     /* of the last save or load */
	struct type_size *expected; /* what will come */
};

void sizes_init(struct sizes *sizes, const struct application *application);
/** sizes_done() - Also fine for zeros. */
void sizes_done(struct sizes *sizes);

/** sizes_note() - So much of a type was saved or loaded. Where memory is out, nothing is noted. */
void sizes_note(struct sizes *sizes, size_t type, uint64_t records, uint64_t bytes);

/* For a message. */
struct sizes_told {
	Upgraded__Wire__Count counts[SIZES_TOLD_MAX], *list[SIZES_TOLD_MAX];
	size_t n;
};

/** sizes_tell() - What there is now; calls the application's count(). @ret: points into the application's types. */
void sizes_tell(const struct sizes *sizes, struct sizes_told *ret);

/** sizes_expect() - So much will come. Types that this version does not have are left out. */
void sizes_expect(struct sizes *sizes, Upgraded__Wire__Count *const *counts, size_t n);

/** sizes_expected() - @type: a name; NULL: all. Return: 0; -ENOENT: not known; -EINVAL: there is no such type. */
int sizes_expected(const struct sizes *sizes, const char *type, struct type_size *ret_size);
