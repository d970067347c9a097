/* SPDX-License-Identifier: MIT */
/* The shim's inside. What applications see is upgrade.h. */
#pragma once

#include "shim/upgrade.h"

#include "base/why.h"
#include "shim/core/channel.h"
#include "shim/core/progress.h"
#include "shim/core/threads.h"
#include "shim/fds/announce.h"
#include "shim/fds/handover.h"
#include "shim/fds/shed.h"
#include "shim/journal/conn.h"
#include "shim/journal/memory.h"
#include "shim/state/application.h"
#include "shim/state/load.h"
#include "shim/state/roundtrip.h"
#include "shim/state/save.h"
#include "shim/journal/replay.h"
#include "statefmt/statefmt.h"
#include "wire/commit.h"
#include "wire/wire.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <time.h>

/* ---- roll.c: the old version's side of a roll ---- */

/** roll_leave() - From Prepare to the outcome. Return: as upg_dispatch(). */
int roll_leave(struct upg *upg, const Upgraded__Wire__Prepare *prepare);

/* ---- upg.c ---- */

struct upg {
	const struct upg_config *config;
	struct channel *channel;
	struct why why;
	struct threads *threads;
	struct progress *progress;
	struct fd_table *fds;
	struct shed *shed;
	struct application *application;
	struct state *state;
	struct journal *journal;
	struct replay *replay; /* during a resume with a journal */
	struct commit_word word;
	bool received;  /* state came from a predecessor, the commit is still to be done */
	bool from_file; /* it came from a file: nobody served before */
	bool refused;
	uint32_t n_received_fds;
};
