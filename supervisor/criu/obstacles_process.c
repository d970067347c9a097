/* SPDX-License-Identifier: MIT */
/* What is the matter with the process as such, whatever it has open. */
#include "supervisor/criu/obstacles_private.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void check_exe(struct look *look)
{
	const char *next = look->spec->next_exe;
	char exe[PATH_MAX];
	struct stat ours, theirs;
	ssize_t n = readlinkat(look->proc, "exe", exe, sizeof(exe) - 1);

	if (n < 0)
		return;
	exe[n] = '\0';
	if (look_is_deleted(exe)) {
		look_note(look, OBSTACLE_FATAL, -1, "program",
			  "its executable %.100s: it was replaced or removed while it ran; give each "
			  "version a path of its own",
			  exe);
		return;
	}
	if (next && fstatat(look->proc, "exe", &ours, 0) == 0 && stat(next, &theirs) == 0 &&
	    ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino)
		look_note(look, OBSTACLE_WARNING, -1, "program",
			  "both versions are the file %.100s: when it is replaced, the image cannot "
			  "be restored",
			  next);
}

static void check_session(struct look *look)
{
	char text[512];
	const char *rest;
	long session = 0;

	if (look_read(look, "stat", text, sizeof(text)) <= 0 || !(rest = strrchr(text, ')')))
		return;
	if (sscanf(rest, ") %*c %*d %*d %ld", &session) == 1 && session != look->spec->pid)
		look_note(look, OBSTACLE_FATAL, -1, "session",
			  "it is in the session of process %ld, not in one of its own (setsid)", session);
}

static void check_tracer(struct look *look)
{
	char text[4096];
	const char *line;
	long tracer;

	if (look_read(look, "status", text, sizeof(text)) <= 0 || !(line = strstr(text, "TracerPid:")))
		return;
	tracer = strtol(line + 10, NULL, 10);
	if (tracer > 0)
		look_note(look, OBSTACLE_FATAL, -1, "tracer", "it is being traced by process %ld (a debugger, strace?)",
			  tracer);
}

static void check_children(struct look *look)
{
	int dir = openat(look->proc, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = dir < 0 ? NULL : fdopendir(dir);
	struct dirent *entry;
	char name[300], text[256];

	while (stream && (entry = readdir(stream))) {
		snprintf(name, sizeof(name), "task/%s/children", entry->d_name);
		if (entry->d_name[0] == '.' || look_read(look, name, text, sizeof(text)) <= 0)
			continue;
		look_note(look, OBSTACLE_WARNING, -1, "child processes",
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

/* CRIU gives a process its limits back after it has become its user again, and above the hard limit that takes this. */
bool imageable_may_restore_users(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & 1u << CAP_SYS_RESOURCE);
}

static void check_user(struct look *look)
{
	struct stat st;

	if (fstat(look->proc, &st) == 0 && st.st_uid != 0 && !imageable_may_restore_users())
		look_note(look, OBSTACLE_FATAL, -1, "user",
			  "it runs as user %u, and upgraded lacks CAP_SYS_RESOURCE (a container?), "
			  "without which CRIU cannot restore another user's process",
			  (unsigned)st.st_uid);
}

void look_process(struct look *look)
{
	check_exe(look);
	check_session(look);
	check_tracer(look);
	check_children(look);
	check_user(look);
}
