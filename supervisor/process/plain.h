/* SPDX-License-Identifier: MIT */
/* A process that knows nothing of us (Kind=plain), as one that can be rolled: what a library would say for it, is said here.
 *
 * Its channel has both ends in this program. At the other one sits this voice, which answers by what is known of the process: that
 * it is ready, by the rule of Ready=; that it beats, by WATCHDOG=1. To "come to rest", to "lie parked" and to "serve again" it says
 * yes at once, and touches nothing: the process goes on as it is. So a roll of two such processes is a roll in which nothing moves:
 * the new one starts beside the old one, at the same listeners; the old one stays as it is until the bake is over; and the way back
 * is that it is there.
 */
#pragma once

#include "base/child.h"
#include "base/loop.h"
#include "base/why.h"
#include "supervisor/process/notified.h"
#include "wire/app.h"
#include "wire/commit.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct instance;
struct unit;

#define PLAIN_LISTENERS_MAX 32u

struct voice {
	struct instance *of;      /* for whom it speaks; borrowed */
	struct loop *loop;
	int fd;                   /* the process's end of its channel; -1: closed */
	struct source source;
	struct notified notified;
	struct commit_word word;  /* from a Receive to a Commit */
	struct timer look;        /* is it ready? is a beat overdue? */
	struct child looker;      /* does it accept? Who looks may be held up by what is looked at: another process does */
	uint64_t start_ticks;     /* of the process: whoever is older was not left behind by it */
	bool ready;
	/* What it was given, by inode: when it waits at each of these, it is ready (Ready=accepts). */
	unsigned long long listeners[PLAIN_LISTENERS_MAX];
	size_t n_listeners;
	uint64_t beat_us;         /* WATCHDOG=1 was said last, or it became ready */
	bool fails;               /* WATCHDOG=trigger was said */
	uint64_t unanswered;      /* the Ping that waits for the next beat; 0: none */
	char status[NOTIFIED_TEXT_MAX + 1]; /* STATUS=, of the last one */
};

/** voice_init() - To the closed state; required before any other call. */
void voice_init(struct voice *voice, struct instance *of);

/**
 * voice_open() - Sit down at @theirs_consume, the process's end of its channel, and say hello.
 * @folder: where NOTIFY_SOCKET is to be; NULL: there is none.
 * @serial: of the process; it is part of the path.
 * @anew:   the process was started by a supervisor before this one.
 *
 * Return: 0 or -errno; then it is closed.
 */
int voice_open(struct voice *voice, struct loop *loop, int theirs_consume, const char *folder, uint64_t serial, bool anew,
	       struct why *why);

/** voice_take() - The same, of a channel that the program before has left: what was said there is still to be heard. */
int voice_take(struct voice *voice, struct loop *loop, int theirs_consume, const char *folder, uint64_t serial, struct why *why);

/** voice_begin() - The process runs. */
void voice_begin(struct voice *voice, const unsigned long long *listeners, size_t n);

/** voice_prove() - Of Ready=health: each check has succeeded. */
void voice_prove(struct voice *voice);

/** voice_has_unread() - Has the process said something that was not heard yet? */
bool voice_has_unread(const struct voice *voice);

/** voice_lack() - In words, what it lacks to be ready. */
const char *voice_lack(const struct voice *voice);

/** voice_close() - The process has ended: no more is said. Safe on a closed one. */
void voice_close(struct voice *voice);
/** voice_leave() - The same, but the process goes on, with another supervisor. */
void voice_leave(struct voice *voice);
