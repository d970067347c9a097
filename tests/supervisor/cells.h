/* SPDX-License-Identifier: MIT */
/* What one deed comes to in each state of a roll, as a table of cells. */
#pragma once

#include "tests/supervisor/scene.h"

/* What is compared is all that was heard and said of the deed at once, to the letter. In texts OLD, NEW and COLD stand for the pids
 * of the ends. */
struct cell {
	enum roll_state in, next;
	enum roll_outcome well; /* how it ends if from here on everybody does what they should: scene_go_well() */
	enum roll_outcome ill;  /* ... and if nobody says anything any more, and no image is taken or restored: scene_conclude() */
	bool nobody;            /* there is nobody in this state who could do it; nothing else counts */
	const char *refusal;    /* the deed is refused with this reason; NULL: it is not */
	const char *hears;      /* as scene.heard has it; NULL: nobody hears anything */
	const char *says;       /* as scene.said has it, without the last newline; NULL: nothing is said */
	const char *cause;      /* what the report gives as the cause from here on; NULL: what it gave before */
	const char *rungs;      /* the way back, as rungs_text() names it; NULL: as before */
};

/* A deed without any consequence. */
#define STAYS(state, well_outcome, ill_outcome) \
	{ .in = ROLL_##state, .next = ROLL_##state, .well = ROLL_IS_##well_outcome, .ill = ROLL_IS_##ill_outcome }
#define LEADS(from, to, well_outcome, ill_outcome) \
	.in = ROLL_##from, .next = ROLL_##to, .well = ROLL_IS_##well_outcome, .ill = ROLL_IS_##ill_outcome
#define NOBODY(state) { .in = ROLL_##state, .nobody = true }

struct deed {
	const char *name;
	bool (*can)(void);              /* is somebody there who could do it? NULL: always */
	int (*happen)(struct why *why); /* Return: 0; -errno with the reason for which it is refused */
};

/* A function that does @act and is never refused. */
#define DEED(name, act)              \
	static int name(struct why *why) \
	{                                \
		(void)why;                   \
		act;                         \
		return 0;                    \
	}

/** cells_check() - Asserts each of @cells, each in a roll of its own for `well` and another for `ill`. At the end who serves is who
 * the outcome says, and nobody else is left running. */
void cells_check(const struct deed *deed, const struct cell *cells, size_t n);
/** cells_check_all() - The same, and that each state that lasts has its cell. */
void cells_check_all(const struct deed *deed, const struct cell *cells, size_t n);

#define CELLS_CHECK(deed, cells) cells_check((deed), (cells), sizeof(cells) / sizeof((cells)[0]))
#define CELLS_CHECK_ALL(deed, cells) cells_check_all((deed), (cells), sizeof(cells) / sizeof((cells)[0]))

/** cells_check_idle() - Asserts that @deed has no consequence in any state that lasts, but for those of @but: one bit for each. */
void cells_check_idle(const struct deed *deed, unsigned but);

#define IN(state) (1u << ROLL_##state)

/* ---- who does it ---- */

/** cells_old(), cells_new() - The fake that runs and that the roll hears; in COLD new is the fresh process. NULL: there is none; in
 * BACKWARD and ONWARD new is lent. */
struct fake *cells_old(void);
struct fake *cells_new(void);
