/* SPDX-License-Identifier: MIT */
/* Between the files of this folder. */
#pragma once

#include "supervisor/service/service.h"

/* ---- service.c ---- */

void service_set_version(struct service *service, const char *version);

/* ---- member.c: the life of one process ---- */

/** member_set_state_file() - Where the state of a start from a file is read; its owner from here on is the service. */
void member_set_state_file(struct service *service, int file_consume);
/** member_spawn() - Start the service's version. Return: 0; -errno with the reason in @service->failure. */
int member_spawn(struct service *service);
void member_answer_failed_start(struct service *service);
/** member_take_serving() - At the end of @roll: who serves then is this member's process; it may be nobody. */
void member_take_serving(struct service *service, struct roll *roll);
/** member_on_exit() - Its process has ended. */
void member_on_exit(struct instance *instance);
/** member_stop() - End its process, gently at first. */
void member_stop(struct service *service);

/* ---- rolls ---- */

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
/** service_on_backward(), service_on_packed() - Callbacks of a roll's bake. undo.c. */
void service_on_backward(struct roll *roll);
void service_on_packed(struct roll *roll, const char *failure);
/** service_tell_visitor() - A roll is over that somebody asked something of. */
void service_tell_visitor(struct service *service, const struct roll_result *result);

/** service_refuse_busy(), service_refuse_not_running() - Answer and return true if that is so. */
bool service_refuse_busy(struct service *service, struct asker *asker);
bool service_refuse_not_running(struct service *service, struct asker *asker);
/** service_save_hear() - Return: true if @message was about a save. */
bool service_save_hear(struct service *service, const Upgraded__Wire__AppMessage *message);
/* ahead.c */
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

/* ---- images.c ---- */

/** service_images_gc() - Remove what is beyond them. */
void service_images_gc(const struct service *service);
/** service_images_settle() - At a roll's end. @image_consume: what it leaves behind; NULL: nothing. */
void service_images_settle(const struct service *service, struct image *image_consume, enum roll_outcome outcome);

/* ---- asker.c ---- */

/** asker_progress() - Tell @asker (NULL: nobody) how it gets on. @since_us: when what it waits for began. */
void asker_progress(struct asker *asker, const char *phase, pid_t pid, const char *text, uint64_t since_us);

/** service_answer() - Send the result to whoever waits, if anyone, and stop knowing them.
 * @lines, @roll: NULL if there are none. */
void service_answer(struct service *service, struct asker *asker, enum wire_exit code, const struct lines *lines,
		    const struct roll_result *roll, const char *cause, const char *next, const char *fmt, ...)
	__attribute__((format(printf, 8, 9)));

/** service_result() - Complete @result with who serves, and send it. @asker is known to nobody any more. */
void service_result(const struct service *service, struct asker *asker, Upgraded__Wire__Result *result);

/** service_answer_roll() - The same at the end of a roll. */
void service_answer_roll(struct service *service, struct asker *asker, const struct roll_result *roll);

/* ---- report.c ---- */

/** service_serving() - Who serves; NULL: nobody at the moment. */
const struct instance *service_serving(const struct service *service);
/** service_fill_report() - @result as it is told. @lines: room for INSTANCE_LINES. */
void service_fill_report(const struct roll_result *result, Upgraded__Wire__RollReport *report, char *started, size_t size,
			 char **lines);
