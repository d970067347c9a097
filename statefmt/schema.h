/* SPDX-License-Identifier: MIT */
/* Message types as data: a FileDescriptorSet, checked and linked. A state file carries one of its own types, `protoc -o` writes
 * one, and a protoc plugin is given one.
 *
 * Nothing of the input is believed. Names are identifiers (so they can be printed, and become parts of C), numbers are in their
 * range and unique, every reference leads to a type of the same set, nesting is bounded, and memory is at most
 * SCHEMA_MEMORY(size of the input). A set that breaks a rule is refused, and the place is named.
 *
 * A set is immutable once it is made: any number of threads may read it.
 */
#pragma once

#include <google/protobuf/descriptor.pb-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct why;

#define SCHEMA_INPUT_BYTES ((size_t)16 << 20) /* what a set may be made from at most */
#define SCHEMA_MEMORY(size_bytes) (((size_t)512 << 10) + 40 * (size_t)(size_bytes))
#define SCHEMA_NAME_BYTES 511u /* a full name */
#define SCHEMA_NUMBER_MAX 536870911u

/* As in descriptor.proto, and by its numbers. */
enum schema_type {
	SCHEMA_DOUBLE = 1,
	SCHEMA_FLOAT,
	SCHEMA_INT64,
	SCHEMA_UINT64,
	SCHEMA_INT32,
	SCHEMA_FIXED64,
	SCHEMA_FIXED32,
	SCHEMA_BOOL,
	SCHEMA_STRING,
	SCHEMA_GROUP,
	SCHEMA_MESSAGE,
	SCHEMA_BYTES,
	SCHEMA_UINT32,
	SCHEMA_ENUM,
	SCHEMA_SFIXED32,
	SCHEMA_SFIXED64,
	SCHEMA_SINT32,
	SCHEMA_SINT64,
};

enum schema_label { SCHEMA_OPTIONAL = 1, SCHEMA_REQUIRED = 2, SCHEMA_REPEATED = 3 };

/* All pointers are borrowed from the set (or from what it was made of), and none is NULL where nothing is said about it. */

struct schema_bytes {
	const uint8_t *data;
	size_t size_bytes;
};

struct schema_range {
	int64_t first, last; /* both belong to it */
};

struct schema_file {
	const char *name;
	const char *package; /* may be empty */
	bool proto3;
};

struct schema_field {
	const char *name;
	uint32_t number;
	enum schema_label label;
	enum schema_type type;
	bool implicit;        /* proto3's fields without presence: zero and absent are one */
	bool packed;          /* how it is written; readers take both ways */
	bool proto3_optional; /* its oneof is not a real one: @oneof is NULL */
	bool deprecated;
	const struct schema_message *message;  /* of SCHEMA_MESSAGE and SCHEMA_GROUP; else NULL */
	const struct schema_enum *enumeration; /* of SCHEMA_ENUM; else NULL */
	const char *oneof;         /* name of the oneof it is in; NULL: none */
	const char *default_value; /* in protoc's words; NULL: none is declared */
	size_t position;           /* among its message's fields as declared, from 0 */
	struct schema_bytes options; /* custom options: what FieldOptions holds beyond its known fields, as protobuf bytes */
};

struct schema_message {
	const char *name;       /* full, without a leading dot: "pkg.Outer.Inner" */
	const char *short_name; /* "Inner" */
	const struct schema_file *file;
	const struct schema_message *parent; /* NULL: not nested */
	const struct schema_field *fields;   /* sorted by number */
	size_t n_fields;
	const char *const *oneofs; /* the real ones */
	size_t n_oneofs;
	const struct schema_range *reserved;
	size_t n_reserved;
	const char *const *reserved_names;
	size_t n_reserved_names;
	size_t n_required; /* fields with SCHEMA_REQUIRED */
	bool map_entry;    /* key = 1, value = 2; the field that uses it is a map */
	struct schema_bytes options; /* custom ones, as a field's */
	size_t index;      /* in the set's messages */
};

struct schema_value {
	const char *name;
	int32_t number;
};

struct schema_enum {
	const char *name;
	const char *short_name;
	const struct schema_file *file;
	const struct schema_message *parent;
	const struct schema_value *values; /* as declared; aliases are values, too */
	size_t n_values;
	const struct schema_range *reserved;
	size_t n_reserved;
	const char *const *reserved_names;
	size_t n_reserved_names;
	size_t index;
};

/* In the order of declaration: file by file, an outer message before what is nested in it. */
struct schema_set {
	const struct schema_file *files;
	size_t n_files;
	const struct schema_message *messages;
	size_t n_messages;
	const struct schema_enum *enums;
	size_t n_enums;
};

/**
 * schema_set_new() - Make a set from the bytes of a google.protobuf.FileDescriptorSet.
 * @data: may be freed afterwards.
 *
 * Return: 0; -EBADMSG: it is none, or breaks a rule; -EMSGSIZE: over a cap; -ENOMEM. @why names file, message and field.
 */
int schema_set_new(const uint8_t *data, size_t size_bytes, struct schema_set **ret_set, struct why *why);

/**
 * schema_set_from_files() - As schema_set_new(), from files already unpacked (those of a CodeGeneratorRequest).
 * @files: must outlive the set, which borrows their strings.
 */
int schema_set_from_files(Google__Protobuf__FileDescriptorProto *const *files, size_t n_files,
			  struct schema_set **ret_set, struct why *why);
struct schema_set *schema_set_free(struct schema_set *set); /* NULL allowed; returns NULL */

/** schema_find_message(), schema_find_enum() - Find by the full name, with or without a leading dot. Return: NULL if there is
 * none. */
const struct schema_message *schema_find_message(const struct schema_set *set, const char *name);
const struct schema_enum *schema_find_enum(const struct schema_set *set, const char *name);

/** schema_field_by_number(), schema_field_by_name() - Return: NULL if there is none. */
const struct schema_field *schema_field_by_number(const struct schema_message *message, uint32_t number);
const struct schema_field *schema_field_by_name(const struct schema_message *message, const char *name);

/** schema_value_by_number() - Find the first value declared with that number. Return: NULL if there is none. */
const struct schema_value *schema_value_by_number(const struct schema_enum *enumeration, int32_t number);

/** schema_is_reserved() - Is @number, or @name if it is not NULL, reserved in @message? */
bool schema_is_reserved(const struct schema_message *message, uint32_t number, const char *name);

/** schema_type_name() - Name a type: "int32", "message", ... */
const char *schema_type_name(enum schema_type type);

/** schema_is_packable() - May repeated fields of this type be packed? */
bool schema_is_packable(enum schema_type type);

/** schema_fingerprint() - Compute what sf_fingerprint() returns for the code that protoc-c makes of @message. */
uint64_t schema_fingerprint(const struct schema_message *message);

/**
 * schema_describe() - Turn the descriptors of generated types, and of all they refer to, into a FileDescriptorSet.
 * @roots:     what to describe; NULLs among them are left out.
 * @max_bytes: the most it may take.
 * @ret_data:  the caller frees.
 *
 * Generated code keeps no options, no reserved numbers and no names of oneofs, which become "oneof_1" and so on. The types of a
 * package come in one file for each syntax, nested as their names say. An outer message that nothing refers to is empty there.
 *
 * Return: 0; -EMSGSIZE; -ENOMEM.
 */
int schema_describe(const ProtobufCMessageDescriptor *const *roots, size_t n_roots, size_t max_bytes, uint8_t **ret_data,
		    size_t *ret_size_bytes, struct why *why);
