/* SPDX-License-Identifier: MIT */
#include "supervisor/control/unit_status.h"

#include "base/base.h"
#include "supervisor/systemd/notify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SETTLE_US (50 * USEC_PER_MSEC) /* several changes in a row are one */

/* What was lost makes room for what is so now. */
static void tell(struct timer *timer)
{
	struct unit_status *status = container_of(timer, struct unit_status, change);
	char summary[SUMMARY_BYTES], text[SUMMARY_BYTES + 16];

	summary_write(status->registry, summary);
	if (strcmp(summary, status->last) == 0)
		return;
	snprintf(text, sizeof(text), "STATUS=%s", summary);
	if (notify_send(text, NULL, 0) < 0)
		timer_arm(status->loop, timer, clock_now_us() + USEC_PER_SEC, tell);
	else
		memcpy(status->last, summary, sizeof(summary));
}

static void on_change(void *arg)
{
	struct unit_status *status = arg;

	if (!status->change.loop)
		timer_arm(status->loop, &status->change, clock_now_us() + SETTLE_US, tell);
}

/* By a timer of the loop: it says that the loop turns, and nothing else does. What was lost is said again in time, as half of it is
 * over by then. */
static void say_alive(struct timer *timer)
{
	struct unit_status *status = container_of(timer, struct unit_status, alive);

	(void)notify_send("WATCHDOG=1", NULL, 0);
	timer_arm(status->loop, timer, clock_now_us() + status->alive_every_us, say_alive);
}

/* As sd_watchdog_enabled(3) has it. Return: 0: nobody does. */
static uint64_t wanted_every(void)
{
	const char *text = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	char *end;
	unsigned long long us;

	if (!text || (pid && strtoul(pid, NULL, 10) != (unsigned long)getpid()))
		return 0;
	errno = 0;
	us = strtoull(text, &end, 10);
	return errno || *end || end == text ? 0 : us / 2;
}

void unit_status_begin(struct unit_status *status, struct registry *registry, struct loop *loop)
{
	if (!notify_is_wanted())
		return;
	*status = (struct unit_status){ .registry = registry, .loop = loop, .alive_every_us = wanted_every() };
	registry->host.on_change = on_change;
	registry->host.change_arg = status;
	on_change(status);
	if (status->alive_every_us)
		say_alive(&status->alive);
}

void unit_status_done(struct unit_status *status)
{
	timer_disarm(&status->change);
	timer_disarm(&status->alive);
}
