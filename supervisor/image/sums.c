/* SPDX-License-Identifier: MIT */
#include "supervisor/image/sums.h"

#include "base/why.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int image_sums_start(struct loop *loop, struct checksum_job *job, const struct image_sums_spec *spec,
		     void (*on_done)(struct checksum_job *job, int rc, const struct why *why), struct why *why)
{
	const struct image *image = spec->image;
	size_t n = spec->which ? spec->n_which : image->n_files;
	const char **names = calloc(n + 1, sizeof(*names));
	struct checksum_spec files = { .dir = spec->dir, .names = names, .n = n, .background = spec->background,
				       .timeout_us = spec->timeout_us };
	int r;

	if (!names)
		return why_errno(why, -ENOMEM, "checksums");
	for (size_t i = 0; i < n; i++)
		names[i] = image->files[spec->which ? spec->which[i] : i].name;
	r = checksum_start(loop, job, &files, on_done, why);
	free(names);
	return r;
}

int image_file_compare(const struct image *image, size_t i, const struct checksum_entry *entry, struct why *why)
{
	const struct image_file *file = &image->files[i];

	if (entry->rc < 0)
		return why_set(why, -EBADMSG, "%s/%s cannot be read: %s", image->path, file->name, strerror(-entry->rc));
	if (entry->size_bytes != file->size_bytes)
		return why_set(why, -EBADMSG, "%s/%s is damaged: it has %" PRIu64 " bytes and was written with %" PRIu64,
			       image->path, file->name, entry->size_bytes, file->size_bytes);
	if (file->is_summed && memcmp(&file->sum, &entry->sum, sizeof(file->sum)) != 0)
		return why_set(why, -EBADMSG, "%s/%s is damaged: its checksum is not the one it was written with", image->path,
			       file->name);
	return 0;
}
