/* SPDX-License-Identifier: MIT */
/* The rules, in this order for each pair of messages:
 *
 *   1. Every field of the newer message gets a link, or one for each of its parts, by annotation or by name.
 *   2. The link of a message field gets the succession of the nested messages, by the same rules.
 *   3. A field of the older message that no link has touched is dropped or undecided.
 *
 * A pair is in the book before its nested pairs are made, so that recursive types end. The fields that others have taken out of a
 * nested message belong to the pair's identity: inside it nobody may ask for them again.
 */
#include "statefmt/succession_work.h"

#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAIRS_MAX 4096u

int succession_book_new(struct succession_book **ret_book, struct why *why)
{
	struct succession_book *book = calloc(1, sizeof(*book));

	if (!book)
		return why_errno(why, -ENOMEM, "comparing messages");
	sf_arena_init(&book->arena);
	sf_arena_reset(&book->arena, SIZE_MAX);
	*ret_book = book;
	return 0;
}

struct succession_book *succession_book_free(struct succession_book *book)
{
	if (!book)
		return NULL;
	sf_arena_done(&book->arena);
	free(book->pairs);
	free(book);
	return NULL;
}

size_t succession_count(const struct succession_book *book)
{
	return book->n_pairs;
}

const struct succession *succession_at(const struct succession_book *book, size_t index)
{
	return book->pairs[index];
}

/* ---- nested messages ---- */

static int pair_get(struct succession_book *book, const struct schema_message *older, const struct schema_message *newer,
		    bool group, const char *taken, const struct succession **ret_pair, struct why *why);

/* Return: the fields that other links take out of the nested message at @path, as "a,b.c". */
static const char *taken_below(const struct work *work, const char *path)
{
	size_t length = strlen(path), at = 0;
	char text[1024] = "";

	for (size_t i = 0; i < work->n; i++) {
		const struct succession_path *from = &work->links[i].from;

		if (from->n < 2 || strncmp(from->name, path, length) != 0 || from->name[length] != '.')
			continue;
		if (at + strlen(from->name) < sizeof(text))
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", at ? "," : "", from->name + length + 1);
	}
	return sf_arena_string(&work->book->arena, text);
}

static int links_nest(struct work *work)
{
	for (size_t i = 0; i < work->n; i++) {
		struct succession_link *link = &work->links[i];
		const char *taken = "";
		int r = 0;

		if (link->kind == SUCCESSION_GROUPS) {
			r = pair_get(work->book, work->pair->older, link->field->message, true, "", &link->inner, work->why);
		} else if (link->kind == SUCCESSION_FOLLOWS && value_kind(link->field) == VALUE_MESSAGE) {
			taken = taken_below(work, link->from.name);
			if (!taken)
				return -ENOMEM;
			if (*taken)
				link->same = false;
			if (!link->same)
				r = pair_get(work->book, succession_path_end(&link->from)->message,
					     link->field->message, false, taken,
					     &link->inner, work->why);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- what is left over of the older message ---- */

enum use { UNUSED, USED, PARTLY_USED };

static enum use links_use(const struct succession_link *links, size_t n, const char *name)
{
	enum use use = UNUSED;

	for (size_t i = 0; i < n && use != USED; i++) {
		const struct succession_link *link = &links[i];

		if (link->kind == SUCCESSION_GROUPS) {
			enum use inner = links_use(link->inner->links, link->inner->n_links, name);

			use = inner == UNUSED ? use : inner;
		} else if (link->from.n && path_covers(link->from.name, name)) {
			use = USED;
		} else if (link->from.n && path_covers(name, link->from.name)) {
			use = PARTLY_USED;
		}
	}
	return use;
}

static bool is_taken(const char *list, const char *name, bool *ret_partly)
{
	for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',') {
		char one[1024];
		size_t length = strcspn(at, ",");

		if (length >= sizeof(one))
			continue;
		memcpy(one, at, length);
		one[length] = '\0';
		if (path_covers(one, name))
			return true;
		*ret_partly |= path_covers(name, one);
	}
	return false;
}

static bool is_dropped(const struct work *work, const char *name)
{
	for (size_t i = 0; work->type && i < work->type->n_dropped; i++)
		if (path_covers(work->type->dropped[i], name))
			return true;
	return false;
}

static const char *removed_reason(const struct work *work, const char *name, const struct schema_field *field)
{
	const struct schema_field *heir = schema_field_by_number(work->pair->newer, field->number);

	if (heir && !strchr(name, '.'))
		return work_format(work->book,
				   "nothing follows it; if its number's new holder, %s, does, annotate that with from: \"%s\"",
			      heir->name, name);
	return work_format(work->book,
			   "nothing follows it; to give it up, write dropped: \"%s\" in the message's option (upgrade.type)",
		      name);
}

static int removed_link(struct work *work, const char *name, const struct schema_field *field)
{
	struct succession_link link = { .kind = SUCCESSION_DROPPED, .times = 1, .over = 1 };
	const char *unused_reason = NULL;
	char *hand;
	int r = work_path(work, name, &link.from, &unused_reason);

	if (r > 0)
		return why_set(work->why, -EMSGSIZE, "%s: the names of fields nested in one another are too long",
			       work->pair->older->name);
	if (r < 0)
		return r;
	if (!is_dropped(work, name)) {
		link.kind = SUCCESSION_UNDECIDED;
		link.reason = removed_reason(work, name, field);
		hand = sf_arena_string(&work->book->arena, name);
		if (!hand || !link.reason)
			return -ENOMEM;
		for (char *at = hand; *at; at++)
			*at = *at == '.' ? '_' : *at;
		link.hand = hand;
	}
	return work_add(work, &link);
}

/* @prefix: "a." for the fields of the nested message a, some of which were taken. */
static int left_over(struct work *work, const struct schema_message *message, const char *prefix, size_t n_links,
		     unsigned depth)
{
	for (size_t i = 0; i < message->n_fields; i++) {
		const struct schema_field *field = &message->fields[i];
		const char *name = work_format(work->book, "%s%s", prefix, field->name);
		const char *inside = work_format(work->book, "%s%s.", prefix, field->name);
		bool partly = false;
		int r = 0;

		if (!name || !inside)
			return -ENOMEM;
		enum use use = links_use(work->links, n_links, name);
		if (use == USED || is_taken(work->pair->taken, name, &partly))
			continue;
		if ((use == PARTLY_USED || partly) && field->message && depth < SUCCESSION_PATH)
			r = left_over(work, field->message, inside, n_links, depth + 1);
		else
			r = removed_link(work, name, field);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- what must not be ---- */

static bool bits_overlap(struct succession_bits a, struct succession_bits b)
{
	if (!a.width || !b.width)
		return true;
	return a.shift < b.shift + b.width && b.shift < a.shift + a.width;
}

/* Refuse two fields that go down into the same place: the later would overwrite the earlier. */
static int overlaps_check(const struct work *work)
{
	for (size_t i = 0; i < work->n; i++) {
		const struct succession_link *a = &work->links[i];

		for (size_t j = 0; j < i; j++) {
			const struct succession_link *b = &work->links[j];

			if (a->kind != SUCCESSION_FOLLOWS || b->kind != SUCCESSION_FOLLOWS)
				continue;
			if (a->field == b->field && bits_overlap(a->field_bits, b->field_bits))
				return work_wrong(work, a->field, "%s and %s are merged into the same bits",
						  b->from.name, a->from.name);
			if (strcmp(a->from.name, b->from.name) == 0 && bits_overlap(a->from_bits, b->from_bits))
				return work_wrong(work, a->field, "%s has taken the same of %s", b->field->name,
						  a->from.name);
		}
	}
	return 0;
}

static int dropped_check(const struct work *work)
{
	for (size_t i = 0; work->type && i < work->type->n_dropped; i++) {
		bool found = false;

		for (size_t j = 0; j < work->n; j++)
			found |= work->links[j].kind == SUCCESSION_DROPPED &&
				 path_covers(work->type->dropped[i], work->links[j].from.name);
		if (!found)
			return why_set(work->why, -EINVAL, "%s: dropped: %s has no field \"%s\", or something follows it",
				       work->pair->newer->name, work->pair->older->name, work->type->dropped[i]);
	}
	return 0;
}

/* ---- the book ---- */

static int pair_fill(struct succession_book *book, struct succession *pair, struct why *why)
{
	struct work work = { .book = book, .pair = pair, .why = why };
	int r = annotation_of_message(pair->newer, &book->arena, &work.type, why);

	if (r == 0)
		r = work_link_fields(&work);
	if (r == 0)
		r = links_nest(&work);
	if (r == 0)
		r = overlaps_check(&work);
	if (r == 0 && !pair->group)
		r = left_over(&work, pair->older, "", work.n, 1);
	if (r == 0 && !pair->group)
		r = dropped_check(&work);
	pair->links = work.links;
	pair->n_links = work.n;
	if (r == -ENOMEM)
		return why_errno(why, r, "comparing %s with %s", pair->older->name, pair->newer->name);
	return r;
}

static int pair_add(struct succession_book *book, struct succession *pair)
{
	if (book->n_pairs == book->cap) {
		size_t cap = book->cap ? 2 * book->cap : 16;
		struct succession **pairs = reallocarray(book->pairs, cap, sizeof(struct succession *));

		if (!pairs)
			return -ENOMEM;
		book->pairs = pairs;
		book->cap = cap;
	}
	pair->index = book->n_pairs;
	book->pairs[book->n_pairs++] = pair;
	return 0;
}

static int pair_get(struct succession_book *book, const struct schema_message *older, const struct schema_message *newer,
		    bool group, const char *taken, const struct succession **ret_pair, struct why *why)
{
	struct succession *pair;
	int r;

	for (size_t i = 0; i < book->n_pairs; i++) {
		pair = book->pairs[i];
		if (pair->older != older || pair->newer != newer || pair->group != group || strcmp(pair->taken, taken) != 0)
			continue;
		if (group && !pair->links)
			return why_set(why, -EINVAL, "%s groups fields of %s within itself", newer->name, older->name);
		*ret_pair = pair;
		return 0;
	}
	if (book->n_pairs == PAIRS_MAX)
		return why_set(why, -EMSGSIZE, "more than %u pairs of messages follow from each other", PAIRS_MAX);
	pair = sf_arena_alloc(&book->arena, sizeof(*pair), alignof(max_align_t));
	if (!pair)
		return why_errno(why, -ENOMEM, "comparing %s with %s", older->name, newer->name);
	*pair = (struct succession){ .older = older, .newer = newer, .group = group, .taken = taken };
	r = pair_add(book, pair);
	if (r == 0)
		r = pair_fill(book, pair, why);
	if (r == 0)
		*ret_pair = pair;
	return r;
}

int succession_of(struct succession_book *book, const struct schema_message *older, const struct schema_message *newer,
		  const struct succession **ret_succession, struct why *why)
{
	return pair_get(book, older, newer, false, "", ret_succession, why);
}

int succession_record(struct succession_book *book, const struct schema_message *message, const char **ret_type,
		      uint32_t *ret_version, struct why *why)
{
	const Upgrade__Type *type;
	int r = annotation_of_message(message, &book->arena, &type, why);

	if (r < 0)
		return r;
	if (!type || !*type->name)
		return 1;
	if (type->version < 1 || type->version > UINT16_MAX)
		return why_set(why, -EINVAL, "%s: version %u in its option (upgrade.type): 1 to 65535 are possible",
			       message->name,
			       type->version);
	*ret_type = type->name;
	*ret_version = type->version;
	return 0;
}

int succession_is_volatile(struct succession_book *book, const struct schema_field *field, bool *ret_volatile, struct why *why)
{
	const Upgrade__Field *said = NULL;
	int r = annotation_of_field(field, &book->arena, &said, why);

	if (r == 0)
		*ret_volatile = said && said->volatile_;
	return r;
}

int succession_step_of(struct succession_book *book, const struct schema_set *set, const struct schema_message *newer,
		       struct succession_step *ret_step, struct why *why)
{
	struct succession_step step = { 0 };
	const struct schema_message *older;
	const Upgrade__Type *type;
	const char *older_type;
	int r = succession_record(book, newer, &step.type, &step.to, why);

	if (r == 0)
		r = annotation_of_message(newer, &book->arena, &type, why);
	if (r != 0)
		return r;
	if (!*type->from)
		return 1;
	older = schema_find_message(set, type->from);
	if (!older)
		return why_set(why, -ENOENT, "%s: there is no message \"%s\" to follow: import its file", newer->name,
			       type->from);
	r = succession_record(book, older, &older_type, &step.from, why);
	if (r < 0)
		return r;
	if (r == 0 && strcmp(older_type, step.type) != 0)
		return why_set(why, -EINVAL, "%s is \"%s\", and %s, which it follows, is \"%s\"", newer->name, step.type,
			       older->name, older_type);
	if (type->from_version)
		step.from = type->from_version;
	else if (r > 0)
		step.from = step.to - 1;
	if (step.from < 1 || step.from >= step.to)
		return why_set(why, -EINVAL, "%s is version %u of \"%s\" and cannot follow version %u", newer->name, step.to,
			       step.type, step.from);
	r = succession_of(book, older, newer, &step.succession, why);
	if (r == 0)
		*ret_step = step;
	return r;
}
