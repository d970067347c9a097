/* SPDX-License-Identifier: MIT */
/* One image as it is told: what lies on disk becomes an ImageInfo. */
#pragma once

#include "base/why.h"
#include "supervisor/image/checksum_job.h"
#include "supervisor/image/store.h"
#include "wire/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGE_INFO_CHECKS 5u

/* Strings point into the image's entry and in here. */
struct image_info {
	Upgraded__Wire__ImageInfo message;
	Upgraded__Wire__ImageFile *files, **file_list;
	char (*sums)[CHECKSUM_TEXT];
	Upgraded__Wire__ImagePin *pins, **pin_list;
	Upgraded__Wire__Check checks[IMAGE_INFO_CHECKS], *check_list[IMAGE_INFO_CHECKS];
	struct why details[IMAGE_INFO_CHECKS];
	char taken[32];
};

/** image_info_init() - What a list tells of @entry. @busy: a roll that is under way may need it. */
void image_info_init(struct image_info *info, const struct image_entry *entry, bool busy);
/** image_info_add_files(), image_info_add_pins() - And what only one image shows; left out if memory is. */
void image_info_add_files(struct image_info *info, const struct image *image);
void image_info_add_pins(struct image_info *info, const struct image_pins *pins);
/** image_info_add_check() - One finding of verify: @good if @rc is 0, else @bad. There is room for IMAGE_INFO_CHECKS. */
void image_info_add_check(struct image_info *info, const char *name, int rc, const struct why *bad, const char *good);
/** image_info_fit() - Cut it to what a message has room for that holds @used_bytes: the files go first, then pins by halves.
 * Return: the bytes it takes; 0: it has no room at all. */
size_t image_info_fit(struct image_info *info, size_t used_bytes);
void image_info_done(struct image_info *info);
