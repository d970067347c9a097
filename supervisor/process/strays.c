/* SPDX-License-Identifier: MIT */
/*
 * wait(2) cannot be asked for children that no one watches, only for any. Whoever is watched is left to the loop, which may be
 * late: then nobody else is seen until it comes to it. Who is dead and not watched at two looks is a stray; at the first one it
 * may be a process that is about to be watched, such as one that CRIU has just restored.
 */
#include "supervisor/process/strays.h"

#include "base/child.h"
#include "base/clock.h"
#include "base/log.h"

#include <sys/wait.h>

#define LOOK_AGAIN_US (100 * USEC_PER_MSEC)

static void look_on_due(struct timer *timer)
{
	struct strays *strays = container_of(timer, struct strays, timer);
	siginfo_t info;

	for (;;) {
		info = (siginfo_t){ 0 };
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 || info.si_pid == 0) {
			strays->seen = 0;
			return;
		}
		if (info.si_pid != strays->seen || child_is_watched(info.si_pid))
			break;
		(void)waitid(P_PID, (id_t)strays->seen, &info, WEXITED | WNOHANG | __WALL);
		log_debug("reaped pid %d, whom a process that ended had left behind", (int)strays->seen);
		strays->seen = 0;
	}
	strays->seen = info.si_pid;
	timer_arm(strays->loop, timer, clock_now_us() + LOOK_AGAIN_US, look_on_due);
}

void strays_look(struct strays *strays)
{
	if (!strays->timer.loop)
		timer_arm(strays->loop, &strays->timer, clock_now_us() + LOOK_AGAIN_US, look_on_due);
}

void strays_done(struct strays *strays)
{
	timer_disarm(&strays->timer);
	strays->seen = 0;
}
