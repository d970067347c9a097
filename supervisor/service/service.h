/* SPDX-License-Identifier: MIT */
/* A service: its file, the process that serves, the roll that is under way, and who waits for an answer. */
#pragma once

#include "supervisor/service/history.h"
#include "supervisor/image/store.h"
#include "supervisor/plan/plan.h"
#include "supervisor/roll/roll.h"
#include "wire/wire.h"

enum service_state {
	SERVICE_STOPPED,
	SERVICE_STARTING,
	SERVICE_RUNNING,
	SERVICE_STOPPING,
	SERVICE_WAITING, /* to be started again after a failure */
	SERVICE_FAILED,
};

/* Someone who asked for something and wants to hear of it; embedded in a client. */
struct asker {
	struct service *service; /* which it waits for; NULL: none */
	bool wait_commit;        /* wants its answer at the commit, not at the end of the bake */
	void (*on_progress)(struct asker *asker, const Upgraded__Wire__Progress *progress);
	void (*on_result)(struct asker *asker, const Upgraded__Wire__Result *result);
};

/* What all services share. Borrowed. */
struct service_host {
	struct roll_site site;
	const char *config_dir;
	uint64_t generation; /* of the last roll */
	const struct why *images; /* what was found out about CRIU here */
};

struct service {
	struct service *next;
	struct service_host *host;
	char name[UNIT_NAME_MAX + 1];
	enum service_state state;
	struct unit *unit;       /* as of the last start or roll; NULL before the first */
	char version[UNIT_NAME_MAX + 1];
	struct history history;  /* what undo goes back to */
	struct instance *instance; /* who serves; NULL during a roll, which owns it then */
	struct roll *roll;
	struct roll *back;       /* within @roll's bake: from its new version to a fresh process of its old one */
	struct asker *asker;
	uint64_t undo_bake_us;   /* what @visitor wants the bake after its undo to be; 0: as configured */
	struct asker *visitor;   /* asked something of @roll's bake while @asker, who asked for the roll, may still wait */
	bool visitor_packs;      /* it asked for that, and for nothing else */
	struct timer deadline, restart;
	int state_file;          /* a start from it is under way; -1 */

	/* service_save.c */
	bool saving, save_quiesced, save_written;
	int save_file;           /* -1 */
	uint64_t save_began_us, save_records, save_bytes;
	struct timer save_timer, save_deadline;

	uint64_t told_progress_us; /* of a start */
	unsigned restarts;       /* since it was started by hand */
	unsigned failures;       /* in a row, for the delay */
	struct why failure;      /* why it is FAILED or WAITING */
	struct roll_result last;
	bool has_last;
	struct service_plan *plan; /* a look ahead is under way */
	struct plan_pauses pauses;
};

/** service_new() - Return: NULL if memory is out. @name was checked. */
struct service *service_new(struct service_host *host, const char *name);

/** service_free() - Ends what runs, without waiting for it. Return: NULL. */
struct service *service_free(struct service *service);

/* Each of these answers @asker exactly once, perhaps before it returns. @asker must live until then or be forgotten. */
/** service_start() - @state_file_consume: load this state file; -1: start empty. */
void service_start(struct service *service, const char *version, int state_file_consume, struct asker *asker);
void service_stop(struct service *service, struct asker *asker);
void service_roll(struct service *service, const Upgraded__Wire__Request *request, struct asker *asker);
void service_save(struct service *service, int file_consume, struct asker *asker);
void service_undo(struct service *service, const Upgraded__Wire__Request *request, struct asker *asker);
/** service_pack() - The parked version leaves memory. */
void service_pack(struct service *service, struct asker *asker);
/** service_cancel_roll() - As roll_cancel(), for whichever roll is under way. */
void service_cancel_roll(struct service *service);

/** service_plan() - What a roll would meet, and what each way back would cost. Changes nothing. */
void service_plan(struct service *service, const Upgraded__Wire__Request *request, struct asker *asker);

/** service_forget() - @asker went away; what it asked for goes on. */
void service_forget(struct asker *asker);

/** service_is_idle() - Nothing of it runs. */
bool service_is_idle(const struct service *service);

/* ---- between the service_*.c files ---- */

/** service_begin_roll() - service_roll_now(), or first look whether it could go back by an image, where that is required. */
void service_begin_roll(struct service *service, const char *version, const Upgraded__Wire__Request *request,
			struct asker *asker);
int service_roll_options(const struct service *service, const Upgraded__Wire__Request *request, const char *version,
			 struct roll_options *ret);
/** service_reload_unit() - Read the service file anew; on failure the old one stays in force and @asker was told. */
int service_reload_unit(struct service *service, struct asker *asker);
/** service_on_roll_end(), service_on_roll_progress() - What every roll of a service ends in, and says. */
void service_on_roll_end(struct roll *roll);
void service_on_roll_progress(struct roll *roll, const char *phase, pid_t pid, const char *text);
void service_on_roll_commit(struct roll *roll);
/** service_on_backward(), service_on_packed() - Callbacks of a roll's bake. service_undo.c. */
void service_on_backward(struct roll *roll);
void service_on_packed(struct roll *roll, const char *failure);
/** service_tell_visitor() - A roll is over that somebody asked something of. */
void service_tell_visitor(struct service *service, const struct roll_result *result);

/** service_refuse_busy(), service_refuse_not_running() - Answer and return true if that is so. */
bool service_refuse_busy(struct service *service, struct asker *asker);
bool service_refuse_not_running(struct service *service, struct asker *asker);
/** service_save_hear() - Return: true if @message was about a save. */
bool service_save_hear(struct service *service, const Upgraded__Wire__AppMessage *message);
/* service_plan.c */
/** service_plan_gate() - Look whether a roll to @version could go back by an image, then service_roll_now(), or refuse it. */
void service_plan_gate(struct service *service, const char *version, const Upgraded__Wire__Request *request,
		       struct asker *asker);
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
/** service_roll_now() - With options from @request and the service file. @asker: NULL if nobody waits; told if it cannot begin. */
void service_roll_now(struct service *service, const char *version, const Upgraded__Wire__Request *request,
		      struct asker *asker);
/** service_save_fail() - If a save is under way, it ends so. */
void service_save_fail(struct service *service, const char *reason);

/* ---- service_images.c ---- */

/** service_images_busy() - The generation of the image that the roll under way may need; 0: none. */
uint64_t service_images_busy(const struct service *service);
/** service_images_parked() - The parked process that image @generation was taken of: it has the image's pid, and is ended before
 * the image is used. Return: its pid; 0: there is none. */
pid_t service_images_parked(const struct service *service, uint64_t generation);
/** service_images_limits() - Of its file. @service: NULL: one that has none any more. */
struct image_limits service_images_limits(const struct service *service);
/** service_images_gc() - Remove what is beyond them. */
void service_images_gc(const struct service *service);
/** service_images_settle() - At a roll's end. @image_consume: what it leaves behind; NULL: nothing. */
void service_images_settle(const struct service *service, struct image *image_consume, enum roll_outcome outcome);

/* ---- service_report.c: what people and programs are told ---- */

/** service_status() - Fill @status; strings point into @service and @scratch. */
struct status_scratch {
	Upgraded__Wire__Instance instances[4], *list[4];
	char *history[HISTORY_MAX];
	Upgraded__Wire__RollReport report;
	char *lines[INSTANCE_LINES];
	Upgraded__Wire__HealthCheck health[UNIT_CHECKS_MAX + 1], *health_list[UNIT_CHECKS_MAX + 1];
	char checks[UNIT_CHECKS_MAX][HEALTH_DETAIL_BYTES], heartbeat[HEALTH_DETAIL_BYTES];
	char started[32];
};
void service_status(const struct service *service, Upgraded__Wire__ServiceStatus *status, struct status_scratch *scratch);

/** service_answer() - Send the result to whoever waits, if anyone, and stop knowing them.
 * @lines, @roll: NULL if there are none. */
void service_answer(struct service *service, struct asker *asker, enum wire_exit code, const struct lines *lines,
		    const struct roll_result *roll, const char *cause, const char *next, const char *fmt, ...)
	__attribute__((format(printf, 8, 9)));

/** service_result() - Complete @result with who serves, and send it. @asker is known to nobody any more. */
void service_result(const struct service *service, struct asker *asker, Upgraded__Wire__Result *result);

/** service_answer_roll() - The same at the end of a roll. */
void service_answer_roll(struct service *service, struct asker *asker, const struct roll_result *roll);
