/* SPDX-License-Identifier: MIT */
/* What becomes of every record type between two versions of a program, up and down, by their schemas alone. */
#pragma once

#include "statefmt/schema.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct why;

/* From best to worst. A type's is the worst of what was found in it. */
enum compat_verdict {
	COMPAT_SAME,     /* nothing changed */
	COMPAT_CARRIES,  /* by itself: the generated migration loses nothing either way */
	COMPAT_CHECKED,  /* the same, unless a value does not fit: then the roll is called off and names it */
	COMPAT_BY_HAND,  /* a person writes it, and the annotation says so */
	COMPAT_ACCEPTED, /* something is lost, and the annotation accepts it */
	COMPAT_LOSES,    /* something is lost on the way down */
	COMPAT_MISSING,  /* a migration is needed and nothing says what it is */
};
#define COMPAT_VERDICTS (COMPAT_MISSING + 1)

/* One change. */
struct compat_finding {
	enum compat_verdict verdict;
	uint32_t from, to;   /* the step; 0: no versions are known */
	const char *field;   /* "usage.hits"; of the older message where it has no successor; "": the type itself */
	const char *change;  /* what became of it: "from expires_s, times 1000000000" */
	const char *loss;    /* what is lost or refused, or what to do; "" */
};

struct compat_type {
	const char *name;
	uint32_t from, to; /* 0: there is none on that side, or versions are not known */
	bool added, removed;
	enum compat_verdict verdict;
	const struct compat_finding *findings;
	size_t n_findings;
	size_t n_same; /* fields that are as they were */
};

struct compat {
	enum compat_verdict verdict;
	const struct compat_type *types;
	size_t n_types;
};

/* One side: a program's schema. */
struct compat_side {
	const struct schema_set *set;
	const char *file; /* without annotations only this file's types are the program's, the others it imports; NULL: all are */
};

/**
 * compat_new() - Compare two sides.
 * @older, @newer: their sets must outlive the result.
 *
 * A type's version is what (upgrade.type) says; of several messages with one name the highest version counts. Messages without it
 * are compared by their names, if no message of that side has it.
 *
 * Return: 0; -EINVAL: an annotation makes no sense, or there is nothing to compare (in @why); -ENOMEM.
 */
int compat_new(const struct compat_side *older, const struct compat_side *newer, struct compat **ret_compat, struct why *why);
struct compat *compat_free(struct compat *compat); /* NULL allowed; returns NULL */

/** compat_passes() - Is nothing missing, and nothing lost that was not accepted? */
bool compat_passes(const struct compat *compat);

/** compat_verdict_name() - Name a verdict: "same", "carries", "checked", "by hand", "accepted", "loses", "missing". */
const char *compat_verdict_name(enum compat_verdict verdict);
