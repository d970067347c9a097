/* SPDX-License-Identifier: MIT */
/* The operator gets through with real processes: abort, accept, a stop of what starts, a roll within a bake, signals to the
 * daemon. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

STAGE(operator, 60);

#define SHOWN_US (10 * USEC_PER_SEC)

static struct rig_child *roll_to_what_never_starts(void)
{
	struct rig_child *roll;

	stage_serve(&(struct rig_cached){ .lines = "StartTimeout=1min\nBake=1min\n" }, NULL);
	stage_load(50);
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v3-never-ready", NULL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "rolling", NULL, SHOWN_US), 0);
	return roll;
}

static void ended_with(struct rig_child *child, int status)
{
	struct rig_answer answer = { 0 };

	cr_assert_eq(rig_run_wait(child, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, status, "%d: %s", answer.status, answer.out);
	rig_answer_done(&answer);
}

SCENE(operator, aborts_a_roll_whose_version_does_not_come_up)
{
	struct rig_child *roll = roll_to_what_never_starts();

	must_say(ctl(0, "abort", "cached"), "the roll to v3-never-ready was aborted");
	ended_with(roll, 5);
	must_say(ctl(0, "abort", "cached"), "nothing is under way");
	ctl(0, "roll", "cached", "v2", "--bake=100ms");
	stage_load_spotless();
}

SCENE(operator, stops_a_service_whose_roll_does_not_come_to_an_end)
{
	struct rig_child *roll = roll_to_what_never_starts();

	cr_assert_eq(rig_load_stop(stage.load, NULL, NULL), 0);
	stage.load = NULL;
	ctl(0, "stop", "cached");
	ended_with(roll, 5);
	stage_wait_processes(1);
}

SCENE(operator, stops_what_does_not_come_up_and_the_next_start_takes_what_worked)
{
	struct rig_child *start;

	stage_unit(&(struct rig_cached){ .lines = "StartTimeout=1min\n" });
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(1, "start", "cached", "v9");
	cr_assert_eq(rig_ctl_begin(stage.rig, &start, "start", "cached", "v3-never-ready", NULL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "starting", NULL, SHOWN_US), 0);
	ctl(0, "stop", "cached");
	ended_with(start, 1);
	must_say(ctl(0, "start", "cached"), "version v1 serves");
}

SCENE(operator, accepts_a_version_in_its_bake)
{
	stage_serve(&(struct rig_cached){ .lines = "Bake=1h\n" }, NULL);
	stage_load(50);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	must_say(ctl(0, "accept", "cached"), "version v2 is accepted");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", SHOWN_US), 0);
	must_say(ctl(5, "accept", "cached"), "no bake is on");
	stage_load_spotless();
}

SCENE(operator, sees_how_many_descriptors_are_registered)
{
	json_t *status;

	stage_serve(&(struct rig_cached){ .lines = "Bake=1min\n" }, NULL);
	stage_load(50);
	for (int rolled = 0; rolled < 2; rolled++) {
		status = rig_status(stage.rig, "cached");
		cr_assert(json_is_true(json_object_get(status, "descriptors_told")));
		cr_assert_eq(rig_number(status, "descriptors"), 51, "a listener and 50 clients");
		json_decref(status);
		if (!rolled)
			ctl(0, "roll", "cached", "v2", "--wait=commit");
	}
	ctl(0, "accept", "cached");
	stage_load_spotless();
	/* One that does not read is not waited for. */
	cr_assert_eq(kill(stage_pid("serving"), SIGSTOP), 0);
	status = rig_status(stage.rig, "cached");
	cr_assert(json_is_false(json_object_get(status, "descriptors_told")));
	json_decref(status);
	cr_assert_eq(kill(stage_pid("serving"), SIGCONT), 0);
}

SCENE(operator, rolls_on_within_a_bake_and_loses_nothing)
{
	struct rig_child *roll;

	stage_serve(&(struct rig_cached){ .lines = "Bake=1h\n" }, NULL);
	stage_load(100);
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v2", NULL), 0);
	stage_wait_bake("v2");
	ctl(0, "roll", "cached", "v3", "--wait=commit");
	ended_with(roll, 0);
	stage_wait_bake("v3");
	/* What is gone back to is the second version now. */
	ctl(0, "undo", "cached", "--bake=100ms");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", SHOWN_US), 0);
	stage_load_spotless();
}

SCENE(operator, keeps_the_first_way_back_where_the_third_version_is_refused)
{
	struct rig_child *roll;

	stage_serve(&(struct rig_cached){ .lines = "Bake=1h\n" }, NULL);
	stage_load(100);
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v2", NULL), 0);
	stage_wait_bake("v2");
	ctl(5, "roll", "cached", "v3-exit-at-start");
	cr_assert_gt(stage_pid("parked"), 0);
	ctl(0, "undo", "cached", "--bake=100ms");
	ended_with(roll, 6);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	stage_load_spotless();
}

/* ---- signals ---- */

SCENE(operator, sends_no_signal_by_accident_that_leaves_services_alone)
{
	static const int harmless[] = { SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGWINCH, SIGPIPE };

	stage_serve(&(struct rig_cached){ 0 }, NULL);
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		cr_assert_eq(rig_daemon_kill(stage.rig, harmless[i]), 0);
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGRTMIN + 3), 0);
	stage_wait_log("SIGHUP: the service files were looked for anew");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
}

SCENE(operator, ends_everything_with_sigquit)
{
	stage_serve(&(struct rig_cached){ 0 }, NULL);
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGQUIT), 0);
	stage_wait_log("QUIT: stopping the services");
	stage_wait_log("cached: stopped");
	/* It is ending already. */
	cr_assert_eq(rig_daemon_stop(stage.rig), 0);
}
