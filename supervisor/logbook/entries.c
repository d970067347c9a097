/* SPDX-License-Identifier: MIT */
#include "supervisor/logbook/entries.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define BUCKETS_AT_FIRST 64u

/* Kinds have keys of their own: a process and a service are never the same entry. */
enum key_kind { KEY_PROCESS = 'p', KEY_SERVICE = 's', KEY_LATER = 'l', KEY_NAMELESS = 'n' };

struct key {
	enum key_kind kind;
	const void *data;
	size_t size_bytes;
	uint64_t number; /* @data of those that are numbers */
	bool gone;
};

static void key_number(struct key *key, enum key_kind kind, uint64_t number)
{
	key->kind = kind;
	key->number = htole64(number);
	key->data = &key->number;
	key->size_bytes = sizeof(key->number);
}

static void key_text(struct key *key, enum key_kind kind, const char *text)
{
	key->kind = kind;
	key->data = text;
	key->size_bytes = strlen(text);
}

static void key_of(const Upgraded__Logbook__Entry *entry, uint64_t nameless, struct key *ret_key)
{
	ret_key->gone = false;
	switch ((int)entry->what_case) { /* the generated enum has a case that is none */
	case UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS:
		key_number(ret_key, KEY_PROCESS, entry->process->serial);
		return;
	case UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS_GONE:
		key_number(ret_key, KEY_PROCESS, entry->process_gone);
		ret_key->gone = true;
		return;
	case UPGRADED__LOGBOOK__ENTRY__WHAT_SERVICE:
		key_text(ret_key, KEY_SERVICE, entry->service->name);
		return;
	case UPGRADED__LOGBOOK__ENTRY__WHAT_SERVICE_GONE:
		key_text(ret_key, KEY_SERVICE, entry->service_gone);
		ret_key->gone = true;
		return;
	case UPGRADED__LOGBOOK__ENTRY__WHAT__NOT_SET:
	default:
		break;
	}
	if (*entry->later_key) {
		key_text(ret_key, KEY_LATER, entry->later_key);
		ret_key->gone = entry->later_gone;
		return;
	}
	/* Nobody knows what it would replace: it stays. */
	key_number(ret_key, KEY_NAMELESS, nameless);
}

static uint64_t key_hash(const struct key *key)
{
	return XXH3_64bits_withSeed(key->data, key->size_bytes, (XXH64_hash_t)key->kind);
}

static bool key_is_of(const struct key *key, uint64_t hash, const struct entry *entry)
{
	return entry->hash == hash && entry->key_bytes == key->size_bytes + 1 && entry->bytes[0] == (uint8_t)key->kind &&
	       memcmp(entry->bytes + 1, key->data, key->size_bytes) == 0;
}

static struct entry **bucket_of(const struct entries *entries, uint64_t hash)
{
	return &entries->buckets[hash % entries->n_buckets];
}

static struct entry *find(const struct entries *entries, const struct key *key, uint64_t hash)
{
	struct entry *entry = *bucket_of(entries, hash);

	while (entry && !key_is_of(key, hash, entry))
		entry = entry->chain;
	return entry;
}

static void chain_in(const struct entries *entries, struct entry *entry)
{
	struct entry **bucket = bucket_of(entries, entry->hash);

	entry->chain = *bucket;
	*bucket = entry;
}

static void chain_out(const struct entries *entries, const struct entry *entry)
{
	struct entry **at = bucket_of(entries, entry->hash);

	while (*at != entry)
		at = &(*at)->chain;
	*at = entry->chain;
}

/* Full buckets are slow, not wrong: only the first ones have to be had. */
static int buckets_grow(struct entries *entries)
{
	size_t n = entries->n_buckets ? entries->n_buckets * 2 : BUCKETS_AT_FIRST;
	struct entry **buckets;

	if (entries->n < entries->n_buckets)
		return 0;
	buckets = calloc(n, sizeof(*buckets));
	if (!buckets)
		return entries->n_buckets ? 0 : -ENOMEM;
	free(entries->buckets);
	entries->buckets = buckets;
	entries->n_buckets = n;
	for (struct entry *entry = entries->first; entry; entry = entry->next)
		chain_in(entries, entry);
	return 0;
}

int entries_prepare(struct entries *entries, const Upgraded__Logbook__Entry *entry, const uint8_t *payload, size_t size_bytes,
		    struct entries_change *ret_change)
{
	struct entry *fresh = NULL;
	struct key key;
	uint64_t hash;
	int r = buckets_grow(entries);

	if (r < 0)
		return r;
	key_of(entry, entries->nameless, &key);
	hash = key_hash(&key);
	if (!key.gone) {
		fresh = malloc(sizeof(*fresh) + 1 + key.size_bytes + size_bytes);
		if (!fresh)
			return -ENOMEM;
		*fresh = (struct entry){ .hash = hash, .key_bytes = 1 + key.size_bytes, .size_bytes = size_bytes };
		fresh->bytes[0] = (uint8_t)key.kind;
		memcpy(fresh->bytes + 1, key.data, key.size_bytes);
		memcpy(fresh->bytes + fresh->key_bytes, payload, size_bytes);
	}
	*ret_change = (struct entries_change){ .fresh = fresh, .old = find(entries, &key, hash) };
	return 0;
}

/* @entry takes the place between @before and @next. */
static void list_in(struct entries *entries, struct entry *entry, struct entry *before, struct entry *next)
{
	entry->before = before;
	entry->next = next;
	*(before ? &before->next : &entries->first) = entry;
	*(next ? &next->before : &entries->last) = entry;
}

static void take_out(struct entries *entries, struct entry *entry)
{
	chain_out(entries, entry);
	*(entry->before ? &entry->before->next : &entries->first) = entry->next;
	*(entry->next ? &entry->next->before : &entries->last) = entry->before;
	entries->n--;
	entries->bytes -= entry->size_bytes;
}

void entries_commit(struct entries *entries, struct entries_change *change)
{
	struct entry *old = change->old, *fresh = change->fresh;
	struct entry *before = old ? old->before : entries->last, *next = old ? old->next : NULL;

	if (old) {
		take_out(entries, old);
		free(old);
	}
	if (fresh) {
		list_in(entries, fresh, before, next);
		chain_in(entries, fresh);
		entries->n++;
		entries->bytes += fresh->size_bytes;
		entries->nameless += fresh->bytes[0] == KEY_NAMELESS;
	}
	*change = (struct entries_change){ 0 };
}

void entries_drop(struct entries_change *change)
{
	free(change->fresh);
	*change = (struct entries_change){ 0 };
}

void entries_done(struct entries *entries)
{
	struct entry *next;

	for (struct entry *entry = entries->first; entry; entry = next) {
		next = entry->next;
		free(entry);
	}
	free(entries->buckets);
	*entries = (struct entries){ 0 };
}
