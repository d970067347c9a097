/* SPDX-License-Identifier: MIT */
/* A service: what is wanted of it, by whom, and what it says to that. */
#pragma once

#include "supervisor/image/store.h"
#include "supervisor/process/origin.h"
#include "supervisor/roll/roll.h"
#include "supervisor/service/asker.h"
#include "supervisor/service/request.h"

#include <stdbool.h>
#include <stdint.h>

struct service;

/* What all services share. Borrowed. */
struct service_host {
	struct roll_site site;
	struct origin *origin; /* of their processes */
	const char *config_dir;
	uint64_t generation; /* of the last roll */
	const struct why *criu_detail; /* what was found out about CRIU here */
	const char *bakes; /* the folder of bakes that are on; NULL: nothing is written down */
	struct logbook *logbook; /* NULL: nothing is written down */
	struct hook *hooks; /* that run; see hook.h */
	struct events *events; /* NULL: nobody listens, and nothing is kept */
	void (*on_change)(void *arg); /* something may be told of a service that was not so before; NULL: nobody wants to know */
	void *change_arg;
	const struct activation *activation; /* for Listen=systemd:NAME; NULL: systemd has opened nothing */
};

/** service_new() - Return: NULL if memory is out. @name was checked. */
struct service *service_new(struct service_host *host, const char *name);

/** service_free() - Ends what runs, without waiting for it. Return: NULL. */
struct service *service_free(struct service *service);

const char *service_name(const struct service *service);
/** service_has_roll() - Is that roll under way? @id: see RollReport. */
bool service_has_roll(const struct service *service, uint64_t id);

/* Each of these answers @asker exactly once, perhaps before it returns. @asker must live until then or be forgotten. */

/** service_start() - @version: "": the last one, or that of the service file. @state_file_consume: load this state file; -1: start
 * empty. */
void service_start(struct service *service, const char *version, int state_file_consume, struct asker *asker);
/** service_stop() - End the processes, and before that whatever is under way: what has not committed is called off, a start is
 * ended, a version that still bakes is accepted, and ends, too. */
void service_stop(struct service *service, struct asker *asker);
/** service_abort() - Call off what has not committed: a start, a roll, a save, a look ahead. Answers when that is over. */
void service_abort(struct service *service, struct asker *asker);
/** service_accept() - End the bake that is on: the new version is accepted when it has given a sign of life. */
void service_accept(struct service *service, struct asker *asker);
/** service_roll() - To another version, "": that of Version= as the file is now; within a bake, too. */
void service_roll(struct service *service, const struct roll_request *request, struct asker *asker);
/** service_retry() - The last roll once more, which failed: @request says all but the version. */
void service_retry(struct service *service, const struct roll_request *request, struct asker *asker);
/** service_undo() - Back to a version that served before. */
void service_undo(struct service *service, const struct roll_request *request, struct asker *asker);
/** service_pack() - The parked version becomes an image and leaves memory. */
void service_pack(struct service *service, struct asker *asker);
/** service_save() - Write the state of the version that serves into a file. */
void service_save(struct service *service, int file_consume, struct asker *asker);
/** service_plan() - What a roll would meet, and what each way back would cost. Changes nothing. */
void service_plan(struct service *service, const struct roll_request *request, struct asker *asker);

/** service_roll_options() - What @request asks for, and @unit where it says nothing. Borrows @request->version. */
struct roll_options service_roll_options(const struct unit *unit, const struct roll_request *request);

/** service_wait() - @asker (NULL: nobody) gets the answer to what is under way from here on. */
void service_wait(struct service *service, struct asker *asker);

/** service_follow() - @asker gets the answer when @what holds, perhaps at once; with FOLLOWS_ROLL it sees the roll besides. */
void service_follow(struct service *service, enum asker_follows what, struct asker *asker);
/** service_follow_parse() - "done", "commit", "serving". Return: false: it is none of these. */
bool service_follow_parse(const char *text, enum asker_follows *ret);

/** service_forget() - @asker went away; what it asked for goes on. */
void service_forget(struct asker *asker);

/** service_is_idle() - Nothing of it runs. */
bool service_is_idle(const struct service *service);

/** service_end() - The daemon ends: end what runs, rolls first. To be called again and again until service_is_idle(). */
void service_end(struct service *service);

/** service_start_at_boot() - We were started, and what lives on is back: start it if its file says so and nobody has stopped it
 * since the machine's start. Nobody waits for it; a failure is logged, and tried again as Restart= says. */
void service_start_at_boot(struct service *service);

/* ---- written.c: what was before this supervisor ---- */

/** service_remember() - The versions that undo can go back to, as the logbook has them. Those that make no sense any more are left
 * out, with a warning. Return: 0; -ENOMEM: it is not all of them. */
int service_remember(struct service *service, const Upgraded__Logbook__Service *what, struct why *why);
/** service_await_return() - A process may serve: nothing can be asked of the service until it has answered, or ended. */
void service_await_return(struct service *service, pid_t pid);
/** service_roll_was_cut() - A roll was under way when the supervisor before this one ended, and nobody saw its end. */
void service_roll_was_cut(struct service *service);
/** service_come_back() - @instance serves; owned from here on. @left: the version that served when the supervisor ended, if that
 * was another one: a roll had committed. NULL: none. @unit_left: what that was started with; a reference is taken. */
void service_come_back(struct service *service, struct instance *instance, const char *left, struct unit *unit_left);
/** service_end_away() - Nobody serves any more: it is started again, empty, if its file says so and it was not being stopped. @how:
 * what is known of its end. */
void service_end_away(struct service *service, const char *version, struct unit *unit, bool wanted, const char *how);

/* ---- images.c; @service may be NULL: one that was removed, and left images ---- */

/** service_images_busy() - The generations of the images that rolls under way may need. */
struct image_set service_images_busy(const struct service *service);
/** service_images_parked() - The parked process that image @generation was taken of: it has the image's pid, and is ended before
 * the image is used. Return: its pid; 0: there is none. */
pid_t service_images_parked(const struct service *service, uint64_t generation);
/** service_images_live() - The image @generation as a roll under way holds it: what lies on disk does not say what we have open for
 * it. Return: borrowed; NULL: no roll has it. */
const struct image *service_images_live(const struct service *service, uint64_t generation);
/** service_images_limits() - Those of the service file, or the defaults. */
struct image_limits service_images_limits(const struct service *service);
