/* SPDX-License-Identifier: MIT */
/* What an application's handle leads to. It stands at the bottom, so that each module can have what applications call beside it; so
 * it knows names only, and who includes it sees no more than the modules that it includes as well. upg.c puts the parts
 * together. */
#pragma once

#include "shim/upgrade.h"

#include "base/why.h"

#define UPG_CHECKPOINT_CHILDREN 4u

/* What on_prepare() says besides what it returns. */
struct upg_rest_said {
	struct why why;
	pid_t child; /* that it waits for; 0: it did not say */
};

struct upg {
	const struct upg_config *config;
	struct why why; /* the last failure: upg_why() */
	struct upg_rest_said *rest; /* while on_prepare() runs: where upg_refuse() says why it is not at rest; else NULL */
	/* They write checkpoints, and are to be reaped; all but the last one that was made are at their end. */
	struct checkpoint_child {
		pid_t pid; /* 0: none */
		int pidfd; /* owned; the application may have reaped it, and the number be another's. -1: there is none */
	} checkpoint_children[UPG_CHECKPOINT_CHILDREN];
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
