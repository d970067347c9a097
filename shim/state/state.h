/* SPDX-License-Identifier: MIT */
/* State on its way out of this process or into it: the application's callbacks on one side, the state stream on the other.
 *
 * The side that knows the newer schema migrates. Going up that is the reader, who was built later. Going down it is the writer: the
 * version that is being left knows how its records looked before, the one that takes over never heard of them.
 *
 * All of it belongs to the thread that called upg_open().
 */
#pragma once

#include "shim/state/refs.h"
#include "shim/state/sizes.h"

#include "statefmt/statefmt.h"
#include "wire/in_hand.h"
#include "wire/wire.h"

#include <stdbool.h>
#include <stdint.h>

struct application;
struct channel;
struct fd_table;
struct progress;
struct roundtrip;

/* What came of one type in a load. */
struct state_came {
	uint64_t records, bytes, skipped; /* skipped: upg_load_skip(); counted among the records */
	char reason[128];          /* of the first that was skipped */
};

struct state {
	const struct application *application;
	struct channel *channel;   /* its next message calls a save off */
	struct fd_table *fds;      /* where load() claims descriptors */
	struct progress *progress; /* where a slow load says that it gets on */
	struct sizes sizes;        /* how much there is, and will be */
	struct refs refs;          /* of the save or load under way; after a load, until it is checked */
	/* Of a save. */
	bool reader_gone; /* it failed because the new version had closed its end */
	/* Of a load. */
	struct roundtrip *roundtrip;   /* NULL: not asked for */
	struct in_hand in_hand;        /* not mapped: nobody looks */
	struct state_came *came;       /* by type of the application; NULL: nothing was loaded */
	Upgraded__Wire__Totals totals; /* of what was loaded */
};

/** state_init() - Nothing is on its way. Everything is borrowed. */
void state_init(struct state *state, const struct application *application, struct channel *channel, struct fd_table *fds,
		struct progress *progress);
void state_done(struct state *state);

#define STATE_SKIPPED_MAX 16u

/* Types of which records were skipped, for a message. */
struct state_skipped {
	Upgraded__Wire__Skipped skipped[STATE_SKIPPED_MAX], *list[STATE_SKIPPED_MAX];
	size_t n;
};

/** state_list_skipped() - After a load. @ret: points into @state; what is more than STATE_SKIPPED_MAX is left out. */
void state_list_skipped(const struct state *state, struct state_skipped *ret);

/** state_limits() - What the supervisor allows a stream. NULL, and 0 in a field: the library's default. */
struct sf_limits state_limits(const Upgraded__Wire__Limits *limits);
