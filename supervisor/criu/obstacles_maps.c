/* SPDX-License-Identifier: MIT */
#include "supervisor/criu/obstacles_private.h"

#include "base/fd.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mapping {
	unsigned long long inode;
	char perms[5];
	const char *path;
};

static bool mapping_parse(char *line, struct mapping *ret)
{
	struct mapping mapping = { 0 };
	int at = 0;

	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "%*x-%*x %4s %*x %*x:%*x %llu %n", mapping.perms, &mapping.inode, &at) < 2)
		return false;
	mapping.path = line + at;
	*ret = mapping;
	return true;
}

static bool starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static bool is_device(const char *path)
{
	return starts(path, "/dev/") && !starts(path, "/dev/zero") && !starts(path, "/dev/null") &&
	       !starts(path, "/dev/shm/") && !starts(path, "/dev/hugepages/");
}

static void mapping_check(struct look *look, const struct mapping *mapping)
{
	bool shared = mapping->perms[3] == 's';

	if (starts(mapping->path, "anon_inode:"))
		look_note(look, OBSTACLE_FATAL, -1, "mapping", "it maps %s, which CRIU cannot image",
			  mapping->path + 11);
	else if (starts(mapping->path, "/SYSV"))
		look_note(look, OBSTACLE_FATAL, -1, "mapping",
			  "it maps a System V shared memory segment (%.40s), which CRIU takes only with "
			  "the whole IPC namespace",
			  mapping->path);
	else if (is_device(mapping->path))
		look_note(look, OBSTACLE_FATAL, -1, "device", "it maps device %.100s", mapping->path);
	else if (shared && starts(mapping->path, "/memfd:") && !look_knows(look, mapping->inode))
		look_note(look, OBSTACLE_WARNING, -1, "shared mapping",
			  "it maps %.60s shared: after a restore that is a copy of its own, which "
			  "nobody else sees",
			  mapping->path);
}

void look_maps(struct look *look)
{
	FILE *file;
	char *line = NULL, last[128] = "";
	size_t room = 0;
	int fd = openat(look->proc, "maps", O_RDONLY | O_CLOEXEC);

	file = fd < 0 ? NULL : fdopen(fd, "re");
	if (!file) {
		fd_close(fd);
		return;
	}
	while (getline(&line, &room, file) > 0) {
		struct mapping mapping;

		if (!mapping_parse(line, &mapping))
			continue;
		/* One file's pieces follow each other; it is said once. */
		if (*mapping.path && strncmp(last, mapping.path, sizeof(last) - 1) == 0)
			continue;
		snprintf(last, sizeof(last), "%s", mapping.path);
		mapping_check(look, &mapping);
	}
	free(line);
	fclose(file);
}
