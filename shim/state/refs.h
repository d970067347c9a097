/* SPDX-License-Identifier: MIT */
/* Objects that point to each other, as numbers on the wire: what is behind upg_ref(), upg_define() and upg_resolve(). */
#pragma once

#include "shim/upgrade.h"

#include <stdint.h>

struct why;
struct ref_slot;
struct ref_entry;
struct ref_wait;

#define REFS_ID_MAX UINT32_MAX

/* All zero is an empty table of both directions. */
struct refs {
	struct ref_slot *slots; /* object -> id, open addressing; a power of two of them, at most three quarters in use */
	unsigned slot_bits;
	uint32_t n_slots_used;
	uint32_t last_id;       /* given out */
	int failed;             /* upg_ref() has no way to say so; the next upg_save() does */

	struct ref_entry *entries; /* id -> object, a plain array: ids are dense */
	uint64_t n_entries;
	struct ref_wait *waits;    /* who waits for an object that has not come yet; lists from entries, and of free ones */
	uint32_t n_waits, cap_waits, free_waits;
	uint32_t n_missing;        /* ids that are waited for */
};

void refs_done(struct refs *refs);

/** refs_id() - Return: the id of @object, a new one if it has none; 0 for NULL, and once refs->failed. */
uint64_t refs_id(struct refs *refs, const void *object);

/** refs_define() - Note that @id is @object, of types[@type]. Return: 0; -EEXIST, -EPROTO, -EINVAL (see @why) or -ENOMEM. */
int refs_define(struct refs *refs, const struct upg_type *types, uint64_t id, size_t type, void *object, struct why *why);

/** refs_resolve() - Fill *@where with object @id, now or when it is defined. @type: an index, or REFS_ANY_TYPE. */
#define REFS_ANY_TYPE SIZE_MAX
int refs_resolve(struct refs *refs, const struct upg_type *types, uint64_t id, size_t type, void **where, struct why *why);

/** refs_check() - At the end of a load: has everything come that was referred to? Return: 0; -ENOENT: what was referred to and
 * never came, in @why. */
int refs_check(const struct refs *refs, const struct upg_type *types, struct why *why);

/** refs_turn() - From now on refs_id() gives each object the id that it was loaded with, so that it can be saved as the same
 * records. Return: 0 or -ENOMEM. */
int refs_turn(struct refs *refs);
