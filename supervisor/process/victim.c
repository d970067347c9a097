/* SPDX-License-Identifier: MIT */
#include "supervisor/process/victim.h"

#include "base/child.h"
#include "base/fd.h"
#include "base/why.h"
#include "supervisor/machine/procfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "oom_score_adj"
/* More are left alone: a service must not keep the supervisor busy by the number of its children and threads. */
#define PROCESSES_MAX 256u
#define TASKS_MAX 1024u

/* ---- one process, whose /proc/PID is open ---- */

static int value_read(int proc, int *ret)
{
	char text[32], *end;
	ssize_t n = procfs_read_at(proc, FILE_NAME, text, sizeof(text));

	*ret = n > 0 ? (int)strtol(text, &end, 10) : 0;
	if (n > 0 && end != text)
		return 0;
	return n < 0 ? (int)n : -ENODATA;
}

static int value_write(int proc, int value)
{
	char text[32];
	FD_CLEANUP int fd = openat(proc, FILE_NAME, O_WRONLY | O_CLOEXEC);
	int n = snprintf(text, sizeof(text), "%d", value);

	if (fd < 0 || write(fd, text, (size_t)n) < 0)
		return -errno;
	return 0;
}

static int proc_open(pid_t pid)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ---- its children ---- */

struct walk {
	pid_t queue[PROCESSES_MAX];
	size_t n;
	unsigned tasks;
};

static void walk_add(struct walk *walk, const char *pids)
{
	char *end;

	for (; walk->n < PROCESSES_MAX; pids = end) {
		long pid = strtol(pids, &end, 10);

		if (end == pids || pid <= 0)
			return;
		walk->queue[walk->n++] = (pid_t)pid;
	}
}

/* Each thread has children of its own. */
static void walk_tasks(struct walk *walk, int proc)
{
	int fd = openat(proc, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *tasks = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *task;

	while (tasks && walk->n < PROCESSES_MAX && walk->tasks < TASKS_MAX && (task = readdir(tasks))) {
		char name[300], pids[4096];

		if (task->d_name[0] == '.')
			continue;
		walk->tasks++;
		snprintf(name, sizeof(name), "%s/children", task->d_name);
		if (procfs_read_at(dirfd(tasks), name, pids, sizeof(pids)) > 0)
			walk_add(walk, pids);
	}
	if (tasks)
		closedir(tasks);
	else if (fd >= 0)
		close(fd);
}

static bool is_child_of(int proc, const struct walk *walk, size_t n)
{
	pid_t parent = procfs_parent_at(proc);

	for (size_t i = 0; parent && i < n; i++)
		if (walk->queue[i] == parent)
			return true;
	return false;
}

/* All that descend from @proc and have the value @from get @to. Which process a number is may change while we look: what is open
 * stays the process that it was, and its parent tells whether that is one of them. */
static void change_children(pid_t pid, int proc, int from, int to)
{
	struct walk walk = { .queue = { pid }, .n = 1 };

	walk_tasks(&walk, proc);
	for (size_t i = 1; i < walk.n; i++) {
		FD_CLEANUP int child = proc_open(walk.queue[i]);
		int value;

		if (child < 0 || !is_child_of(child, &walk, i))
			continue;
		if (value_read(child, &value) == 0 && value == from)
			(void)value_write(child, to);
		walk_tasks(&walk, child);
	}
}

/* ---- what is asked for ---- */

static int refused(int error, pid_t pid, int value, struct why *why)
{
	return why_set(why, error, FILE_NAME " of pid %d cannot be set to %d: %s%s", (int)pid, value, strerror(-error),
		       error == -EACCES ? " (a lower value than upgraded was started with needs CAP_SYS_RESOURCE)" : "");
}

static int change(pid_t pid, int proc, int from, int to, bool with_children, struct why *why)
{
	int r = from == to ? 0 : value_write(proc, to);

	if (r < 0)
		return refused(r, pid, to, why);
	if (from != to && with_children)
		change_children(pid, proc, from, to);
	return 0;
}

int victim_own_value(void)
{
	char text[32];

	return procfs_read("/proc/self/" FILE_NAME, text, sizeof(text)) > 0 ? (int)strtol(text, NULL, 10) : 0;
}

int victim_value(pid_t pid, int *ret)
{
	FD_CLEANUP int proc = proc_open(pid);

	return proc < 0 ? proc : value_read(proc, ret);
}

int victim_mark(struct victim *victim, pid_t pid, bool with_children, struct why *why)
{
	FD_CLEANUP int proc = proc_open(pid);
	int now = 0, r = proc < 0 ? proc : 0;

	if (victim->is_first)
		return 0;
	if (r == 0)
		r = value_read(proc, &now);
	if (r < 0)
		return refused(r, pid, CHILD_OOM_FIRST, why);
	r = change(pid, proc, now, CHILD_OOM_FIRST, with_children, why);
	if (r < 0)
		return r;
	victim->normal = now;
	victim->is_first = true;
	return 0;
}

int victim_spare(struct victim *victim, pid_t pid, struct why *why)
{
	FD_CLEANUP int proc = proc_open(pid);
	int now = 0, r = proc < 0 ? proc : 0;

	if (!victim->is_first)
		return 0;
	if (r == 0)
		r = value_read(proc, &now);
	if (r < 0)
		return refused(r, pid, victim->normal, why);
	/* A value that it has set by itself is its own. */
	if (now == CHILD_OOM_FIRST)
		r = change(pid, proc, now, victim->normal, true, why);
	if (r == 0)
		victim->is_first = false;
	return r;
}

int victim_restored(struct victim *victim, pid_t pid, struct why *why)
{
	FD_CLEANUP int proc = proc_open(pid);
	int now = 0, r = proc < 0 ? proc : 0;

	victim->is_first = false;
	if (r == 0)
		r = value_read(proc, &now);
	return r < 0 ? refused(r, pid, victim->normal, why) : change(pid, proc, now, victim->normal, true, why);
}
