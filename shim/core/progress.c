/* SPDX-License-Identifier: MIT */
#include "shim/core/progress.h"

#include "base/clock.h"
#include "shim/core/channel.h"
#include "shim/core/upg.h"

#include <stdio.h>

#define EVERY_US (100 * USEC_PER_MSEC)
#define TEXT_BYTES 120

void progress_init(struct progress *progress, struct channel *channel)
{
	progress->channel = channel;
	atomic_init(&progress->told_us, 0);
}

bool progress_is_due(const struct progress *progress)
{
	return clock_now_us() - atomic_load_explicit(&progress->told_us, memory_order_relaxed) >= EVERY_US;
}

void progress_begin(struct progress *progress)
{
	atomic_store_explicit(&progress->told_us, clock_now_us(), memory_order_relaxed);
}

void progress_tell(struct progress *progress, const char *text)
{
	Upgraded__Wire__StartProgress body = UPGRADED__WIRE__START_PROGRESS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_START_PROGRESS, .start_progress = &body);
	uint64_t last = atomic_load_explicit(&progress->told_us, memory_order_relaxed), now = clock_now_us();
	char copy[TEXT_BYTES];

	/* If several threads find progress due, one of them speaks. */
	if (now - last < EVERY_US || !atomic_compare_exchange_strong(&progress->told_us, &last, now))
		return;
	snprintf(copy, sizeof(copy), "%s", text ? text : "");
	body.text = copy;
	/* A message that finds no room is made up for by the next. */
	channel_post(progress->channel, &message, NULL, 0);
}

void upg_progress(struct upg *upg, const char *text)
{
	progress_tell(upg->progress, text);
}
