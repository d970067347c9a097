/* SPDX-License-Identifier: MIT */
/* A roll as it happens: on a terminal a head and one line for each phase, drawn in place; elsewhere one line for each message. */
#pragma once

#include "cli/term.h"
#include "wire/control.pb-c.h"

#include <stdint.h>

struct progress {
	const struct term *term; /* borrowed */
	bool verbose;            /* on a terminal, too, each message is a line */
	bool open;               /* a live line stands unfinished on the terminal */
	bool back;               /* the open phase belongs to the way back */
	bool turned;             /* what is shown now is the roll backward, after the one that was asked for */
	bool phased;             /* the supervisor tells when phases begin */
	unsigned below;          /* lines of hints that stand below the open line */
	uint64_t roll_id;        /* whose head was printed */
	char phase[32];
	char text[256];          /* what was said last in this phase */
	char figures[256];       /* what is known of it in numbers */
	char cause[256];         /* why the phase before failed: it stands there */
	char head[32];           /* instead of the time, while it lasts */
	char service[80], to[80], from[80];
	uint64_t elapsed_us;     /* as of the last message */
	uint64_t begun_us;       /* the open phase, by the supervisor's clock; 0: it does not say */
	uint64_t at_us;          /* of the last message, by that clock */
};

void progress_init(struct progress *progress, const struct term *term);

/** progress_show() - Show a message that came. */
void progress_show(struct progress *progress, const Upgraded__Wire__Progress *message);

/**
 * progress_end() - Complete the line that stands open, if one does.
 * @mark:       MARK_OK, MARK_FAIL, or MARK_OPEN when it goes on without us.
 * @elapsed_us: since the roll began.
 * @cause:      why it failed; "" where the line says so already.
 */
void progress_end(struct progress *progress, enum term_mark mark, uint64_t elapsed_us, const char *cause);
