/* SPDX-License-Identifier: MIT */
/* Finds what each field of the newer message follows: the field that its annotation names, else the one of the same name. */
#include "statefmt/succession_work.h"

#include <errno.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const Upgrade__Field no_annotation = UPGRADE__FIELD__INIT;

const char *work_format(struct succession_book *book, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return sf_arena_string(&book->arena, text);
}

int work_wrong(const struct work *work, const struct schema_field *field, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return why_set(work->why, -EINVAL, "%s.%s: %s", work->pair->newer->name, field->name, text);
}

/* ---- which types belong together ---- */

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
int work_path(struct work *work, const char *name, struct succession_path *ret_path, const char **ret_reason)
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
			*ret_reason = work_format(work->book, "%s has no field \"%.*s\"", message->name, (int)length, at);
			return *ret_reason ? 1 : -ENOMEM;
		}
		path.steps[path.n++] = field;
		if (at[length] == '\0')
			break;
		if (value_kind(field) != VALUE_MESSAGE || field->label == SCHEMA_REPEATED || field->oneof) {
			*ret_reason = work_format(work->book, "%s.%s is not a single nested message outside a oneof",
						  message->name, field->name);
			return *ret_reason ? 1 : -ENOMEM;
		}
		message = field->message;
		at += length + 1;
	}
	*ret_path = path;
	return 0;
}

/* Whether @outer is @inner or lies around it: "a" of "a.b". */
bool path_covers(const char *outer, const char *inner)
{
	size_t length = strlen(outer);

	return strncmp(outer, inner, length) == 0 && (inner[length] == '\0' || inner[length] == '.');
}

/* ---- links ---- */

int work_add(struct work *work, const struct succession_link *link)
{
	if (work->n == work->cap) {
		size_t cap = work->cap ? 2 * work->cap : 16;
		struct succession_link *links = sf_arena_alloc(&work->book->arena, cap * sizeof(*links),
							       alignof(max_align_t));

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
		return work_wrong(work, field, "rounding %d is not known", (int)link->rounding);
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
		return work_wrong(work, field, "bits are of a single integer, and %s is none", of->name);
	size = value_bits(of);
	if (bits->shift >= size || bits->width > size - bits->shift)
		return work_wrong(work, field, "%s has %u bits, not bit %u to %u", of->name, size, bits->shift,
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

/* Return: why no rule turns values of one field into values of the other; NULL: there is a rule. */
static const char *kinds_differ(struct work *work, const struct succession_link *link)
{
	const struct schema_field *older = succession_path_end(&link->from), *newer = link->field;
	enum value_kind a = value_kind(older), b = value_kind(newer);

	if (older->type == SCHEMA_GROUP || newer->type == SCHEMA_GROUP)
		return "groups of proto2 are not supported";
	if ((older->label == SCHEMA_REPEATED) != (newer->label == SCHEMA_REPEATED))
		return work_format(work->book, "it was %s and is %s",
				   older->label == SCHEMA_REPEATED ? "repeated" : "single",
			      newer->label == SCHEMA_REPEATED ? "repeated" : "single");
	if (is_map(older) != is_map(newer))
		return "one is a map and the other is not";
	if (a != b && !(a == VALUE_TEXT && b == VALUE_BYTES) && !(a == VALUE_BYTES && b == VALUE_TEXT))
		return work_format(work->book, "it was %s and is %s", schema_type_name(older->type),
				   schema_type_name(newer->type));
	if (older->enumeration && newer->enumeration && !enums_correspond(older->enumeration, newer->enumeration))
		return work_format(work->book, "%s is not known to follow %s", newer->enumeration->name,
				   older->enumeration->name);
	return NULL;
}

/* Both fields of the link are known: can values be converted, and need they be? */
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
		return work_wrong(work, newer, "units and bits are of numbers, and it is %s", schema_type_name(newer->type));
	if (value_kind(newer) == VALUE_MESSAGE) {
		r = messages_correspond(work, older->message, newer->message);
		if (r < 0)
			return r;
		if (r == 0) {
			link->kind = SUCCESSION_UNDECIDED;
			link->hand = newer->name;
			link->reason = work_format(work->book,
						   "%s is not known to follow %s: say so by its option (upgrade.type).from",
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

/* Has another field claimed the older field called @name, or a part of it? */
static bool is_claimed(const struct work *work, const char *name)
{
	for (size_t i = 0; i < work->n; i++)
		if (work->links[i].from.n && path_covers(name,
							 work->links[i].from.name) && !strchr(work->links[i].from.name, '.'))
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
		int r = work_path(work, part->from, &link.from, &reason);

		if (r > 0)
			return work_wrong(work, field, "%s", reason);
		if (r == 0 && base->kind != SUCCESSION_BY_HAND) {
			r = unit_set(work, field, part->unit, &link);
			if (r == 0 && !part->bits)
				return work_wrong(work, field, "say into which bits %s is merged", part->from);
			if (r == 0)
				r = bits_set(work, field, field, part->bits, &link.field_bits);
			if (r == 0)
				r = link_settle(work, &link);
		}
		if (r == 0)
			r = work_add(work, &link);
		if (r < 0)
			return r;
	}
	return 0;
}

static int group_check(const struct work *work, const struct schema_field *field)
{
	if (value_kind(field) != VALUE_MESSAGE || field->label == SCHEMA_REPEATED || field->oneof)
		return work_wrong(work, field, "only a single nested message can group fields");
	return 0;
}

/* The annotation names the field that this one follows. */
static int from_link(struct work *work, const struct schema_field *field, const Upgrade__Field *said,
		     struct succession_link *link)
{
	const char *reason = NULL;
	int r = work_path(work, said->from, &link->from, &reason);

	if (r > 0)
		return work_wrong(work, field, "%s", reason);
	if (r == 0 && link->kind == SUCCESSION_FOLLOWS) {
		r = bits_set(work, field, succession_path_end(&link->from), said->bits, &link->from_bits);
		if (r == 0)
			r = link_settle(work, link);
	}
	return r < 0 ? r : work_add(work, link);
}

static bool says_where_from(const Upgrade__Field *said)
{
	return *said->from || said->n_merged || said->group || said->added || *said->by_hand;
}

/* Can @name be a part of the name of a C function? */
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
			return work_wrong(work, field, "by_hand: \"%.80s\" cannot be part of a function's name",
					  said->by_hand);
	}
	if (said->added + said->group + (said->n_merged > 0) + (*said->from != '\0') > 1)
		return work_wrong(work, field, "added, group, merged and from exclude each other");
	if (said->n_merged)
		return parts_link(work, field, said, link);
	if (*said->from)
		return from_link(work, field, said, link);
	/* A field that a person makes is made of the field of the same name, if the annotation names none. */
	if (link->kind == SUCCESSION_BY_HAND && !said->added && !said->group && !is_claimed(work, field->name)) {
		const char *reason = NULL;
		int found = work_path(work, field->name, &link->from, &reason);

		if (found < 0)
			return found;
	}
	if (said->group) {
		link->kind = SUCCESSION_GROUPS;
		int r = group_check(work, field);
		if (r < 0)
			return r;
	} else if (link->kind != SUCCESSION_BY_HAND) {
		link->kind = SUCCESSION_ADDED;
	}
	return work_add(work, link);
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
		.lossy = said->lossy || said->volatile_, /* a loss of what changes by itself is none */
	};
	const char *reason = NULL;
	int r = unit_set(work, field, said->unit, &link);

	if (r < 0)
		return r;
	if (link.default_value && (field->label == SCHEMA_REPEATED || value_kind(field) == VALUE_MESSAGE || field->oneof))
		return work_wrong(work, field, "only single numbers, texts, bytes and enums outside a oneof have a default");
	if (says_where_from(said))
		return said_link(work, field, said, &link);
	r = is_claimed(work, field->name) ? 1 : work_path(work, field->name, &link.from, &reason);
	if (r < 0)
		return r;
	if (r > 0) {
		link.kind = SUCCESSION_ADDED;
		return work_add(work, &link);
	}
	r = bits_set(work, field, succession_path_end(&link.from), said->bits, &link.from_bits);
	if (r == 0)
		r = link_settle(work, &link);
	return r < 0 ? r : work_add(work, &link);
}

/* Fields whose annotation names a field come first: the others cannot have that one by name. Each group is in order of
 * declaration. */
int work_link_fields(struct work *work)
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
