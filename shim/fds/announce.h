/* SPDX-License-Identifier: MIT */
/* What the supervisor is told of descriptors while it holds duplicates of them: which came, and which were closed.
 *
 * All of it may be called from any thread. What the channel has no room for is queued, and told with the next call.
 */
#pragma once

#include "shim/fds/handover.h"
#include "shim/fds/table.h"

/** fd_table_close() - As upg_close(). */
void fd_table_close(struct fd_table *table, int fd, int epoll_fd);

/** fd_table_unregister() - As upg_fd_unregister(). */
int fd_table_unregister(struct fd_table *table, int fd);

/** fd_table_list_left() - What was handed to us and nobody claimed, as much as fits into @batch, which borrows from the table.
 * Return: how many there are. */
size_t fd_table_list_left(struct fd_table *table, struct fd_batch *batch);
/** fd_table_close_left() - Close these: this process serves, and goes without. */
void fd_table_close_left(struct fd_table *table);

/** fd_table_announce() - Send the supervisor a duplicate of @fd, which is registered, if it is to have those now. Waits for room
 * for a moment, without a lock. What finds no room is sent later. Return: 0; -errno: it cannot be, and ends with this process. */
int fd_table_announce(struct fd_table *table, int fd);

/** fd_table_tell() - Send what is queued, as far as the channel takes it. */
void fd_table_tell(struct fd_table *table);

/** fd_table_leave() - This process serves no more: from here on nothing of what it closes is told. */
void fd_table_leave(struct fd_table *table);

/** fd_table_begin_custody() - The supervisor has been sent duplicates of all that is registered: nothing that was closed before is
 * left to tell. */
void fd_table_begin_custody(struct fd_table *table);

/** fd_table_end_custody() - The supervisor dropped its duplicates: nothing is left to tell. */
void fd_table_end_custody(struct fd_table *table);
