/* SPDX-License-Identifier: MIT */
#include "supervisor/image/dir.h"

#include "base/fd.h"
#include "base/why.h"
#include "supervisor/image/image.h"
#include "supervisor/image/manifest.h"
#include "supervisor/image/removal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int file_add(struct image *image, const char *name, uint64_t size_bytes, struct why *why)
{
	struct image_file *more;

	if (image->n_files == IMAGE_FILES_MAX)
		return why_set(why, -E2BIG, "more than %u files", IMAGE_FILES_MAX);
	more = reallocarray(image->files, image->n_files + 1, sizeof(*more));
	if (!more)
		return why_errno(why, -ENOMEM, "files of an image");
	image->files = more;
	more[image->n_files] = (struct image_file){ .name = strdup(name), .size_bytes = size_bytes };
	if (!more[image->n_files].name)
		return why_errno(why, -ENOMEM, "files of an image");
	image->n_files++;
	return 0;
}

int image_dir_list(const char *path, struct image *image, struct why *why)
{
	DIR *stream = opendir(path);
	struct dirent *entry;
	struct stat st;
	int r = 0;

	if (!stream)
		return why_errno(why, -errno, "folder %s", path);
	while (r == 0 && (entry = readdir(stream)))
		if (fstatat(dirfd(stream), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
		    strcmp(entry->d_name, MANIFEST_NAME) != 0)
			r = file_add(image, entry->d_name, (uint64_t)st.st_size, why);
	closedir(stream);
	return r;
}

bool image_dir_has(const char *path, const char *name)
{
	char file[PATH_MAX];
	struct stat st;
	int n = snprintf(file, sizeof(file), "%s/%s", path, name);

	return n > 0 && (size_t)n < sizeof(file) && lstat(file, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
}

int image_dir_note(const char *dir, const char *name, const char *text, struct why *why)
{
	FD_CLEANUP int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FD_CLEANUP int file = folder < 0 ? -1 : openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r = file < 0 ? -errno : fd_write_all(file, text, strlen(text), 0);

	return r < 0 ? why_errno(why, r, "%s/%s", dir, name) : 0;
}

static bool is_unfinished(const char *name)
{
	static const char suffix[] = ".tmp";
	size_t length = strlen(name);

	return length >= sizeof(suffix) && strcmp(name + length - (sizeof(suffix) - 1), suffix) == 0;
}

int image_dir_drop(const char *path, struct why *why)
{
	char tmp[PATH_MAX];
	struct stat st;
	int n = snprintf(tmp, sizeof(tmp), "%s.tmp", path), r;

	if (n < 0 || (size_t)n >= sizeof(tmp))
		return why_errno(why, -ENAMETOOLONG, "%s", path);
	r = removal_of(tmp, why);
	if (r == 0 && lstat(path, &st) < 0)
		r = why_errno(why, -errno, "cannot remove %s", path);
	/* By its unfinished name first: a half removed one is no image. */
	if (r == 0 && rename(path, tmp) < 0)
		r = why_errno(why, -errno, "cannot remove %s", path);
	return r < 0 ? r : removal_of(tmp, why);
}

bool image_dir_is_generation(const char *name, uint64_t *ret_generation)
{
	char *end;
	unsigned long long number;

	if (*name < '1' || *name > '9')
		return false;
	errno = 0;
	number = strtoull(name, &end, 10);
	if (errno || *end)
		return false;
	*ret_generation = number;
	return true;
}

static int gc_service(const char *parent, int root, const char *service)
{
	int dir = openat(root, service, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *entry;
	DIR *stream;
	int n = 0;

	if (dir < 0)
		return errno == ENOTDIR || errno == ELOOP || errno == ENOENT ? 0 : -errno;
	stream = fdopendir(dir);
	if (!stream) {
		n = -errno;
		fd_close(dir);
		return n;
	}
	while (n >= 0 && (entry = readdir(stream))) {
		char path[PATH_MAX];
		int length, r;

		if (!is_unfinished(entry->d_name))
			continue;
		length = snprintf(path, sizeof(path), "%s/%s/%s", parent, service, entry->d_name);
		r = length < 0 || (size_t)length >= sizeof(path) ? -ENAMETOOLONG : removal_of(path, NULL);
		n = r < 0 ? r : n + 1;
	}
	closedir(stream);
	/* Where nothing is left, not even a log that tells why an image failed. */
	(void)unlinkat(root, service, AT_REMOVEDIR);
	return n;
}

int image_dir_gc(const char *parent, struct why *why)
{
	DIR *stream = opendir(parent);
	struct dirent *entry;
	int total = 0;

	if (!stream)
		return errno == ENOENT ? 0 : why_errno(why, -errno, "folder of images %s", parent);
	while (total >= 0 && (entry = readdir(stream))) {
		int n;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		n = gc_service(parent, dirfd(stream), entry->d_name);
		total = n < 0 ? why_errno(why, n, "left-over images in %s/%s", parent, entry->d_name) : total + n;
	}
	closedir(stream);
	return total;
}
