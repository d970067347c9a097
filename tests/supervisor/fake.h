/* SPDX-License-Identifier: MIT */
/* Ends of a roll that a test speaks for: no process, no root, no real time.
 *
 * A fake hears what is sent to it, says what the test makes it say, and ends when the test says so. SIGKILL is noted, and the end
 * that follows from it comes when the test lets it come (fake_reap()), as a process's end comes through the loop.
 */
#pragma once

#include "base/base.h"
#include "supervisor/image/image.h"
#include "supervisor/process/origin.h"
#include "supervisor/roll/roll.h"
#include "wire/app.h"
#include "wire/commit.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_IMAGE_PID 100000000 /* of what comes back from an image; fakes have pids beyond this one, as no process has */
#define FAKE_SENT_MAX 64u
#define FAKE_GOT_MAX 64u

/* A descriptor that came with an Fds message. */
struct fake_got {
	uint64_t tag;
	unsigned long long inode;
	bool moved;
};

struct fake {
	struct instance instance;
	Upgraded__Wire__AppMessage__BodyCase sent[FAKE_SENT_MAX]; /* what it was sent, the latest last */
	unsigned n_sent;
	uint64_t nonce;          /* of the last Ping */
	uint64_t question;       /* of the last Prepare; what it says answers that */
	uint64_t quiesce_deadline_us, commit_deadline_us; /* of the last Prepare */
	bool stands;             /* it said Quiesced after the last Prepare */
	uint64_t receive_deadline_us; /* of Receive, or as it was postponed since */
	bool verifies;           /* Receive asks for the round trip */
	unsigned long long journal_inode; /* of the journal that came with the last Receive or Resume; 0: it came without one */
	char reason[128];        /* of the last Abort */
	struct fake_got got[FAKE_GOT_MAX]; /* since the last Prepare, Receive or Resume */
	unsigned n_got;
	bool got_last;           /* the message marked as the last one was among them */
	uint64_t next_tag;       /* with the descriptors that it was given last */
	int stream;              /* its end of the pipe that the state goes through; -1: none came yet */
	struct commit_word word; /* as it came with Prepare or Receive; unmapped: none came yet */
	char given[256];         /* names of the descriptors that it was sent: "listener 0, extra 0?", "?" where it may be left */
	unsigned long long listeners[UNIT_LISTENS_MAX]; /* that it was given for Listen= */
	char listener_names[UNIT_LISTENS_MAX][UNIT_NAME_MAX + 1];
	unsigned n_listeners;
	bool is_old_library;     /* says hello without what is new; to be set before that */
	int signal;              /* the strongest it was sent; 0: none */
	bool stopped;            /* by SIGSTOP, and not by SIGCONT since */
	/* To be set by the test. */
	bool deaf;               /* it cannot be sent anything; nothing is noted */
	bool reads_nothing;      /* a Prepare waits in its queue: it is noted all the same */
	unsigned prepares_wait;  /* so many do */
	bool knows_no_journal;   /* says its Hello, if set before */
	bool knows_no_checkpoint; /* likewise */
	int report;              /* of the last Prepare for a checkpoint: where its child reports; 0: none came, or it is closed */
	bool announces;          /* ... and all descriptors are to be told first */
	uint64_t number;         /* of that, or of the checkpoint that came with the last Receive */
	bool is_heir;            /* Receive says that it takes the place of a process that ended */
	unsigned journals;       /* ... with so many of that one's journals */
	bool has_unread;         /* something that it said lies in its channel */
	bool has_ended_unheard;  /* the kernel knows of its end, and nobody else yet */
	bool gets_no_channel, is_not_adopted; /* why it does not come back from an image */
	void (*on_heard)(struct fake *fake, const char *what); /* the name of a message, or SIGKILL; NULL: nobody wants to know */
	struct fake **at;        /* the test's pointer to it, set to NULL when it is freed */
};

/** fake_of() - The fake that an instance is. */
struct fake *fake_of(struct instance *instance);

/** fake_new() - Runs as a pid that no process has. Has not said hello. */
struct fake *fake_new(const char *service, const char *version);

/** fake_watch() - @at points to @fake from here on, and is set to NULL when it is freed. */
void fake_watch(struct fake *fake, struct fake **at);

/* ---- what it says ---- */

/** fake_say() - Any message, without descriptors. */
void fake_say(struct fake *fake, const Upgraded__Wire__AppMessage *message);
/** fake_say_fds() - The same with descriptors, which are consumed. */
void fake_say_fds(struct fake *fake, const Upgraded__Wire__AppMessage *message, const int *fds_consume, size_t n);

/** fake_hello() - It knows one type, "thing", in @version; if @migrates, with the migrations between 1 and @version, both ways. */
void fake_hello(struct fake *fake, unsigned version, bool migrates);
void fake_standby(struct fake *fake);
void fake_ready(struct fake *fake);
void fake_quiesced(struct fake *fake);
void fake_quiesced_since(struct fake *fake, uint64_t begun_us);
void fake_not_yet(struct fake *fake);
void fake_not_yet_as(struct fake *fake, const char *reason);
/** fake_awaits_child() - Not yet, as it waits for a child process. */
void fake_awaits_child(struct fake *fake, pid_t child, const char *reason);
void fake_refused(struct fake *fake, const char *reason);
/** fake_reader_gone() - Old could not save, since nobody reads. */
void fake_reader_gone(struct fake *fake);
/** fake_saved(), fake_loaded() - Totals that agree if @records and @fds do; 100 bytes for each record. */
void fake_saved(struct fake *fake, uint64_t records, uint32_t fds);
void fake_loaded(struct fake *fake, uint64_t records, uint32_t fds);
/** fake_commit() - Take the commit word, if it can be had, and say so. Return: was it had? */
bool fake_commit(struct fake *fake);
void fake_committed(struct fake *fake); /* only says so */
void fake_committed_at(struct fake *fake, uint64_t at_us);
void fake_parked(struct fake *fake);
void fake_parked_still(struct fake *fake); /* ... and may be stopped */
void fake_resumed(struct fake *fake);
/** fake_resumed_with() - The same with what it says of a journal. */
void fake_resumed_with(struct fake *fake, const Upgraded__Wire__Resumed *resumed);
void fake_pong(struct fake *fake);
void fake_progress(struct fake *fake, const char *text);
void fake_journal_full(struct fake *fake, uint64_t bytes);
void fake_journal_void(struct fake *fake, const char *reason);
void fake_gaps(struct fake *fake, uint32_t no_room, uint64_t size_would_do, uint32_t others, const char *reason);
/** fake_hand_over() - One Fds message with @n sockets of no connection; it is the last message if @last. Return: the tag of the
 * last socket. */
uint64_t fake_hand_over(struct fake *fake, size_t n, bool last);
/** fake_hand() - One Fds message with one descriptor, which is consumed. */
void fake_hand(struct fake *fake, const char *name, uint64_t tag, int fd_consume, bool last);
/** fake_closed() - It has closed the descriptor that fake_hand_over() handed over under this tag. */
void fake_closed(struct fake *fake, uint64_t tag);
/** fake_closed_as() - ... or that fake_hand() handed over under this name and tag. */
void fake_closed_as(struct fake *fake, const char *name, uint64_t tag);
/** fake_traffic() - So many clients have got nothing, and has anybody got something? */
void fake_traffic(struct fake *fake, uint64_t unanswered, bool answered);
void fake_garbage(struct fake *fake, const char *reason);

/** fake_checkpointed() - The child that wrote its checkpoint says so, and ends. */
void fake_checkpointed(struct fake *fake, uint64_t records);
/** fake_close_report() - ... or ends without a word. */
void fake_close_report(struct fake *fake);

/* ---- its end ---- */

/** fake_exit() - It ends, with @status of wait(2). May be freed when this returns. */
void fake_exit(struct fake *fake, int status);
/** fake_begin_exit(), fake_end_exit() - The same in two steps: what it says in between are its last words. */
void fake_begin_exit(struct fake *fake, int status);
void fake_end_exit(struct fake *fake);
/** fake_reap() - If it was sent SIGKILL: its end comes. Return: did it? */
bool fake_reap(struct fake *fake);

/* ---- what it heard ---- */

bool fake_heard(const struct fake *fake, Upgraded__Wire__AppMessage__BodyCase what);
unsigned fake_heard_times(const struct fake *fake, Upgraded__Wire__AppMessage__BodyCase what);
Upgraded__Wire__AppMessage__BodyCase fake_heard_last(const struct fake *fake);

/* ---- where they come from ---- */

#define FAKE_STARTED_MAX 128u

struct fake_origin {
	struct origin origin;
	struct fake *started[FAKE_STARTED_MAX]; /* in this order; NULL: it was freed */
	unsigned n_started;
	bool refuses;           /* nothing can be started */
	unsigned ends;          /* so often the children of processes that ended were to end, too */
};

/** fake_origin_init() - @origin must not move from here on. */
void fake_origin_init(struct fake_origin *origin);

/* ---- images without CRIU ---- */

/* One at a time: what imaging_fake was asked for, and what it is to answer. */
struct fake_imaging {
	bool removed;           /* to be set: image_is_there() says no */
	struct image_job *job;  /* under way; NULL: none */
	bool restores;          /* ... it is a restore */
	bool hurried;
	bool has_obstacle;      /* a fatal one is found */
	bool has_flaw;          /* something is found that will not come back as it was */
	bool refuses;           /* nothing can be begun */
	bool rung_is_bad;       /* check_beside() says no */
	unsigned taken, restored; /* asked for, so often */
	unsigned long long asked; /* to be set: is this inode taken care of? */
	bool known;               /* it was among those that were said to be */
	unsigned pids_wait;     /* so often a child of old is still dying */
	void (*on_done)(struct image_job *job, int rc, const struct why *why);
	struct image *image;    /* to be restored */
	bool leave_running;
};

extern struct fake_imaging fake_imaging;
extern const struct imaging imaging_fake;

void fake_imaging_reset(void);
/** fake_imaging_done() - What is under way ends with @rc. Of a take: @target is what became of the process; with 0 there is an
 * image. Of a restore: with 0 the process is back, as pid of the image. */
void fake_imaging_done(int rc, enum criu_target target);
