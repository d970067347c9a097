/* SPDX-License-Identifier: MIT */
/* How one message follows from another, field by field.
 *
 * This is the one place that knows the rules. protoc-gen-upgrade writes code by them, and `upgradectl state compat` tells people by
 * them, so the two never disagree. The annotations are those of <upgrade/options.proto>.
 *
 * A field of the newer message follows
 *   - the field that its annotation names;
 *   - else the field of the same name, unless another field has claimed that one, or their kinds have nothing in common;
 *   - else nothing: it is new.
 * A field of the older message that nothing follows is dropped where the annotation says so, and else undecided.
 */
#pragma once

#include "statefmt/schema.h"

#include <upgrade/options.pb-c.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct why;

#define SUCCESSION_PATH 8u /* how deep a.b.c may name a field */

enum succession_kind {
	SUCCESSION_FOLLOWS,   /* its value is that of @from, converted as the link says */
	SUCCESSION_GROUPS,    /* a nested message of fields that stood beside it before */
	SUCCESSION_ADDED,
	SUCCESSION_DROPPED,
	SUCCESSION_BY_HAND,   /* a person writes it, and the annotation says so */
	SUCCESSION_UNDECIDED, /* nobody has said what becomes of it; @reason */
};

/* A field of the older message, or of one nested in it. */
struct succession_path {
	const struct schema_field *steps[SUCCESSION_PATH];
	size_t n;         /* 0: none */
	const char *name; /* "a.b" */
};

static inline const struct schema_field *succession_path_end(const struct succession_path *path)
{
	return path->steps[path->n - 1];
}

struct succession_bits {
	unsigned shift, width; /* width 0: the whole field */
};

struct succession;

struct succession_link {
	enum succession_kind kind;
	const struct schema_field *field; /* of the newer message; NULL: of none (dropped, or undecided what was removed) */
	struct succession_path from;      /* in the older one */
	struct succession_bits from_bits, field_bits;
	uint32_t times, over; /* newer = older * times / over, in lowest terms */
	Upgrade__Unit__Rounding rounding;
	Upgrade__Overflow overflow;
	const char *default_value; /* NULL: the type's own */
	bool lossy;                /* what is lost on the way down is accepted */
	const char *hand;          /* by hand, undecided: the name of what there is to decide */
	const char *reason;        /* undecided: why it is not mechanical */
	const struct succession *inner; /* message fields: how the nested messages follow; NULL: they are the same type */
	bool same; /* FOLLOWS: the value can be taken as it is */
};

/* One message from another. */
struct succession {
	const struct schema_message *older, *newer;
	bool group;        /* @newer takes fields of @older, which is the message around its predecessor: it need not take all */
	const char *taken; /* "a,b.c": fields of @older that the message around @newer has taken; "" */
	const struct succession_link *links;
	size_t n_links;
	size_t index; /* in the order of succession_at() */
};

/* A record type's step from one version to the next. */
struct succession_step {
	const char *type; /* "cached.Item" */
	uint32_t from, to;
	const struct succession *succession;
};

/* All successions that were asked for so far, each pair of messages once. Borrows from the sets that the messages are in. */
struct succession_book;
int succession_book_new(struct succession_book **ret_book, struct why *why);
struct succession_book *succession_book_free(struct succession_book *book); /* NULL allowed; returns NULL */

/** succession_of() - Find how @newer follows from @older, and all that is nested in them. They may be in different sets.
 * Return: 0; -EINVAL: an annotation makes no sense (named in @why, with its field); -EBADMSG; -ENOMEM. */
int succession_of(struct succession_book *book, const struct schema_message *older, const struct schema_message *newer,
		  const struct succession **ret_succession, struct why *why);

/**
 * succession_step_of() - Find the step that @newer is annotated with.
 * @set: of @newer; holds the older message, too.
 *
 * Return: 0; 1: it is annotated as following none; -errno as succession_of(); -ENOENT: the message it names is not in @set.
 */
int succession_step_of(struct succession_book *book, const struct schema_set *set, const struct schema_message *newer,
		       struct succession_step *ret_step, struct why *why);

/** succession_record() - Find the record type and version that @message is annotated as.
 * Return: 0; 1: it is annotated as none; -errno. */
int succession_record(struct succession_book *book, const struct schema_message *message, const char **ret_type,
		      uint32_t *ret_version, struct why *why);

/** succession_is_volatile() - Is @field annotated as one that changes by itself? Return: 0; -errno. */
int succession_is_volatile(struct succession_book *book, const struct schema_field *field, bool *ret_volatile, struct why *why);

size_t succession_count(const struct succession_book *book);
const struct succession *succession_at(const struct succession_book *book, size_t index);

/* ---- the types of fields, as far as values move between them ---- */

enum value_kind { VALUE_INTEGER, VALUE_REAL, VALUE_TEXT, VALUE_BYTES, VALUE_MESSAGE };

enum value_kind value_kind(const struct schema_field *field);

/** value_is_signed(), value_bits() - Of integers, bool (1 bit) and enums (signed, 32). */
bool value_is_signed(const struct schema_field *field);
unsigned value_bits(const struct schema_field *field);

/** value_has_presence() - Do zero and absent differ? Not for repeated fields. */
bool value_has_presence(const struct schema_field *field);

/** enum_lacks() - Is @value none that @enumeration knows? */
bool enum_lacks(const struct schema_enum *enumeration, const struct schema_value *value);
