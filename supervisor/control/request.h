/* SPDX-License-Identifier: MIT */
/* A request as the rest of the supervisor sees it: read and checked once, here. What its verb does not take is ignored. */
#pragma once

#include "base/why.h"
#include "supervisor/control/verbs.h"
#include "supervisor/service/asker.h"
#include "supervisor/service/request.h"

struct request {
	const struct verb *verb;
	char service[UNIT_NAME_MAX + 1]; /* "": none was named */
	bool phases;                     /* tell phases and figures as they come */
	bool wait_commit;                /* answer at the commit, not at the end of the bake */
	bool stays_down;                 /* leave: take it back */
	bool from_file;                  /* start: load the state file that came along */
	const char *program;             /* roll_self: borrowed from the message; "": the present one's file */
	uint64_t generation;             /* images: which one; 0: all, or the newest */
	struct roll_request roll;        /* start has its version from here, too */
};

/* What is wrong with a request. */
struct refusal {
	struct answer answer; /* borrows @cause: not to be moved */
	struct why cause;
};

/**
 * request_parse() - Pure, but for @n_fds: how many descriptors came along.
 * @ret_refusal: what to answer, written when it is refused.
 *
 * Return: 0; -EINVAL: it is refused.
 */
int request_parse(const Upgraded__Wire__Request *wire, size_t n_fds, struct request *ret, struct refusal *ret_refusal);
