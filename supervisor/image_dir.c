/* SPDX-License-Identifier: MIT */
#include "supervisor/image_dir.h"

#include "base/fd.h"
#include "base/why.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 8u /* CRIU's images are flat; this only bounds what somebody else may have put there */

int image_dir_make(const char *path, struct why *why)
{
	char part[PATH_MAX];
	size_t length = strlen(path);

	if (length == 0 || length >= sizeof(part))
		return why_set(why, -ENAMETOOLONG, "folder %.60s...: the path is empty or too long", path);
	for (size_t i = 1; i <= length; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return why_errno(why, -errno, "cannot make folder %s", part);
	}
	return 0;
}

static bool is_dot(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int remove_at(int parent, const char *name, unsigned depth);

static int remove_entries(int dir, unsigned depth)
{
	DIR *stream = fdopendir(dir);
	struct dirent *entry;
	int r = 0;

	if (!stream) {
		r = -errno;
		fd_close(dir);
		return r;
	}
	while (r == 0 && (entry = readdir(stream)))
		if (!is_dot(entry->d_name))
			r = remove_at(dirfd(stream), entry->d_name, depth);
	closedir(stream);
	return r;
}

static int remove_at(int parent, const char *name, unsigned depth)
{
	int dir, r;

	if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (depth == 0)
		return -ELOOP;
	dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	r = remove_entries(dir, depth - 1);
	if (r == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		r = -errno;
	return r;
}

int image_dir_remove(const char *path, struct why *why)
{
	int r = remove_at(AT_FDCWD, path, DEPTH_MAX);

	return r < 0 ? why_errno(why, r, "cannot remove %s", path) : 0;
}

int image_dir_size(const char *path, uint64_t *ret_size_bytes, struct why *why)
{
	DIR *stream = opendir(path);
	struct dirent *entry;
	struct stat st;
	uint64_t size = 0;

	if (!stream)
		return why_errno(why, -errno, "folder %s", path);
	while ((entry = readdir(stream)))
		if (fstatat(dirfd(stream), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			size += (uint64_t)st.st_size;
	closedir(stream);
	*ret_size_bytes = size;
	return 0;
}

int image_dir_has(const char *path, const char *name)
{
	char file[PATH_MAX];
	struct stat st;
	int n = snprintf(file, sizeof(file), "%s/%s", path, name);

	return n > 0 && (size_t)n < sizeof(file) && lstat(file, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
}

static bool is_unfinished(const char *name)
{
	static const char suffix[] = ".tmp";
	size_t length = strlen(name);

	return length >= sizeof(suffix) && strcmp(name + length - (sizeof(suffix) - 1), suffix) == 0;
}

static bool is_generation(const char *name)
{
	return *name && name[strspn(name, "0123456789")] == 0;
}

static int gc_service(int root, const char *service, bool whole)
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
		int r;

		if (!is_unfinished(entry->d_name) && !(whole && is_generation(entry->d_name)))
			continue;
		r = remove_at(dirfd(stream), entry->d_name, DEPTH_MAX);
		n = r < 0 ? r : n + 1;
	}
	closedir(stream);
	return n;
}

int image_dir_gc(const char *parent, bool whole, struct why *why)
{
	DIR *stream = opendir(parent);
	struct dirent *entry;
	int total = 0;

	if (!stream)
		return errno == ENOENT ? 0 : why_errno(why, -errno, "folder of images %s", parent);
	while (total >= 0 && (entry = readdir(stream))) {
		int n;

		if (is_dot(entry->d_name))
			continue;
		n = gc_service(dirfd(stream), entry->d_name, whole);
		total = n < 0 ? why_errno(why, n, "left-over images in %s/%s", parent, entry->d_name) : total + n;
	}
	closedir(stream);
	return total;
}
