/* SPDX-License-Identifier: MIT */
/* The protocol suite of libmemcached-tools, against a version that was started, one that took over, and one that came back
 * from its image. It flushes the cache, so it runs without the load beside it. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>

STAGE(memccapable, 120);

#define SUITE_US (40 * USEC_PER_SEC)
#define SHOWN_US (10 * USEC_PER_SEC)

static void passes(const char *version)
{
	char port[8];
	const char *argv[] = { "memccapable", "-h", "127.0.0.1", "-p", port, "-a", NULL };
	struct rig_run run = { .argv = argv };
	struct rig_child *suite;
	struct rig_answer answer = { 0 };

	snprintf(port, sizeof(port), "%u", stage.port);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", version, SHOWN_US), 0);
	cr_assert_eq(rig_run_begin(stage.rig, &run, &suite), 0);
	cr_assert_eq(rig_run_wait(suite, SUITE_US, &answer), 0);
	cr_assert_eq(answer.status, 0, "against %s:\n%s%s", version, answer.out, answer.err);
	rig_answer_done(&answer);
}

SCENE(memccapable, passes_against_v1_and_v2_after_a_roll_and_v2_back_from_its_image)
{
	struct rig_child *roll;
	struct rig_answer answer = { 0 };
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\nRollback=image\n" }, NULL);
	passes("v1");
	ctl(0, "roll", "cached", "v2");
	passes("v2");
	pid = stage_pid("serving");
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v3", "--bake=1min", NULL), 0);
	stage_wait_bake("v3");
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, &answer), 0);
	cr_assert_str_eq(rig_text(answer.json, "roll.outcome"), "rolled-back-image");
	rig_answer_done(&answer);
	cr_assert_eq(stage_pid("serving"), pid);
	passes("v2");
	ctl(0, "roll", "cached", "v3");
	passes("v3");
}
