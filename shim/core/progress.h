/* SPDX-License-Identifier: MIT */
/* A slow start tells the supervisor that it gets on, so that nobody takes it for one that hangs. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct channel;

struct progress {
	struct channel *channel;
	_Atomic uint64_t told_us; /* when something was told last */
};

/** progress_init() - Nothing was told yet. It needs no release. */
void progress_init(struct progress *progress, struct channel *channel);

/** progress_begin() - Something begins that gets on by itself: the first word of it is due in 100 ms. */
void progress_begin(struct progress *progress);

/** progress_is_due() - Would progress_tell() say anything now? */
bool progress_is_due(const struct progress *progress);

/** progress_tell() - Say @text (NULL: nothing to add), unless something was said within the last 100 ms. Never waits.
 * Thread-safe. */
void progress_tell(struct progress *progress, const char *text);
