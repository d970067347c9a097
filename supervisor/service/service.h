/* SPDX-License-Identifier: MIT */
/* A service: its file, the process that serves, the roll that is under way, and who waits for an answer. */
#pragma once

#include "supervisor/service/asker.h"
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

	/* save.c */
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

/* ---- images.c ---- */

/** service_images_busy() - The images that rolls under way may need. */
struct image_set service_images_busy(const struct service *service);
/** service_images_parked() - The parked process that image @generation was taken of: it has the image's pid, and is ended before
 * the image is used. Return: its pid; 0: there is none. */
pid_t service_images_parked(const struct service *service, uint64_t generation);
/** service_images_limits() - Of its file. @service: NULL: one that has none any more. */
struct image_limits service_images_limits(const struct service *service);
/* ---- report.c: what people and programs are told ---- */

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
