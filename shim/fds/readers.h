/* SPDX-License-Identifier: MIT */
/* Who else takes from the descriptors that move? A thread that the library does not know and that waits on one of them would go on
 * taking from it when another process serves. */
#pragma once

struct fd_table;
struct threads;
struct why;

/** readers_check() - Return: 0; -EBUSY with the thread and the descriptor; what cannot be seen is no reason. Context: a thread that
 * holds none of our locks. */
int readers_check(struct threads *threads, struct fd_table *fds, struct why *why);
