/* SPDX-License-Identifier: MIT */
/* Internal to protoc-gen-upgrade: from successions to C.
 *
 *     names.c   what protoc-c calls things
 *     value.c   one value: of one type, into another
 *     link.c    one link: where the value is, whether it is there, and where it goes
 *     volatile.c  the list of fields that change by themselves
 *     module.c  functions, tables, header and source of one .proto file
 *     main.c    the conversation with protoc
 */
#pragma once

#include "statefmt/gen/names.h"
#include "statefmt/succession.h"

#include <stdbool.h>
#include <stdio.h>

/* One conversion function, up or down, in the making. A down function reads what an up function writes. */
struct route {
	FILE *out;
	const struct succession *pair;
	bool up;
};

/* The end of a link that is read, or written: a path from `from` or `to`. */
struct end {
	const struct schema_message *message; /* that the last field is in */
	const struct schema_field *field;
	const struct succession_path *path;   /* NULL: the field itself, of the newer message */
	struct succession_bits bits;
};

/* C text. */
struct code {
	char text[2048];
};

static inline const struct schema_message *route_source(const struct route *route)
{
	return route->up ? route->pair->older : route->pair->newer;
}

/** end_source(), end_target() - Return: the end of @link that is read on this way, and the one that is written. */
struct end end_source(const struct route *route, const struct succession_link *link);
struct end end_target(const struct route *route, const struct succession_link *link);

/** end_code() - Compose "from->a->b", for @root "from". */
const char *end_code(struct code *buffer, const char *root, const struct end *end);

/** pair_function() - Name the function that takes one way between @pair's messages. */
const char *pair_function(struct name *buffer, const struct succession *pair, bool up);

/**
 * value_write() - Write the statements that turn @source (an expression) into @target (an lvalue) of the other type.
 * @indent: tabs before each line.
 */
void value_write(const struct route *route, const struct succession_link *link, const char *source, const char *target,
		 const char *indent);

/** value_declares() - Does value_write() begin with declarations? */
bool value_declares(const struct route *route, const struct succession_link *link);

/** value_default() - Compose an initialiser for a field of that type. Return: 0; -EINVAL with @why if @text is none. */
int value_default(struct code *buffer, const struct schema_field *field, const char *text, struct why *why);

/** value_nonzero() - Compose an expression that is true where a single field of that type is not zero. */
const char *value_nonzero(struct code *buffer, const struct schema_field *field, const char *value);

/** link_write() - Write the statements of one link, one way. Return: 0; -EINVAL with @why. */
int link_write(const struct route *route, const struct succession_link *link, struct why *why);

/** containers_write() - On the way down, make the nested messages that fields have moved out of. */
void containers_write(const struct route *route);

/** bits_check_write() - Write the check that refuses an integer with bits that go nowhere and are not zero. */
void bits_check_write(const struct route *route);

struct module_options {
	const char *prefix; /* of function names; "" */
	bool no_schema;     /* do not embed it */
};

struct module {
	const struct schema_set *set;
	const struct schema_file *file;
	const char *stem;            /* "dir/cached_v2" of dir/cached_v2.proto */
	struct schema_bytes schema;  /* a FileDescriptorSet to embed */
	const struct module_options *options;
};

/** volatile_write() - Write a macro with the fields of @module's records, and of those before them, that change by themselves;
 * nothing if there are none. Return: 0; -errno. */
int volatile_write(const struct module *module, struct succession_book *book, const char *macro, FILE *out, struct why *why);

/**
 * module_write() - Write header and source for the messages of one file.
 * @ret_header, @ret_source: the caller frees.
 *
 * Return: 0; 1: no message of it is annotated, so there is nothing to write; -errno.
 */
int module_write(const struct module *module, char **ret_header, char **ret_source, struct why *why);
