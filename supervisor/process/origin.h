/* SPDX-License-Identifier: MIT */
/* Where a service's processes come from. Who rolls, starts or plans asks an origin for a process of a version, and learns nothing
 * of how that is done: by running Exec= (spawned.c), and in tests by a fake. */
#pragma once

#include "supervisor/logbook/logbook.pb-c.h"
#include "supervisor/process/instance.h"

struct listeners;
struct loop;
struct store;

struct origin {
	/* During a start: what a program gets that knows of nothing but LISTEN_FDS. NULL: nothing. Borrowed. */
	const struct listeners *listeners;
	/* @aside: it is the first to go when memory is short. */
	int (*start)(struct origin *origin, const struct unit *unit, const char *version, bool aside,
		     struct instance **ret_instance, struct why *why);
	/* NULL: nothing can be said beforehand. */
	int (*try)(struct origin *origin, const struct unit *unit, const char *version, struct why *why);
	void (*end_children)(struct origin *origin, const char *service); /* optional */
	void (*end_rest)(struct origin *origin, const char *service);     /* optional */
};

/**
 * origin_start() - A process of @unit's @version, of which @owner hears by @events.
 * @unit:         the instance takes a reference.
 * @ret_instance: owned by the caller; nothing was heard of it yet.
 *
 * Return: 0; -errno with file and line, or the step that failed; then nothing was left behind.
 */
int origin_start(struct origin *origin, struct unit *unit, const char *version, const struct instance_events *events,
		 void *owner, struct instance **ret_instance, struct why *why);

/** origin_start_aside() - The same for a process beside one that serves. It is the first to go when memory is short, from before
 * its first instruction on, until instance_set_victim() says otherwise. */
int origin_start_aside(struct origin *origin, struct unit *unit, const char *version, const struct instance_events *events,
		       void *owner, struct instance **ret_instance, struct why *why);

/** origin_try() - Would origin_start() start it, as far as can be seen without starting it: program, working directory, user,
 * limits? Goes through the very steps. Return: as origin_start(). */
int origin_try(struct origin *origin, const struct unit *unit, const char *version, struct why *why);

/** origin_end_children() - Nobody of @service serves any more, or a version begins empty: child processes that were handed over
 * (Children=hand-over) end. */
void origin_end_children(struct origin *origin, const char *service);

/** origin_end_rest() - As origin_end_children(), and whatever else runs in the control group of @service, where there is one. No
 * process of it may be there that is still needed. */
void origin_end_rest(struct origin *origin, const char *service);

/* Processes that are children of ours. */
struct spawner {
	struct origin origin;
	struct loop *loop; /* borrowed; outlives every instance that came from here */
	struct leftovers *leftovers;
	struct logbook *logbook; /* borrowed: each process is in it from its start to its end. NULL: nothing is written down */
	uint64_t last_serial;    /* of a process there */
	struct store *store;     /* borrowed: what outlives us of each process; NULL: nothing does */
	struct fd_ref *self;     /* a pidfd of ours, by which processes notice our end; NULL: they do not */
	struct groups *groups;   /* a control group for each service; NULL: none */
	const char *notify_folder; /* where NOTIFY_SOCKET of a process is; NULL: none has one */
	bool lets_go;            /* an instance that is freed goes on without us, as after a SIGKILL */
};

/** spawner_greet() - Tell a process that was regained once more that we are there, if it has not said hello: it may have had no
 * memory for that when it was told first. */
void spawner_greet(struct instance *instance);

/**
 * spawner_regain() - A process that a supervisor before this one has started, as the logbook has it. It is told that we are there,
 * and says hello; the instance does not hear of anything else before that. Where its channel is lost, it is unreachable.
 * @ret_instance: owned by the caller, by whose instance_own() events are heard.
 *
 * @unit: what it was started with; a reference is taken.
 * @ret_status: with -ESRCH, how it ended, where that is known.
 *
 * Return: 0; -ESRCH: it has ended, and is crossed out; what it had printed last is in the log; -errno with words.
 */
int spawner_regain(struct spawner *spawner, const Upgraded__Logbook__Process *process, struct unit *unit,
		   struct instance **ret_instance, int *ret_status, struct why *why);

/** spawner_join() - Nobody knows which of two serves, and neither can be reached: from here on they are one instance, which has
 * ended when both have. */
void spawner_join(struct instance *instance, struct instance *kin_consume);

/** spawner_number() - Begin with serials that no process has which lives, whether the logbook knows it or not. Context: before
 * any other call that starts or regains. */
void spawner_number(struct spawner *spawner);

/** spawner_forget() - The process has ended: it goes out of the logbook. */
void spawner_forget(struct spawner *spawner, uint64_t serial);

/** spawner_serial() - Under which the logbook has a process that came from here. */
uint64_t spawner_serial(struct instance *instance);

/** spawner_init() - Return: 0 or -ENOMEM. */
int spawner_init(struct spawner *spawner, struct loop *loop);

/** spawner_done() - After the last instance was freed. Children that were handed over end. A zeroed one is allowed. */
void spawner_done(struct spawner *spawner);
