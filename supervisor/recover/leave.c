/* SPDX-License-Identifier: MIT */
#include "supervisor/recover/leave.h"

#include "base/base.h"
#include "supervisor/recover/successor.h"

#include <string.h>

#define REST_US (90 * USEC_PER_SEC) /* below TimeoutStopSec= of the unit */
#define LOOK_AGAIN_US (20 * USEC_PER_MSEC)

void leave_allow(struct leave *leave, bool allowed)
{
	leave->allowed_until_us = allowed ? clock_now_us() + LEAVE_WITHIN_S * USEC_PER_SEC : 0;
}

bool leave_is_allowed(const struct leave *leave)
{
	return clock_now_us() < leave->allowed_until_us;
}

static void look(struct timer *timer)
{
	struct leave *leave = container_of(timer, struct leave, timer);
	struct why why = { 0 };
	bool rests = successor_at_rest(leave->successor, &why);

	if (rests || clock_now_us() > leave->due_us) {
		if (!rests)
			log_warning("this is still under way and is left as it is: %s", why.text);
		leave->on_rest(leave);
		return;
	}
	if (strcmp(leave->waits_for.text, why.text) != 0)
		log_info("upgraded ends and leaves its services running; waiting for %s", why.text);
	leave->waits_for = why;
	timer_arm(leave->loop, timer, clock_now_us() + LOOK_AGAIN_US, look);
}

void leave_begin(struct leave *leave)
{
	leave->due_us = clock_now_us() + REST_US;
	look(&leave->timer);
}

void leave_done(struct leave *leave)
{
	if (leave->loop)
		timer_disarm(&leave->timer);
}
