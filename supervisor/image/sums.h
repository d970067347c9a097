/* SPDX-License-Identifier: MIT */
/* Checksums of an image's files: made when it is taken, compared when it is used or verified. */
#pragma once

#include "supervisor/image/checksum_job.h"
#include "supervisor/image/image.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image_sums_spec {
	const struct image *image; /* borrowed during the call */
	const char *dir;           /* where its files lie: an image that is not published yet lies under its .tmp name */
	const size_t *which;       /* indices of the files to read, @n_which of them; NULL: all of them */
	size_t n_which;
	bool background;           /* nobody waits for it: the lowest priority there is */
	uint64_t timeout_us;
};

/** image_sums_start() - Read files of an image and sum them up, as checksum_start() does. The entries of @job are in the order of
 * @which. */
int image_sums_start(struct loop *loop, struct checksum_job *job, const struct image_sums_spec *spec,
		     void (*on_done)(struct checksum_job *job, int rc, const struct why *why), struct why *why);

/** image_file_compare() - Is what was read of file @i the same as what was written? Return: 0; -EBADMSG. */
int image_file_compare(const struct image *image, size_t i, const struct checksum_entry *entry, struct why *why);
