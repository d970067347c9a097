/* SPDX-License-Identifier: MIT */
/* Ways for a new version to fail, one per program, chosen when it is compiled with -DCACHED_BREAK_<NAME>=1. They exist to try
 * rolls that go wrong; in an ordinary build every hook here compiles to nothing. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct upg;

#if CACHED_BREAK_EXIT_AT_START || CACHED_BREAK_CRASH_LOADING || CACHED_BREAK_NEVER_READY || CACHED_BREAK_REFUSE || \
	CACHED_BREAK_MISLOAD || CACHED_BREAK_CRASH_AFTER || CACHED_BREAK_HANG_AFTER || CACHED_BREAK_STUCK || \
	CACHED_BREAK_LOSSY || CACHED_BREAK_EXIT_AFTER

/** break_at_start() - EXIT_AT_START: status 3 before anybody heard of this process. */
void break_at_start(void);
/** break_in_init() - NEVER_READY: announced, and hangs before it asks for state. */
void break_in_init(void);
/** break_on_load() - CRASH_LOADING: abort() at the 100th item. MISLOAD: true for every 100th item, which is to be forgotten. */
bool break_on_load(void);
/** break_flags() - LOSSY: an item's flags are lost where they are not 0; every count agrees. */
uint32_t break_flags(uint32_t flags);
/** break_refuses() - REFUSE: has refused; leave. */
bool break_refuses(struct upg *upg);
/** break_serving() - From here on requests count. STUCK: a thread that never comes to an update point. */
void break_serving(struct upg *upg);
/** break_on_request() - CRASH_AFTER: abort() at the 200th request; EXIT_AFTER: status 3 there; HANG_AFTER: each thread stops
 * from then on at its next step. The environment's CACHED_BREAK_AFTER is another number than 200. */
void break_on_request(void);
/** break_on_turn() - HANG_AFTER: for threads that handle no requests. */
void break_on_turn(void);

#else

static inline void break_at_start(void) {}
static inline void break_in_init(void) {}
static inline bool break_on_load(void) { return false; }
static inline uint32_t break_flags(uint32_t flags) { return flags; }
static inline bool break_refuses(struct upg *upg) { (void)upg; return false; }
static inline void break_serving(struct upg *upg) { (void)upg; }
static inline void break_on_request(void) {}
static inline void break_on_turn(void) {}

#endif
