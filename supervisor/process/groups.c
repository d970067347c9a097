/* SPDX-License-Identifier: MIT */
/*
 * No controllers are enabled: a group that has some may hold no processes itself, and systemd 252 starts us in the very group that
 * is delegated. What is used is there without any: cgroup.procs, cgroup.kill, cgroup.events.
 */
#include "supervisor/process/groups.h"

#include "base/base.h"
#include "supervisor/machine/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "service-" /* no file that the kernel makes there is called so */
#define PATH_BYTES 160u

struct groups {
	char place[PATH_MAX];
	int fd;
};

struct groups *groups_new(void)
{
	struct groups *groups = calloc(1, sizeof(*groups));

	if (!groups)
		return NULL;
	groups->fd = cgroup_delegated(groups->place, sizeof(groups->place)) == 0 ?
			     open(groups->place, O_DIRECTORY | O_RDONLY | O_CLOEXEC) : -1;
	if (groups->fd >= 0)
		return groups;
	free(groups);
	return NULL;
}

const char *groups_place(const struct groups *groups)
{
	return groups ? groups->place : NULL;
}

/* @file: "": the group itself. */
static void path_of(const char *service, const char *file, char path[static PATH_BYTES])
{
	snprintf(path, PATH_BYTES, PREFIX "%s%s%s", service, *file ? "/" : "", file);
}

static int open_file(const struct groups *groups, const char *service, const char *file, int flags)
{
	char path[PATH_BYTES];

	path_of(service, file, path);
	return openat(groups->fd, path, flags | O_CLOEXEC);
}

int groups_open(const struct groups *groups, const char *service)
{
	char path[PATH_BYTES];

	if (!groups)
		return -1;
	path_of(service, "", path);
	if (mkdirat(groups->fd, path, 0755) < 0 && errno != EEXIST)
		log_warning("%s: no control group below %s: %s", service, groups->place, strerror(errno));
	return open_file(groups, service, "cgroup.procs", O_WRONLY);
}

void groups_join(const struct groups *groups, const char *service, pid_t pid)
{
	FD_CLEANUP int fd = groups_open(groups, service);
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", (int)pid);

	if (fd >= 0 && write(fd, text, (size_t)n) < 0)
		log_warning("%s: pid %d does not get into its control group: %s", service, (int)pid, strerror(errno));
}

static bool is_populated(const struct groups *groups, const char *service)
{
	FD_CLEANUP int fd = open_file(groups, service, "cgroup.events", O_RDONLY);
	char text[128];
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return strstr(text, "populated 1") != NULL;
}

/* It fails while a process in there has not been reaped: then the next end of the service removes it, or ours. */
static void remove_group(const struct groups *groups, const char *service)
{
	char path[PATH_BYTES];

	path_of(service, "", path);
	(void)unlinkat(groups->fd, path, AT_REMOVEDIR);
}

bool groups_end(const struct groups *groups, const char *service)
{
	bool any = groups && is_populated(groups, service);
	FD_CLEANUP int fd = any ? open_file(groups, service, "cgroup.kill", O_WRONLY) : -1;

	/* Kernels before 5.14 have no such file. */
	if (any && (fd < 0 || write(fd, "1", 1) != 1))
		log_warning("%s: what it has left running in its control group cannot be ended: %s", service, strerror(errno));
	else if (any)
		log_info("%s: what it has left running was ended", service);
	if (groups)
		remove_group(groups, service);
	return any;
}

struct groups *groups_free(struct groups *groups)
{
	DIR *dir;
	struct dirent *entry;

	if (!groups)
		return NULL;
	dir = fdopendir(groups->fd); /* owns it */
	while (dir && (entry = readdir(dir)))
		if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) == 0)
			(void)unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
	if (dir)
		closedir(dir);
	else
		fd_close(groups->fd);
	free(groups);
	return NULL;
}
