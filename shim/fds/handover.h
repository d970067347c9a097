/* SPDX-License-Identifier: MIT */
/* Descriptors on their way over the channel. All of it belongs to the owner of the channel. */
#pragma once

#include "shim/fds/table.h"

struct why;

/* Descriptors of one message. */
struct fd_batch {
	Upgraded__Wire__FdInfo infos[WIRE_FDS_MAX], *pointers[WIRE_FDS_MAX];
	int numbers[WIRE_FDS_MAX];
	size_t n;
};

/** fd_batch_add() - One more, which must fit. Borrows the name and the descriptor of @entry. */
void fd_batch_add(struct fd_batch *batch, const struct fd_entry *entry);

/** fds_send() - Hand duplicates of all registered descriptors to the supervisor, *@ret_n of them. Every registered thread stands.
 * Return: 0 or -errno. */
int fds_send(struct fd_table *table, uint64_t deadline_us, uint32_t *ret_n, struct why *why);

/** fds_tell_inventory() - Answer the AskInventory of this number with all registered numbers, and with the @n_threads ids of
 * registered @threads, and the @n_counts @counts of the state. Return: 0 or -errno. */
int fds_tell_inventory(struct fd_table *table, uint64_t question, uint32_t *threads, size_t n_threads,
		       Upgraded__Wire__Count **counts, size_t n_counts);

/** fds_tell_registered() - Answer AskRegistered: how many there are. That it could not be answered is no failure. */
void fds_tell_registered(struct fd_table *table);

/* What becomes of one descriptor that came. Return: 0: @fd is the callee's; FDS_NOT_KEPT: it is closed with its message; -errno:
 * likewise, and no other is taken. */
#define FDS_NOT_KEPT 1
typedef int (*fds_take_fn)(void *arg, const Upgraded__Wire__FdInfo *info, int fd, struct why *why);

/** fds_receive() - Take descriptors in until the last batch has come. @deadline_us: Postponed moves it.
 * @ret_next_tag: where tags go on; NULL: not wanted. Return: 0 or -errno. */
int fds_receive(struct channel *channel, uint64_t *deadline_us, fds_take_fn take, void *arg, uint64_t *ret_next_tag,
		struct why *why);
