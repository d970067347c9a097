/* SPDX-License-Identifier: MIT */
/* A folder of one's own, and the end of folders whose owner did not come to remove them. An owner holds a lock on the file
 * `owner` in its folder, which the kernel lets go however the owner dies; pids alone would not do, since several jails that
 * share a checkout have the same ones. */
#include "tests/rig/private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIES 100

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

static void remove_tree(const char *path)
{
	if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) < 0)
		fprintf(stderr, "rig: cannot remove %s: %s\n", path, strerror(errno));
}

static void remove_if_stale(const char *runs, const char *name)
{
	char path[PATH_MAX];
	int lock;

	snprintf(path, sizeof(path), "%s/%s/owner", runs, name);
	lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0)
		return;
	if (flock(lock, LOCK_EX | LOCK_NB) == 0) {
		snprintf(path, sizeof(path), "%s/%s", runs, name);
		remove_tree(path);
	}
	fd_close(lock);
}

static void remove_stale(const char *runs)
{
	DIR *dir = opendir(runs);
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			remove_if_stale(runs, entry->d_name);
	closedir(dir);
}

/* Another namespace may have a process of the same number, hence the count. */
static int make_new(struct rig *rig, const char *runs, const char *name)
{
	for (int i = 1; i <= TRIES; i++) {
		char suffix[16] = "";

		if (i > 1)
			snprintf(suffix, sizeof(suffix), ".%d", i);
		int n = snprintf(rig->folder, sizeof(rig->folder), "%s/%s-%d%s", runs, name, (int)getpid(), suffix);

		if (n < 0 || (size_t)n >= sizeof(rig->folder))
			return why_set(&rig->why, -ENAMETOOLONG, "%s: the checkout lies too deep", runs);
		if (mkdir(rig->folder, 0755) == 0)
			return 0;
		if (errno != EEXIST)
			break;
	}
	int rc = why_errno(&rig->why, -errno, "%s", rig->folder);
	rig->folder[0] = '\0';
	return rc;
}

static int make_parts(struct rig *rig)
{
	static const char *const parts[] = { "conf", "state" };
	char path[PATH_MAX];

	rig->folder_lock = open(log_path(rig, "owner", path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (rig->folder_lock < 0 || flock(rig->folder_lock, LOCK_EX | LOCK_NB) < 0)
		return why_errno(&rig->why, -errno, "%s", path);
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		if (mkdir(log_path(rig, parts[i], path), 0755) < 0)
			return why_errno(&rig->why, -errno, "%s", path);
	log_path(rig, "control", rig->control);
	return 0;
}

int folder_make(struct rig *rig, const char *name)
{
	char runs[PATH_MAX / 4 + 8];
	int guard, rc;

	snprintf(runs, sizeof(runs), "%s/run", rig->build);
	if (mkdir(runs, 0755) < 0 && errno != EEXIST)
		return why_errno(&rig->why, -errno, "%s", runs);
	/* Between its making and its lock a folder looks stale: nobody looks meanwhile. */
	guard = open(runs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (guard < 0 || flock(guard, LOCK_EX) < 0) {
		rc = why_errno(&rig->why, -errno, "%s", runs);
		fd_close(guard);
		return rc;
	}
	remove_stale(runs);
	rc = make_new(rig, runs, name);
	if (rc == 0)
		rc = make_parts(rig);
	fd_close(guard);
	return rc;
}

void folder_remove(struct rig *rig)
{
	if (rig->folder[0])
		remove_tree(rig->folder);
	rig->folder_lock = fd_close(rig->folder_lock);
}
