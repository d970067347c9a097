/* SPDX-License-Identifier: MIT */
/* What may wait long for a disk, as fsync(2) does, is done by a thread, so that the loop does not. */
#pragma once

#include <stdbool.h>

struct loop;
struct why;
struct worker;

/* One thing to be done. It is embedded in the object that it is done for, and belongs to the worker until on_done() is called:
 * up to then that object must live. */
struct work {
	struct work *next;
	struct worker *worker;               /* NULL while it is not under way */
	void (*run)(struct work *work);      /* in the thread */
	void (*on_done)(struct work *work);  /* in the loop's thread; may give the same work again */
};

/**
 * worker_new() - Start a thread that does one thing after the other.
 * @loop: borrowed until worker_free().
 *
 * Return: 0; -EAGAIN: no thread can be had; -errno.
 */
int worker_new(struct loop *loop, struct worker **ret_worker, struct why *why);

/** worker_give() - Have @work done, after what was given before. Does not fail. Context: the loop's thread. */
void worker_give(struct worker *worker, struct work *work, void (*run)(struct work *work), void (*on_done)(struct work *work));

/** worker_wait() - Wait until @work, which is under way, is done, and call on_done() of it and of what was done before it. */
void worker_wait(struct work *work);

/** worker_free() - Wait until everything that was given is done, call each on_done(), which must not give anything any more, and
 * end the thread. NULL is allowed. Return: NULL. */
struct worker *worker_free(struct worker *worker);
