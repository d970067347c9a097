/* SPDX-License-Identifier: MIT */
/*
 * A group may use what each group above it may, so the one with the least room decides. In a container /proc/PID/cgroup may tell a
 * path that is not below the mount; then the mount itself is the group.
 */
#include "supervisor/machine/cgroup.h"

#include "supervisor/machine/pressure.h"
#include "supervisor/machine/procfs.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

struct names {
	const char *limits[2];
	const char *usage, *cached;
};

static const struct names names_of[] = {
	[1] = { { "memory.limit_in_bytes" }, "memory.usage_in_bytes", "total_inactive_file " },
	[2] = { { "memory.max", "memory.high" }, "memory.current", "inactive_file " },
};

static int text_read(const char *folder, const char *name, char *text, size_t size)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/%s", folder, name);

	return n > 0 && (size_t)n < sizeof(path) && procfs_read(path, text, size) > 0 ? 0 : -ENODATA;
}

static int number_read(const char *folder, const char *name, uint64_t *ret)
{
	char text[64], *end;

	if (text_read(folder, name, text, sizeof(text)) < 0 || text[0] < '0' || text[0] > '9')
		return -ENODATA; /* "max": no limit */
	*ret = strtoull(text, &end, 10);
	return 0;
}

static uint64_t cached_read(const char *folder, const char *key)
{
	char text[8192];
	const char *line;

	if (text_read(folder, "memory.stat", text, sizeof(text)) < 0)
		return 0;
	for (line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (strncmp(line, key, strlen(key)) == 0)
			return strtoull(line + strlen(key), NULL, 10);
	return 0;
}

/* One group. Return: true if it has a limit. */
static bool group_read(const char *folder, const struct names *names, struct cgroup_memory *ret)
{
	uint64_t limit, used, cached;
	bool any = false;

	if (number_read(folder, names->usage, &used) < 0)
		return false;
	for (size_t i = 0; i < 2 && names->limits[i]; i++) {
		/* Version 1 has no word for "no limit", but a number that is larger than any memory. */
		if (number_read(folder, names->limits[i], &limit) < 0 || limit > INT64_MAX / 2 || (any &&
												   limit >= ret->limit_bytes))
			continue;
		ret->limit_bytes = limit;
		ret->file = names->limits[i];
		any = true;
	}
	cached = any ? cached_read(folder, names->cached) : 0;
	ret->used_bytes = used > cached ? used - cached : 0;
	ret->free_bytes = ret->limit_bytes > ret->used_bytes ? ret->limit_bytes - ret->used_bytes : 0;
	snprintf(ret->path, sizeof(ret->path), "%.*s", (int)sizeof(ret->path) - 1, folder);
	return any;
}

/* ---- one group after the other, up to the mount ---- */

struct climb {
	char folder[PATH_MAX];
	size_t top; /* the length of the mount's path */
	bool over;
};

static int climb_begin(struct climb *climb, const char *mount, const char *path)
{
	struct stat st;
	int n = snprintf(climb->folder, sizeof(climb->folder), "%s%s", mount, strcmp(path, "/") == 0 ? "" : path);

	if (n < 0 || (size_t)n >= sizeof(climb->folder))
		return -ENODATA;
	if (stat(climb->folder, &st) < 0)
		snprintf(climb->folder, sizeof(climb->folder), "%s", mount);
	climb->top = strlen(mount);
	climb->over = false;
	return 0;
}

static void climb_up(struct climb *climb)
{
	char *slash = strrchr(climb->folder, '/');

	if (!slash || slash == climb->folder || (size_t)(slash - climb->folder) < climb->top)
		climb->over = true;
	else
		*slash = '\0';
}

int cgroup_memory_at(const char *mount, const char *path, int version, struct cgroup_memory *ret)
{
	struct climb climb;
	bool any = false;
	int r = climb_begin(&climb, mount, path);

	for (; r == 0 && !climb.over; climb_up(&climb)) {
		struct cgroup_memory group = { 0 };

		if (group_read(climb.folder, &names_of[version], &group) && (!any || group.free_bytes < ret->free_bytes)) {
			*ret = group;
			any = true;
		}
	}
	return any ? 0 : -ENODATA;
}

int cgroup_stalled_at(const char *mount, const char *path, struct cgroup_stalled *ret)
{
	struct climb climb;
	bool any = false;
	int r = climb_begin(&climb, mount, path);

	for (; r == 0 && !climb.over; climb_up(&climb)) {
		char text[512];
		unsigned percent;

		if (text_read(climb.folder, "memory.pressure", text, sizeof(text)) < 0 || pressure_stalled(text, &percent) < 0 ||
		    (any && percent <= ret->percent))
			continue;
		ret->percent = percent;
		snprintf(ret->path, sizeof(ret->path), "%.*s", (int)sizeof(ret->path) - 1, climb.folder);
		any = true;
	}
	return any ? 0 : -ENODATA;
}

/* ---- which groups those of a process are ---- */

/* Where the hierarchy of memory is mounted. */
static int mount_find(char *ret, size_t size, int version)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, point[PATH_MAX];
	size_t room = 0;
	int r = -ENODATA;

	while (file && r < 0 && getline(&line, &room, file) > 0) {
		const char *type = strstr(line, " - ");
		bool fits = type && (version == 2 ? strncmp(type, " - cgroup2 ", 11) == 0 :
				     strncmp(type, " - cgroup ", 10) == 0 && strstr(type, "memory"));

		if (!fits || sscanf(line, "%*s %*s %*s %*s %4095s", point) != 1)
			continue;
		snprintf(ret, size, "%s", point);
		r = 0;
	}
	free(line);
	if (file)
		fclose(file);
	return r;
}

/* The path of the group in /proc/PID/cgroup: "0::PATH", and in version 1 "N:...memory...:PATH". Cuts @text. */
static const char *group_find(char *text, int version)
{
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = '\0';
		if (version == 2 ? strncmp(line, "0:", 2) == 0 && !controllers[1] : strstr(controllers, "memory") != NULL)
			return path;
	}
	return NULL;
}

/* The mount and the group of a process in one version's hierarchy. @text: scratch, which *@ret_group points into. */
static int find(pid_t pid, int version, char *text, size_t size, char *mount, const char **ret_group)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	if (procfs_read(path, text, size) <= 0 || !(*ret_group = group_find(text, version)))
		return -ENODATA;
	return mount_find(mount, PATH_MAX, version);
}

int cgroup_memory(pid_t pid, struct cgroup_memory *ret)
{
	char text[4096], mount[PATH_MAX];
	const char *group;
	int r = -ENODATA;

	for (int version = 2; r < 0 && version >= 1; version--)
		if (find(pid, version, text, sizeof(text), mount, &group) == 0)
			r = cgroup_memory_at(mount, group, version, ret);
	return r;
}

int cgroup_stalled(pid_t pid, struct cgroup_stalled *ret)
{
	char text[4096], mount[PATH_MAX];
	const char *group;

	return find(pid, 2, text, sizeof(text), mount, &group) < 0 ? -ENODATA : cgroup_stalled_at(mount, group, ret);
}

/* systemd marks so what it has delegated; one of both is there, by its version. */
static bool is_delegated(const char *folder)
{
	static const char *const marks[] = { "user.delegate", "trusted.delegate" };
	char value[8];

	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (getxattr(folder, marks[i], value, sizeof(value)) == 1 && value[0] == '1')
			return true;
	return false;
}

int cgroup_delegated(char *ret, size_t size)
{
	static const char leaf[] = "/supervisor";
	char text[4096], mount[PATH_MAX];
	const char *group;
	size_t n;

	if (find(getpid(), 2, text, sizeof(text), mount, &group) < 0)
		return -ENODATA;
	n = (size_t)snprintf(ret, size, "%s%s", mount, group);
	if (n >= size)
		return -ENODATA;
	if (is_delegated(ret))
		return 0;
	if (n < sizeof(leaf) || strcmp(ret + n - strlen(leaf), leaf) != 0)
		return -ENODATA;
	ret[n - strlen(leaf)] = '\0';
	return is_delegated(ret) ? 0 : -ENODATA;
}
