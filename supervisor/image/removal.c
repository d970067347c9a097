/* SPDX-License-Identifier: MIT */
#include "supervisor/image/removal.h"

#include "base/child.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/why.h"
#include "supervisor/machine/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 1000u

/* One for all images: what is to be removed lies on disk, by its name. */
static struct {
	struct loop *loop; /* NULL: not begun */
	char *root;
	struct child child;
	bool again;        /* something was added since the child began */
} removal;

/* ---- the child ---- */

static bool is_gone(const char *name)
{
	size_t length = strlen(name), suffix = sizeof(REMOVAL_SUFFIX) - 1;

	return length > suffix && strcmp(name + length - suffix, REMOVAL_SUFFIX) == 0;
}

static void service_clear(int root, const char *service)
{
	int dir = openat(root, service, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *stream = dir < 0 ? NULL : fdopendir(dir);
	struct dirent *entry;

	if (!stream) {
		fd_close(dir);
		return;
	}
	while ((entry = readdir(stream)))
		if (is_gone(entry->d_name))
			(void)folder_remove_at(dirfd(stream), entry->d_name);
	closedir(stream);
}

static void root_clear(const char *path)
{
	DIR *stream = opendir(path);
	struct dirent *entry;

	while (stream && (entry = readdir(stream)))
		if (entry->d_name[0] != '.')
			service_clear(dirfd(stream), entry->d_name);
	if (stream)
		closedir(stream);
}

static void child_run(void *userdata)
{
	(void)userdata;
	root_clear(removal.root);
}

/* ---- the parent ---- */

static void child_start(void);

static void on_exit_removed(struct child *child)
{
	(void)child;
	if (removal.again)
		child_start();
}

static void child_start(void)
{
	const struct child_work work = { .run = child_run, .keep_fd = -1, .background = true };
	struct why why;

	if (removal.child.pidfd >= 0) {
		removal.again = true;
		return;
	}
	removal.again = false;
	if (child_fork(removal.loop, &removal.child, &work, on_exit_removed, &why) < 0)
		log_warning("images that were removed stay on disk until the next is: %s", why.text);
}

void removal_begin(struct loop *loop, const char *images_root)
{
	removal.root = strdup(images_root);
	if (!removal.root)
		return;
	removal.loop = loop;
	child_init(&removal.child);
	child_start();
}

void removal_end(void)
{
	if (!removal.loop)
		return;
	child_done(&removal.child);
	free(removal.root);
	removal.root = NULL;
	removal.loop = NULL;
	removal.again = false;
}

bool removal_is_over(void)
{
	return !removal.loop || removal.child.pidfd < 0;
}

int removal_of(const char *path, struct why *why)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char gone[PATH_MAX];
	int n, folder = (int)(name - path);

	if (!removal.loop)
		return folder_remove(path, why);
	for (unsigned i = 0; i < NAMES_MAX; i++) {
		n = i ? snprintf(gone, sizeof(gone), "%.*s.%s.%u" REMOVAL_SUFFIX, folder, path, name, i) :
			snprintf(gone, sizeof(gone), "%.*s.%s" REMOVAL_SUFFIX, folder, path, name);
		if (n < 0 || (size_t)n >= sizeof(gone))
			return why_errno(why, -ENAMETOOLONG, "%s", path);
		if (renameat2(AT_FDCWD, path, AT_FDCWD, gone, RENAME_NOREPLACE) == 0) {
			child_start();
			return 0;
		}
		if (errno == ENOENT)
			return 0;
		if (errno != EEXIST)
			return why_errno(why, -errno, "cannot remove %s", path);
	}
	return why_errno(why, -EEXIST, "cannot remove %s", path);
}
