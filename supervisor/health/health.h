/* SPDX-License-Identifier: MIT */
/* Is a new version well? From the commit to the end of the bake it is asked for signs of life, and the checks of its service file
 * are run. What comes of it is a verdict:
 *
 *   HEALTH_LOST     it does not answer: it hangs
 *   HEALTH_SICK     it answers, and a check failed so often in a row that it counts: alive and able, but not well
 *   HEALTH_SETTLED  after health_conclude(): every check has succeeded at least once
 *
 *   health.c          signs of life, progress, counting, the verdict
 *   health_command.c  one run of a HealthCommand=
 *   health_net.c      one run of a HealthHTTP= or HealthTCP=, by libcurl on our loop
 */
#pragma once

#include "base/child.h"
#include "base/loop.h"
#include "base/why.h"
#include "supervisor/process/instance.h"
#include "supervisor/unit/unit.h"

#include <stdbool.h>
#include <stdint.h>

struct graveyard;

#define HEALTH_DETAIL_BYTES 200u
#define HEALTH_LINE_BYTES 120u

enum health_verdict { HEALTH_NONE, HEALTH_LOST, HEALTH_SICK, HEALTH_SETTLED };

/* The last line of an output that nobody wants more of, tamed. */
struct last_line {
	char text[HEALTH_LINE_BYTES];    /* whole, and not blank */
	char partial[HEALTH_LINE_BYTES]; /* what follows it */
	size_t n_partial;
};

struct health_check {
	struct health *health;
	const struct unit_check *unit;
	char *value;             /* as expanded, for people */
	char *url;               /* HTTP and TCP */
	struct timer timer;      /* while it runs: its timeout; else its next run */
	uint64_t begun_us;
	bool running, succeeded; /* succeeded: once or more */
	unsigned failures;       /* in a row, and counted */
	uint64_t runs;
	char detail[HEALTH_DETAIL_BYTES]; /* of the last run, in words */

	/* health_command.c */
	struct child child;
	int output; /* -1 */
	struct source output_source;

	/* health_net.c */
	void *easy; /* CURL; NULL while nothing is asked */
	char *error; /* of CURL_ERROR_SIZE bytes, while @easy is there */
	size_t body_bytes;

	struct last_line line; /* the command's last; of HTTP the first of the body */
};

struct health {
	struct loop *loop;         /* NULL: stopped */
	struct graveyard *graveyard; /* borrowed: for commands that are broken off */
	const struct unit *unit;   /* borrowed */
	struct instance *instance; /* borrowed: the version that is watched */
	/* Called from the loop, at most once for each start; may stop or restart this, and free what embeds it. */
	void (*on_verdict)(struct health *health, enum health_verdict verdict);
	/* Something worth telling happened. */
	void (*on_note)(struct health *health, const char *text);

	struct timer ping, tell;
	uint64_t nonce;
	uint64_t unanswered_us; /* when the oldest ping without an answer was sent; 0: none */
	uint64_t answered_us;   /* the last answer; 0: none yet */
	uint64_t progress_us;   /* the last word of progress; 0: none */
	char progress[HEALTH_LINE_BYTES];
	bool excused;           /* a failure was, since the last one that counted */

	struct health_check *checks;
	size_t n_checks;
	bool concluding; /* the bake's time is over */
	enum health_verdict verdict;
	struct why why;  /* of HEALTH_LOST and HEALTH_SICK, with the version and its pid */

	/* health_net.c */
	void *multi; /* CURLM; NULL: not needed yet */
	struct timer net_timer;
};

/** health_start() - Begin to watch. @health was zeroed or stopped; @unit and @instance outlive the watch, @graveyard does so by
 * far. */
void health_start(struct health *health, struct loop *loop, struct graveyard *graveyard, const struct unit *unit,
		  struct instance *instance,
		  void (*on_verdict)(struct health *health, enum health_verdict verdict),
		  void (*on_note)(struct health *health, const char *text));

/** health_stop() - No more questions and no verdict; checks under way are broken off, without waiting for anything. Safe on one
 * never started (zeroed), and twice. Context: not from within on_note. */
void health_stop(struct health *health);

/** health_pong() - It answered. */
void health_pong(struct health *health);

/** health_progress() - It says that it gets on, with what. @text: tamed. */
void health_progress(struct health *health, const char *text);

/** health_conclude() - The bake's time is over. Return: true if every check has succeeded at least once; else a verdict follows
 * soon, as from here on no progress excuses a failure. */
bool health_conclude(struct health *health);

/** health_state() - What to call the check's state: "waiting", "running", "ok", "failing", "warming up". */
const char *health_state(const struct health_check *check);

/** health_heartbeat() - The same of the signs of life, with details in @buf. Return: "waiting", "ok" or "silent". */
const char *health_heartbeat(const struct health *health, char *buf, size_t size);

/* ---- between the health*.c files ---- */

/** health_check_done() - A run came to its end. @detail: printf-like, what it found. Context: from the loop, not from a start. */
void health_check_done(struct health_check *check, bool healthy, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** health_command_start(), health_net_start() - Begin a run; health_check_done() follows. Return: 0; -errno: it will not. */
int health_command_start(struct health_check *check, struct why *why);
int health_net_start(struct health_check *check, struct why *why);

/** health_command_cancel(), health_net_cancel() - Break a run off, if there is one: health_check_done() will not follow. */
void health_command_cancel(struct health_check *check);
void health_net_cancel(struct health_check *check);

/** health_net_done() - After all checks were cancelled. */
void health_net_done(struct health *health);

void last_line_put(struct last_line *line, const char *data, size_t size_bytes);
/** last_line_get() - The last one that is not blank, finished or not; "" if there is none. */
const char *last_line_get(struct last_line *line);
