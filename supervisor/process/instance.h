/* SPDX-License-Identifier: MIT */
/* One process of a service, wherever it came from: who it is, what it said, and what can be asked of it.
 *
 * Rolls, services and plans know an instance and never its kind. A kind says how a message reaches the process, how the process is
 * ended, and how its end is heard of:
 *
 *   spawned.c   a child of ours, made by Exec=
 *   (to come)   attached: started by somebody else
 *   tests       a fake, which a test speaks for
 *
 * origin.h is where instances come from.
 */
#pragma once

#include "base/base.h"
#include "supervisor/process/lines.h"
#include "supervisor/process/victim.h"
#include "supervisor/unit/unit.h"
#include "wire/app.h"
#include "wire/in_hand.h"
#include "wire/wire.h"

#include <stdbool.h>

struct instance;

/* What an owner hears. Called from the loop. Only on_exit may free the instance, as its last act; elsewhere bury it. */
struct instance_events {
	/* The process said hello, which is checked and in @instance->hello. Optional. */
	void (*on_hello)(struct instance *instance);
	/* @fds belongs to the message: claim what is wanted. Never a Hello. */
	void (*on_message)(struct instance *instance, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds);
	/* Something came that is no message of the protocol; it was dropped. */
	void (*on_garbage)(struct instance *instance, const char *reason);
	/* The process has ended; everything it said before has been heard. */
	void (*on_exit)(struct instance *instance);
};

/* What this supervisor can do to a process, by its kind. */
enum instance_power {
	INSTANCE_CAN_SIGNAL = 1 << 0,
	INSTANCE_CAN_REAP = 1 << 1,  /* we learn how it ended */
	INSTANCE_CAN_IMAGE = 1 << 2, /* CRIU may take it, and give it back */
	INSTANCE_CAN_MOVE = 1 << 3,  /* its state and its connections move by a roll; else it stays as it is, and serves on */
};

struct instance_kind {
	const char *name;
	unsigned powers; /* of enum instance_power */
	void (*send)(struct instance *instance, const Upgraded__Wire__AppMessage *message, struct fd_ref *const *fds,
		     size_t n);
	bool (*awaits)(struct instance *instance, Upgraded__Wire__AppMessage__BodyCase what);
	bool (*retract)(struct instance *instance, Upgraded__Wire__AppMessage__BodyCase what);
	void (*signal)(struct instance *instance, int signal);
	bool (*has_ended)(struct instance *instance);
	bool (*has_unread)(struct instance *instance); /* does something that it said lie unheard? */
	int (*reconnect)(struct instance *instance, int *ret_channel, int *ret_log, struct why *why);
	int (*set_victim)(struct instance *instance, bool is_first, struct why *why); /* NULL: it cannot be chosen */
	int (*adopt)(struct instance *instance, pid_t pid, struct why *why);
	/* In words, what keeps it from becoming its program; NULL: it is its program. Optional. */
	const char *(*doing)(struct instance *instance, char *buf, size_t size);
	void (*set_place)(struct instance *instance); /* @place has changed. Optional */
	/* Let the process hold our end of its channel, so that it outlives us, and @stored (NULL: nothing) for the next supervisor.
	 * Of one whose library cannot: it rests. Optional. */
	void (*keep)(struct instance *instance, struct fd_ref *stored);
	/* Of one whose service file says when it is ready (Ready=health): it is. Optional. */
	void (*prove)(struct instance *instance);
	/* In words, what it lacks to be ready; and what it says of how it is, "": nothing. Optional. */
	const char *(*lack)(const struct instance *instance);
	const char *(*says)(const struct instance *instance);
	int (*our_end)(const struct instance *instance); /* of its channel, borrowed; -1: it is closed. Optional */
	void (*free)(struct instance *instance); /* releases the memory, too */
};

/* What it is to its service: this decides what becomes of its child processes at its end (Children=). */
enum instance_place {
	INSTANCE_IS_NEW,      /* it has not served */
	INSTANCE_SERVES,      /* or would, if it did not fail */
	INSTANCE_IS_REPLACED, /* another version serves in its place */
};

enum instance_life {
	INSTANCE_RUNS,
	INSTANCE_LAST_WORDS, /* it has ended, and what it said before is being read */
	INSTANCE_ENDED,      /* on_exit was called, or is being called */
};

struct instance {
	const struct instance_kind *kind;
	const struct instance_events *events;
	void *owner;
	struct unit *unit;  /* what it was started with; a reference. NULL: it did not come from an origin */
	char service[UNIT_NAME_MAX + 1];
	char version[UNIT_NAME_MAX + 1];
	pid_t pid;          /* kept after the end, for messages */
	uint64_t since_us;  /* it was started, or came back from its image */
	uint64_t place_us;  /* it has been in its @place since then */
	uint64_t exited_us; /* when its end was heard of */
	enum instance_life life;
	int status;         /* as of wait(2), once it has ended; CHILD_STATUS_UNKNOWN: nobody can tell */
	enum instance_place place;
	enum unit_children children; /* as the service file said when it was started */
	struct why failure; /* what was wrong with how it was started; "": nothing */
	Upgraded__Wire__AppMessage *hello; /* NULL until it was said */
	struct in_hand in_hand; /* from a Receive until it serves: the record that it loads */
	struct victim victim; /* is it the first to go when memory is short? */
	bool stood_by;      /* it said that it stands by, and was answered: once is enough */
	struct lines lines; /* its last */
	/* What it is given when it stands by: instance_lend_listener(). */
	struct fd_ref *listeners[UNIT_LISTENS_MAX];
	char listener_names[UNIT_LISTENS_MAX][UNIT_NAME_MAX + 1];
	size_t n_listeners;
	struct instance_proof {
		void (*end)(void *data); /* with the process; NULL: there is none */
		void *data;
	} proof; /* that it is ready is being found out, see instance_prove() */
	struct {
		bool asked, told;
		uint64_t count;
	} registered; /* how many descriptors, as it said last: see query.h */
	struct query *queries;
	bool stopped;       /* by instance_stop() */
	uint64_t drain_due_us; /* it was replaced, and is to have ended by then; 0: it does not drain */
	bool killed;        /* by us: it will end, whatever it has said before */
	unsigned put_off;   /* so often a deadline waited for what it had said, since all of it was heard */
	/* It was started by a supervisor before this one. @returns: and has not said hello to this one; nothing else that it says
	 * is heard.
	 * @unreachable: and cannot, as its channel is lost: it can be ended, and nothing else. */
	bool returns, unreachable;
	/* It was started by a supervisor before this one, lies parked and is to print to this one when it comes back. NULL: it
	 * does. */
	struct fd_ref *output;
	uint64_t output_before; /* the pipe that it prints to now */
	struct fd_ref *stored;  /* what it holds for a supervisor that is started anew; NULL: nothing */
	/* The numbers of the last Prepare and AskInventory that it was sent. Answers to earlier ones are dropped. */
	uint64_t question, inventory_question;
	/* Of the process's own ends of its channel and its output: what CRIU calls them. 0: it has none that we made. */
	unsigned long long channel_inode, log_inode;
};

/** instance_registered() - How many descriptors it has registered, if it has answered the last question. Return: false: it is not
 * known. */
bool instance_registered(const struct instance *instance, uint64_t *ret_count);

/** instance_own() - From here on @owner hears of @instance. */
void instance_own(struct instance *instance, const struct instance_events *events, void *owner);

/** instance_send() - Send or queue; what is queued is one more owner of @fds. A peer that is gone is no error here: its exit will
 * be heard. */
void instance_send(struct instance *instance, const Upgraded__Wire__AppMessage *message, struct fd_ref *const *fds, size_t n);

/** instance_awaits() - Is a message of this kind queued? The process did not read what was said before. */
bool instance_awaits(struct instance *instance, Upgraded__Wire__AppMessage__BodyCase what);
/** instance_retract() - Take back what is queued of this kind, as it has lost its sense. Return: true if there was any: the process
 * never heard of it. */
bool instance_retract(struct instance *instance, Upgraded__Wire__AppMessage__BodyCase what);

/** instance_kill() - SIGKILL or gentler; nothing where it has ended. */
void instance_kill(struct instance *instance, int signal);

/** instance_stop() - Nothing of the process runs from here on, until instance_go_on(). For one that stands still and said that it
 * may be stopped. */
void instance_stop(struct instance *instance);
void instance_go_on(struct instance *instance);
/** instance_set_victim() - When memory is short, it is to go first; or it counts, and has its normal value again. That it cannot be
 * done is told in the log, once. Nothing where it has ended. NULL is allowed. */
void instance_set_victim(struct instance *instance, bool is_first);

/** instance_is_alive() - Runs, as far as we have heard. NULL is allowed. */
bool instance_is_alive(const struct instance *instance);

/** instance_is_over() - Its end was told, or there never was one: nothing more will be heard of it. NULL is allowed. */
bool instance_is_over(const struct instance *instance);

/** instance_has_ended() - By the kernel's word: the process may have ended, and its end may not have been heard yet. */
bool instance_has_ended(struct instance *instance);

/* What is logged of one process. */
#define log_instance(level, instance, ...)                                                                                   \
	log_about(LOG_LEVEL_##level,                                                                                          \
		  &(const struct log_about){                                                                                  \
			  .service = (instance)->service, .version = (instance)->version, .pid = (instance)->pid },           \
		  __VA_ARGS__)

#define INSTANCE_HEAR_US (5 * USEC_PER_MSEC)

/** instance_is_heard_out() - A deadline has passed by which it should have said something: was all heard that it has said?
 * To be asked before the deadline is believed. NULL is allowed. Return: false: not yet; ask again in INSTANCE_HEAR_US. Of one
 * that talks without end it is true after a while. */
bool instance_is_heard_out(struct instance *instance);

/** instance_set_place() - What becomes of its child processes at its end depends on it. It is noted since when. NULL is allowed. */
void instance_set_place(struct instance *instance, enum instance_place place);

/** instance_can() - Has its kind this enum instance_power? */
bool instance_can(const struct instance *instance, enum instance_power power);

/** instance_prove() - Every check has succeeded, by which one is known to be ready that cannot say so. */
void instance_prove(struct instance *instance);

/** instance_says() - What it says of how it is: STATUS= of sd_notify(3). Return: "": nothing. */
const char *instance_says(const struct instance *instance);

/** instance_drain() - It is not wanted any more, and serves somebody yet: it is told to end (StopSignal=), and has until
 * DrainTimeout= for that. Where it drains already, its deadline stays. */
void instance_drain(struct instance *instance);

/** instance_may_have_image() - Can one be taken of a process of its kind? Return: 0; -ENOTSUP, with words. */
int instance_may_have_image(const struct instance *instance, struct why *why);

/* Room for what instance_describe_end() may say. */
#define INSTANCE_END_BYTES sizeof(struct why)

/** instance_describe_end() - "exited with status 3", "was killed by SIGSEGV (core dumped) while loading record 1,025 of app.Note";
 * where something was wrong with how it was started, that. Return: @buf. */
const char *instance_describe_end(const struct instance *instance, char *buf, size_t size);

/** instance_describe_slow_start() - It was not ready within StartTimeout= of @unit: what was missing. @progressed: the time began
 * anew with a word of progress, within StartTimeoutMax=. */
void instance_describe_slow_start(struct instance *instance, const struct unit *unit, bool progressed, struct why *ret_why);

/**
 * instance_reconnect() - New ends for a process that comes back from its image.
 * @ret_channel, @ret_log: the application's ends, owned by the caller, to be given to the restore.
 *
 * The process must have been reaped. Keeps hello, version and lines. The inodes are the new ends' from here on; what the
 * image calls them is noted in the image. Return: 0; -ENOTSUP: its kind does not come back; -errno.
 */
int instance_reconnect(struct instance *instance, int *ret_channel, int *ret_log, struct why *why);

/** instance_adopt() - The restored process runs as @pid, a child of ours. Return: 0 or -errno. */
int instance_adopt(struct instance *instance, pid_t pid, struct why *why);

/** instance_store() - Let it hold @stored (one owner more; NULL: nothing) for a supervisor that is started anew. Nothing where its
 * library cannot. */
void instance_store(struct instance *instance, struct fd_ref *stored);

/** instance_tell_note() - What the logbook has of its service has changed: a process that serves holds that for a supervisor whose
 * logbook is gone. For one that rests. Nothing where it has ended. */
void instance_tell_note(struct instance *instance);

/** instance_forget_stored() - It will let go by itself, or need not: it is not told to hold that again. */
void instance_forget_stored(struct instance *instance);

/** instance_our_end() - Of its channel. Return: borrowed; -1: there is none. */
int instance_our_end(const struct instance *instance);

/** instance_free() - A process still alive is killed and reaped, where its kind can. NULL is allowed. Return: NULL. */
struct instance *instance_free(struct instance *instance);

/* ---- what is said in more than one place ---- */

/** instance_limits() - The caps that @unit sets, for a Prepare or a Receive. */
Upgraded__Wire__Limits instance_limits(const struct unit *unit);

/** instance_lend_listener() - It gets a duplicate of @ref, a listener that we hold for its service, when it stands by. @name: that
 * the service file gives it; "": none. */
void instance_lend_listener(struct instance *instance, struct fd_ref *ref, const char *name);

/** instance_hand_listeners() - It stands by: these come before all else. Once; it is welcomed with them. */
void instance_hand_listeners(struct instance *instance);

/** instance_knows_listen() - Can its library use the listeners that Listen= of its service file names? Return: 0; -ENOTSUP, with
 * words: it would find its addresses in use. */
int instance_knows_listen(const struct instance *instance, struct why *why);

/** hello_may_checkpoint() - Can a program that said this be asked for checkpoints (Journal=always)? Return: 0; -ENOTSUP, with
 * words. */
int hello_may_checkpoint(const Upgraded__Wire__Hello *hello, const char *version, struct why *why);

/** instance_welcome() - Tell a process that stands by to start empty. */
void instance_welcome(struct instance *instance);

/** instance_lend_in_hand() - Memory in which the process will say which record it loads, to be sent behind all other descriptors of
 * a Receive. Return: the caller's, to be dropped; NULL: there is none, and a crash will be told without it. */
struct fd_ref *instance_lend_in_hand(struct instance *instance);

/** instance_in_hand() - "record 1,025 of app.Note", if it says that it loads one; else "". NULL is allowed. Return: @buf. */
const char *instance_in_hand(const struct instance *instance, char *buf, size_t size);

/** instance_ask_inventory() - Ask for the numbers of all its registered descriptors. */
void instance_ask_inventory(struct instance *instance);

/* What a Prepare says; deadlines are monotonic. */
struct instance_prepare {
	const struct unit *unit;
	uint64_t generation;
	uint64_t rest_us;    /* by then it has to stand */
	uint64_t settles_us; /* past this the process goes on by itself */
	bool other_readers; /* do not look for threads that take from descriptors that move */
	const Upgraded__Wire__Hello *reader; /* what reads the state; NULL: a file */
	bool checkpoint; /* @generation is its number; it goes on while a child writes */
	bool announce;   /* ... and tells of all its descriptors first */
};

/** instance_prepare() - Ask a process that serves to come to rest and to save. @fds: as many as @n: the commit word and where to
 * write; for a file only the latter; for a checkpoint where to
 * write, where the child reports, and the journal. */
void instance_prepare(struct instance *instance, const struct instance_prepare *prepare, struct fd_ref *const *fds, size_t n);

/* ---- for a kind ---- */

/** instance_init() - To a process that runs since now. */
void instance_init(struct instance *instance, const struct instance_kind *kind, const char *service, const char *version);

/** instance_hear() - A message came. @message_consume, and what is left in @fds afterwards is given up. Return: how many those
 * were. */
size_t instance_hear(struct instance *instance, Upgraded__Wire__AppMessage *message_consume, struct wire_fds *fds);

/** instance_exited() - The process has ended, with @status of wait(2); its last words may still come. */
void instance_exited(struct instance *instance, int status);

/** instance_ended() - ... and now they have been heard: tell the owner. @instance may be gone when this returns. */
void instance_ended(struct instance *instance);

/** instance_came_back() - It runs again, as @pid. */
void instance_came_back(struct instance *instance, pid_t pid);
