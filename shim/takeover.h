/* SPDX-License-Identifier: MIT */
/* The new version's side of a roll, and a start without one: stand by, receive, take over. */
#pragma once

#include "shim/core/upg.h"

#include "shim/fds/listen.h"
#include "wire/commit.h"

#include <stdbool.h>
#include <stdint.h>

struct takeover {
	struct commit_word word; /* mapped between upg_receive() and the commit of a roll */
	bool received;  /* state came, and the application has not said yet that it is ready */
	bool from_file; /* it came from a file: nobody served before */
	bool refused;   /* upg_refuse() */
	bool stood_by;  /* upg_receive() was called */
	bool asks;      /* upg_expected() waits for an answer */
	bool asked;     /* ... or has waited */
	bool called_off; /* ... and was told meanwhile that the roll is off */
	bool serves;    /* upg_ready() said so */
	uint32_t n_fds; /* that came with it */
	struct held *held; /* a process that ended is replaced; NULL: that is not so */
	struct fd_given given; /* came, and are not in the table yet */
};

/** takeover_done() - Release everything. Also fine for one of zeros. */
void takeover_done(struct takeover *takeover);

/**
 * takeover_end() - What the application is told, on its way: of UPG_FRESH, UPG_RECEIVED, UPG_SERVE, UPG_GO_ON and UPG_LEAVE. With
 * UPG_LEAVE nothing is this process's any more: threads are told so, too, and upg_close() shuts nothing down.
 * @outcome: one of these; -errno: something failed, and only then upg_why() says something afterwards.
 *
 * Return: @outcome, or @failed_means for a failure.
 */
int takeover_end(struct upg *upg, int outcome, int failed_means);

/** takeover_refuse() - Tell the supervisor that this process does not go along, and why: what upg_why() tells the application.
 * Return: @rc. */
int takeover_refuse(struct upg *upg, int rc);
