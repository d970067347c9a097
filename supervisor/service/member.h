/* SPDX-License-Identifier: MIT */
/* A member of a service: the life of one process, with the rolls that replace it. Its service hears what becomes of it. */
#pragma once

#include "base/base.h"
#include "supervisor/process/instance.h"
#include "supervisor/roll/roll.h"
#include "supervisor/service/keeper.h"
#include "supervisor/service/pulse.h"

#include <stdbool.h>
#include <stdint.h>

struct service;

enum member_state {
	MEMBER_STOPPED,
	MEMBER_STARTING,
	MEMBER_RUNNING, /* also while a roll replaces its process */
	MEMBER_STOPPING,
	MEMBER_WAITING, /* to be started again after a failure */
	MEMBER_FAILED,
	MEMBER_RETURNING, /* a process of it may serve, and has not answered this supervisor yet; somebody else holds it */
};

struct member {
	struct member *next;
	struct service *service;
	enum member_state state;
	struct instance *instance; /* who serves; NULL during a roll, which owns it then */
	struct roll *roll;
	struct roll *back;         /* within @roll's bake: from its new version to a fresh process of its old one */
	struct timer deadline, restart;
	struct fd_ref *state_file; /* the start that is under way loads it; NULL: it starts empty */
	uint64_t stopping_us;      /* when it was told to end, while it is STOPPING */
	uint64_t told_progress_us; /* when the progress of a start was last passed on; 0: never */
	unsigned restarts;         /* since it was started by hand */
	unsigned failures;         /* in a row, for the delay */
	bool unasked;              /* nobody waits for its start: one that fails is tried again */
	struct why failure;        /* why it is FAILED or WAITING, or RUNNING and silent */
	struct pulse pulse;        /* of @instance, while it is RUNNING */
	struct keeper keeper;      /* likewise, and beyond its end */
};

/** member_new() - Return: NULL if memory is out. @service: borrowed. */
struct member *member_new(struct service *service);

/** member_free() - Ends what runs, without waiting for it. Return: NULL. */
struct member *member_free(struct member *member);

/** member_start() - Start the service's version by order. @state_file_consume: -1: empty. Return: 0, and the service hears how it
 * goes on; -errno with the reason in @member->failure. */
int member_start(struct member *member, int state_file_consume);

/** member_start_unasked() - As member_start(), empty and by nobody's order: what fails is tried again, if Restart= lets it.
 * @or_later: also where it fails at once. Return: as member_start(). */
int member_start_unasked(struct member *member, bool or_later);

/** member_start_now() - One that is WAITING is started at once, and goes on from what was kept. Return: 0; -errno, with the reason
 * in @member->failure: it waits on. */
int member_start_now(struct member *member);

/** member_stop() - End its process, gently at first; the service hears when it has ended. */
void member_stop(struct member *member);

/** member_end_start() - End a process that has not served yet, at once; the service hears when it has ended, as of a stop. */
void member_end_start(struct member *member);

/** member_stay_down() - One that has no process gets none. Return: true if it was about to be started again. */
bool member_stay_down(struct member *member);

/** member_take_serving() - At the end of @roll: who serves then is this member's process; it may be nobody. */
void member_take_serving(struct member *member, struct roll *roll);

/** member_come_back() - @instance serves, and did so before this supervisor was started; owned from here on. */
void member_come_back(struct member *member, struct instance *instance);

/** member_go_on() - As the program before has left it: in @state, with @instance (owned from here on; NULL: none, or a roll has
 * it), or to be started again at @restart_due_us. */
void member_go_on(struct member *member, enum member_state state, struct instance *instance, uint64_t restart_due_us);

/** member_start_again() - As after a failure, which is in @member->failure. */
void member_start_again(struct member *member);

/** member_check_exit() - Its process may have ended while a roll had it: that is heard now. */
void member_check_exit(struct member *member);

/** member_serving() - Return: who serves; NULL: nobody at the moment. */
const struct instance *member_serving(const struct member *member);

/** member_is_idle() - It has no process. */
bool member_is_idle(const struct member *member);

/** member_is_out_of_reach() - Its process serves, and can be ended but not asked for anything. */
bool member_is_out_of_reach(const struct member *member);

/** member_doing() - What is being done to it, so that nothing else may be: the name of a roll's state, "starting", "stopping".
 * Return: NULL: nothing. */
const char *member_doing(const struct member *member);

/** member_state_name() - For people. */
const char *member_state_name(const struct member *member);
