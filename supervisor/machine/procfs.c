/* SPDX-License-Identifier: MIT */
#include "supervisor/machine/procfs.h"

#include "base/fd.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ssize_t procfs_read_at(int folder, const char *name, char *buf, size_t size)
{
	FD_CLEANUP int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t n = 0;

	buf[0] = '\0';
	if (fd < 0)
		return -errno;
	while (have < size - 1 && (n = read(fd, buf + have, size - 1 - have)) != 0) {
		if (n < 0 && errno != EINTR) {
			n = -errno;
			buf[0] = '\0';
			return n;
		}
		have += n > 0 ? (size_t)n : 0;
	}
	buf[have] = '\0';
	return (ssize_t)have;
}

ssize_t procfs_read(const char *path, char *buf, size_t size)
{
	return procfs_read_at(AT_FDCWD, path, buf, size);
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

bool procfs_is_deleted(const char *path)
{
	static const char deleted[] = " (deleted)";
	size_t length = strlen(path);

	return length >= sizeof(deleted) && strcmp(path + length - (sizeof(deleted) - 1), deleted) == 0;
}

bool procfs_program_is_gone(pid_t pid)
{
	char name[64], target[PATH_MAX];
	ssize_t n;

	snprintf(name, sizeof(name), "/proc/%d/exe", (int)pid);
	n = readlink(name, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	return procfs_is_deleted(target);
}

size_t procfs_open_files(pid_t pid)
{
	static const char name[] = "\nMax open files ";
	char path[64], text[4096];
	const char *line;
	size_t soft;

	snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
	if (procfs_read(path, text, sizeof(text)) <= 0)
		return 0;
	line = strstr(text, name);
	return line && sscanf(line + sizeof(name) - 1, "%zu", &soft) == 1 ? soft : 0;
}

/* What stands behind the name in the text of a process's stat: the state, the parent, the group, ... NULL: there is no name. */
static const char *behind_name_in(const char *text)
{
	const char *end = strrchr(text, ')'); /* the last one: the process's name before it may hold others */

	return end && end[1] == ' ' ? end + 2 : NULL;
}

/* That of the file @path in @dir. Return: NULL: there is no such process. */
static const char *behind_name_at(int dir, const char *path, char *text, size_t size)
{
	return procfs_read_at(dir, path, text, size) > 0 ? behind_name_in(text) : NULL;
}

static const char *behind_name(pid_t pid, char *text, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	return behind_name_at(AT_FDCWD, path, text, size);
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

int procfs_start_ticks(pid_t pid, uint64_t *ret_ticks)
{
	char path[64], text[1024];
	const char *state;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	n = procfs_read(path, text, sizeof(text));
	if (n < 0 && n != -ENOENT)
		return (int)n; /* that it cannot be read now does not say that it has ended */
	state = behind_name_in(text);
	/* Field 22; the state is the third. */
	return state && sscanf(state, "%*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64,
			       ret_ticks) == 1 ? 0 : -ESRCH;
}

int procfs_each(int (*fn)(void *arg, pid_t pid), void *arg)
{
	const struct dirent *entry;
	DIR *proc = opendir("/proc");
	int r = 0;

	if (!proc)
		return -errno;
	while (r == 0 && (entry = readdir(proc)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			r = fn(arg, (pid_t)strtol(entry->d_name, NULL, 10));
	closedir(proc);
	return r;
}

int procfs_user(pid_t pid, uid_t *ret_uid)
{
	static const char name[] = "\nUid:";
	char path[64], text[2048];
	const char *line;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	line = procfs_read(path, text, sizeof(text)) > 0 ? strstr(text, name) : NULL;
	return line && sscanf(line + sizeof(name) - 1, "%u", ret_uid) == 1 ? 0 : -ESRCH;
}

int procfs_each_fd(pid_t pid, int below, int (*fn)(void *arg, int number, const char *link), void *arg)
{
	char path[64], link[64];
	struct dirent *entry;
	DIR *dir;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (r == 0 && (entry = readdir(dir)) && atoi(entry->d_name) < below) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);

		if (n < 0 && errno != ENOENT && errno != EINVAL) /* closed meanwhile; "." and ".." */
			r = -errno;
		link[n > 0 ? n : 0] = 0;
		if (n > 0)
			r = fn(arg, atoi(entry->d_name), link);
	}
	closedir(dir);
	return r;
}

int procfs_fd(pid_t pid, int number, uint64_t *ret_mount, uint64_t *ret_inode)
{
	char path[64], text[256];
	const char *mount, *inode;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)pid, number);
	n = procfs_read(path, text, sizeof(text));
	if (n < 0)
		return (int)n;
	mount = strstr(text, "\nmnt_id:");
	inode = strstr(text, "\nino:");
	if (!mount || sscanf(mount, "\nmnt_id:%" SCNu64, ret_mount) != 1)
		return -ENODATA;
	if (!inode || sscanf(inode, "\nino:%" SCNu64, ret_inode) != 1)
		*ret_inode = 0;
	return 0;
}

struct socket_walk {
	int (*fn)(void *arg, int number, unsigned long long inode);
	void *arg;
};

static int on_fd(void *arg, int number, const char *link)
{
	const struct socket_walk *walk = arg;
	unsigned long long inode;

	return sscanf(link, "socket:[%llu]", &inode) == 1 ? walk->fn(walk->arg, number, inode) : 0;
}

int procfs_each_socket(pid_t pid, int below, int (*fn)(void *arg, int number, unsigned long long inode), void *arg)
{
	struct socket_walk walk = { fn, arg };

	return procfs_each_fd(pid, below, on_fd, &walk);
}

struct wanted_socket {
	unsigned long long inode;
	int number;
};

static int is_wanted(void *arg, int number, unsigned long long inode)
{
	struct wanted_socket *wanted = arg;

	if (inode != wanted->inode)
		return 0;
	wanted->number = number;
	return 1;
}

int procfs_find_socket(pid_t pid, unsigned long long inode, int below)
{
	struct wanted_socket wanted = { .inode = inode };
	int r = procfs_each_socket(pid, below, is_wanted, &wanted);

	if (r == 0)
		return -ENOENT;
	return r < 0 ? r : wanted.number;
}

static pid_t parent_in(const char *state)
{
	int parent;

	return state && sscanf(state, "%*c %d", &parent) == 1 ? parent : 0;
}

pid_t procfs_parent(pid_t pid)
{
	char text[512];

	return parent_in(behind_name(pid, text, sizeof(text)));
}

pid_t procfs_parent_at(int proc)
{
	char text[512];

	return parent_in(behind_name_at(proc, "stat", text, sizeof(text)));
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

/* Of one thread, "PID PID ": each ends with a blank, so that one that was cut is known. Return: how many there are in @ret_pids
 * then. */
static size_t add_children(pid_t pid, const char *thread, pid_t *ret_pids, size_t n, size_t max)
{
	char path[300], text[4096], *blank;
	FD_CLEANUP int fd = -1;
	size_t kept = 0;
	ssize_t got;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/children", (int)pid, thread);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && n < max && (got = read(fd, text + kept, sizeof(text) - 1 - kept)) > 0) {
		char *at = text;

		text[kept + (size_t)got] = '\0';
		for (; n < max && (blank = strchr(at, ' ')) != NULL; at = blank + 1)
			ret_pids[n++] = (pid_t)strtol(at, NULL, 10);
		kept = strlen(at);
		memmove(text, at, kept);
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

#define MAPS_MAX (4u << 20) /* a process may have 65530 mappings; the loop must not read for long */

bool procfs_maps(pid_t pid, const char *name)
{
	char path[64], text[16384];
	size_t length = strlen(name), kept = 0, total = 0;
	bool found = false;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && !found && total < MAPS_MAX) {
		ssize_t n = read(fd, text + kept, sizeof(text) - kept);

		if (n <= 0)
			break;
		total += (size_t)n;
		kept += (size_t)n;
		found = memmem(text, kept, name, length);
		/* The name may lie across two reads. */
		if (kept >= length) {
			memmove(text, text + kept - (length - 1), length - 1);
			kept = length - 1;
		}
	}
	fd_close(fd);
	return found;
}
