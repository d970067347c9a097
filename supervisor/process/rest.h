/* SPDX-License-Identifier: MIT */
/* A process that was asked to come to rest and says "not yet": how long it is asked again, how often, and for what it is waited.
 *
 * It has QuiesceTimeout= from the first question on. While it waits for a child process of its own, that time begins anew with each
 * answer and each question, until ChildTimeout= is over; when the child has ended, QuiesceTimeout= counts from there. So a thread
 * that hangs is noticed as soon as always, and the process that waits for a dump of minutes has these minutes. */
#pragma once

#include "base/loop.h"
#include "base/why.h"
#include "wire/app.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct instance;
struct unit;

struct rest {
	struct loop *loop;
	const struct unit *unit;
	uint64_t due_us;       /* by then it has to stand */
	uint64_t child_us;     /* since when it waits for a child; 0: it does not, or not any more */
	uint64_t child_due_us; /* ChildTimeout= is over then, for all its children together; 0: it has not waited for one */
	struct why reason;     /* for what it is waited, as it said last; "": it did not say */
	pid_t child;           /* that it named last; 0: none */
	/* The child is watched where it really is one of the process. */
	struct source source;
	int pidfd;             /* -1: it is not watched */
	bool gone;             /* @child has ended */
	void (*on_child_gone)(struct rest *rest);
};

/* From the end of a child to the next question: for the process to hear of it, too. */
#define REST_CHILD_REAPED_US (10 * USEC_PER_MSEC)

/** rest_begin() - It is about to be asked for the first time. @unit: borrowed until rest_end(). @on_child_gone: the child that it
 * waits for has ended, so it is worth asking. */
void rest_begin(struct rest *rest, struct loop *loop, const struct unit *unit, void (*on_child_gone)(struct rest *rest));

/** rest_ask() - It is about to be asked again: @due_us moves if it waits for a child. */
void rest_ask(struct rest *rest);

/** rest_hear() - @instance is not ready yet. */
void rest_hear(struct rest *rest, const struct instance *instance, const Upgraded__Wire__NotYet *not_yet);

/** rest_pause_us() - How long to let it serve before it is asked again. */
uint64_t rest_pause_us(const struct rest *rest);

enum rest_overdue {
	REST_IN_TIME,
	REST_QUIESCE_OVER, /* QuiesceTimeout= */
	REST_CHILD_OVER,   /* ChildTimeout= */
};

/** rest_overdue() - After rest_hear(): is it to be given up? */
enum rest_overdue rest_overdue(const struct rest *rest);

/** rest_child_timeout() - ChildTimeout= in words: "600 s", "1500 ms". @buf: 28 bytes have room for any. Return: @buf. */
const char *rest_child_timeout(const struct rest *rest, char *buf, size_t size);

/** rest_end() - It is not asked any more: no child is watched or waited for. @due_us and @reason stay. Also fine for zeros. */
void rest_end(struct rest *rest);
