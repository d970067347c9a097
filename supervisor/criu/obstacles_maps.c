/* SPDX-License-Identifier: MIT */
/* Obstacles among the mappings. */
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

static bool is_device(const char *path)
{
	return text_starts(path, "/dev/") && !text_starts(path, "/dev/zero") && !text_starts(path, "/dev/null") &&
	       !text_starts(path, "/dev/shm/") && !text_starts(path, "/dev/hugepages/");
}

static void mapping_check(struct subject *subject, const struct mapping *mapping)
{
	bool shared = mapping->perms[3] == 's';

	if (text_starts(mapping->path, "anon_inode:"))
		obstacle_note(subject, OBSTACLE_FATAL, -1, "mapping", "it maps %s, which CRIU cannot image",
			      mapping->path + 11);
	else if (text_starts(mapping->path, "/SYSV"))
		obstacle_note(subject, OBSTACLE_FATAL, -1, "mapping",
			      "it maps a System V shared memory segment (%.40s), which CRIU takes only with "
			      "the whole IPC namespace",
			      mapping->path);
	else if (is_device(mapping->path))
		obstacle_note(subject, OBSTACLE_FATAL, -1, "device", "it maps device %.100s", mapping->path);
	else if (shared && text_starts(mapping->path, "/memfd:") && !subject_knows(subject, mapping->inode))
		obstacle_note(subject, OBSTACLE_WARNING, -1, "shared mapping",
			      "it maps %.60s shared: after a restore that is a copy of its own, which "
			      "nobody else sees",
			      mapping->path);
}

void obstacles_of_maps(struct subject *subject)
{
	FILE *file;
	char *line = NULL, last[128] = "";
	size_t room = 0;
	int fd = openat(subject->proc, "maps", O_RDONLY | O_CLOEXEC);

	file = fd < 0 ? NULL : fdopen(fd, "re");
	if (!file) {
		fd_close(fd);
		return;
	}
	while (getline(&line, &room, file) > 0) {
		struct mapping mapping;

		if (!mapping_parse(line, &mapping))
			continue;
		/* The mappings of one file follow each other; the file is told once. */
		if (*mapping.path && strncmp(last, mapping.path, sizeof(last) - 1) == 0)
			continue;
		snprintf(last, sizeof(last), "%s", mapping.path);
		mapping_check(subject, &mapping);
	}
	free(line);
	fclose(file);
}
