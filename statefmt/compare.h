/* SPDX-License-Identifier: MIT */
/* Do two sets of records hold the same, whatever their order? And if not, which fields differ? */
#pragma once

#include "statefmt/statefmt.h"

/* Holds for two sides, for each type and field, also of nested messages, a digest of all its values, summed so that order does not
 * matter. Takes 8
 * bytes for each record of the first side (a set of hashes, to find an example of the second that the first does not have), and a
 * few for each field. */
struct sf_compare;

enum sf_side { SF_BEFORE = 0, SF_AFTER = 1 };

/**
 * sf_compare_new() - Make one for records of @n_types types.
 * @schemas: of both sides; borrowed. Where a descriptor is known, fields go by their names and nested messages are looked into.
 * @volatile_fields: which are left out of the comparison: see sf_volatile_new(); borrowed.
 *
 * Return: 0 or -ENOMEM.
 */
int sf_compare_new(const struct sf_schema *schemas, size_t n_types, const char *const *volatile_fields,
		   struct sf_compare **ret_compare);
struct sf_compare *sf_compare_free(struct sf_compare *compare); /* NULL allowed; returns NULL */

/** sf_compare_add() - Add one record. All of SF_BEFORE come before the first of SF_AFTER. Return: 0 or -ENOMEM. */
int sf_compare_add(struct sf_compare *compare, enum sf_side side, size_t index, const uint8_t *data, size_t size_bytes);

/**
 * sf_compare_explain() - Name the differences.
 *
 * Return: true if both sides are equal; else false, with types, fields and an example record, as text, in @why.
 */
bool sf_compare_explain(const struct sf_compare *compare, struct why *why);
