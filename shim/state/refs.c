/* SPDX-License-Identifier: MIT */
/* Objects that point to each other.
 *
 * A save looks an object's address up in a hash table, and gives it the next number when it sees it first: ids are dense, from 1.
 * So for a load the id is an index into a plain array. The array is one mapping that doubles. Pages that nobody touched cost
 * nothing, so an absurd id from a damaged stream costs a page, and not all pages up to it. A pointer that is asked for before its
 * object has come is noted in a list of the array's entry, and filled in when the object comes. Notes are used again, so a graph
 * without forward references needs none.
 */
#include "shim/state/refs.h"

#include "base/why.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FIRST_SLOT_BITS 8u
#define FIRST_ENTRIES UINT64_C(4096)
#define FIRST_WAITS 64u

struct ref_slot {
	const void *object; /* NULL: free */
	uint32_t id;
};

struct ref_entry {
	void *object;   /* NULL: has not come */
	uint32_t waits; /* the first of its list: index + 1; 0: none */
	uint16_t type;  /* index + 1 of what it is or is taken for; 0: not known */
};

struct ref_wait {
	void **where;
	uint32_t next; /* index + 1 */
};

void refs_done(struct refs *refs)
{
	if (refs->entries)
		munmap(refs->entries, refs->n_entries * sizeof(*refs->entries));
	free(refs->slots);
	free(refs->waits);
	*refs = (struct refs){ 0 };
}

/* ---- object -> id ---- */

static size_t n_slots(const struct refs *refs)
{
	return refs->slots ? (size_t)1 << refs->slot_bits : 0;
}

/* Where @object is, or would go. Addresses differ in their middle bits: multiplied, those reach the top ones. */
static struct ref_slot *find_slot(struct ref_slot *slots, unsigned bits, const void *object)
{
	size_t mask = ((size_t)1 << bits) - 1;
	size_t i = (size_t)((uint64_t)(uintptr_t)object * UINT64_C(0x9e3779b97f4a7c15) >> (64 - bits));

	while (slots[i].object && slots[i].object != object)
		i = (i + 1) & mask;
	return &slots[i];
}

static int grow_slots(struct refs *refs)
{
	unsigned bits = refs->slots ? refs->slot_bits + 1 : FIRST_SLOT_BITS;
	struct ref_slot *slots = calloc((size_t)1 << bits, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < n_slots(refs); i++)
		if (refs->slots[i].object)
			*find_slot(slots, bits, refs->slots[i].object) = refs->slots[i];
	free(refs->slots);
	refs->slots = slots;
	refs->slot_bits = bits;
	return 0;
}

/* A slot for an object that has none yet. */
static int add_slot(struct refs *refs, const void *object, uint32_t id)
{
	if (refs->n_slots_used >= n_slots(refs) / 4 * 3 && grow_slots(refs) < 0)
		return -ENOMEM;
	*find_slot(refs->slots, refs->slot_bits, object) = (struct ref_slot){ object, id };
	refs->n_slots_used++;
	return 0;
}

uint64_t refs_id(struct refs *refs, const void *object)
{
	if (!object || refs->failed)
		return 0;
	if (refs->slots) {
		const struct ref_slot *slot = find_slot(refs->slots, refs->slot_bits, object);

		if (slot->object)
			return slot->id;
	}
	if (refs->last_id == REFS_ID_MAX)
		refs->failed = -EOVERFLOW;
	else
		refs->failed = add_slot(refs, object, refs->last_id + 1);
	return refs->failed ? 0 : ++refs->last_id;
}

int refs_turn(struct refs *refs)
{
	int r = 0;

	for (uint64_t id = 1; r == 0 && id < refs->n_entries; id++) {
		const void *object = refs->entries[id].object;

		if (!object)
			continue;
		/* One object under two ids would be saved under the first: what refers to the other shows as a difference. */
		if (!refs->slots || !find_slot(refs->slots, refs->slot_bits, object)->object)
			r = add_slot(refs, object, (uint32_t)id);
		refs->last_id = (uint32_t)id;
	}
	if (refs->entries)
		munmap(refs->entries, refs->n_entries * sizeof(*refs->entries));
	refs->entries = NULL;
	refs->n_entries = 0;
	return r;
}

/* ---- id -> object ---- */

/* As bytes: the compiler may know that a pointer to another type lies there. */
static void fill(void **where, void *object)
{
	memcpy(where, &object, sizeof(object));
}

static int grow_entries(struct refs *refs, uint64_t id)
{
	uint64_t n = refs->n_entries ? refs->n_entries : FIRST_ENTRIES;
	const int protection = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *entries;

	while (n <= id)
		n *= 2;
	if (refs->entries)
		entries = mremap(refs->entries, refs->n_entries * sizeof(struct ref_entry), n * sizeof(struct ref_entry),
				 MREMAP_MAYMOVE);
	else
		entries = mmap(NULL, n * sizeof(struct ref_entry), protection, flags, -1, 0);
	if (entries == MAP_FAILED)
		return -errno;
	refs->entries = entries;
	refs->n_entries = n;
	return 0;
}

/* Return: NULL: *@ret_rc says why, and @why in words. */
static struct ref_entry *entry_at(struct refs *refs, uint64_t id, int *ret_rc, struct why *why)
{
	if (id > REFS_ID_MAX) {
		*ret_rc = why_set(why, -EINVAL, "%llu is no object's id: they end at %u", (unsigned long long)id, REFS_ID_MAX);
		return NULL;
	}
	if (id >= refs->n_entries) {
		*ret_rc = grow_entries(refs, id);
		if (*ret_rc < 0) {
			why_errno(why, *ret_rc, "room for object %llu", (unsigned long long)id);
			return NULL;
		}
	}
	return &refs->entries[id];
}

static const char *type_name(const struct upg_type *types, uint16_t type)
{
	return type ? types[type - 1].name : "object";
}

static int add_wait(struct refs *refs, struct ref_entry *entry, void **where)
{
	uint32_t i = refs->free_waits;

	if (i) {
		refs->free_waits = refs->waits[i - 1].next;
	} else {
		if (refs->n_waits == refs->cap_waits) {
			uint32_t cap = refs->cap_waits ? refs->cap_waits * 2 : FIRST_WAITS;
			struct ref_wait *waits = cap > refs->cap_waits ? realloc(refs->waits, cap * sizeof(*waits)) : NULL;

			if (!waits)
				return -ENOMEM;
			refs->waits = waits;
			refs->cap_waits = cap;
		}
		i = ++refs->n_waits;
	}
	refs->waits[i - 1] = (struct ref_wait){ where, entry->waits };
	if (!entry->waits)
		refs->n_missing++;
	entry->waits = i;
	return 0;
}

static void serve_waits(struct refs *refs, struct ref_entry *entry)
{
	uint32_t i = entry->waits;

	if (i)
		refs->n_missing--;
	while (i) {
		struct ref_wait *wait = &refs->waits[i - 1];
		uint32_t next = wait->next;

		fill(wait->where, entry->object);
		wait->next = refs->free_waits;
		refs->free_waits = i;
		i = next;
	}
	entry->waits = 0;
}

int refs_define(struct refs *refs, const struct upg_type *types, uint64_t id, size_t type, void *object, struct why *why)
{
	uint16_t is = (uint16_t)(type + 1);
	struct ref_entry *entry;
	int r = 0;

	if (id == 0 || !object)
		return why_set(why, -EINVAL, "a %s has %s", types[type].name,
			       object ? "no id: 0 stands for no object" : "no object");
	entry = entry_at(refs, id, &r, why);
	if (!entry)
		return r;
	if (entry->object)
		return why_set(why, -EEXIST, "the id %llu of a %s is already that of a %s", (unsigned long long)id,
			       types[type].name, type_name(types, entry->type));
	if (entry->type && entry->type != is)
		return why_set(why, -EPROTO, "%llu is a %s but was referred to as a %s", (unsigned long long)id, types[type].name,
			       type_name(types, entry->type));
	entry->object = object;
	entry->type = is;
	serve_waits(refs, entry);
	return 0;
}

int refs_resolve(struct refs *refs, const struct upg_type *types, uint64_t id, size_t type, void **where, struct why *why)
{
	uint16_t wanted = type == REFS_ANY_TYPE ? 0 : (uint16_t)(type + 1);
	struct ref_entry *entry;
	int r = 0;

	fill(where, NULL);
	if (id == 0)
		return 0;
	entry = entry_at(refs, id, &r, why);
	if (!entry)
		return r;
	if (wanted && entry->type && entry->type != wanted)
		return why_set(why, -EPROTO, "%llu is referred to as a %s but %s a %s", (unsigned long long)id,
			       type_name(types, wanted), entry->object ? "is" : "was before as", type_name(types, entry->type));
	if (entry->object) {
		fill(where, entry->object);
		return 0;
	}
	if (wanted)
		entry->type = wanted;
	r = add_wait(refs, entry, where);
	return r < 0 ? why_errno(why, r, "a reference to %s %llu", type_name(types, entry->type), (unsigned long long)id) : 0;
}

int refs_check(const struct refs *refs, const struct upg_type *types, struct why *why)
{
	uint64_t id = 1, n = 0;
	char others[64] = "";

	if (!refs->n_missing)
		return 0;
	while (!refs->entries[id].waits)
		id++;
	for (uint32_t i = refs->entries[id].waits; i; i = refs->waits[i - 1].next)
		n++;
	if (refs->n_missing > 1)
		snprintf(others, sizeof(others), ", nor did %u others", refs->n_missing - 1);
	return why_set(why, -ENOENT, "%s %llu is referred to %llu time%s and never came%s",
		       type_name(types, refs->entries[id].type), (unsigned long long)id, (unsigned long long)n, n == 1 ? "" : "s",
		       others);
}
