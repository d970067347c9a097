/* SPDX-License-Identifier: MIT */
#include "supervisor/image/space.h"

#include "base/why.h"
#include "supervisor/machine/procfs.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#define BESIDES_PAGES (4u << 20) /* registers, mappings, descriptors, the manifest, CRIU's log */

int image_space_needed(pid_t pid, uint64_t *ret_bytes, struct why *why)
{
	static const char *const kinds[] = { "RssAnon", "RssShmem", "VmSwap" };
	uint64_t total = BESIDES_PAGES, bytes;
	char path[32], text[8192];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	n = procfs_read(path, text, sizeof(text));
	if (n < 0)
		return why_errno(why, (int)n, "%s", path);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (procfs_bytes(text, kinds[i], &bytes) == 0)
			total += bytes;
	*ret_bytes = total;
	return 0;
}

int image_space_free(const char *dir, uint64_t *ret_bytes, struct why *why)
{
	char path[PATH_MAX];
	struct statvfs fs;

	if (strlen(dir) >= sizeof(path))
		return why_errno(why, -ENAMETOOLONG, "%s", dir);
	strcpy(path, dir);
	/* A folder that is still to be made will lie on the file system of the folder above it. */
	while (statvfs(path, &fs) < 0) {
		char *slash = strrchr(path, '/');

		if (errno != ENOENT || !slash || slash == path)
			return why_errno(why, -errno, "%s", path);
		*slash = '\0';
	}
	*ret_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	return 0;
}

int image_space_check(const char *dir, pid_t pid, struct why *why)
{
	uint64_t needed, available;
	int r = image_space_needed(pid, &needed, why);

	if (r == 0)
		r = image_space_free(dir, &available, why);
	if (r == 0 && available < needed)
		r = why_set(why, -ENOSPC, "an image of process %d takes up to %" PRIu64 " MiB, and %s has %" PRIu64 " MiB free",
			    (int)pid, (needed + (1u << 20) - 1) >> 20, dir, available >> 20);
	return r;
}
