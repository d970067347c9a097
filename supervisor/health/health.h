/* SPDX-License-Identifier: MIT */
/* Is a new version well? From the commit to the end of the bake it is asked for signs of life, and the checks of its service file
 * are run. The result is a verdict.
 *
 *   health.c   signs of life, progress, counting, the verdict
 *   command.c  one run of a HealthCommand=
 *   net.c      one run of a HealthHTTP= or HealthTCP=, by libcurl on our loop
 */
#pragma once

#include "base/child.h"
#include "base/loop.h"
#include "base/why.h"
#include "supervisor/health/last_line.h"
#include "supervisor/process/instance.h"
#include "supervisor/unit/unit.h"

#include <stdbool.h>
#include <stdint.h>

struct graveyard;

#define HEALTH_DETAIL_BYTES 200u

enum health_verdict {
	HEALTH_NONE,
	HEALTH_LOST,    /* it does not answer: it hangs */
	HEALTH_SICK,    /* it answers, and a check failed so often in a row that it counts: alive and able, but not well */
	HEALTH_SETTLED, /* after health_conclude(): each check has succeeded once, and then every thread gave a sign of life */
};

struct health_check {
	struct health *health;
	const struct unit_check *unit;
	char *value;             /* as expanded, for people */
	char *url;               /* HTTP and TCP */
	struct timer timer;      /* while it runs: its timeout; else its next run */
	uint64_t begun_us;
	bool running, succeeded; /* succeeded: once or more */
	unsigned failures;       /* in a row, without those that were excused */
	uint64_t runs;
	char detail[HEALTH_DETAIL_BYTES]; /* of the last run, in words */

	/* command.c */
	struct child child;

	/* net.c */
	void *easy; /* CURL; NULL while nothing is asked */
	char *error; /* of CURL_ERROR_SIZE bytes, while @easy is there */
	size_t body_bytes;

	struct last_line_pipe output; /* of a command; of an HTTP answer @line alone, the first of its body */
};

struct health {
	struct loop *loop;         /* NULL: stopped */
	struct graveyard *graveyard; /* borrowed */
	const struct unit *unit;   /* borrowed */
	struct instance *instance; /* borrowed: the version that is watched */
	void (*on_verdict)(struct health *health, enum health_verdict verdict); /* see struct health_spec */
	void (*on_note)(struct health *health, const char *text);

	struct timer ping, tell;
	/* Of the last ping, and of the last answer, also of watches before this one: an answer to theirs may be under way. */
	uint64_t nonce, answered_nonce;
	uint64_t unanswered_us; /* when the oldest ping without an answer was sent; 0: none */
	uint64_t answered_us;   /* the last answer; 0: none yet */
	uint64_t progress_us;   /* when progress was heard last; 0: never */
	char progress[LAST_LINE_BYTES];
	bool excuse_noted;      /* since the last failure that counted; one note is enough */

	struct health_check *checks;
	size_t n_checks;
	bool concluding; /* Bake= is over: nothing excuses a failure any more */
	bool lenient;    /* ... and no check is waited for */
	uint64_t proof_us, proof_nonce; /* the sign of life that ends the bake was asked for: when, and the ping; 0: not yet */
	enum health_verdict verdict;
	struct why why;  /* of HEALTH_LOST and HEALTH_SICK, with the version and its pid */

	/* net.c */
	void *multi; /* CURLM; NULL: not needed yet */
	struct timer net_timer;
};

struct health_spec {
	struct loop *loop;
	struct graveyard *graveyard; /* outlives the process that is watched: commands that are broken off are buried there */
	const struct unit *unit;     /* this and @instance outlive the watch */
	struct instance *instance;   /* the version to watch */
	bool checks_only;            /* it is not asked for signs of life */
	/* Called from the loop, at most once. May stop or restart the watch, and free what embeds it. */
	void (*on_verdict)(struct health *health, enum health_verdict verdict);
	/* Something happened that is worth telling people. */
	void (*on_note)(struct health *health, const char *text);
};

/** health_start() - Begin to watch a version. @health was zeroed or stopped; a watch under way is stopped first. */
void health_start(struct health *health, const struct health_spec *spec);

/** health_stop() - End the watch: no verdict is told any more, and checks under way are broken off, without waiting for anything.
 * Safe on a zeroed one, and twice. Context: not from within on_note. */
void health_stop(struct health *health);

/** health_pong() - Note that the version answered the ping @nonce. */
void health_pong(struct health *health, uint64_t nonce);

/** health_progress() - Note that the version gets on. @text: with what; tamed. */
void health_progress(struct health *health, const char *text);

/** health_conclude() - Note that Bake= is over, so that no progress excuses a failure any more. A verdict follows: HEALTH_SETTLED
 * when every check has succeeded at least once and every thread has given a sign of life that was asked for after that; HEALTH_LOST
 * where that does not come within HealthTimeout=. @lenient: no check is waited for. May be called again, after a verdict, too. */
void health_conclude(struct health *health, bool lenient);

/** health_state() - Name a check's state. Return: "running", "ok", "failing" or "warming up". */
const char *health_state(const struct health_check *check);

/** health_heartbeat() - Name the state of the signs of life, with details in @buf. Return: "waiting", "ok" or "silent". */
const char *health_heartbeat(const struct health *health, char *buf, size_t size);
