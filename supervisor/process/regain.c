/* SPDX-License-Identifier: MIT */
#include "supervisor/process/regain.h"

#include "base/base.h"
#include "supervisor/machine/procfs.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#define START_FIELD 22 /* of /proc/PID/stat, counted from 1 */

int regain_start_ticks(pid_t pid, uint64_t *ret_ticks)
{
	char path[64], text[1024];
	char *at, *rest;
	int field = 2;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (procfs_read(path, text, sizeof(text)) <= 0)
		return -ESRCH;
	/* The name may hold blanks and brackets; nothing behind it does. */
	at = strrchr(text, ')');
	if (!at)
		return -ESRCH;
	for (at = strtok_r(at + 1, " ", &rest); at; at = strtok_r(NULL, " ", &rest))
		if (++field == START_FIELD)
			break;
	if (!at)
		return -ESRCH;
	*ret_ticks = strtoull(at, NULL, 10);
	return 0;
}

int regain_pidfd(pid_t pid, uint64_t start_ticks)
{
	FD_CLEANUP int pidfd = pidfd_open(pid, 0);
	uint64_t ticks;
	int found;

	if (pidfd < 0)
		return errno == ESRCH || errno == EINVAL ? -ESRCH : -errno;
	/* The number is looked at after the process is held: it may have changed hands before, and cannot any more. */
	if (regain_start_ticks(pid, &ticks) < 0 || ticks != start_ticks)
		return -ESRCH;
	found = pidfd;
	pidfd = -1;
	return found;
}

/* Return: the number under which the process has the socket; -ENOENT; -errno. The lowest: what was kept for us was kept early. */
static int find_socket(pid_t pid, unsigned long long inode)
{
	char path[64], want[64], link[64];
	int found = -ENOENT;
	struct dirent *entry;
	DIR *dir;

	snprintf(want, sizeof(want), "socket:[%llu]", inode);
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (found < 0 && (entry = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);

		link[n > 0 ? n : 0] = 0;
		if (strcmp(link, want) == 0)
			found = atoi(entry->d_name);
	}
	closedir(dir);
	return found;
}

int regain_socket(int pidfd, pid_t pid, unsigned long long inode, struct why *why)
{
	int number = inode ? find_socket(pid, inode) : -ENOENT;
	FD_CLEANUP int fd = -1;
	unsigned long long got;
	int found;

	if (number == -ENOENT)
		return why_set(why, -ENOENT, "it does not hold our end of its channel: it has not served yet, is parked, or its "
			       "libupgrade is older");
	if (number < 0)
		return why_errno(why, number, "its descriptors cannot be looked at");
	fd = pidfd_getfd(pidfd, number, 0); /* closed on exec by itself */
	if (fd < 0)
		return why_errno(why, -errno, "its descriptor %d cannot be taken (that needs the right to trace it)", number);
	/* The process may have closed it in between, and opened something else. */
	if (fd_inode(fd, &got) < 0 || got != inode)
		return why_set(why, -ENOENT, "its descriptor %d is another one by now", number);
	found = fd;
	fd = -1;
	return found;
}

const char *regain_boot(void)
{
	static char boot[64]; /* one loop thread */

	if (!*boot && procfs_read("/proc/sys/kernel/random/boot_id", boot, sizeof(boot)) > 0)
		boot[strcspn(boot, "\n")] = 0;
	return boot;
}
