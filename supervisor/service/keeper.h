/* SPDX-License-Identifier: MIT */
/* Journal=always: checkpoints of a process that serves, outside of rolls, and another process in its place when it fails. */
#pragma once

#include "base/base.h"
#include "supervisor/custody/hold.h"
#include "supervisor/process/rest.h"

#include <stdbool.h>
#include <stdint.h>

struct member;

#define KEEPER_SAID_BYTES 4096u
#define KEEPER_AGAIN_US USEC_PER_SEC /* to the next checkpoint after a failure; doubled with each */
#define KEEPER_KILLED_MAX 16u

enum keeper_step {
	KEEPER_IDLE,
	KEEPER_ASKED,  /* the process is to come to rest */
	KEEPER_STANDS, /* ... and has; its descriptors may come */
	KEEPER_WRITES, /* it serves on, and its child writes */
};

struct keeper {
	struct hold hold;
	bool on;        /* the process that serves is asked for checkpoints */
	bool announced; /* the hold has all its descriptors */
	bool wanted;    /* the next checkpoint is due as soon as this one is over */
	bool turned;    /* the journal of the checkpoint under way is written, and nothing is missing in it */
	enum keeper_step step;
	pid_t pid; /* of that process, also while a roll has it */
	uint64_t last_number;
	uint64_t n_begun; /* checkpoints, for the log */
	/* The checkpoint under way. */
	struct fd_ref *state, *journal, *report; /* @report: our copy of where the child reports, until the process has it */
	struct hold coming;                      /* descriptors, until all have come */
	bool complete;                           /* all that its state may refer to have */
	struct why spoiled;                      /* why they never will; "": they may */
	struct rest rest;
	uint64_t asked_us, stands_us;
	int said_fd; /* what the child reports; -1: nobody does */
	struct source source;
	uint8_t said[KEEPER_SAID_BYTES];
	size_t n_said;
	struct timer next, again, deadline;
	unsigned failures;    /* in a row */
	uint64_t told_loss_us; /* when a line last said that something is missing */
	struct why note;      /* why there is no checkpoint, or no newer one; "": there is */
	uint64_t pause_us, took_us; /* of the last one that was made */
	uint32_t uncovered;   /* connections */
	uint32_t gaps_told;   /* how many these were when a line last said so */
	/* Going on from it. */
	bool starts;          /* the start that is under way takes it */
	bool awaits_child;    /* ... as soon as the first checkpoint is whole: its process has ended, and its child writes yet */
	unsigned tries, quick; /* starts that failed; ends soon after such a start */
	uint64_t killed_us[KEEPER_KILLED_MAX]; /* when SIGKILL ended one that had taken a place: the last ones, in a ring */
	unsigned n_killed;
	bool doubts;          /* what is handed over may be what they fail of: connections are not any more */
	bool has_journal;     /* who takes the place has one of its own */
	bool took_place;      /* the process that serves came from it */
};

/** keeper_init() - Nothing is kept. */
void keeper_init(struct keeper *keeper);
/** keeper_done() - Let go of everything. */
void keeper_done(struct keeper *keeper);

/** keeper_begin() - The member's process serves, and no roll has it: the first checkpoint is asked for, where its service
 * file wants them. What a process before left is kept until then if this one has taken its place. */
void keeper_begin(struct member *member);
/** keeper_end() - A roll has committed, or the process ends by order: nothing is kept any more. */
void keeper_end(struct member *member);
/** keeper_give_way() - Something else is asked of the process now: the next checkpoint comes later. */
void keeper_give_way(struct member *member);

/** keeper_hear() - Return: true if @message was about a checkpoint. */
bool keeper_hear(struct member *member, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds);
/** keeper_hear_garbage() - Something that it said was lost on the way: perhaps descriptors, for which there was no room. */
void keeper_hear_garbage(struct member *member, const char *reason);

/* ---- heir.c ---- */

/* What becomes of a process that failed. */
enum keeper_goes_on {
	KEEPER_EMPTY,    /* nothing was kept */
	KEEPER_AT_ONCE,  /* another one takes its place */
	KEEPER_LATER,    /* ... after RestartDelay=, as this was not the first time */
	KEEPER_AWAITS,   /* ... when keeper_begin_start() is called, by a timer: member->restart */
};

/** keeper_on_exit() - The process that served has failed. */
enum keeper_goes_on keeper_on_exit(struct member *member);
/** keeper_on_start_failed() - The start that was under way has. Return: KEEPER_EMPTY or KEEPER_AT_ONCE. */
enum keeper_goes_on keeper_on_start_failed(struct member *member);
/** keeper_needs_child() - A child of the process that ended writes what is needed. */
bool keeper_needs_child(const struct member *member);

/** keeper_starts() - Does the start that is under way take what was kept? */
static inline bool keeper_starts(const struct keeper *keeper)
{
	return keeper->starts;
}
/** keeper_send() - The process that stands by gets all of it. @due_us: by then it has to be loaded. */
void keeper_send(struct member *member, uint64_t due_us);
/** keeper_hear_ready() - It serves in the place of the one before. @ready: what it took. */
void keeper_hear_ready(struct member *member, const Upgraded__Wire__Ready *ready);

/** keeper_tell() - What a crash would cost now, in words. Return: @buf; "": the service file does not ask for checkpoints. */
const char *keeper_tell(const struct member *member, char *buf, size_t size);

/* ---- between the three files ---- */

/** keeper_unit() - What the member's process was started with, or is to be. */
const struct unit *keeper_unit(const struct member *member);
/** keeper_be_off() - No checkpoints are asked for any more. What is kept stays. */
void keeper_be_off(struct keeper *keeper);

/* checkpoint.c */
/** keeper_plan_next() - The next checkpoint is due in @us, unless something else is asked of the process then. */
void keeper_plan_next(struct member *member, uint64_t us);
/** keeper_drop_attempt() - What was made for the checkpoint under way is let go. Its journal stays in the hold: perhaps the
 * process writes there. */
void keeper_drop_attempt(struct keeper *keeper);
/** keeper_turn_journal() - The process writes into the journal of the checkpoint under way, or may do so. Where that found no room
 * in the hold, those before it are let go: that is a loss until the next checkpoint is whole. */
void keeper_turn_journal(struct keeper *keeper);
/** keeper_forget_journal() - It does not, and never will. */
void keeper_forget_journal(struct keeper *keeper);
/** keeper_fail() - The checkpoint under way is not made: told, and tried again after a while. */
void keeper_fail(struct member *member, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** keeper_tell_over() - The child that writes is over, or is to be. */
void keeper_tell_over(struct member *member);
/** keeper_hear_report() - All that the child reports has come. */
void keeper_hear_report(struct member *member);
/* For timers: the process, or its child, is late; it is to be asked again. */
void keeper_on_deadline(struct timer *timer);
void keeper_on_again(struct timer *timer);
