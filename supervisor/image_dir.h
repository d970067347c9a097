/* SPDX-License-Identifier: MIT */
/* Of image.c and probe.c: folders of files, built whole and removed whole. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct image;
struct why;

/** image_dir_make() - mkdir -p, mode 0700 for what is new. Return: 0 or -errno. */
int image_dir_make(const char *path, struct why *why);

/** image_dir_remove() - rm -r of @path. Follows no symbolic link: what one points to is not ours. Missing is fine.
 * Return: 0 or -errno. */
int image_dir_remove(const char *path, struct why *why);

/** image_dir_size() - Bytes of all regular files directly in @path. Return: 0 or -errno. */
int image_dir_size(const char *path, uint64_t *ret_size_bytes, struct why *why);

/** image_dir_has() - Return: 1 if there is a non-empty file @name in @path, else 0. */
int image_dir_has(const char *path, const char *name);

/** image_dir_gc() - Remove all @parent/x/y.tmp, with @whole also what is finished. Return: how many, or -errno. */
int image_dir_gc(const char *parent, bool whole, struct why *why);

/** image_manifest_write() - Write @dir/manifest, on disk when this returns. Return: 0 or -errno. */
int image_manifest_write(const char *dir, const struct image *image, struct why *why);

/** image_manifest_read() - Into a zeroed @image; strings are owned by it, also on failure. Return: 0; -EBADMSG; -errno. */
int image_manifest_read(const char *dir, struct image *image, struct why *why);
