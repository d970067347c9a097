/* SPDX-License-Identifier: MIT */
/* What systemd is told of us while we run: what is going on (`systemctl status upgraded`), and signs of life (WatchdogSec=). */
#pragma once

#include "base/loop.h"
#include "supervisor/service/summary.h"

struct unit_status {
	const struct registry *registry;
	struct loop *loop;
	struct timer change, alive;
	uint64_t alive_every_us; /* 0: nobody wants signs of life */
	char last[SUMMARY_BYTES];
};

/** unit_status_begin() - @registry, @loop: borrowed until unit_status_done(). Where nobody wants to know anything, nothing is done.
 * @registry's on_change comes here from now on. */
void unit_status_begin(struct unit_status *status, struct registry *registry, struct loop *loop);

/** unit_status_done() - A zeroed one is allowed. */
void unit_status_done(struct unit_status *status);
