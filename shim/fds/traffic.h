/* SPDX-License-Identifier: MIT */
/* Does this process answer its clients? A version that is alive and answers nobody is no version to keep, and only the process
 * itself sees every connection.
 *
 * Looked at are the TCP connections that it has registered itself; those it was handed bring counts of their own along. The kernel
 * has counted already, so nothing is counted here but connections, and only until the first one was answered.
 */
#pragma once

#include "shim/fds/table.h"

/** fd_traffic_note() - @entry is about to be closed. Lock held. */
void fd_traffic_note(struct fd_table *table, const struct fd_entry *entry);

/** fd_traffic_look() - What was noted, and what is open now. Context: every thread stands, or any. */
Upgraded__Wire__Traffic fd_traffic_look(struct fd_table *table);

/** fd_traffic_tell() - Post it, if there is anything new to tell. */
void fd_traffic_tell(struct fd_table *table);
