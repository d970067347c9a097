/* SPDX-License-Identifier: MIT */
/* Timers that tick, over an image. */
#pragma once

#include <stddef.h>
#include <time.h>

struct why;

struct timers {
	struct timer_entry {
		int fd;
		struct timespec interval;
	} *entries;
	size_t n;
};

/** timers_note() - Note the timerfd @fd if it is periodic and runs. Return: 0 or -ENOMEM. */
int timers_note(struct timers *timers, int fd, struct why *why);
/** timers_restore() - Start those again that do not run any more, and forget them all. */
void timers_restore(struct timers *timers);
/** timers_done() - Forget them all. */
void timers_done(struct timers *timers);
