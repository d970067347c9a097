/* SPDX-License-Identifier: MIT */
/* Does the process that serves answer, outside of rolls and bakes? It is asked for signs of life where Heartbeat= says so, and
 * after a roll that was called off without a word of it. */
#pragma once

#include "base/loop.h"

#include <stdbool.h>
#include <stdint.h>

struct member;

struct pulse {
	struct timer tick;  /* the next ping, or the moment in which an answer is overdue */
	uint64_t due_us;    /* of @tick */
	uint64_t next_us;   /* when it is asked next */
	uint64_t nonce;     /* of the last ping */
	uint64_t asked_us;  /* when the oldest ping without an answer was sent; 0: none */
	bool missed;        /* that an answer is overdue by an interval was told */
	uint64_t silent_us; /* it has not answered since then; 0: it answers, as far as anybody knows */
};

/** pulse_begin() - @member's process serves, and no roll has it. */
void pulse_begin(struct member *member);

/** pulse_end() - It does not any more. */
void pulse_end(struct member *member);

/** pulse_lose() - Note that the process has not answered since @since_us: it is asked until it answers, or ended, as Unanswered=
 * says. */
void pulse_lose(struct member *member, uint64_t since_us);

/** pulse_hear() - Every thread of it has given a sign of life. */
void pulse_hear(struct member *member);
