/* SPDX-License-Identifier: MIT */
/* A look ahead at one roll of one service: what it would meet, which ways back it would have, and what each would cost.
 *
 *   plan.c        what is asked of the two versions, with deadlines
 *   plan_look.c   what is read of the running process and this machine
 *   plan_tell.c   the answer
 *
 * The running version is asked for the numbers of its registered descriptors, which it answers in passing; the other one is
 * started just far enough to hear what it reads and which migrations it has, and ended. Neither hears of a roll.
 */
#pragma once

#include "base/base.h"
#include "supervisor/criu/obstacles.h"
#include "supervisor/machine/cgroup.h"
#include "supervisor/process/origin.h"
#include "supervisor/roll/roll.h"
#include "supervisor/unit/unit.h"

#include <stdbool.h>
#include <stdint.h>

#define PLAN_PAUSES 8u
#define PLAN_LOOSE_MAX 16u
#define PLAN_LOOSE_BYTES 160u
#define PLAN_CLOSED_MAX 16u

/* What moves in a roll. */
struct plan_size {
	uint64_t records, bytes, fds;
};

/* The pauses of a service's last rolls. */
struct plan_pauses {
	struct {
		uint64_t pause_us;
		struct plan_size size;
	} last[PLAN_PAUSES];
	unsigned n, next;
};

/** plan_pauses_note() - One more roll has committed. */
void plan_pauses_note(struct plan_pauses *pauses, uint64_t pause_us, const struct plan_size *size);

/** plan_pauses_expect() - How long would the pause be with what is there now? The median of what the last rolls say for @now.
 * Return: microseconds; 0: none has committed. */
uint64_t plan_pauses_expect(const struct plan_pauses *pauses, const struct plan_size *now);

/* In bytes, as of now. */
struct plan_room {
	uint64_t image, image_free; /* what an image would take; what its file system has */
	struct cgroup_memory group; /* with the least room above the process; @limit_bytes 0: none has a limit */
	uint64_t memory, memory_free; /* what the running version holds, and the new one will beside it */
};

#define PLAN_CHILDREN_MAX 32u

/* A child process of the running version. */
struct plan_child {
	pid_t pid;
	bool is_alone; /* it has left the process group, and is nobody's to end */
	char name[32];
};

struct plan;

struct plan_spec {
	const struct roll_site *site;
	struct origin *origin; /* of the version to be looked at */
	const char *criu_detail; /* what was found out about CRIU */
	struct instance *running; /* borrowed until the end */
	struct unit *unit_consume; /* as a roll would read it now */
	const char *version; /* to be rolled to */
	enum unit_rollback rollback;
	bool require_image;
	bool try_version; /* start it and hear what it says; otherwise only the image is looked at */
	const struct plan_pauses *pauses;
	const struct fd_names *known; /* what @version had when it was left; borrowed until the end; NULL: it has not served */
	void *owner;
	void (*on_done)(struct plan *plan); /* the last call; frees the plan */
};

struct plan {
	void *owner;
	void (*on_done)(struct plan *plan);
	const struct roll_site *site;
	struct origin *origin;
	const char *criu_detail;
	struct instance *running;
	struct unit *unit;
	char version[UNIT_NAME_MAX + 1];
	enum unit_rollback rollback;
	bool require_image;
	struct plan_pauses pauses;

	/* plan.c: of the running version */
	struct timer inventory_due;
	bool inventory_waits, inventory; /* still to come; came whole */
	const struct fd_names *known;
	char *closed[PLAN_CLOSED_MAX]; /* doors that the version never had */
	size_t n_closed;
	uint32_t *registered; /* descriptors */
	size_t n_registered;
	uint32_t *threads; /* that are registered */
	size_t n_threads;
	bool counted; /* it told how much state it holds: */
	struct plan_size now;

	/* plan.c: of the other one */
	struct instance *trial; /* NULL: not started, or over */
	struct timer trial_due;
	Upgraded__Wire__AppMessage *hello; /* NULL: it never said it, and @trial_cause says why */
	struct why trial_cause;
	struct lines lines; /* its last, if it failed */
	bool tried;

	/* plan_look.c */
	char from_program[256], to_program[256];
	struct obstacles_report obstacles;
	struct why obstacles_cause; /* why they could not be looked for; "": they were */
	struct plan_child children[PLAN_CHILDREN_MAX];
	size_t n_children;
	struct plan_room room;
	struct why cold_cause;        /* why the running version could not be started again; "": it could */
	struct why descriptors_cause; /* why there are not enough of them; "": there are */
	char loose[PLAN_LOOSE_MAX][PLAN_LOOSE_BYTES]; /* what runs and is not known to the library */
	size_t n_loose;
	struct why others_read; /* why a roll would be refused for it */
	struct timer done;
};

/**
 * plan_start() - Begin; the end comes from the loop, at the latest when the deadlines of both versions have passed.
 *
 * Return: 0; -ENOMEM. Where the other version cannot even be started, that is a finding and no failure.
 */
int plan_start(const struct plan_spec *spec, struct plan **ret_plan, struct why *why);

/** plan_hear() - Return: true if @message, of the running version, was for the plan. */
bool plan_hear(struct plan *plan, const Upgraded__Wire__AppMessage *message);

/** plan_free() - NULL is allowed; a version on trial is ended. Return: NULL. */
struct plan *plan_free(struct plan *plan);

/** plan_image_there() - Could this roll go back by an image, as far as can be seen? Return: 0; -errno with what is in the way. */
int plan_image_there(const struct plan *plan, struct why *why);

/* ---- between the plan*.c files ---- */

/** plan_look() - Fill in what is read rather than asked. */
void plan_look(struct plan *plan);

/** plan_tell() - Return: the exit status, with the answer in @ret_plan, to be released with
 * upgraded__wire__plan__free_unpacked(); NULL if memory is out. @text: one sentence. */
enum wire_exit plan_tell(const struct plan *plan, Upgraded__Wire__Plan **ret_plan, struct why *text);
