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
	struct instance *lent;         /* in BACKWARD and ONWARD: new, in the owner's hands */
	pid_t old_pid, new_pid, cold_pid; /* those of the fakes, also when they were freed */
	uint64_t tag;                  /* of the last descriptor that scene_to() handed over */
	/* To be set before scene_begin(). */
	bool cold_refused;             /* no fresh process can be started */
	bool old_knows_no_journal, new_knows_no_journal;
	bool old_says_no_hello;
	bool hears_aside;              /* the owner wants to know what old says besides */
	/* What the owner heard. */
	unsigned commits, packs, progresses;
	char pack_failure[128];        /* of the last one; "": it went well */
	char asides[256];              /* "fds closed" */
	struct roll_report report;     /* of the roll that is over */
	struct roll_record record;     /* ... and what it was at its end */
	enum roll_state ended_in;
	struct instance *serves;       /* who was taken over at the end; NULL: nobody */
	bool left_image;
	char said[4096];               /* the end of all progress, a line each: "PHASE, WHO: TEXT\n" */
	/* What the ends heard, the latest last: "new:receive old:prepare", with SIGKILL, without pings. */
	char heard[1024];
	enum roll_state old_killed_in; /* where old was sent SIGKILL last */
	uint64_t old_killed_us;        /* ... and when; 0: never */
	uint64_t ponged_us;            /* when scene_pass() answered a ping last */
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

/** scene_forget() - Of what was said and heard. */
void scene_forget(void);

/** scene_to() - From the beginning to @state, along the way on which all goes well up to there. ABORT, RETREAT and the like are
 * entered by what leads there most simply. Not for SETTLE, which no time passes in, and ends. */
void scene_to(enum roll_state state);

enum roll_state scene_state(void);

/** scene_say_the_right_thing() - Whoever is asked in this state says what a well-behaved process would say. */
void scene_say_the_right_thing(void);

/** scene_go_well() - From here on everybody does what they are asked, images are taken and restored, and the roll backward
 * or onward commits, until the roll is over. */
void scene_go_well(void);

/** scene_judge() - New's health comes to a verdict, as @text tells. */
void scene_judge(enum health_verdict verdict, const char *text);

/** scene_turn_down() - The roll backward or onward is called off, as @text says: new comes back. */
void scene_turn_down(const char *text);

/** scene_pass() - Time passes, from timer to timer, or until the roll is over. Pings are answered by a new that serves. */
void scene_pass(uint64_t us);
/** scene_be_silent() - Time passes, and nobody answers anything; @us at most, or until the roll is over or its state is another
 * one. */
void scene_be_silent(uint64_t us);

/** scene_reap() - Whoever was sent SIGKILL ends, one after the other, until nobody is left. */
void scene_reap(void);

/** scene_conclude() - What must follow follows: killed processes end, images are finished (they fail), new is lost by a roll
 * backward, deadlines pass. Asserts that the roll ends. */
void scene_conclude(void);

/** scene_open_fds() - How many descriptors this process has open. */
unsigned scene_open_fds(void);

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
