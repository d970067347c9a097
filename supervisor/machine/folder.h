/* SPDX-License-Identifier: MIT */
/* Folders: made, removed and measured as a whole. */
#pragma once

#include <stdint.h>

struct why;

/** folder_make() - Make @path and the folders above it (mkdir -p), with mode 0700 for each folder that is new. Return: 0 or
 * -errno. */
int folder_make(const char *path, struct why *why);

/** folder_remove() - Remove @path and all that is in it (rm -r). Removes a symbolic link and not what it points to. A missing @path
 * is fine.
 * Return: 0 or -errno. */
int folder_remove(const char *path, struct why *why);

/** folder_remove_at() - The same for @name in the folder that is open as @parent (borrowed). Return: 0 or -errno. */
int folder_remove_at(int parent, const char *name);

/** folder_size() - Add up the bytes of all regular files directly in @path. Return: 0 or -errno. */
int folder_size(const char *path, uint64_t *ret_size_bytes, struct why *why);
