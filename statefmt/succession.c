/* SPDX-License-Identifier: MIT */
/* The rules, in this order for each pair of messages:
 *
 *   1. every field of the newer message gets a link (or one for each of its parts), by annotation or by name;
 *   2. links of message fields get the succession of the nested messages, where the same begins anew;
 *   3. what of the older message no link has touched is dropped or undecided.
 *
 * A pair is in the book before its nested ones are looked at, so that recursive types end. What another field has taken
 * out of a nested message is part of the pair's identity: inside, it must not be asked for again.
 */
#include "statefmt/succession.h"

#include "base/why.h"
#include "statefmt/annotation.h"
#include "statefmt/arena.h"

#include <errno.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAIRS_MAX 4096u

struct succession_book {
	struct sf_arena arena;
	struct succession **pairs;
	size_t n_pairs, cap;
	size_t depth; /* of group within group, now */
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

static const Upgrade__Field no_annotation = UPGRADE__FIELD__INIT;

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

static const char *format(struct succession_book *book, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static const char *format(struct succession_book *book, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return sf_arena_string(&book->arena, text);
}

static int wrong(const struct work *work, const struct schema_field *field, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int wrong(const struct work *work, const struct schema_field *field, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return why_set(work->why, -EINVAL, "%s.%s: %s", work->pair->newer->name, field->name, text);
}

/* ---- types ---- */

enum value_kind value_kind(const struct schema_field *field)
{
	switch (field->type) {
	case SCHEMA_DOUBLE:
	case SCHEMA_FLOAT:
		return VALUE_REAL;
	case SCHEMA_STRING:
		return VALUE_TEXT;
	case SCHEMA_BYTES:
		return VALUE_BYTES;
	case SCHEMA_GROUP:
	case SCHEMA_MESSAGE:
		return VALUE_MESSAGE;
	case SCHEMA_INT64:
	case SCHEMA_UINT64:
	case SCHEMA_INT32:
	case SCHEMA_FIXED64:
	case SCHEMA_FIXED32:
	case SCHEMA_BOOL:
	case SCHEMA_UINT32:
	case SCHEMA_ENUM:
	case SCHEMA_SFIXED32:
	case SCHEMA_SFIXED64:
	case SCHEMA_SINT32:
	case SCHEMA_SINT64:
		break;
	}
	return VALUE_INTEGER;
}

bool value_is_signed(const struct schema_field *field)
{
	return field->type == SCHEMA_INT64 || field->type == SCHEMA_INT32 || field->type == SCHEMA_SFIXED32 ||
	       field->type == SCHEMA_SFIXED64 || field->type == SCHEMA_SINT32 || field->type == SCHEMA_SINT64 ||
	       field->type == SCHEMA_ENUM;
}

unsigned value_bits(const struct schema_field *field)
{
	switch (field->type) {
	case SCHEMA_BOOL:
		return 1;
	case SCHEMA_INT32:
	case SCHEMA_UINT32:
	case SCHEMA_SINT32:
	case SCHEMA_FIXED32:
	case SCHEMA_SFIXED32:
	case SCHEMA_ENUM:
		return 32;
	case SCHEMA_DOUBLE:
	case SCHEMA_FLOAT:
	case SCHEMA_INT64:
	case SCHEMA_UINT64:
	case SCHEMA_FIXED64:
	case SCHEMA_STRING:
	case SCHEMA_GROUP:
	case SCHEMA_MESSAGE:
	case SCHEMA_BYTES:
	case SCHEMA_SFIXED64:
	case SCHEMA_SINT64:
		break;
	}
	return 64;
}

bool value_has_presence(const struct schema_field *field)
{
	return !field->implicit || value_kind(field) == VALUE_MESSAGE || field->oneof;
}

bool enum_lacks(const struct schema_enum *enumeration, const struct schema_value *value)
{
	return !schema_value_by_number(enumeration, value->number);
}

/* A full name without its package: what two versions of one type have in common. */
static const char *relative_name(const char *name, const struct schema_file *file)
{
	size_t length = strlen(file->package);

	return length && strncmp(name, file->package, length) == 0 && name[length] == '.' ? name + length + 1 : name;
}

static bool enums_correspond(const struct schema_enum *older, const struct schema_enum *newer)
{
	return strcmp(older->name, newer->name) == 0 ||
	       strcmp(relative_name(older->name, older->file), relative_name(newer->name, newer->file)) == 0;
}

/* Return: 1 if @newer is a version of @older; 0; -errno. */
static int messages_correspond(struct work *work, const struct schema_message *older, const struct schema_message *newer)
{
	const Upgrade__Type *type;
	int r = annotation_of_message(newer, &work->book->arena, &type, work->why);

	if (r < 0)
		return r;
	if (type && *type->from)
		return strcmp(type->from[0] == '.' ? type->from + 1 : type->from, older->name) == 0;
	if (older->map_entry && newer->map_entry)
		return 1;
	return strcmp(older->name, newer->name) == 0 ||
	       strcmp(relative_name(older->name, older->file), relative_name(newer->name, newer->file)) == 0;
}

/* ---- paths ---- */

/* @name in the older message, a.b through singular nested ones. Return: 0; 1: there is no such field (in @ret_reason). */
static int path_find(struct work *work, const char *name, struct succession_path *ret_path, const char **ret_reason)
{
	const struct schema_message *message = work->pair->older;
	struct succession_path path = { .name = sf_arena_string(&work->book->arena, name) };
	const char *at = name;

	if (!path.name)
		return -ENOMEM;
	for (;;) {
		size_t length = strcspn(at, ".");
		const struct schema_field *field = NULL;
		char part[SCHEMA_NAME_BYTES + 1];

		if (length < sizeof(part)) {
			memcpy(part, at, length);
			part[length] = '\0';
			field = schema_field_by_name(message, part);
		}
		if (!field || path.n == SUCCESSION_PATH) {
			*ret_reason = format(work->book, "%s has no field \"%.*s\"", message->name, (int)length, at);
			return *ret_reason ? 1 : -ENOMEM;
		}
		path.steps[path.n++] = field;
		if (at[length] == '\0')
			break;
		if (value_kind(field) != VALUE_MESSAGE || field->label == SCHEMA_REPEATED || field->oneof) {
			*ret_reason = format(work->book, "%s.%s is not a single nested message outside a oneof", message->name, field->name);
			return *ret_reason ? 1 : -ENOMEM;
		}
		message = field->message;
		at += length + 1;
	}
	*ret_path = path;
	return 0;
}

/* Whether @outer is @inner or lies around it: "a" of "a.b". */
static bool path_covers(const char *outer, const char *inner)
{
	size_t length = strlen(outer);

	return strncmp(outer, inner, length) == 0 && (inner[length] == '\0' || inner[length] == '.');
}

/* ---- links ---- */

static int link_add(struct work *work, const struct succession_link *link)
{
	if (work->n == work->cap) {
		size_t cap = work->cap ? 2 * work->cap : 16;
		struct succession_link *links = sf_arena_alloc(&work->book->arena, cap * sizeof(*links), alignof(max_align_t));

		if (!links)
			return -ENOMEM;
		if (work->n)
			memcpy(links, work->links, work->n * sizeof(*links));
		work->links = links;
		work->cap = cap;
	}
	work->links[work->n++] = *link;
	return 0;
}

static int unit_set(const struct work *work, const struct schema_field *field, const Upgrade__Unit *unit,
		    struct succession_link *link)
{
	uint32_t a, b;

	link->times = link->over = 1;
	if (!unit)
		return 0;
	link->times = a = unit->times ? unit->times : 1;
	link->over = b = unit->over ? unit->over : 1;
	while (b) {
		uint32_t rest = a % b;

		a = b;
		b = rest;
	}
	link->times /= a;
	link->over /= a;
	link->rounding = unit->round;
	if (link->rounding < UPGRADE__UNIT__ROUNDING__TOWARD_ZERO || link->rounding > UPGRADE__UNIT__ROUNDING__EXACT)
		return wrong(work, field, "rounding %d is not known", (int)link->rounding);
	return 0;
}

/* @of: the integer whose bits they are. */
static int bits_set(const struct work *work, const struct schema_field *field, const struct schema_field *of,
		    const Upgrade__Bits *bits, struct succession_bits *ret_bits)
{
	unsigned size;

	if (!bits)
		return 0;
	if (value_kind(of) != VALUE_INTEGER || of->type == SCHEMA_BOOL || of->type == SCHEMA_ENUM ||
	    of->label == SCHEMA_REPEATED)
		return wrong(work, field, "bits are of a single integer, and %s is none", of->name);
	size = value_bits(of);
	if (bits->shift >= size || bits->width > size - bits->shift)
		return wrong(work, field, "%s has %u bits, not bit %u to %u", of->name, size, bits->shift,
			     bits->shift + (bits->width ? bits->width - 1 : 0));
	ret_bits->shift = bits->shift;
	ret_bits->width = bits->width ? bits->width : size - bits->shift;
	return 0;
}

static bool bits_whole(const struct succession_link *link)
{
	return link->from_bits.width == 0 && link->field_bits.width == 0 && link->times == 1 && link->over == 1;
}

static bool is_map(const struct schema_field *field)
{
	return field->message && field->message->map_entry;
}

/* Why values of one do not become values of the other by a rule; NULL: they do. */
static const char *kinds_differ(struct work *work, const struct succession_link *link)
{
	const struct schema_field *older = succession_path_end(&link->from), *newer = link->field;
	enum value_kind a = value_kind(older), b = value_kind(newer);

	if (older->type == SCHEMA_GROUP || newer->type == SCHEMA_GROUP)
		return "groups of proto2 are not supported";
	if ((older->label == SCHEMA_REPEATED) != (newer->label == SCHEMA_REPEATED))
		return format(work->book, "it was %s and is %s", older->label == SCHEMA_REPEATED ? "repeated" : "single",
			      newer->label == SCHEMA_REPEATED ? "repeated" : "single");
	if (is_map(older) != is_map(newer))
		return "one is a map and the other is not";
	if (a != b && !(a == VALUE_TEXT && b == VALUE_BYTES) && !(a == VALUE_BYTES && b == VALUE_TEXT))
		return format(work->book, "it was %s and is %s", schema_type_name(older->type), schema_type_name(newer->type));
	if (older->enumeration && newer->enumeration && !enums_correspond(older->enumeration, newer->enumeration))
		return format(work->book, "%s is not known to follow %s", newer->enumeration->name, older->enumeration->name);
	return NULL;
}

/* The link is made of two fields now: can it be done, and does it need any doing? */
static int link_settle(struct work *work, struct succession_link *link)
{
	const struct schema_field *older = succession_path_end(&link->from), *newer = link->field;
	const char *reason = kinds_differ(work, link);
	bool enums = older->enumeration && newer->enumeration;
	int r;

	if (reason) {
		link->kind = SUCCESSION_UNDECIDED;
		link->hand = newer->name;
		link->reason = reason;
		return 0;
	}
	if (!bits_whole(link) && value_kind(newer) != VALUE_INTEGER &&
	    !(value_kind(newer) == VALUE_REAL && !link->from_bits.width && !link->field_bits.width))
		return wrong(work, newer, "units and bits are of numbers, and it is %s", schema_type_name(newer->type));
	if (value_kind(newer) == VALUE_MESSAGE) {
		r = messages_correspond(work, older->message, newer->message);
		if (r < 0)
			return r;
		if (r == 0) {
			link->kind = SUCCESSION_UNDECIDED;
			link->hand = newer->name;
			link->reason = format(work->book, "%s is not known to follow %s: say so by its option (upgrade.type).from",
					      newer->message->name, older->message->name);
			return link->reason ? 0 : -ENOMEM;
		}
		link->same = older->message == newer->message;
	} else if (enums) {
		link->same = older->enumeration == newer->enumeration;
	} else {
		link->same = bits_whole(link) && value_kind(older) == value_kind(newer) &&
			     value_bits(older) == value_bits(newer) && value_is_signed(older) == value_is_signed(newer) &&
			     !older->enumeration == !newer->enumeration &&
			     (older->type == SCHEMA_FLOAT) == (newer->type == SCHEMA_FLOAT);
	}
	return 0;
}

/* ---- what each annotation means ---- */

/* By name: nobody has claimed the older field as a whole or a part of it. */
static bool is_claimed(const struct work *work, const char *name)
{
	for (size_t i = 0; i < work->n; i++)
		if (work->links[i].from.n && path_covers(name, work->links[i].from.name) && !strchr(work->links[i].from.name, '.'))
			return true;
	return false;
}

static int parts_link(struct work *work, const struct schema_field *field, const Upgrade__Field *said,
		      const struct succession_link *base)
{
	for (size_t i = 0; i < said->n_merged; i++) {
		const Upgrade__Part *part = said->merged[i];
		struct succession_link link = *base;
		const char *reason = NULL;
		int r = path_find(work, part->from, &link.from, &reason);

		if (r > 0)
			return wrong(work, field, "%s", reason);
		if (r == 0 && base->kind != SUCCESSION_BY_HAND) {
			r = unit_set(work, field, part->unit, &link);
			if (r == 0 && !part->bits)
				return wrong(work, field, "say into which bits %s is merged", part->from);
			if (r == 0)
				r = bits_set(work, field, field, part->bits, &link.field_bits);
			if (r == 0)
				r = link_settle(work, &link);
		}
		if (r == 0)
			r = link_add(work, &link);
		if (r < 0)
			return r;
	}
	return 0;
}

static int group_check(const struct work *work, const struct schema_field *field)
{
	if (value_kind(field) != VALUE_MESSAGE || field->label == SCHEMA_REPEATED || field->oneof)
		return wrong(work, field, "only a single nested message can group fields");
	return 0;
}

/* Where the annotation names what the field follows. */
static int from_link(struct work *work, const struct schema_field *field, const Upgrade__Field *said,
		     struct succession_link *link)
{
	const char *reason = NULL;
	int r = path_find(work, said->from, &link->from, &reason);

	if (r > 0)
		return wrong(work, field, "%s", reason);
	if (r == 0 && link->kind == SUCCESSION_FOLLOWS) {
		r = bits_set(work, field, succession_path_end(&link->from), said->bits, &link->from_bits);
		if (r == 0)
			r = link_settle(work, link);
	}
	return r < 0 ? r : link_add(work, link);
}

static bool says_where_from(const Upgrade__Field *said)
{
	return *said->from || said->n_merged || said->group || said->added || *said->by_hand;
}

/* A name that becomes part of a C function's. */
static bool is_identifier(const char *name)
{
	return name[0] && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == strlen(name);
}

static int said_link(struct work *work, const struct schema_field *field, const Upgrade__Field *said,
		     struct succession_link *link)
{
	if (*said->by_hand) {
		link->kind = SUCCESSION_BY_HAND;
		link->hand = said->by_hand;
		if (!is_identifier(said->by_hand))
			return wrong(work, field, "by_hand: \"%.80s\" cannot be part of a function's name", said->by_hand);
	}
	if (said->added + said->group + (said->n_merged > 0) + (*said->from != '\0') > 1)
		return wrong(work, field, "added, group, merged and from exclude each other");
	if (said->n_merged)
		return parts_link(work, field, said, link);
	if (*said->from)
		return from_link(work, field, said, link);
	if (said->group) {
		link->kind = SUCCESSION_GROUPS;
		int r = group_check(work, field);
		if (r < 0)
			return r;
	} else if (link->kind != SUCCESSION_BY_HAND) {
		link->kind = SUCCESSION_ADDED;
	}
	return link_add(work, link);
}

static int field_said(struct work *work, const struct schema_field *field, const Upgrade__Field **ret_said)
{
	int r = annotation_of_field(field, &work->book->arena, ret_said, work->why);

	if (r < 0)
		return why_prefix(work->why, r, "%s", work->pair->newer->name);
	if (!*ret_said)
		*ret_said = &no_annotation;
	return 0;
}

static int field_link(struct work *work, const struct schema_field *field, const Upgrade__Field *said)
{
	struct succession_link link = {
		.kind = SUCCESSION_FOLLOWS,
		.field = field,
		.overflow = said->overflow,
		.default_value = *said->default_ ? said->default_ : NULL,
		.lossy = said->lossy,
	};
	const char *reason = NULL;
	int r = unit_set(work, field, said->unit, &link);

	if (r < 0)
		return r;
	if (link.default_value && (field->label == SCHEMA_REPEATED || value_kind(field) == VALUE_MESSAGE || field->oneof))
		return wrong(work, field, "only single numbers, texts, bytes and enums outside a oneof have a default");
	if (says_where_from(said))
		return said_link(work, field, said, &link);
	r = is_claimed(work, field->name) ? 1 : path_find(work, field->name, &link.from, &reason);
	if (r < 0)
		return r;
	if (r > 0) {
		link.kind = SUCCESSION_ADDED;
		return link_add(work, &link);
	}
	r = bits_set(work, field, succession_path_end(&link.from), said->bits, &link.from_bits);
	if (r == 0)
		r = link_settle(work, &link);
	return r < 0 ? r : link_add(work, &link);
}

/* Those that say what they follow come first: what they claim is not for others to have by name. Then in order of declaration. */
static int fields_link(struct work *work)
{
	const struct schema_message *newer = work->pair->newer;

	for (int said_first = 1; said_first >= 0; said_first--) {
		for (size_t i = 0; i < newer->n_fields; i++) {
			const Upgrade__Field *said;
			int r = field_said(work, &newer->fields[i], &said);

			if (r == 0 && says_where_from(said) == (said_first == 1))
				r = field_link(work, &newer->fields[i], said);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* ---- nested messages ---- */

static int pair_get(struct succession_book *book, const struct schema_message *older, const struct schema_message *newer,
		    bool group, const char *taken, const struct succession **ret_pair, struct why *why);

/* What other links take out of the nested message at @path, as "a,b.c". */
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
				r = pair_get(work->book, succession_path_end(&link->from)->message, link->field->message, false, taken,
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
		return format(work->book, "nothing follows it; if its number's new holder, %s, does, annotate that with from: \"%s\"",
			      heir->name, name);
	return format(work->book, "nothing follows it; to give it up, write dropped: \"%s\" in the message's option (upgrade.type)",
		      name);
}

static int removed_link(struct work *work, const char *name, const struct schema_field *field)
{
	struct succession_link link = { .kind = SUCCESSION_DROPPED, .times = 1, .over = 1 };
	const char *unused_reason = NULL;
	char *hand;
	int r = path_find(work, name, &link.from, &unused_reason);

	if (r != 0)
		return r < 0 ? r : -EINVAL;
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
	return link_add(work, &link);
}

/* @prefix: "a." for the fields of the nested message a, some of which were taken. */
static int left_over(struct work *work, const struct schema_message *message, const char *prefix, size_t n_links,
		     unsigned depth)
{
	for (size_t i = 0; i < message->n_fields; i++) {
		const struct schema_field *field = &message->fields[i];
		const char *name = format(work->book, "%s%s", prefix, field->name);
		const char *inside = format(work->book, "%s%s.", prefix, field->name);
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

/* Two fields that go down into the same place: the later would overwrite the earlier. */
static int overlaps_check(const struct work *work)
{
	for (size_t i = 0; i < work->n; i++) {
		const struct succession_link *a = &work->links[i];

		for (size_t j = 0; j < i; j++) {
			const struct succession_link *b = &work->links[j];

			if (a->kind != SUCCESSION_FOLLOWS || b->kind != SUCCESSION_FOLLOWS)
				continue;
			if (a->field == b->field && bits_overlap(a->field_bits, b->field_bits))
				return wrong(work, a->field, "%s and %s are merged into the same bits", b->from.name, a->from.name);
			if (strcmp(a->from.name, b->from.name) == 0 && bits_overlap(a->from_bits, b->from_bits))
				return wrong(work, a->field, "%s has taken the same of %s", b->field->name, a->from.name);
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
		r = fields_link(&work);
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
		return why_set(why, -EINVAL, "%s: version %u in its option (upgrade.type): 1 to 65535 are possible", message->name,
			       type->version);
	*ret_type = type->name;
	*ret_version = type->version;
	return 0;
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
		return why_set(why, -ENOENT, "%s: there is no message \"%s\" to follow: import its file", newer->name, type->from);
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
