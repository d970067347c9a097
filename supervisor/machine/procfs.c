/* SPDX-License-Identifier: MIT */
#include "supervisor/machine/procfs.h"

#include "base/fd.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ssize_t procfs_read(const char *path, char *buf, size_t size)
{
	FD_CLEANUP int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	if (n < 0)
		n = -errno;
	buf[n > 0 ? n : 0] = '\0';
	return n;
}

int procfs_bytes(const char *text, const char *name, uint64_t *ret_bytes)
{
	size_t length = strlen(name);
	uint64_t kib;

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, length) != 0 || line[length] != ':')
			continue;
		if (sscanf(line + length + 1, "%" SCNu64 " kB", &kib) != 1 || kib > UINT64_MAX >> 10)
			return -ENODATA;
		*ret_bytes = kib << 10;
		return 0;
	}
	return -ENODATA;
}

/* What stands behind the name in a process's stat: the state, the parent, the group, ... Return: NULL: there is no such process. */
static const char *behind_name(pid_t pid, char *text, size_t size)
{
	char path[64];
	const char *end;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (procfs_read(path, text, size) <= 0)
		return NULL;
	end = strrchr(text, ')'); /* the last one: the process's name before it may hold others */
	return end && end[1] == ' ' ? end + 2 : NULL;
}

char procfs_state(pid_t pid)
{
	char text[512];
	const char *state = behind_name(pid, text, sizeof(text));

	return state ? *state : '\0';
}

pid_t procfs_group(pid_t pid)
{
	char text[512];
	const char *state = behind_name(pid, text, sizeof(text));
	int group;

	return state && sscanf(state, "%*c %*d %d", &group) == 1 ? group : 0;
}

const char *procfs_name(pid_t pid, char *buf, size_t size)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	n = procfs_read(path, buf, size);
	if (n > 0 && buf[n - 1] == '\n')
		buf[--n] = '\0';
	if (n <= 0)
		snprintf(buf, size, "?");
	text_tame(buf, strlen(buf));
	return buf;
}

/* Of one thread. Return: how many there are in @ret_pids then. */
static size_t add_children(pid_t pid, const char *thread, pid_t *ret_pids, size_t n, size_t max)
{
	char path[300], text[4096], *at = text, *end;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/children", (int)pid, thread);
	if (procfs_read(path, text, sizeof(text)) <= 0)
		return n;
	while (n < max) {
		long child = strtol(at, &end, 10);

		if (end == at || child <= 0)
			break;
		ret_pids[n++] = (pid_t)child;
		at = end;
	}
	return n;
}

size_t procfs_children(pid_t pid, pid_t *ret_pids, size_t max)
{
	const struct dirent *entry;
	char path[64];
	size_t n = 0;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	while (tasks && n < max && (entry = readdir(tasks)) != NULL)
		if (entry->d_name[0] != '.')
			n = add_children(pid, entry->d_name, ret_pids, n, max);
	if (tasks)
		closedir(tasks);
	return n;
}
