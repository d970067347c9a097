/* SPDX-License-Identifier: MIT */
#include "supervisor/machine/safe_path.h"

#include "base/fd.h"
#include "base/why.h"
#include "supervisor/machine/procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

bool safe_user(uid_t uid)
{
	struct stat st;

	/* Whoever owns "/" can lead every path astray. In a user namespace in which root is not mapped that is a number for all
	 * whom the namespace does not know. */
	return uid == 0 || uid == geteuid() || (stat("/", &st) == 0 && st.st_uid == uid);
}

bool safe_process(int proc)
{
	unsigned ids[4]; /* real, effective, saved, of the file system */
	char text[1024];
	const char *line;

	(void)procfs_read_at(proc, "status", text, sizeof(text));
	line = strstr(text, "\nUid:");
	if (!line || sscanf(line, "\nUid: %u %u %u %u", &ids[0], &ids[1], &ids[2], &ids[3]) != 4)
		return false;
	return safe_user(ids[0]) && safe_user(ids[1]) && safe_user(ids[2]) && safe_user(ids[3]);
}

/* ---- file systems that a program serves ---- */

void safe_served_read(struct safe_served *ret)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t room = 0;

	ret->n = 0;
	while (file && ret->n < SAFE_SERVED_MAX && getline(&line, &room, file) > 0) {
		const char *type = strstr(line, " - ");

		/* fuseblk is a disk that root has mounted. */
		if (type && strncmp(type + 3, "fuse", 4) == 0 && strncmp(type + 3, "fuseblk", 7) != 0)
			ret->mount[ret->n++] = strtoul(line, NULL, 10);
	}
	free(line);
	if (file)
		fclose(file);
}

bool safe_served_has(const struct safe_served *served, unsigned long mount)
{
	bool found = served->n == SAFE_SERVED_MAX;

	for (size_t i = 0; i < served->n && !found; i++)
		found = served->mount[i] == mount;
	return found;
}

unsigned long safe_mount_of(int fd)
{
	uint64_t mount, inode;

	return procfs_fd(getpid(), fd, &mount, &inode) == 0 ? (unsigned long)mount : 0;
}

void safe_paths_init(struct safe_paths *paths)
{
	*paths = (struct safe_paths){ .folder_fd = -1 };
	safe_served_read(&paths->served);
}

void safe_paths_done(struct safe_paths *paths)
{
	free(paths->folder);
	paths->folder = NULL;
	paths->folder_fd = fd_close(paths->folder_fd);
}

/* ---- step by step ---- */

struct walk {
	struct safe_paths *paths;
	const char *path;
	size_t length;       /* of the part of @path that was gone */
	int at;              /* O_PATH; owned */
	unsigned long mount; /* that @at is on */
	struct stat st;      /* of @at */
	bool shared;         /* the folder of @at is sticky, and others may write in it */
	struct why *why;
};

static bool others_may_write(const struct stat *st)
{
	/* With an access control list the bits of the group are its mask: who is named in it has no more than that. */
	return st->st_mode & (S_IWGRP | S_IWOTH);
}

/* May another user put something else in the place of an entry of the folder @walk->at? Then -EPERM. */
static int folder_check(const struct walk *walk, bool entry_is_ours)
{
	int length = walk->length ? (int)walk->length : 1;

	if (!safe_user(walk->st.st_uid))
		return why_set(walk->why, -EPERM, "the folder %.*s belongs to user %u, who may put something else in its place",
			       length, walk->path, (unsigned)walk->st.st_uid);
	if (others_may_write(&walk->st) && !((walk->st.st_mode & S_ISVTX) && entry_is_ours))
		return why_set(walk->why, -EPERM, "in the folder %.*s (mode %o) others than its owner may put something else in "
			       "its place", length, walk->path, walk->st.st_mode & 07777);
	return 0;
}

/* @length: of the path up to and with @name. */
static int step(struct walk *walk, const char *name, size_t length)
{
	const struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS };
	struct stat st;
	unsigned long mount;
	int r, fd = (int)syscall(SYS_openat2, walk->at, name, &how, sizeof(how));

	if (fd < 0)
		return why_errno(walk->why, -errno, "%.*s", (int)length, walk->path);
	mount = safe_mount_of(fd);
	if (mount != walk->mount && safe_served_has(&walk->paths->served, mount)) {
		fd_close(fd);
		return why_set(walk->why, -EPERM, "%.*s is a file system that a program serves (FUSE)", (int)length, walk->path);
	}
	r = fstat(fd, &st) < 0 ? why_errno(walk->why, -errno, "%.*s", (int)length, walk->path) : 0;
	if (r == 0)
		r = folder_check(walk, safe_user(st.st_uid));
	if (r == 0 && S_ISLNK(st.st_mode))
		r = why_set(walk->why, -ELOOP, "%.*s is a symbolic link now", (int)length, walk->path);
	walk->shared = others_may_write(&walk->st);
	fd_close(walk->at);
	walk->at = fd;
	walk->st = st;
	walk->mount = mount;
	walk->length = length;
	return r;
}

/* Is @path in the folder that the path before was in? */
static bool walk_from_folder(struct walk *walk)
{
	const struct safe_paths *paths = walk->paths;
	size_t length = paths->folder ? strlen(paths->folder) : 0;

	if (!length || strncmp(walk->path, paths->folder, length) != 0 || walk->path[length] != '/' ||
	    strchr(walk->path + length + 1, '/'))
		return false;
	walk->at = fcntl(paths->folder_fd, F_DUPFD_CLOEXEC, 0);
	walk->st = paths->folder_st;
	walk->mount = paths->folder_mount;
	walk->length = length;
	return walk->at >= 0;
}

static void walk_note_folder(const struct walk *walk)
{
	struct safe_paths *paths = walk->paths;
	int fd = fcntl(walk->at, F_DUPFD_CLOEXEC, 0);
	char *folder = strndup(walk->path, walk->length);

	safe_paths_done(paths);
	paths->folder = folder;
	paths->folder_fd = fd;
	paths->folder_st = walk->st;
	paths->folder_mount = walk->mount;
	if (fd < 0 || !folder)
		safe_paths_done(paths);
}

static int walk_begin(struct walk *walk, struct safe_paths *paths, const char *path, struct why *why)
{
	*walk = (struct walk){ .paths = paths, .path = path, .at = -1, .why = why };
	if (*path != '/' || strlen(path) >= PATH_MAX)
		return why_set(why, -EINVAL, "%.100s is no absolute path", path);
	if (walk_from_folder(walk))
		return 0;
	walk->at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (walk->at < 0 || fstat(walk->at, &walk->st) < 0)
		return why_errno(why, -errno, "/");
	walk->mount = safe_mount_of(walk->at);
	return 0;
}

static bool is_plain(const char *name, size_t length)
{
	bool is_dots = (length == 1 && name[0] == '.') || (length == 2 && name[0] == '.' && name[1] == '.');

	return length > 0 && length <= NAME_MAX && !is_dots;
}

/* Go on to the end of @path, or with @folder_only to the folder it is in. */
static int walk_along(struct walk *walk, bool folder_only)
{
	const char *at = walk->path + walk->length + 1;
	char name[NAME_MAX + 1];
	int r = 0;

	if (!*at && !walk->length)
		return 0; /* "/" itself */
	for (;;) {
		size_t length = strcspn(at, "/");
		bool last = at[length] == '\0';

		if (!is_plain(at, length))
			return why_set(walk->why, -EINVAL, "%.100s is no plain path", walk->path);
		if (last && walk->length)
			walk_note_folder(walk);
		if (last && folder_only)
			return 0;
		memcpy(name, at, length);
		name[length] = '\0';
		r = step(walk, name, (size_t)(at - walk->path) + length);
		if (r < 0 || last)
			return r;
		at += length + 1;
	}
}

int safe_path_open(struct safe_paths *paths, const char *path, int *ret_fd, bool *ret_shared, struct why *why)
{
	struct walk walk;
	int r = walk_begin(&walk, paths, path, why);

	if (r == 0)
		r = walk_along(&walk, false);
	if (r < 0) {
		fd_close(walk.at);
		return r;
	}
	*ret_fd = walk.at;
	if (ret_shared)
		*ret_shared = walk.shared;
	return 0;
}

int safe_path_folder(struct safe_paths *paths, const char *path, bool may_be_shared, struct why *why)
{
	struct walk walk;
	int r = walk_begin(&walk, paths, path, why);

	if (r == 0)
		r = walk_along(&walk, true);
	if (r == 0 && !S_ISDIR(walk.st.st_mode))
		r = why_errno(why, -ENOTDIR, "%.*s", (int)walk.length, path);
	if (r == 0)
		r = folder_check(&walk, may_be_shared);
	fd_close(walk.at);
	return r;
}
