/* SPDX-License-Identifier: MIT */
/* Between the files of this folder. */
#pragma once

#include "supervisor/plan/plan.h"
#include "supervisor/process/listeners.h"
#include "supervisor/service/history.h"
#include "supervisor/service/member.h"
#include "supervisor/service/service.h"

/* Somebody asked something of a bake (an undo, a pack) while the asker of the roll itself may still wait for the end of it. */
struct bake_call {
	struct asker *asker;   /* NULL: nobody */
	struct who who;        /* asked last, even if it has gone away */
	bool packs;            /* a pack was asked for, and nothing else */
	bool accepts;          /* the end of the bake was asked for */
	struct roll_request request; /* of a roll to a third version */
	struct unit *unit;     /* ... which is started with this; a reference */
	uint64_t undo_bake_us; /* what the bake after an undo is to be; 0: as configured */
};

struct service {
	struct service *next; /* the registry's */
	struct service_host *host;
	char name[UNIT_NAME_MAX + 1];
	struct unit *unit;                /* what @version is started with; a reference. NULL before the first start */
	char version[UNIT_NAME_MAX + 1];  /* that is wanted: of the last start, or of the last roll that committed */
	char before[UNIT_NAME_MAX + 1];   /* while a start by hand is under way: what @version was, if that start fails */
	struct unit *unit_before;         /* ... and what that was started with; a reference */
	bool starts_by_hand;
	bool starts_with_us;              /* nobody has stopped it in this start of the machine: Start=boot counts */
	bool ends_with_us;                /* it is stopped because we end */
	struct member *members;           /* as many as processes are wanted to serve: one */
	struct listeners listeners;       /* of Listen=, while it is wanted */
	struct history history;           /* what undo goes back to */
	struct asker *asker;              /* waits for the start, stop, roll or save that is under way; NULL: nobody */
	struct asker *abort_asker;        /* waits for the end of what is being called off; NULL: nobody */
	struct asker *stop_asker;         /* waits for the stop that follows what is being called off; NULL: nobody */
	struct asker *followers;          /* see follow.c */
	bool stop_wanted;                 /* as soon as no roll is under way any more */
	struct bake_call bake_call;
	struct service_save *save;        /* under way; NULL: none */
	struct service_plan *plan;        /* a look ahead is under way; NULL: none */
	struct plan_pauses pauses;
	uint64_t rolls;                   /* how many there were, over restarts of the supervisor: the number of the last one */
	struct roll_report last;          /* of its rolls, if @has_last */
	bool has_last;
	bool roll_was_cut;                /* the last one, before this supervisor: nobody saw its end */
	struct timer phases;              /* the phase that goes on is told again */
};

/* ---- service.c ---- */

/** service_member() - The member that a roll, a save and a plan are about. There is one; where there are several, each caller of
 * this has to choose. */
struct member *service_member(const struct service *service);
/** service_set_version() - From here on @version is wanted, which is started with @unit (NULL: as the one before). */
void service_set_version(struct service *service, const char *version, struct unit *unit);
/** service_end_children() - Nobody serves, or a version begins empty: what processes of the service have started ends (Children=),
 * and but for Children=keep whatever else runs in its control group. */
void service_end_children(const struct service *service);
/** service_changed() - What is told of it may be something else now. */
void service_changed(const struct service *service);
/** service_answer() - Send @answer, with the sentence @fmt and with who serves, to @asker (NULL: nobody waits), and forget it. */
void service_answer(struct service *service, struct asker *asker, const struct answer *answer, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/** service_answer_detached() - A roll has begun: if @asker (NULL: nobody) does not want to wait, it is answered now. */
void service_answer_detached(struct service *service, struct asker *asker, const struct roll_report *roll);
/** service_answer_roll() - The answer at a roll's commit, or at its end. */
void service_answer_roll(struct service *service, struct asker *asker, const struct roll_report *roll);
/** service_serving_text() - Who serves, for people. @buf: ROLL_SERVES_BYTES. Return: @buf. */
const char *service_serving_text(const struct service *service, char *buf);
/** service_load_unit() - Read the service file as it is now. @ret_unit: the caller's. On failure @asker was told. */
int service_load_unit(struct service *service, struct unit **ret_unit, struct asker *asker);
/** service_stop_now() - Nothing is under way: end the processes. */
void service_stop_now(struct service *service, struct asker *asker);
/** service_forget_start() - The start by hand has failed, or was called off: what it asked for is not remembered. */
void service_forget_start(struct service *service);
/** service_refuse_busy(), service_refuse_not_running() - Answer and return true if that is so. */
bool service_refuse_busy(struct service *service, struct asker *asker);
bool service_refuse_not_running(struct service *service, struct asker *asker);

/* What a member's process comes to. */
void service_on_ready(struct member *member);
/** service_on_start_failed() - @member->failure says why; it may be about to be started again. */
void service_on_start_failed(struct member *member);
void service_on_stopped(struct member *member);
/** service_on_exit() - Its process has ended, whether or not that was wanted; comes before the ones above. */
void service_on_exit(struct member *member);
/** service_hear() - What its process says while it serves. Return: true if it was about something the service does. */
bool service_hear(struct member *member, const Upgraded__Wire__AppMessage *message);

/* ---- rolls.c ---- */

/** service_begin_roll() - service_roll_now(); but where an image is required, first look whether there could be one. */
void service_begin_roll(struct service *service, struct unit *unit, const struct roll_request *request, struct asker *asker);
/** service_roll_now() - With options from @request and @unit, which the new version is started with. @asker: told if it cannot
 * begin; NULL if nobody waits. */
void service_roll_now(struct service *service, struct unit *unit, const struct roll_request *request, struct asker *asker);
/** service_refuse_same() - Answer and return true if that version serves already, and is not wanted anew; or is, and its program is
 * there no more. */
bool service_refuse_same(struct service *service, const struct roll_request *request, struct asker *asker);
/** service_had() - What the version that @request asks for handed over when it was left, if going to it is a way back. Return:
 * borrowed until the history changes; NULL: it is none. */
const struct fd_names *service_had(const struct service *service, const struct roll_request *request);
/** service_roll_back() - Within the bake of @member's roll, begin one in the other direction, or onward, with @serving, which that
 * roll lent. Return: 0, and @member->back is under way; -errno: @serving is still the caller's. */
int service_roll_back(struct member *member, struct unit *unit, const struct roll_options *options, struct instance *serving,
		      struct why *why);
/** service_roll_events() - What is heard of a roll that was begun for @purpose. */
const struct roll_events *service_roll_events(enum roll_purpose purpose);
/** service_on_roll_commit(), service_on_roll_end() - What every roll comes to that has the service for itself. */
void service_on_roll_commit(struct roll *roll);
void service_on_roll_end(struct roll *roll);

/* ---- told.c ---- */

/** told_begin() - An event that has not been told yet. @kind: see control.proto; a literal. @service: borrowed; "": none. */
void told_begin(Upgraded__Wire__Event *event, const char *kind, enum log_level level, const char *service);
/** service_tell() - Something happened to the service, in words. @about: which process; NULL: none. */
void service_tell(const struct service *service, const char *kind, enum log_level level, const struct instance *about,
		  const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/** service_on_span(), service_tell_progress(), service_tell_commit() - How a roll gets on. */
void service_on_span(struct roll *roll, const struct roll_span *ended, const struct roll_span *begun);
void service_tell_progress(const struct service *service, const struct roll *roll, const char *phase, pid_t pid,
			   const char *text);
void service_tell_commit(const struct service *service, const struct roll *roll);
/** service_tell_beat() - @instance has not answered since @since_us, and it is told with its threads where they wait; 0: it answers
 * again. @ret_text: the same in a sentence. */
void service_tell_beat(const struct service *service, const struct instance *instance, uint64_t since_us, char *ret_text,
		       size_t size);
/** service_log_outcome() - A roll has ended: one line of the log, an event, and history. @report: gets who serves now. */
void service_log_outcome(const struct service *service, struct roll_report *report);

/* ---- follow.c ---- */

/** service_look_followers() - Something has changed: what some of them wait for may hold now. */
void service_look_followers(struct service *service);
/** service_answer_followers() - The roll that they follow has ended. */
void service_answer_followers(struct service *service, const struct roll_report *roll);
void service_unfollow(struct service *service, struct asker *asker);

/* ---- written.c ---- */

/** service_write_down() - What is wanted, who serves, and what undo goes back to, into the logbook. What cannot be written is
 * told. */
void service_write_down(const struct service *service);

/* ---- baking.c ---- */

/** service_on_bake() - A roll's bake has begun or ended: written down, or forgotten. */
void service_on_bake(struct roll *roll, bool on);

/* ---- plain.c: programs that know nothing of us ---- */

/** service_refuse_plain() - Answer and return true if what serves is of Kind=plain. @what: that was asked for, "the state". */
bool service_refuse_plain(struct service *service, const char *what, struct asker *asker);
/** service_refuse_plain_start() - The same of a start with @unit, and with a state file. */
bool service_refuse_plain_start(struct service *service, const struct unit *unit, bool has_file, struct asker *asker);
/** service_refuse_kind() - Answer and return true if what serves cannot be rolled to @unit, or not as @request says. */
bool service_refuse_kind(struct service *service, const struct unit *unit, const struct roll_request *request,
			 struct asker *asker);
/** service_plan_plain() - If what serves is of Kind=plain, answer what a roll would be, and return true. */
bool service_plan_plain(struct service *service, const struct unit *unit, const struct roll_request *request, struct asker *asker);
/** service_prove() - @instance was just started: where its checks say when it is ready (Ready=health), they are made. */
void service_prove(struct service *service, struct instance *instance);

/* ---- listen.c ---- */

/** service_listen() - Hold what @unit names, for a process that is about to be started with it. @serving: from which it takes over;
 * NULL: from nobody. Return: 0; -errno with words, and then nothing has changed. */
int service_listen(struct service *service, const struct unit *unit, const struct instance *serving, struct why *why);
/** service_start_process() - A process of @version, with the listeners of @unit. @serving: beside which it starts, and from which
 * it takes over; NULL: nobody serves. Return: as origin_start(). */
int service_start_process(struct service *service, struct unit *unit, const char *version, const struct instance *serving,
			  const struct instance_events *events, void *owner, struct instance **ret_instance, struct why *why);
/** service_listen_early() - Its process has failed, and is started again after a while: what is not held yet is, where it can
 * be. */
void service_listen_early(struct service *service);
/** service_listen_return() - @serving has come back from a supervisor before this one: what that held is held again. */
void service_listen_return(struct service *service, const struct instance *serving);
/** service_listen_go_on() - The program before, or a supervisor before, has left the service as it is now: what is not held yet is
 * held again. */
void service_listen_go_on(struct service *service);
/** service_listen_trim() - Something has come to its end: what nobody needs any more is closed. */
void service_listen_trim(struct service *service);
/** service_listen_settle() - The same, and who serves has shown at which addresses it listens. */
void service_listen_settle(struct service *service);

/* ---- undo.c ---- */

/** service_roll_onward() - Within a bake: return true, and @asker was or will be answered. */
bool service_roll_onward(struct service *service, const struct roll_request *request, struct asker *asker);
/** service_on_backward(), service_on_packed() - What a bake asks for, or has done. */
void service_on_backward(struct roll *roll);
void service_on_packed(struct roll *roll, const char *failure);
/** service_on_back_commit(), service_on_back_end(), service_on_aside() - What the roll backward comes to, and what it hears that is
 * meant for the roll in whose bake it runs. */
void service_on_back_commit(struct roll *back);
void service_on_back_end(struct roll *back);
void service_on_aside(struct roll *back, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds);
/** service_end_bake_call() - The roll is over, with @result: whoever asked something of its bake is told. */
void service_end_bake_call(struct service *service, const struct roll_report *result);

/* ---- calloff.c ---- */

/** service_answer_abort() - What was to be called off is over. @roll: as this says; NULL: it was no roll. */
void service_answer_abort(struct service *service, const struct roll_report *roll);
/** service_stop_if_wanted() - No roll is in the way, perhaps: then the stop that waits begins. */
void service_stop_if_wanted(struct service *service);

/* ---- save.c ---- */

/** service_save_hear() - Return: true if @message was about a save. */
bool service_save_hear(struct service *service, const Upgraded__Wire__AppMessage *message);
/** service_save_fail() - If a save is under way, it ends so. */
void service_save_fail(struct service *service, const char *reason);
/** service_save_free() - If a save is under way, forget it; nobody is told. */
void service_save_free(struct service *service);

/* ---- ahead.c ---- */

/** service_plan_gate() - Look whether a roll could go back by an image, then service_roll_now(), or refuse it. */
void service_plan_gate(struct service *service, struct unit *unit, const struct roll_request *request, struct asker *asker);
/** service_plan_is_gate() - Does a roll wait for what a plan finds? */
bool service_plan_is_gate(const struct service *service);
/** service_plan_give_way() - Something else is asked of the service: a plan that only tells ends. */
void service_plan_give_way(struct service *service);
/** service_plan_end() - If a plan is under way, it ends so. */
void service_plan_end(struct service *service, const char *reason);
/** service_plan_hear() - Return: true if @message was about a plan. */
bool service_plan_hear(struct service *service, const Upgraded__Wire__AppMessage *message);
/** service_plan_forget() - @asker does not want to know any more. */
void service_plan_forget(struct service *service, const struct asker *asker);

/* ---- images.c ---- */

/** service_images_gc() - Remove what is beyond the limits. */
void service_images_gc(const struct service *service);
/** service_images_settle() - At a roll's end. @image_consume: what it leaves behind; NULL: nothing. */
void service_images_settle(const struct service *service, struct image *image_consume, enum roll_outcome outcome);
