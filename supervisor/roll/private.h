/* SPDX-License-Identifier: MIT */
/* Between the files of this folder. */
#pragma once

#include "supervisor/custody/custody.h"
#include "supervisor/custody/names.h"
#include "supervisor/process/rest.h"
#include "supervisor/roll/roll.h"

/* What one side said of the state it saved or loaded. */
struct roll_totals {
	bool told; /* once: what is said later does not count */
	uint64_t records, payload_bytes, digest_lo, digest_hi;
	uint32_t fds;
};

struct roll {
	struct roll_site *site;
	struct unit *unit;        /* what new was started with, and what counts for the roll; a reference */
	struct unit *unit_before; /* what old was started with; the same. NULL: nobody knows */
	struct roll_options options;
	const struct roll_events *events;
	void *owner;
	struct roll_record record;
	struct roll_report report;

	struct instance *old, *new; /* owned while the roll lasts, but for a new that is lent; new is also the cold start */
	struct timer deadline;      /* of the state */
	struct timer bake, memory;  /* what ROLL_WATCH_BAKE and ROLL_WATCH_MEMORY stop */
	struct timer ask, look;     /* old again; the pids of a restore; connections while new serves */
	struct rest rest;           /* of old, while it is asked to come to rest */
	struct health health;       /* of new, from the commit to the end of the bake */
	uint64_t told_progress_us;  /* when new's progress was last passed on; 0: never */
	uint64_t told_wait_us;      /* ... and why old is not ready yet */
	uint64_t begun_us;
	uint64_t pids_due_us;       /* until then the pids of old's children may still be taken by these */

	struct roll_word *word;      /* NULL once it has decided */
	struct fd_ref *state_in, *state_out; /* read end for new; write end for old; NULL */
	int lent_channel, lent_log;  /* to a restore under way; -1 */
	struct fd_ref *journal;      /* its memory; NULL: none */
	struct why gaps_note;        /* which connections it does not cover; "": it covers all */
	uint32_t gaps_told;          /* how many these were when a line last said so */
	struct custody custody;
	struct fd_names handed;      /* by old */
	uint32_t n_withheld;         /* of these, that new was not given */
	uint64_t next_tag;           /* of those that the library makes, as old said */
	uint32_t n_lent;             /* that new was given besides: roll_options.kept */
	bool answered_before;        /* old has answered clients */
	struct conn_sample before;   /* of the connections at the commit */
	struct roll_totals saved, loaded;
	struct {
		uint64_t unanswered, answered; /* connections */
	} traffic;                   /* of new, as it tells it */
	bool expects;                /* new waits to hear how much old holds */
	bool memory_told;            /* that it is short; once is enough */
	bool reader_gone;            /* old cannot save, since new has closed its end of the pipe */
	bool old_blamed;             /* by roll_blame_old() */
	bool new_hangs;              /* it gives no sign of life: it is not asked to end, but killed */
	bool old_dropped;            /* after the commit, as it is of no use: it was sent SIGKILL, and is not a way back any more */

	struct image_job image_job;
	struct image *image;
	const char *criu_path;       /* that took the image */

	enum roll_event queue[8];
	unsigned n_queue;
	struct {
		const char *name;    /* of the phase that people see; NULL: none yet */
		uint64_t since_us;
		bool says_note;      /* what is being said matters beside the figures */
		uint64_t read_before; /* by new, before it loaded anything */
		uint64_t quiesce_us;
		char doing[128];     /* what a slow start is at, by its own word */
		struct {
			size_t type;
			uint64_t records;
		} seen[16];          /* how far new was with each type, when it was looked at last */
		unsigned n_seen;
	} phase;
	bool stepping; /* an action is being performed: events wait */
};

/* ---- roll.c ---- */

/** roll_happen() - An event. The roll may be gone when this returns, unless called from within an action. */
void roll_happen(struct roll *roll, enum roll_event event);
/** roll_tell_bake() - The bake has begun or ended: for a supervisor that is started anew, and the owner. */
void roll_tell_bake(struct roll *roll, bool on);
/** roll_expect_soon() - Shorten the state's deadline to a second from now: something is known to have happened. */
void roll_expect_soon(struct roll *roll);
/** roll_expect_rest() - Old waits for a child: the state's deadline moves with the one that old was told. */
void roll_expect_rest(struct roll *roll);
/** roll_start_progresses() - New is slow, and gets on: its time to start begins anew. */
void roll_start_progresses(struct roll *roll, const char *text);
/** roll_rungs_changed() - Note the rungs for the report, if new serves. */
void roll_rungs_changed(struct roll *roll);
/** roll_close_pipe() - Our ends of the pipe that the state goes through. */
void roll_close_pipe(struct roll *roll);
/** roll_take_fds() - Into custody, no more than the two processes may have open. Return: as custody_take(). */
int roll_take_fds(struct roll *roll, const Upgraded__Wire__Fds *message, struct wire_fds *fds, struct why *why);
/** roll_end_custody() - Without a way back nobody needs custody and journal. */
void roll_end_custody(struct roll *roll);

/* ---- phase.c ---- */

/** roll_phase_begins() - A state was entered. */
void roll_phase_begins(struct roll *roll);

/* ---- say.c ---- */

/** roll_say() - Tell the log and the owner. @about: whose pid goes along; NULL: nobody's. */
void roll_say(struct roll *roll, const char *phase, const struct instance *about, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/** roll_is_told() - Is this a phase of such a roll, for people? */
bool roll_is_told(const struct roll *roll, const char *phase);
/** roll_note() - roll_say(), of what matters beside the figures of the phase. */
void roll_note(struct roll *roll, const char *phase, const struct instance *about, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/** roll_lost_rung() - A way back is gone, as @fmt says, and nobody wanted that: tell it at once, with what is left. */
void roll_lost_rung(struct roll *roll, const struct instance *about, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/** roll_note_missed(), roll_note_left() - For the report, and told: see struct roll_report. */
void roll_note_missed(struct roll *roll, const char *name, uint64_t tag);
void roll_note_left(struct roll *roll, const char *name, uint64_t tag);
/** roll_note_skipped() - For the report, and told: records that new did not take. */
void roll_note_skipped(struct roll *roll, const Upgraded__Wire__Skipped *skipped);
/** roll_blame() - Record the cause, if none was recorded before. */
void roll_blame(struct roll *roll, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** roll_blame_old() - Record how old was lost before the commit, besides the cause that was recorded before. Once. */
void roll_blame_old(struct roll *roll, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** roll_note_unanswered() - Old was called off, and has answered nothing up to its deadline: for the report, and told. */
void roll_note_unanswered(struct roll *roll);
/** roll_blame_delay() - The same for a state whose deadline has passed; in those of a way back, which has its cause, tell it. */
void roll_blame_delay(struct roll *roll);

/* ---- hear.c ---- */

extern const struct instance_events roll_old_events, roll_new_events;
/** roll_hear_serving() - A message of a new version that serves. */
void roll_hear_serving(struct roll *roll, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds);

/* ---- actions: each begins one thing and returns at once; what comes of it is an event ---- */

/* forward.c */
void roll_do_prepare(struct roll *roll);
void roll_do_ask_again(struct roll *roll);
void roll_do_commit(struct roll *roll);
void roll_do_settle(struct roll *roll);
void roll_do_abort(struct roll *roll);
void roll_do_await_old(struct roll *roll);
void roll_do_check_aborted(struct roll *roll);
void roll_do_park(struct roll *roll);
void roll_do_drop_old(struct roll *roll);
void roll_do_bake(struct roll *roll);
void roll_do_prove(struct roll *roll);
void roll_do_finish(struct roll *roll);
/* imaging.c */
void roll_do_image(struct roll *roll);
void roll_do_pack(struct roll *roll);
/* backward.c */
void roll_do_backward(struct roll *roll);
void roll_do_onward(struct roll *roll);
/* retreat.c */
void roll_do_kill_new(struct roll *roll);
void roll_do_choose(struct roll *roll);
void roll_do_resume(struct roll *roll);
void roll_do_restore(struct roll *roll);
void roll_do_cold_start(struct roll *roll);

/* ---- between the actions ---- */

/* forward.c */
/** roll_compatible() - Is there a way for every type of old's records? Return: 0; -errno with the type. */
int roll_compatible(const struct roll *roll, struct why *why);
/** roll_others_read() - Does old hold what would go on reading when new serves? Return: 0: no, or it is allowed; -EBUSY. */
int roll_others_read(const struct roll *roll, struct why *why);
void roll_watch_health(struct roll *roll);
/** roll_watch_bake() - All that is looked at while the bake is on. */
void roll_watch_bake(struct roll *roll);

/* imaging.c */
void roll_watch_memory(struct roll *roll);

/* backward.c */
/** roll_sicken() - New answers but does not do well, as @fmt says: it is rolled back with all its state; if that cannot be, it is
 * ended and what is left of old comes back. */
void roll_sicken(struct roll *roll, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** roll_turn_if_due() - In a bake that was just entered: does a wish wait for it? */
void roll_turn_if_due(struct roll *roll);
/** roll_check_rung() - Can it be used, as far as can be seen? Nothing may be ended for one that cannot. Return: 0; -errno. */
int roll_check_rung(const struct roll *roll, enum roll_rung rung, struct why *why);

/* handover.c */
/** roll_hand_on() - What is in custody from @first on, which came in one message, goes to new; @last: that is all. */
void roll_hand_on(struct roll *roll, size_t first, bool last);
/** roll_lend_kept() - All of old is in custody: add what is kept for the version before. Return: where in custody that begins. */
size_t roll_lend_kept(struct roll *roll);

/* connections.c */
/** roll_watch_connections() - While new serves, note which connections it moves. */
void roll_watch_connections(struct roll *roll);
/** roll_settle_connections() - Decide which go on, and count them; the others are marked in custody. */
void roll_settle_connections(struct roll *roll);
/** roll_mark_moved() - Mark what has moved since the commit, for old to judge by the journal. Return: how many. */
uint32_t roll_mark_moved(struct roll *roll);
/** roll_count_clients() - At the end of the bake, for the report: on how many of old's connections has new read or written? */
void roll_count_clients(struct roll *roll);
/** roll_answers() - Has new answered any of the clients that it was given? Looked at only before a verdict. */
bool roll_answers(struct roll *roll);
/** roll_send_custody() - Give old back what it is to go on with. */
void roll_send_custody(struct roll *roll);

/* retreat.c */
/** roll_note_loss() - What new wrote since the commit is gone with it. */
void roll_note_loss(struct roll *roll);

/* journal.c */
/** roll_journal_begin() - Before Receive: create it, or say why there is none. */
void roll_journal_begin(struct roll *roll);
/** roll_journal_usable() - Would a way back now lose nothing? */
bool roll_journal_usable(const struct roll *roll);
/** roll_journal_resume() - Return: the journal for old to resume with, borrowed; NULL: there is none, or it is of no use. */
struct fd_ref *roll_journal_resume(struct roll *roll);
/** roll_journal_limit() - With a journal, tell new what old cannot take back from it. @receive: borrows old's types. */
void roll_journal_limit(const struct roll *roll, Upgraded__Wire__Receive *receive);
void roll_journal_hear_full(struct roll *roll, const Upgraded__Wire__JournalFull *full);
void roll_journal_hear_gaps(struct roll *roll, const Upgraded__Wire__JournalGaps *gaps);
void roll_journal_hear_fds(struct roll *roll, const Upgraded__Wire__Fds *message, struct wire_fds *fds);
void roll_journal_hear_resumed(struct roll *roll, const Upgraded__Wire__Resumed *resumed);
void roll_journal_hear_refused(struct roll *roll, const char *reason);
