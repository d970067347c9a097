/* SPDX-License-Identifier: MIT */
/* Shared by image.c, take.c and restore.c alone. */
#pragma once

#include "supervisor/image/image.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** image_new() - Make one that has nothing but its paths. Return: 0; -EINVAL; -ENAMETOOLONG; -ENOMEM. */
int image_new(const char *images_root, const char *service, uint64_t generation, struct image **ret_image, struct why *why);

/** image_tmp_path() - Write the path at which @image lies while it is not whole. */
void image_tmp_path(const struct image *image, char *buf, size_t size);

/** image_job_begin() - Set @job up for a run. Return: 0; -EBUSY: one is under way. */
int image_job_begin(struct image_job *job, struct loop *loop, bool taking, uint64_t timeout_us, struct why *why);

/** image_job_finish() - End the run and tell the owner. @job may be gone when this returns. */
void image_job_finish(struct image_job *job, int rc, const struct why *why);
