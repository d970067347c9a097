/* SPDX-License-Identifier: MIT */
/* A roll as it happens: on a terminal one line per phase, completed in place; elsewhere one line per message. */
#pragma once

#include "cli/term.h"
#include "wire/control.pb-c.h"

#include <stdint.h>

struct progress {
	const struct term *term; /* borrowed */
	bool open;               /* a live line stands unfinished on the terminal */
	bool back;               /* the open phase belongs to the way back */
	char phase[32];
	char text[256];
	uint64_t elapsed_us;     /* as of the last message */
};

void progress_init(struct progress *progress, const struct term *term);

/** progress_show() - Show a message that came. */
void progress_show(struct progress *progress, const Upgraded__Wire__Progress *message);

/**
 * progress_end() - Complete the line that stands open, if one does.
 * @mark:       MARK_OK, MARK_FAIL, or MARK_OPEN when it goes on without us.
 * @elapsed_us: since the roll began.
 */
void progress_end(struct progress *progress, enum term_mark mark, uint64_t elapsed_us);
