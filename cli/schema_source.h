/* SPDX-License-Identifier: MIT */
/* Where a schema can come from: a .proto file, read by protoc; a set of descriptors that protoc wrote; a program that carries its
 * schema, as protoc-gen-upgrade put it there. */
#pragma once

#include "statefmt/schema.h"

#include <stddef.h>

struct why;

struct schema_source {
	const char *path;       /* as given */
	struct schema_set *set;
	const char *file;       /* the .proto file's name within the set; NULL: the set as a whole was meant */
};

/**
 * schema_source_open() - Find out which of the three @path is, and read its schema.
 * @imports: folders where a .proto file's imports are looked for, besides its own, this one, and those of installed headers.
 * @ret_source: schema_source_close() it on success.
 *
 * Return: 0 or -errno. protoc's own complaints go to the standard error.
 */
int schema_source_open(const char *path, const char *const *imports, size_t n_imports, struct schema_source *ret_source,
		       struct why *why);
void schema_source_close(struct schema_source *source);
