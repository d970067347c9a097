/* SPDX-License-Identifier: MIT */
/* A slow start that gets on says so, and nobody takes it for one that hangs. */
#include "shim/core/upg.h"

#include "base/clock.h"

#include <stdio.h>

#define EVERY_US (100 * USEC_PER_MSEC)
#define TEXT_BYTES 120

bool progress_is_due(struct upg *upg)
{
	return clock_now_us() - atomic_load_explicit(&upg->progress_us, memory_order_relaxed) >= EVERY_US;
}

void upg_progress(struct upg *upg, const char *text)
{
	Upgraded__Wire__StartProgress progress = UPGRADED__WIRE__START_PROGRESS__INIT;
	Upgraded__Wire__AppMessage message =
		APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_START_PROGRESS, .start_progress = &progress);
	uint64_t last = atomic_load_explicit(&upg->progress_us, memory_order_relaxed), now = clock_now_us();
	char copy[TEXT_BYTES];

	/* Of several threads that find it due, one speaks. */
	if (now - last < EVERY_US || !atomic_compare_exchange_strong(&upg->progress_us, &last, now))
		return;
	snprintf(copy, sizeof(copy), "%s", text ? text : "");
	progress.text = copy;
	/* A word that finds no room is made up for by the next. */
	channel_post(upg->channel, &message, NULL, 0);
}
