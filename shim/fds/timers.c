/* SPDX-License-Identifier: MIT */
/* The kernel does not start a periodic timerfd again before its last tick was read, and nobody reads while the process lies parked.
 * So an image holds a timer that does not run, and that is how the timer comes back. Timers that ran before are therefore started
 * again if they do not run after. */
#include "shim/fds/timers.h"

#include "base/why.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/timerfd.h>

static bool is_set(const struct timespec *time)
{
	return time->tv_sec || time->tv_nsec;
}

int timers_note(struct timers *timers, int fd, struct why *why)
{
	struct itimerspec now;
	struct timer_entry *more;

	/* timerfd_gettime() itself starts a timer again whose tick waits to be read. */
	if (timerfd_gettime(fd, &now) < 0 || !is_set(&now.it_interval) || !is_set(&now.it_value))
		return 0;
	more = reallocarray(timers->entries, timers->n + 1, sizeof(*more));
	if (!more)
		return why_errno(why, -ENOMEM, "timers");
	timers->entries = more;
	timers->entries[timers->n++] = (struct timer_entry){ .fd = fd, .interval = now.it_interval };
	return 0;
}

void timers_restore(struct timers *timers)
{
	for (size_t i = 0; i < timers->n; i++) {
		const struct timer_entry *timer = &timers->entries[i];
		struct itimerspec again = { .it_interval = timer->interval, .it_value = timer->interval }, now;

		if (timerfd_gettime(timer->fd, &now) == 0 && !is_set(&now.it_value))
			timerfd_settime(timer->fd, 0, &again, NULL);
	}
	timers->n = 0;
}

void timers_done(struct timers *timers)
{
	free(timers->entries);
	*timers = (struct timers){ 0 };
}
