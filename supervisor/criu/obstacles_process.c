/* SPDX-License-Identifier: MIT */
/* Obstacles of the process as such: its program, session, tracer, children and user. */
#include "supervisor/criu/obstacles_private.h"

#include "base/fd.h"
#include "supervisor/criu/criu.h"
#include "supervisor/machine/procfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void check_exe(struct subject *subject)
{
	const char *next = subject->spec->next_exe;
	char exe[PATH_MAX];
	struct stat ours, theirs;
	ssize_t n = readlinkat(subject->proc, "exe", exe, sizeof(exe) - 1);

	if (n < 0)
		return;
	exe[n] = '\0';
	if (procfs_is_deleted(exe)) {
		obstacle_note(subject, OBSTACLE_FATAL, -1, "program",
			      "its executable %.100s: it was replaced or removed while it ran; give each "
			      "version a path of its own",
			      exe);
		return;
	}
	if (next && fstatat(subject->proc, "exe", &ours, 0) == 0 && stat(next, &theirs) == 0 &&
	    ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino)
		obstacle_note(subject, OBSTACLE_WARNING, -1, "program",
			      "both versions are the file %.100s: when it is replaced, the image cannot "
			      "be restored",
			      next);
}

static void check_session(struct subject *subject)
{
	char text[512];
	const char *rest;
	long session = 0;

	if (subject_read(subject, "stat", text, sizeof(text)) <= 0 || !(rest = strrchr(text, ')')))
		return;
	if (sscanf(rest, ") %*c %*d %*d %ld", &session) == 1 && session != subject->spec->pid)
		obstacle_note(subject, OBSTACLE_FATAL, -1, "session",
			      "it is in the session of process %ld, not in one of its own (setsid)", session);
}

static void check_tracer(struct subject *subject)
{
	char text[4096];
	const char *line;
	long tracer;

	if (subject_read(subject, "status", text, sizeof(text)) <= 0 || !(line = strstr(text, "TracerPid:")))
		return;
	tracer = strtol(line + 10, NULL, 10);
	if (tracer > 0)
		obstacle_note(subject, OBSTACLE_FATAL, -1, "tracer", "it is being traced by process %ld (a debugger, strace?)",
			      tracer);
}

static void check_children(struct subject *subject)
{
	int dir = openat(subject->proc, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = dir < 0 ? NULL : fdopendir(dir);
	struct dirent *entry;
	char name[300], text[256];

	while (stream && (entry = readdir(stream))) {
		snprintf(name, sizeof(name), "task/%s/children", entry->d_name);
		if (entry->d_name[0] == '.' || subject_read(subject, name, text, sizeof(text)) <= 0)
			continue;
		/* The kernel ends each number with a blank. */
		for (size_t end = strlen(text); end && (text[end - 1] == ' ' || text[end - 1] == '\n'); end--)
			text[end - 1] = '\0';
		if (subject->spec->children_stay)
			obstacle_note(subject, OBSTACLE_FATAL, -1, "child processes",
				      "it has child processes (%.60s), which CRIU would take with it, and they are to go on "
				      "without it; see Children=",
				      text);
		else
			obstacle_note(subject, OBSTACLE_WARNING, -1, "child processes",
				      "it has child processes (%.60s): they go into the image with all they have "
				      "open, and must have ended before it is restored",
				      text);
		break;
	}
	if (stream)
		closedir(stream);
	else
		fd_close(dir);
}

static void check_user(struct subject *subject)
{
	struct stat st;

	if (fstat(subject->proc, &st) == 0 && st.st_uid != 0 && !criu_may_restore_users())
		obstacle_note(subject, OBSTACLE_FATAL, -1, "user",
			      "it runs as user %u, and upgraded lacks CAP_SYS_RESOURCE (a container?), "
			      "without which CRIU cannot restore another user's process",
			      (unsigned)st.st_uid);
}

/* With a namespace of users of its own everybody may mount, and CRIU would make these mounts again as root. */
static void check_namespaces(struct subject *subject)
{
	static const char *const names[] = { "mnt", "user", "pid", "net", "ipc", "uts" };

	for (size_t i = 0; subject->is_of_user && i < sizeof(names) / sizeof(names[0]); i++) {
		char path[32], ours[64] = "", theirs[64] = "";

		snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
		if (readlink(path, ours, sizeof(ours) - 1) < 0)
			continue;
		if (readlinkat(subject->proc, path + strlen("/proc/self/"), theirs, sizeof(theirs) - 1) < 0)
			continue;
		if (strcmp(ours, theirs) != 0)
			obstacle_note(subject, OBSTACLE_FATAL, -1, "namespace",
				      "it runs as another user than root in a %s namespace of its own, which CRIU would make "
				      "again as root", names[i]);
	}
}

void obstacles_of_process(struct subject *subject)
{
	check_exe(subject);
	check_session(subject);
	check_tracer(subject);
	check_children(subject);
	check_user(subject);
	check_namespaces(subject);
}
