/* SPDX-License-Identifier: MIT */
/* What an application's handle leads to. It stands at the bottom, so that each module can have what applications call beside it; so
 * it knows names only, and who includes it sees no more than the modules that it includes as well. upg.c puts the parts
 * together. */
#pragma once

#include "shim/upgrade.h"

#include "base/why.h"

/* What on_prepare() says besides what it returns. */
struct upg_rest_said {
	struct why why;
	pid_t child; /* that it waits for; 0: it did not say */
};

struct upg {
	const struct upg_config *config;
	struct why why; /* the last failure: upg_why() */
	struct upg_rest_said *rest; /* while on_prepare() runs: where upg_refuse() says why it is not at rest; else NULL */
	pid_t checkpoint_child; /* writes a checkpoint, and is to be reaped; 0: there is none */
	/* From the bottom up. */
	struct channel *channel;
	struct threads *threads;
	struct progress *progress;
	struct fd_table *fds;
	struct shed *shed;
	struct application *application;
	struct state *state;
	struct journal *journal;
	struct takeover *takeover;
};
