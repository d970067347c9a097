/* SPDX-License-Identifier: MIT */
/* Shared by image*.c alone. */
#pragma once

#include "supervisor/image/image.h"

#include <stddef.h>

/** image_new() - One with nothing but its paths. Return: 0; -EINVAL; -ENAMETOOLONG; -ENOMEM. */
int image_new(const char *images_root, const char *service, uint64_t generation, struct image **ret_image, struct why *why);

/** image_tmp_path() - Where it lies while it is not whole. */
void image_tmp_path(const struct image *image, char *buf, size_t size);

/** image_job_begin() - Return: 0, -EBUSY. */
int image_job_begin(struct image_job *job, struct loop *loop, bool taking, uint64_t timeout_us, struct why *why);

/** image_job_finish() - Tell the owner. @job may be gone when this returns. */
void image_job_finish(struct image_job *job, int rc, const struct why *why);

/**
 * image_sums_start() - checksum_start() for files of @image.
 * @spec:  dir, background and timeout are set; the names are filled in.
 * @which: indices into the image's files, @n of them; NULL: the first @n.
 */
int image_sums_start(const struct image *image, struct loop *loop, struct checksum_job *sums, struct checksum_spec spec,
		     const size_t *which, size_t n,
		     void (*on_done)(struct checksum_job *sums, int rc, const struct why *why), struct why *why);

/** image_file_compare() - Is what was read of a file what was written? Return: 0; -EBADMSG. */
int image_file_compare(const struct image *image, size_t i, const struct checksum_entry *entry, struct why *why);
