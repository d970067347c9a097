/* SPDX-License-Identifier: MIT */
/* Not a call that fails, but a machine that is not well for as long as a roll lasts. */
#include "tests/faults/steer.h"
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DAY_US (INT64_C(86400) * 1000000)
#define LINES "Rollback=parked\nStartTimeout=8s\nQuiesceTimeout=8s\nTransferTimeout=8s\n"
#define ONE(class) (1u << FAULT_##class)
#define BYTES (ONE(READ) | ONE(WRITE) | ONE(SEND) | ONE(RECEIVE))

static struct faults *faults;

static void open_all(void)
{
	stage_open();
	cr_assert_eq(faults_open(stage.rig, &faults), 0);
}

TestSuite(conditions, .init = open_all, .fini = stage_abandon, .timeout = 120);

static void unit(const char *lines)
{
	static char all[16384];

	snprintf(all, sizeof(all), LINES "%s%s", lines, faults_lines());
	stage_unit(&(struct rig_cached){ .lines = all, .threads = 2 });
}

static void serve(const char *lines, const char *criu)
{
	unit(lines);
	cr_assert_eq(rig_daemon_start(stage.rig, criu), 0);
	ctl(0, "start", "cached");
}

/* In each process that is looked at. */
static void everywhere(struct fault_rule rule)
{
	for (int role = 1; role < FAULT_ROLES; role++) {
		rule.role = (enum fault_role)role;
		faults_add(faults, &rule);
	}
}

/* What a service makes of the time of day is its own matter. */
static void for_us(struct fault_rule rule)
{
	static const enum fault_role ours[] = { FAULT_ROLE_UPGRADED, FAULT_ROLE_FORK, FAULT_ROLE_CTL };

	for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++) {
		rule.role = ours[i];
		faults_add(faults, &rule);
	}
}

static void arm(void)
{
	faults_arm(faults, stage_pid("serving"));
}

static void was_struck(void)
{
	faults_disarm(faults);
	cr_assert_gt(atomic_load(&faults->struck), 0, "nothing was disturbed");
}

static void rolls_as_ever(void)
{
	faults_clear(faults);
	ctl(0, "roll", "cached", "v3", "--bake=50ms");
	ctl(0, "undo", "cached", "--bake=50ms");
	stage_wait_processes(stage.load ? 3 : 2);
}

/* ---- the clock ---- */

SCENE(conditions, of_a_clock_that_jumps_a_day_to_and_fro_matter_to_no_deadline)
{
	uint64_t begun_us;

	serve("Bake=1s\n", RIG_NO_CRIU);
	stage_load(50);
	for_us((struct fault_rule){ .classes = ONE(CLOCK), .action = FAULT_SHIFT, .amount = DAY_US, .at = 1, .every = 3,
					.times = FAULT_ALWAYS });
	for_us((struct fault_rule){ .classes = ONE(CLOCK), .action = FAULT_SHIFT, .amount = -DAY_US, .at = 1, .every = 2,
					.times = FAULT_ALWAYS });
	arm();
	begun_us = clock_now_us();
	ctl(0, "roll", "cached", "v2");
	cr_assert_geq(clock_now_us() - begun_us, USEC_PER_SEC, "the bake was shorter than it should be");
	ctl(0, "undo", "cached", "--bake=50ms");
	was_struck();
	rolls_as_ever();
	stage_load_spotless();
}

SCENE(conditions, of_a_clock_that_was_set_back_a_day_matter_to_no_supervisor_that_comes_after)
{
	serve("Bake=50ms\n", RIG_NO_CRIU);
	stage_load(50);
	ctl(0, "roll", "cached", "v2");
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	for_us((struct fault_rule){ .classes = ONE(CLOCK), .action = FAULT_SHIFT, .amount = -DAY_US, .at = 1,
					.times = FAULT_ALWAYS });
	faults_arm(faults, 0);
	cr_assert_eq(rig_daemon_start(stage.rig, RIG_NO_CRIU), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", 10 * USEC_PER_SEC), 0);
	ctl(0, "roll", "cached", "v3");
	ctl(0, "undo", "cached");
	was_struck();
	rolls_as_ever();
	stage_load_spotless();
}

/* ---- calls that are interrupted, short or slow ---- */

SCENE(conditions, in_which_every_second_call_is_interrupted_cost_nothing)
{
	serve("Bake=50ms\n", RIG_NO_CRIU);
	stage_load(50);
	everywhere((struct fault_rule){ .classes = BYTES | ONE(WAIT), .action = FAULT_FAIL, .error = EINTR, .at = 1, .every = 2,
					.times = FAULT_ALWAYS });
	arm();
	ctl(0, "roll", "cached", "v2");
	ctl(0, "undo", "cached");
	was_struck();
	rolls_as_ever();
	stage_load_spotless();
}

/* The kernel's own interruptions: whoever waits for events is told of each. */
SCENE(conditions, in_which_upgraded_stops_and_goes_on_all_the_time_cost_nothing)
{
	pid_t daemon, storm;

	serve("Bake=300ms\n", RIG_NO_CRIU);
	stage_load(50);
	daemon = rig_daemon_pid(stage.rig);
	storm = fork();
	cr_assert_geq(storm, 0);
	if (storm == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			kill(daemon, SIGSTOP);
			kill(daemon, SIGCONT);
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		}
	}
	ctl(0, "roll", "cached", "v2");
	ctl(0, "undo", "cached");
	cr_assert_eq(kill(storm, SIGKILL), 0);
	cr_assert_eq(waitpid(storm, NULL, 0), storm);
	cr_assert_eq(kill(daemon, SIGCONT), 0);
	rolls_as_ever();
	stage_load_spotless();
}

SCENE(conditions, in_which_a_byte_goes_through_at_a_time_cost_nothing)
{
	serve("Bake=50ms\n", RIG_NO_CRIU);
	stage_load(20);
	everywhere((struct fault_rule){ .classes = BYTES, .action = FAULT_SHORT, .at = 1, .every = 2, .times = FAULT_ALWAYS });
	arm();
	ctl(0, "roll", "cached", "v2");
	ctl(0, "undo", "cached");
	was_struck();
	rolls_as_ever();
	stage_load_spotless();
}

SCENE(conditions, in_which_every_write_of_upgraded_is_slow_cost_nothing)
{
	serve("Bake=50ms\n", RIG_NO_CRIU);
	stage_load(50);
	faults_add(faults, &(struct fault_rule){ .role = FAULT_ROLE_UPGRADED, .classes = ONE(WRITE) | ONE(SYNC) | ONE(SEND),
						 .action = FAULT_DELAY, .amount = 10000, .at = 1, .times = FAULT_ALWAYS });
	arm();
	ctl(0, "roll", "cached", "v2");
	ctl(0, "undo", "cached");
	was_struck();
	rolls_as_ever();
	stage_load_spotless();
}

/* Clients wait meanwhile: a program that is told by an edge when there is room again would wait for it for ever, as there was room.
 * And it ends, as what is said once with each sign of life must not meet each second try for ever. */
SCENE(conditions, in_which_every_pipe_and_socket_is_full_at_every_second_try_cost_nothing)
{
	serve("Bake=50ms\n", RIG_NO_CRIU);
	stage_load(50);
	everywhere((struct fault_rule){ .classes = ONE(WRITE) | ONE(SEND), .where = FAULT_STREAMS, .action = FAULT_FULL,
					.at = 1, .every = 2, .times = 20 });
	cr_assert_eq(rig_load_ask(stage.load, NULL, "pause"), 0);
	arm();
	ctl(0, "roll", "cached", "v2");
	ctl(0, "undo", "cached");
	was_struck();
	cr_assert_eq(rig_load_ask(stage.load, NULL, "continue"), 0);
	rolls_as_ever();
	stage_load_spotless();
}

/* Whatever else writes to the same disk: a sync may take seconds, and nobody waits for it. */
SCENE(conditions, of_a_disk_that_takes_seconds_to_sync_hold_up_neither_rolls_nor_answers)
{
	uint64_t begun_us;

	serve("Bake=200ms\n", RIG_NO_CRIU);
	stage_load(50);
	faults_add(faults, &(struct fault_rule){ .role = FAULT_ROLE_UPGRADED, .classes = ONE(SYNC), .action = FAULT_DELAY,
						 .amount = 20 * 1000000, .at = 1, .times = FAULT_ALWAYS });
	arm();
	begun_us = clock_now_us();
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	ctl(0, "list");
	stage_wait_log("version v2 is accepted");
	ctl(0, "undo", "cached", "--bake=50ms");
	cr_assert_leq(clock_now_us() - begun_us, 10 * USEC_PER_SEC);
	was_struck();
	/* Whoever is killed now has written down all the same what is so, and who comes after waits no more than he did. */
	faults_arm(faults, 0);
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	begun_us = clock_now_us();
	cr_assert_eq(rig_daemon_start(stage.rig, RIG_NO_CRIU), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", 10 * USEC_PER_SEC), 0);
	cr_assert_leq(clock_now_us() - begun_us, 10 * USEC_PER_SEC);
	rolls_as_ever();
	stage_load_spotless();
}

/* The program that comes waits for no sync before it has its services: it has ten seconds for that. */
SCENE(conditions, of_a_disk_that_takes_seconds_to_sync_let_upgraded_be_replaced)
{
	serve("Bake=50ms\n", RIG_NO_CRIU);
	stage_load(50);
	ctl(0, "roll", "cached", "v2");
	faults_add(faults, &(struct fault_rule){ .role = FAULT_ROLE_UPGRADED, .classes = ONE(SYNC), .action = FAULT_DELAY,
						 .amount = 12 * 1000000, .at = 1, .times = FAULT_ALWAYS });
	arm();
	ctl(0, "roll", "upgraded");
	ctl(0, "list");
	rolls_as_ever();
	stage_load_spotless();
}

/* ---- a disk that is broken ---- */

SCENE(conditions, of_a_disk_that_never_syncs_are_told_and_go_on)
{
	serve("Bake=50ms\n", RIG_NO_CRIU);
	stage_load(50);
	faults_add(faults, &(struct fault_rule){ .role = FAULT_ROLE_UPGRADED, .classes = ONE(SYNC), .path = "/state/",
						 .action = FAULT_FAIL, .error = EIO, .at = 1, .times = FAULT_ALWAYS });
	arm();
	ctl(0, "roll", "cached", "v2");
	stage_wait_log("the disk is tried again");
	was_struck();
	rolls_as_ever();
	stage_wait_log("all of it is on the disk again");
	stage_load_spotless();
}

SCENE(conditions, of_a_logbook_that_cannot_be_written_refuse_rolls_and_touch_nothing)
{
	pid_t pid;

	serve("Bake=50ms\n", RIG_NO_CRIU);
	stage_load(50);
	pid = stage_pid("serving");
	faults_add(faults, &(struct fault_rule){ .role = FAULT_ROLE_UPGRADED, .classes = ONE(WRITE) | ONE(SYNC), .path = "/state/",
						 .action = FAULT_FAIL, .error = EIO, .at = 1, .times = FAULT_ALWAYS });
	arm();
	must_say(ctl(5, "roll", "cached", "v2"), "could not be written down");
	must_say(ctl(5, "roll", "cached", "v2"), strerror(EIO));
	was_struck();
	cr_assert_eq(stage_pid("serving"), pid);
	rolls_as_ever();
	stage_load_spotless();
}

/* With CRIU: the disk gives nothing back of the image, and so the version before starts empty, as the ladder has it. */
SCENE(conditions, of_an_image_that_cannot_be_read_end_in_the_rung_below)
{
	const json_t *answer;

	unit("Bake=20s\nRollback=image\n");
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	for (int role = FAULT_ROLE_UPGRADED; role <= FAULT_ROLE_FORK; role++)
		faults_add(faults, &(struct fault_rule){ .role = (enum fault_role)role, .classes = ONE(READ), .path = "/images/",
							 .action = FAULT_FAIL, .error = EIO, .at = 1, .times = FAULT_ALWAYS });
	arm();
	answer = ctl(7, "undo", "cached", "--way=image", "--bake=50ms");
	cr_assert_str_eq(rig_text(answer, "roll.outcome"), "cold-start");
	stage_wait_log(strerror(EIO));
	was_struck();
	faults_clear(faults);
	ctl(0, "roll", "cached", "v2", "--bake=50ms");
	stage_wait_processes(2);
}

SCENE(conditions, of_an_image_that_cannot_be_written_leave_the_roll_with_the_way_back_that_it_has)
{
	unit("Bake=2s\nRollback=auto\n");
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
	stage_load(50);
	for (int role = FAULT_ROLE_UPGRADED; role <= FAULT_ROLE_FORK; role++)
		faults_add(faults, &(struct fault_rule){ .role = (enum fault_role)role, .path = "/images/", .action = FAULT_FAIL,
							 .classes = ONE(WRITE) | ONE(SYNC) | ONE(NAME) | ONE(DESCRIPTOR),
							 .error = EIO, .at = 1, .times = FAULT_ALWAYS });
	arm();
	ctl(0, "roll", "cached", "v2");
	stage_wait_log(strerror(EIO));
	was_struck();
	rolls_as_ever();
	stage_load_spotless();
}

/* ---- too few descriptors ---- */

static void limit_of(pid_t pid, rlim_t soft, struct rlimit *ret_before)
{
	struct rlimit limit;

	cr_assert_eq(prlimit(pid, RLIMIT_NOFILE, NULL, ret_before), 0, "%s", strerror(errno));
	limit = (struct rlimit){ .rlim_cur = soft, .rlim_max = ret_before->rlim_max };
	cr_assert_eq(prlimit(pid, RLIMIT_NOFILE, &limit, NULL), 0, "%s", strerror(errno));
}

/* However few there are: it is done, refused or called off, and said why; and nobody notices. Return: whether it was done. */
static bool rolls_or_says_why(const char *to)
{
	struct rig_answer answer = { 0 };
	bool done;

	cr_assert_eq(rig_ctl(stage.rig, &answer, "roll", "cached", to, NULL), 0);
	cr_assert(answer.status == 0 || answer.status == 1 || answer.status == 5 || answer.status == 6, "%d %s%s",
		  answer.status, answer.out, answer.err);
	cr_assert(*answer.out || *answer.err);
	done = answer.status == 0;
	rig_answer_done(&answer);
	return done;
}

static void is_well(const char *version)
{
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", version, 20 * USEC_PER_SEC), 0);
	stage_wait_processes(3);
}

/* Return: how often it was not done. */
static unsigned with_few_descriptors(bool old)
{
	static const unsigned left[] = { 0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32 };
	unsigned called_off = 0;
	bool at_v2 = false;

	serve("Bake=50ms\n", RIG_NO_CRIU);
	stage_load(50);
	for (size_t i = 0; i < sizeof(left) / sizeof(*left); i++) {
		pid_t pid = old ? stage_pid("serving") : rig_daemon_pid(stage.rig);
		const char *to = at_v2 ? "v3" : "v2";
		struct rlimit before;
		bool done;

		limit_of(pid, rig_descriptors(pid) + left[i], &before);
		done = rolls_or_says_why(to);
		(void)prlimit(pid, RLIMIT_NOFILE, &before, NULL); /* old may be gone */
		is_well(done ? to : NULL);
		called_off += !done;
		at_v2 ^= done;
	}
	if (!at_v2)
		ctl(0, "roll", "cached", "v2");
	rolls_as_ever();
	stage_load_spotless();
	return called_off;
}

SCENE(conditions, in_which_upgraded_has_few_descriptors_left_cost_nothing)
{
	cr_assert_gt(with_few_descriptors(false), 0, "nothing was ever missed");
}

SCENE(conditions, in_which_the_old_version_has_few_descriptors_left_cost_nothing)
{
	cr_assert_eq(with_few_descriptors(true), 0, "it has all that a roll takes");
}

/* Each socket that comes back needs a number for a moment, beside the one at which it was. */
SCENE(conditions, in_which_the_parked_version_has_no_descriptor_left_keep_the_way_back)
{
	struct rlimit before, now;
	const json_t *answer;
	json_t *roll;
	pid_t parked;

	serve("Bake=20s\n", RIG_NO_CRIU);
	stage_load(50);
	cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	parked = stage_pid("parked");
	/* Clients whose connections are reset come again, and then it needs more. */
	cr_assert_eq(rig_load_ask(stage.load, NULL, "pause"), 0);
	limit_of(parked, rig_descriptors(parked), &before);
	answer = ctl(0, "undo", "cached", "--way=parked");
	roll = json_deep_copy(json_object_get(answer, "roll"));
	cr_assert_eq(stage_pid("serving"), parked);
	cr_assert_eq(prlimit(parked, RLIMIT_NOFILE, &before, &now), 0);
	cr_assert_lt(now.rlim_cur, before.rlim_cur, "its limit is not the one that it had");
	cr_assert_eq(rig_load_ask(stage.load, NULL, "continue"), 0);
	stage_settle(roll);
	json_decref(roll);
	stage_load_spotless();
}

/* It is started by a script that leaves it no more. */
static void limit_version(const char *version, unsigned limit)
{
	const char *path = stage_path("few-%s", version);
	FILE *file;

	(void)unlink(path);
	file = fopen(path, "we");
	cr_assert_not_null(file, "%s", path);
	fprintf(file, "#!/bin/sh\nulimit -n %u && ulimit -Hn %u\n", limit, limit);
	fprintf(file, "exec %s \"$@\"\n", rig_program(stage.rig, strcmp(version, "v1") == 0 ? "examples/cached-v1" :
							   "examples/cached-v2"));
	cr_assert_eq(fchmod(fileno(file), 0700), 0);
	cr_assert_eq(fclose(file), 0);
}

SCENE(conditions, in_which_the_new_version_may_open_few_descriptors_cost_nothing)
{
	char text[1024];
	unsigned refused = 0;

	limit_version("v1", 4096);
	snprintf(text, sizeof(text), "[Service]\nExec=%s -p %u -t 2\nVersion=v1\nBake=50ms\n" LINES, stage_path("few-%%v"),
		 stage.port);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, RIG_NO_CRIU), 0);
	ctl(0, "start", "cached");
	stage_load(50);
	for (unsigned limit = 4; limit <= 60; limit += limit < 12 ? 1 : 6) {
		bool done;

		limit_version("v2", limit);
		done = rolls_or_says_why("v2");
		cr_assert_not(done, "with a limit of %u it has 50 connections", limit);
		is_well("v1");
		refused++;
	}
	cr_assert_gt(refused, 0);
	limit_version("v2", 4096);
	ctl(0, "roll", "cached", "v2");
	is_well("v2");
	stage_load_spotless();
}

/* ---- descriptors that do not arrive ---- */

static void descriptors_get_lost_at(enum fault_role role)
{
	struct rig_answer answer = { 0 };

	serve("Bake=50ms\n", RIG_NO_CRIU);
	stage_load(50);
	faults_add(faults, &(struct fault_rule){ .role = role, .classes = ONE(RECEIVE), .action = FAULT_TRUNC, .at = 1,
						 .times = FAULT_ALWAYS });
	arm();
	cr_assert_eq(rig_ctl(stage.rig, &answer, "roll", "cached", "v2", NULL), 0);
	was_struck();
	cr_assert(answer.status == 5 || answer.status == 6, "%d: %s%s", answer.status, answer.out, answer.err);
	rig_answer_done(&answer);
	ctl(0, "roll", "cached", "v2");
	rolls_as_ever();
	stage_load_spotless();
}

SCENE(conditions, in_which_descriptors_get_lost_on_their_way_to_upgraded_call_the_roll_off)
{
	descriptors_get_lost_at(FAULT_ROLE_UPGRADED);
}

SCENE(conditions, in_which_descriptors_get_lost_on_their_way_to_the_new_version_call_the_roll_off)
{
	descriptors_get_lost_at(FAULT_ROLE_NEW);
}
