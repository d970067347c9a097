/* SPDX-License-Identifier: MIT */
/* What a version that takes over must claim of what it was handed, and what it may leave. */
#pragma once

#include "shim/fds/table.h"

struct why;

/** fd_claims_check() - May this version serve with what it has claimed? Listeners and the like may be left, if it has any of its
 * own: their address is not configured any more. Everything else has to be claimed or dropped. Return: 0; -EPROTO. Context: the
 * thread that opened the handle. */
int fd_claims_check(struct fd_table *table, struct why *why);
