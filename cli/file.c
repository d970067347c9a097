/* SPDX-License-Identifier: MIT */
#include "cli/file.h"

#include "base/fd.h"
#include "base/why.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int file_create(const char *path, struct file *ret_file, struct why *why)
{
	struct file file = { .fd = -1, .path = path };

	if (strcmp(path, "-") == 0) {
		file.fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
		if (file.fd < 0)
			return why_errno(why, -errno, "standard output");
		*ret_file = file;
		return 0;
	}
	if (asprintf(&file.building, "%s.XXXXXX", path) < 0)
		return why_errno(why, -ENOMEM, "%s", path);
	file.fd = mkostemp(file.building, O_CLOEXEC);
	if (file.fd < 0) {
		int error = -errno;

		free(file.building);
		return why_errno(why, error, "%s: cannot be written beside it", path);
	}
	*ret_file = file;
	return 0;
}

/* The new name must survive a power failure, as the contents do. */
static int sync_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int r = fd >= 0 && fsync(fd) == 0 ? 0 : -errno;

	fd_close(fd);
	free(folder);
	return r;
}

int file_publish(struct file *file, struct why *why)
{
	int r = 0;

	if (file->building) {
		if (fsync(file->fd) < 0 || rename(file->building, file->path) < 0) {
			r = why_errno(why, -errno, "%s", file->path);
			file_discard(file);
			return r;
		}
		free(file->building);
		file->building = NULL;
		r = sync_folder(file->path);
		if (r < 0)
			why_errno(why, r, "%s: its folder", file->path);
	}
	file->fd = fd_close(file->fd);
	return r;
}

void file_discard(struct file *file)
{
	file->fd = fd_close(file->fd);
	if (file->building)
		unlink(file->building);
	free(file->building);
	file->building = NULL;
}
