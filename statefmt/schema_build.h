/* SPDX-License-Identifier: MIT */
/* Internal to the room: how a schema set is made. schema.c enters the names, schema_link.c fills the types in. */
#pragma once

#include "base/why.h"
#include "statefmt/arena.h"
#include "statefmt/schema.h"

/* Messages and enums share one space of names. */
struct named {
	const char *name;
	const struct schema_message *message;
	const struct schema_enum *enumeration;
};

/* What a set really is. */
struct store {
	struct schema_set set; /* the first: schema_set_free() and the finders go back from it */
	struct sf_arena arena;
	struct named *names; /* sorted */
	size_t n_names;
};

struct builder {
	struct store *store;
	struct schema_file *files;
	struct schema_message *messages;
	struct schema_enum *enums;
	const Google__Protobuf__DescriptorProto **message_protos; /* parallel to @messages */
	size_t n_messages, n_enums; /* counted first, then filled up to that */
	struct why *why;
};

/** builder_no_memory() - Return: the status for a failed allocation. */
int builder_no_memory(const struct builder *builder);

/** builder_array() - Take @n zeroed elements, at least one, so that nothing in a set is ever NULL. */
void *builder_array(const struct builder *builder, size_t n, size_t element_bytes);

/** builder_find() - Find a name that was entered, with or without a leading dot. Return: NULL if there is none. */
const struct named *builder_find(const struct store *store, const char *name);

bool is_identifier(const char *text);

/** enum_take() - Fill in the values of an enum, whose name is entered already. */
int enum_take(const struct builder *builder, const Google__Protobuf__EnumDescriptorProto *proto,
	      struct schema_enum *enumeration);

/** message_link() - Fill in the fields of message @i, and follow their references. */
int message_link(const struct builder *builder, size_t i);
