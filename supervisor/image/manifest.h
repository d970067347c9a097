/* SPDX-License-Identifier: MIT */
/* What is noted beside an image, as text. Private to this folder of the source. */
#pragma once

#include <stddef.h>

struct image;
struct why;

#define MANIFEST_NAME "manifest"
#define MANIFEST_FORMAT 3
#define IMAGE_FILES_MAX 65536u

/** image_manifest_write() - Write @dir/manifest, on disk when this returns. Return: 0 or -errno. */
int image_manifest_write(const char *dir, const struct image *image, struct why *why);

/** image_manifest_read() - Fill in an @image that has nothing but its paths; it owns what is filled in, also on failure.
 * Return: 0; -ENOENT: no manifest; -EBADMSG: it is damaged; -errno. */
int image_manifest_read(const char *dir, struct image *image, struct why *why);

/** image_manifest_text() - Compose the text, without the checksum at its end. Return: release with free(); NULL: memory is out. */
char *image_manifest_text(const struct image *image, size_t *ret_length);

/** image_manifest_parse() - Parse the text before the checksum. @text is changed. Return: as image_manifest_read(). */
int image_manifest_parse(char *text, struct image *image, struct why *why);
