/* SPDX-License-Identifier: MIT */
#include "supervisor/machine/folder.h"

#include "base/fd.h"
#include "base/trust.h"
#include "base/why.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_AGAIN_MS 10u
#define DEPTH_MAX 8u /* what we make is flat; this bounds what somebody else may have put there */

int folder_make(const char *path, struct why *why)
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

int folder_claim(const char *path, mode_t mode, struct why *why)
{
	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return why_errno(why, -errno, "%s", path);
	return trust_path(path, why);
}

/* Return: 0 or -errno. */
static int lock_within(int fd, unsigned patience_ms)
{
	const struct timespec moment = { .tv_nsec = LOCK_AGAIN_MS * 1000000 };

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK || patience_ms < LOCK_AGAIN_MS)
			return -errno;
		patience_ms -= LOCK_AGAIN_MS;
		nanosleep(&moment, NULL);
	}
	return 0;
}

int folder_lock(const char *dir, const char *name, unsigned patience_ms, int *ret_lock, struct why *why)
{
	char path[PATH_MAX];
	FD_CLEANUP int fd = -1;
	int r;

	*ret_lock = -1;
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return why_errno(why, -ENAMETOOLONG, "%s", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return why_errno(why, -errno, "%s", path);
	r = lock_within(fd, patience_ms);
	if (r < 0)
		return why_errno(why, r, "%s: another upgraded runs in %s, or has not ended yet", path, dir);
	*ret_lock = fd;
	fd = -1;
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

int folder_remove_at(int parent, const char *name)
{
	return remove_at(parent, name, DEPTH_MAX);
}

int folder_remove(const char *path, struct why *why)
{
	int r = folder_remove_at(AT_FDCWD, path);

	return r < 0 ? why_errno(why, r, "cannot remove %s", path) : 0;
}

int folder_size(const char *path, uint64_t *ret_size_bytes, struct why *why)
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
