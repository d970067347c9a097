/* SPDX-License-Identifier: MIT */
/* A service whose processes are fakes, and people who ask something of it, under the fake clock. One at a time.
 *
 * Its versions are v1, v2, ...: version vN reads and writes version N of the type "thing", and knows the migrations up to it. */
#pragma once

#include "tests/supervisor/asked.h"
#include "tests/supervisor/fake.h"

#include "supervisor/roll/state.h"
#include "supervisor/service/report.h"

#include <stdio.h>

struct hosted {
	struct place place;
	struct fake_origin origin;
	uint64_t now_us;
	struct loop *loop;
	struct roll_site *site;
	struct service *web;
	bool silent; /* pings are not answered while time passes */
};

extern struct hosted hosted;

/* Somebody who asks. */
struct caller {
	struct asked asked;
	Upgraded__Wire__Result *result; /* the whole answer; NULL: there is none yet */
	char said[2048];                /* the progress that was told: "phase: text" in a line each; the end of it */
};

extern struct caller ann, bob;

/* The service file that hosted_set() writes. */
#define HOSTED_UNIT                                                                                                          \
	"[Service]\nExec=/nonexistent/web-%v\nStartTimeout=10s\nQuiesceTimeout=2s\nTransferTimeout=20s\nStopTimeout=5s\n"      \
	"RestartDelay=100ms\nBake=60s\nHealthInterval=1s\nHealthTimeout=5s\nImageTimeout=30s\n"

/** hosted_set() - A folder with web.conf, a loop, a clock that stands still. @more: lines of web.conf besides HOSTED_UNIT; NULL:
 * none. */
void hosted_set(const char *more);
/** hosted_clear() - Everything goes; asserts that no roll met an event without a cell. */
void hosted_clear(void);
/** hosted_write() - Another web.conf: HOSTED_UNIT and @more. */
void hosted_write(const char *more);

/** ask() - @caller is about to ask something; what it was told before is forgotten. Return: to be given to what is asked. */
struct asker *ask(struct caller *caller);
/** caller_leave() - It goes away while it waits; whoever tells it anything from here on crashes. */
void caller_leave(struct caller *caller);

/** request() - To @version, with nothing that the service file does not say. */
struct roll_request request(const char *version);

/** started() - The process that was started as the @n-th, from 0, and is not freed. */
struct fake *started(unsigned n);
/** is_gone() - The @n-th process was freed. */
bool is_gone(unsigned n);

/** hosted_serve() - @version is started and serves. Return: its process. */
struct fake *hosted_serve(const char *version);
/** hosted_start_up() - @fake says all that a start needs. */
void hosted_start_up(struct fake *fake);
/** hosted_roll() - ann asks for a roll to @version. Return: the process of it. */
struct fake *hosted_roll(const char *version);
/** hosted_lead() - The roll between two processes goes well: from the beginning to @until. */
void hosted_lead(struct fake *from, struct fake *to, enum roll_state until);
/** hosted_lead_on() - The same from @since on. */
void hosted_lead_on(struct fake *from, struct fake *to, enum roll_state since, enum roll_state until);
/** hosted_bake() - v1 serves, ann rolls to v2, and v2 bakes. Return: the process of v2. */
struct fake *hosted_bake(void);

/** hosted_turn() - What is due now happens. */
void hosted_turn(void);
/** hosted_pass() - Time passes. Pings are answered. */
void hosted_pass(uint64_t us);
/** hosted_reap() - Whoever was sent SIGKILL ends, until nobody is left. */
void hosted_reap(void);
/** hosted_end_all() - The daemon ends: asserts that the service comes to its end. Processes do as they are told; an image that is
 * under way fails. */
void hosted_end_all(void);

/** hosted_doing() - What is under way, as somebody who asks for a stop is told; "": nothing. Asserts that a stop is refused. */
const char *hosted_doing(void);
/** hosted_processes() - As status tells them: "serving v2, parked v1". */
const char *hosted_processes(void);

/* ---- what may be wrong, in words, where a test asserts ---- */

#define assert_text(text, ...)                                 \
	do {                                                       \
		char words_[512];                                      \
		snprintf(words_, sizeof(words_), __VA_ARGS__);         \
		cr_assert_str_eq((text), words_, "\"%s\"", (text));    \
	} while (0)

/* It was answered, once. */
#define assert_answer(caller, what, ...) \
	do { \
		cr_assert_eq((caller)->asked.answers, 1, "%u answers: %s", (caller)->asked.answers, (caller)->asked.text); \
		assert_text((caller)->asked.text, __VA_ARGS__); \
		cr_assert_eq((caller)->asked.code, (what), "%d: %s", (int)(caller)->asked.code, (caller)->asked.text); \
		cr_assert_null((caller)->asked.asker.service, "it was answered, and is still waited for"); \
	} while (0)

#define assert_waits(caller) cr_assert_eq((caller)->asked.answers, 0, "answered: %s", (caller)->asked.text)

/* The answer says that @fake serves. */
#define assert_serving(caller, fake)                                                                            \
	assert_text((caller)->asked.serving, "version %s (pid %d)", (fake)->instance.version, (fake)->instance.pid)

/* What status says. */
#define assert_status(what, which)                                                                                        \
	do {                                                                                                                  \
		struct status status_;                                                                                            \
		service_status(hosted.web, &status_);                                                                             \
		cr_assert_str_eq(status_.message.state, (what), "%s", status_.message.state);                                      \
		cr_assert_str_eq(status_.message.version, (which), "%s", status_.message.version);                                 \
		status_done(&status_);                                                                                            \
	} while (0)
