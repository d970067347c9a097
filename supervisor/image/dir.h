/* SPDX-License-Identifier: MIT */
/* Of image*.c and probe.c: folders of files, built whole and removed whole. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
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

/** image_dir_list() - The regular files in the folder of an image, with their sizes, into @image. Return: 0 or -errno. */
int image_dir_list(const char *path, struct image *image, struct why *why);

/** image_dir_has() - Return: 1 if there is a non-empty file @name in @path, else 0. */
int image_dir_has(const char *path, const char *name);

/** image_dir_gc() - Remove all @parent/x/y.tmp. Return: how many, or -errno. */
int image_dir_gc(const char *parent, struct why *why);

/** image_dir_is_generation() - Can an image have this name? */
bool image_dir_is_generation(const char *name, uint64_t *ret_generation);

/* ---- the manifest ---- */

#define MANIFEST_NAME "manifest"
#define IMAGE_FILES_MAX 65536u

/** image_manifest_write() - Write @dir/manifest, on disk when this returns. Return: 0 or -errno. */
int image_manifest_write(const char *dir, const struct image *image, struct why *why);

/** image_manifest_read() - Into an @image that has nothing but its paths; what is filled in is owned by it, also on failure.
 * Return: 0; -ENOENT: no manifest; -EBADMSG: it is damaged; -errno. */
int image_manifest_read(const char *dir, struct image *image, struct why *why);

/** image_manifest_text() - The text, without the checksum at its end; release with free(). NULL: memory is out. */
char *image_manifest_text(const struct image *image, size_t *ret_length);

/** image_manifest_parse() - What stands before the checksum. @text is changed. Return: as image_manifest_read(). */
int image_manifest_parse(char *text, struct image *image, struct why *why);
