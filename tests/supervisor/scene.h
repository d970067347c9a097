/* SPDX-License-Identifier: MIT */
/* A roll between two fakes under the fake clock, with the test as its owner. One at a time. */
#pragma once

#include "tests/supervisor/fake.h"

struct scene {
	struct loop *loop;
	uint64_t now_us;
	struct unit *unit;
	struct graveyard graveyard;
	struct roll_site site;
	struct roll_word *word;
	struct roll *roll;             /* NULL: it is over */
	struct fake *old, *new, *cold; /* NULL: freed, or not there yet */
	struct instance *lent;         /* in BACKWARD: new, in the owner's hands */
	/* What the owner heard. */
	unsigned commits, packs, progresses;
	bool pack_failed;
	bool cold_refused;             /* to be set: no fresh process can be started */
	struct roll_report report;     /* of the roll that is over */
	enum roll_state ended_in;
	struct instance *serves;       /* who was taken over at the end; NULL: nobody */
	bool left_image;
	char said[4096];               /* the phases and texts of progress, a line each; the end of it */
};

extern struct scene scene;

/* The service file that scene_set() reads. */
#define SCENE_UNIT                                                                                 \
	"[Service]\nExec=/bin/web-%v\nStartTimeout=10s\nQuiesceTimeout=2s\nTransferTimeout=20s\nBake=60s\n"    \
	"HealthInterval=1s\nHealthTimeout=5s\nImageTimeout=30s\n"

/** scene_set() - A loop, a clock that stands still, a service file: SCENE_UNIT and @more (NULL: nothing more). */
void scene_set(const char *more);
/** scene_clear() - Everything goes; asserts that no event was without a cell. */
void scene_clear(void);

/** scene_begin() - The roll from "v1" to "v2" begins. @options: version, word and generation are set here. */
void scene_begin(const struct roll_options *options);
/** scene_options() - As the service file says, PURPOSE_FORWARD. */
struct roll_options scene_options(void);

/** scene_to() - From the beginning to @state, along the way on which all goes well up to there. ABORT, RETREAT and the like are
 * entered by what leads there most simply. Not for SETTLE, which no time passes in, and ends. */
void scene_to(enum roll_state state);

enum roll_state scene_state(void);

/** scene_pass() - Time passes, in steps from timer to timer, or until the roll is over. Pings are answered by a new that serves. */
void scene_pass(uint64_t us);
/** scene_be_silent() - Time passes, and nobody answers anything; @us at most, or until the roll is over or its state is another
 * one. */
void scene_be_silent(uint64_t us);

/** scene_reap() - Whoever was sent SIGKILL ends, one after the other, until nobody is left. */
void scene_reap(void);

/** scene_conclude() - What must follow follows: killed processes end, images are finished (they fail), deadlines pass. Asserts that
 * the roll ends. */
void scene_conclude(void);

/** scene_said() - Was this text part of the progress? */
bool scene_said(const char *text);

/** scene_is_bounded() - Is there something that ends this state, whatever the processes do? */
bool scene_is_bounded(void);

/* ---- what may be wrong, in words, where a test asserts ---- */
#define assert_state(state)                                                                                         \
	cr_assert_eq(scene_state(), (state), "%s instead of %s", roll_state_name(scene_state()), roll_state_name(state))
#define assert_outcome(what)                                                                              \
	do {                                                                                                  \
		cr_assert_null(scene.roll, "the roll is not over: %s", roll_state_name(scene_state()));           \
		cr_assert_eq(scene.report.outcome, (what), "%s instead of %s: %s",                                \
			     roll_outcome_name(scene.report.outcome), roll_outcome_name(what), scene.report.cause.text); \
	} while (0)
