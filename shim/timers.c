/* SPDX-License-Identifier: MIT */
/* Timers that tick, over an image. The kernel does not start a periodic timerfd again before its last tick was read, and nobody
 * reads while the process lies parked: in the image stands a timer that is not running, and so it comes back. So what ran
 * before is started again if it does not run after. */
#include "shim/shim.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

static bool is_set(const struct timespec *time)
{
	return time->tv_sec || time->tv_nsec;
}

static int note(struct shed *shed, int fd)
{
	struct itimerspec now;
	struct timer_entry *more;

	/* Asking starts one that waits to be read. */
	if (timerfd_gettime(fd, &now) < 0 || !is_set(&now.it_interval) || !is_set(&now.it_value))
		return 0;
	more = reallocarray(shed->timers, shed->n_timers + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	shed->timers = more;
	shed->timers[shed->n_timers++] = (struct timer_entry){ .fd = fd, .interval = now.it_interval };
	return 0;
}

int timers_note(struct upg *upg)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *d;
	int r = 0;

	if (!dir)
		return why_errno(&upg->why, -errno, "/proc/self/fd");
	upg->shed.n_timers = 0;
	while (r == 0 && (d = readdir(dir))) {
		char target[64];
		ssize_t n = readlinkat(dirfd(dir), d->d_name, target, sizeof(target) - 1);

		if (n < 0)
			continue;
		target[n] = 0;
		if (strcmp(target, "anon_inode:[timerfd]") == 0)
			r = note(&upg->shed, atoi(d->d_name));
	}
	closedir(dir);
	return r < 0 ? why_errno(&upg->why, r, "timers") : 0;
}

void timers_restore(struct upg *upg)
{
	for (size_t i = 0; i < upg->shed.n_timers; i++) {
		const struct timer_entry *timer = &upg->shed.timers[i];
		struct itimerspec again = { .it_interval = timer->interval, .it_value = timer->interval }, now;

		if (timerfd_gettime(timer->fd, &now) == 0 && !is_set(&now.it_value))
			timerfd_settime(timer->fd, 0, &again, NULL);
	}
	upg->shed.n_timers = 0;
}
