/* SPDX-License-Identifier: MIT */
#include "supervisor/process/accepting.h"

#include "supervisor/machine/procfs.h"
#include "supervisor/machine/sockets_of.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#define FDS_MAX 1024
#define PROCESSES_MAX 256u
#define LISTENERS_MAX 64u

/* At which of them somebody was seen. */
struct seen {
	const unsigned long long *inodes;
	size_t n;
	bool at[LISTENERS_MAX];
	pid_t pid; /* that is looked at */
};

static void note(struct seen *seen, unsigned long long inode)
{
	for (size_t i = 0; i < seen->n; i++)
		seen->at[i] |= seen->inodes[i] == inode;
}

static bool all(const struct seen *seen)
{
	for (size_t i = 0; i < seen->n; i++)
		if (!seen->at[i])
			return false;
	return true;
}

/* "tfd:        6 events:       19 data: ...  pos:0 ino:15c8b sdev:8" for each descriptor of the set. */
static void look_into_epoll(struct seen *seen, int number)
{
	unsigned long long inode;
	char path[64], line[256];
	const char *at;
	FILE *info;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)seen->pid, number);
	info = fopen(path, "re");
	while (info && fgets(line, sizeof(line), info))
		if (strncmp(line, "tfd:", 4) == 0 && (at = strstr(line, " ino:")) && sscanf(at, " ino:%llx", &inode) == 1)
			note(seen, inode);
	if (info)
		fclose(info);
}

static int on_fd(void *arg, int number, const char *link)
{
	if (strcmp(link, "anon_inode:[eventpoll]") == 0)
		look_into_epoll(arg, number);
	return 0;
}

static bool waits_in(long call)
{
	return call == SYS_accept4 || call == SYS_recvfrom || call == SYS_recvmsg || call == SYS_recvmmsg
#ifdef SYS_accept
	       || call == SYS_accept
#endif
		;
}

/* "43 0x3 ...": the call that a thread is blocked in, and its first argument. */
static void look_at_thread(struct seen *seen, const struct sockets_of *sockets, const char *thread)
{
	unsigned long long number;
	char path[300], text[256];
	long call;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/syscall", (int)seen->pid, thread);
	if (procfs_read(path, text, sizeof(text)) <= 0 || sscanf(text, "%ld 0x%llx", &call, &number) != 2 || !waits_in(call))
		return;
	for (size_t i = 0; i < seen->n; i++)
		if (sockets_of_find(sockets, seen->inodes[i]) == (int)number)
			seen->at[i] = true;
}

static void look_at_threads(struct seen *seen)
{
	struct sockets_of sockets = { .sockets = NULL };
	const struct dirent *entry;
	char path[64];
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)seen->pid);
	tasks = opendir(path);
	if (sockets_of_read(seen->pid, FDS_MAX, &sockets) == 0)
		while (tasks && (entry = readdir(tasks)))
			if (*entry->d_name != '.')
				look_at_thread(seen, &sockets, entry->d_name);
	if (tasks)
		closedir(tasks);
	sockets_of_done(&sockets);
}

bool accepting_all(pid_t pid, const unsigned long long *inodes, size_t n)
{
	struct seen seen = { .inodes = inodes, .n = n < LISTENERS_MAX ? n : LISTENERS_MAX };
	pid_t pids[PROCESSES_MAX] = { pid };
	size_t n_pids = 1;

	for (size_t i = 0; i < n_pids && !all(&seen); i++) {
		seen.pid = pids[i];
		(void)procfs_each_fd(seen.pid, FDS_MAX, on_fd, &seen);
		if (!all(&seen))
			look_at_threads(&seen);
		n_pids += procfs_children(seen.pid, pids + n_pids, PROCESSES_MAX - n_pids);
	}
	return all(&seen);
}
