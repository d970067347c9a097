/* SPDX-License-Identifier: MIT */
/* The names that protoc-c gives to things, and those we give. Each is written into @buffer, which is returned. */
#pragma once

#include "statefmt/schema.h"

#define NAME_BYTES (4 * SCHEMA_NAME_BYTES)

struct name {
	char text[NAME_BYTES];
};

/** name_type() - "cached.v2.Item" -> "Cached__V2__Item". */
const char *name_type(struct name *buffer, const char *full_name);

/** name_lower() - "cached.v2.Item" -> "cached__v2__item": of functions and descriptors. */
const char *name_lower(struct name *buffer, const char *full_name);

/** name_upper() - "cached.v2.Item" -> "CACHED__V2__ITEM": of enum values and cases of a oneof. */
const char *name_upper(struct name *buffer, const char *full_name);

/** name_field() - Name the member of the struct. */
const char *name_field(struct name *buffer, const char *name);

/** name_case() - Name the enum value that says that a oneof holds @field. */
const char *name_case(struct name *buffer, const struct schema_message *message, const struct schema_field *field);

/** name_c_type() - Name the C type of the member, or of its elements; for messages without the star. */
const char *name_c_type(struct name *buffer, const struct schema_field *field);

/** name_plain() - "cached.Item" -> "cached_item": a name of ours, with one '_' for whatever cannot be in one. */
const char *name_plain(struct name *buffer, const char *name);
