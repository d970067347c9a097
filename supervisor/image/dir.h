/* SPDX-License-Identifier: MIT */
/* The folders of images: IMAGES_ROOT/SERVICE/GENERATION. Private to this folder of the source. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image;
struct why;

/** image_dir_list() - The regular files in the folder of an image, with their sizes, into @image. Return: 0 or -errno. */
int image_dir_list(const char *path, struct image *image, struct why *why);

/** image_dir_has() - Is there a file @name in @path, and is it not empty? */
bool image_dir_has(const char *path, const char *name);

/** image_dir_gc() - Remove all @parent/SERVICE/NAME.tmp. Return: how many, or -errno. */
int image_dir_gc(const char *parent, struct why *why);

/** image_dir_drop() - Remove the folder of an image and what is left of an interrupted run for it. It gets its .tmp name first, so
 * that nobody takes a half removed one for an image. Return: 0; -ENOENT: there was no image; -errno. */
int image_dir_drop(const char *path, struct why *why);

/** image_dir_is_generation() - Can an image have this name? */
bool image_dir_is_generation(const char *name, uint64_t *ret_generation);

/** image_dir_note() - Write @text into file @name of the image's folder @dir, for people: it is no part of what CRIU needs. Return:
 * 0; -errno. */
int image_dir_note(const char *dir, const char *name, const char *text, struct why *why);
