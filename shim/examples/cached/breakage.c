/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/breakage.h"

#include "shim/upgrade.h"

#if CACHED_BREAK_EXIT_AT_START || CACHED_BREAK_CRASH_LOADING || CACHED_BREAK_NEVER_READY || CACHED_BREAK_REFUSE || \
	CACHED_BREAK_MISLOAD || CACHED_BREAK_CRASH_AFTER || CACHED_BREAK_HANG_AFTER || CACHED_BREAK_STUCK || \
	CACHED_BREAK_LOSSY || CACHED_BREAK_EXIT_AFTER

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ITEMS_PER_BREAK 100u
#define REQUESTS_BEFORE_BREAK 200u

enum breakage {
	BREAK_EXIT_AT_START,
	BREAK_CRASH_LOADING,
	BREAK_NEVER_READY,
	BREAK_REFUSE,
	BREAK_MISLOAD,
	BREAK_CRASH_AFTER,
	BREAK_HANG_AFTER,
	BREAK_STUCK,
	BREAK_LOSSY,
	BREAK_EXIT_AFTER,
};

#if CACHED_BREAK_EXIT_AT_START
static const enum breakage breakage = BREAK_EXIT_AT_START;
#elif CACHED_BREAK_CRASH_LOADING
static const enum breakage breakage = BREAK_CRASH_LOADING;
#elif CACHED_BREAK_NEVER_READY
static const enum breakage breakage = BREAK_NEVER_READY;
#elif CACHED_BREAK_REFUSE
static const enum breakage breakage = BREAK_REFUSE;
#elif CACHED_BREAK_MISLOAD
static const enum breakage breakage = BREAK_MISLOAD;
#elif CACHED_BREAK_CRASH_AFTER
static const enum breakage breakage = BREAK_CRASH_AFTER;
#elif CACHED_BREAK_HANG_AFTER
static const enum breakage breakage = BREAK_HANG_AFTER;
#elif CACHED_BREAK_EXIT_AFTER
static const enum breakage breakage = BREAK_EXIT_AFTER;
#elif CACHED_BREAK_LOSSY
static const enum breakage breakage = BREAK_LOSSY;
#else
static const enum breakage breakage = BREAK_STUCK;
#endif

static _Atomic bool serving, hanging;
static _Atomic unsigned long requests, requests_before_break;

static void say(const char *what)
{
	fprintf(stderr, "cached: broken on purpose: %s\n", what);
}

__attribute__((noreturn)) static void hang(void)
{
	for (;;)
		pause(); /* a nudge returns from it */
}

void break_at_start(void)
{
	if (breakage != BREAK_EXIT_AT_START)
		return;
	say("exits at start");
	exit(3);
}

void break_in_init(void)
{
	if (breakage != BREAK_NEVER_READY)
		return;
	say("never gets ready");
	hang();
}

bool break_on_load(void)
{
	static unsigned items; /* load callbacks run in one thread */

	bool now = ++items % ITEMS_PER_BREAK == 0;
	if (now && breakage == BREAK_CRASH_LOADING) {
		say("crashes while it loads");
		abort();
	}
	return now && breakage == BREAK_MISLOAD;
}

uint32_t break_flags(uint32_t flags)
{
	return breakage == BREAK_LOSSY ? 0 : flags;
}

bool break_refuses(struct upg *upg)
{
	if (breakage != BREAK_REFUSE)
		return false;
	say("refuses to take over");
	upg_refuse(upg, "this version was built to refuse");
	return true;
}

static void *stuck(void *arg)
{
	struct upg *upg = arg;

	say("a thread never comes to its update point");
	upg_thread_enter(upg, "stuck", NULL);
	hang();
}

void break_serving(struct upg *upg)
{
	const char *after = getenv("CACHED_BREAK_AFTER");
	pthread_t thread;

	requests_before_break = after ? strtoul(after, NULL, 10) : REQUESTS_BEFORE_BREAK;
	serving = true;
	if (breakage == BREAK_STUCK && pthread_create(&thread, NULL, stuck, upg) == 0)
		pthread_detach(thread);
}

void break_on_request(void)
{
	if (!serving || (breakage != BREAK_CRASH_AFTER && breakage != BREAK_HANG_AFTER && breakage != BREAK_EXIT_AFTER))
		return;
	unsigned long count = atomic_fetch_add(&requests, 1) + 1;
	if (count < requests_before_break)
		return;
	if (breakage == BREAK_CRASH_AFTER) {
		say("crashes after it has served");
		abort();
	}
	if (breakage == BREAK_EXIT_AFTER) {
		say("exits after it has served");
		_exit(3);
	}
	if (!atomic_exchange(&hanging, true))
		say("hangs after it has served");
	hang();
}

void break_on_turn(void)
{
	if (hanging)
		hang();
}

#endif
