/* SPDX-License-Identifier: MIT */
/* Timers that tick, over an image. The kernel does not start a periodic timerfd again before its last tick was read, and nobody
 * reads while the process lies parked: in the image stands a timer that is not running, and so it comes back. So what ran
 * before is started again if it does not run after. */
#include "shim/core/upg.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>

static bool is_set(const struct timespec *time)
{
	return time->tv_sec || time->tv_nsec;
}

int timers_note(struct upg *upg, int fd)
{
	struct shed *shed = &upg->shed;
	struct itimerspec now;
	struct timer_entry *more;

	/* Asking starts one that waits to be read. */
	if (timerfd_gettime(fd, &now) < 0 || !is_set(&now.it_interval) || !is_set(&now.it_value))
		return 0;
	more = reallocarray(shed->timers, shed->n_timers + 1, sizeof(*more));
	if (!more)
		return why_errno(&upg->why, -ENOMEM, "timers");
	shed->timers = more;
	shed->timers[shed->n_timers++] = (struct timer_entry){ .fd = fd, .interval = now.it_interval };
	return 0;
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
