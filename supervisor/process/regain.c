/* SPDX-License-Identifier: MIT */
#include "supervisor/process/regain.h"

#include "base/base.h"
#include "supervisor/machine/procfs.h"

#include <errno.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

int regain_pidfd(pid_t pid, uint64_t start_ticks)
{
	FD_CLEANUP int pidfd = pidfd_open(pid, 0);
	uint64_t ticks;
	int found, r;

	if (pidfd < 0)
		return errno == ESRCH || errno == EINVAL ? -ESRCH : -errno;
	/* The number is looked at after the process is held: it may have changed hands before, and cannot any more. */
	r = procfs_start_ticks(pid, &ticks);
	if (r < 0)
		return r;
	if (ticks != start_ticks)
		return -ESRCH;
	found = pidfd;
	pidfd = -1;
	return found;
}

bool regain_lives(const Upgraded__Logbook__Process *process)
{
	uint64_t ticks;

	return strcmp(process->boot_id, regain_boot()) == 0 && procfs_start_ticks(process->pid, &ticks) == 0 &&
	       ticks == process->start_ticks;
}

int regain_number(int pidfd, int number, unsigned long long inode, struct why *why)
{
	FD_CLEANUP int fd = pidfd_getfd(pidfd, number, 0); /* closed on exec by itself */
	unsigned long long got;
	int found;

	if (fd < 0)
		return why_errno(why, -errno, "its descriptor %d cannot be taken (that needs the right to trace it)", number);
	/* The process may have closed it in between, and opened something else. */
	found = fd_inode(fd, &got);
	if (found < 0)
		return why_errno(why, found, "its descriptor %d cannot be looked at", number);
	if (got != inode)
		return why_set(why, -ENOENT, "its descriptor %d is another one by now", number);
	found = fd;
	fd = -1;
	return found;
}

int regain_socket(int pidfd, pid_t pid, unsigned long long inode, struct why *why)
{
	int number = inode ? procfs_find_socket(pid, inode, PROCFS_FDS_MAX) : -ENOENT;

	if (number == -ENOENT)
		return why_set(why, -ENOENT, "it does not hold our end of its channel: it has not served yet, is parked, or its "
			       "libupgrade is older");
	if (number < 0)
		return why_errno(why, number, "its descriptors cannot be looked at");
	return regain_number(pidfd, number, inode, why);
}

const char *regain_boot(void)
{
	static char boot[64]; /* one loop thread */

	if (!*boot && procfs_read("/proc/sys/kernel/random/boot_id", boot, sizeof(boot)) > 0)
		boot[strcspn(boot, "\n")] = 0;
	return boot;
}
