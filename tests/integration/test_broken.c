/* SPDX-License-Identifier: MIT */
/* Versions broken on purpose that fail before they take over: refused (5) or called off (6), with the cause by its name, and
 * whoever served serves on. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

STAGE(broken, 60);

#define SHORT_TIMES "Bake=100ms\nStartTimeout=1500ms\nQuiesceTimeout=600ms\n"

/* After a failed roll the same process serves, and a good roll finds nothing in its way. */
static void fails(const char *version, int status, const char *outcome, const char *cause)
{
	const json_t *answer;
	char pid[32];

	stage_serve(&(struct rig_cached){ .lines = SHORT_TIMES }, NULL);
	stage_load(100);
	snprintf(pid, sizeof(pid), "(pid %d)", stage_pid("serving"));
	answer = ctl(status, "roll", "cached", version);
	cr_assert_str_eq(rig_text(answer, "roll.outcome"), outcome);
	cr_assert(strstr(rig_text(answer, "cause"), cause), "the cause is: %s", rig_text(answer, "cause"));
	cr_assert(strstr(rig_text(answer, "cause"), "v3-"), "the cause does not name the version: %s", rig_text(answer, "cause"));
	must_say(answer, pid);
	cr_assert_eq(rig_number(answer, "roll.commit_us"), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", USEC_PER_SEC), 0);
	/* The test's child processes: the daemon with one service, and the load. */
	stage_wait_processes(3);
	cr_assert_eq(stage_images(""), 0);
	ctl(0, "roll", "cached", "v2");
	stage_load_spotless();
}

SCENE(broken, one_that_exits_at_start_is_refused)
{
	fails("v3-exit-at-start", 5, "refused", "exited with status 3");
}

SCENE(broken, one_that_never_becomes_ready_is_refused)
{
	fails("v3-never-ready", 5, "refused", "StartTimeout=");
}

SCENE(broken, one_that_crashes_while_loading_is_called_off)
{
	fails("v3-crash-loading", 6, "aborted", "SIGABRT");
}

SCENE(broken, one_that_refuses_to_receive_is_called_off)
{
	fails("v3-refuse", 6, "aborted", "this version was built to refuse");
}

SCENE(broken, one_that_loads_wrongly_is_called_off)
{
	fails("v3-misload", 6, "aborted", "cached.Item");
}

SCENE(broken, the_last_lines_it_logged_are_shown)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .lines = SHORT_TIMES }, NULL);
	answer = ctl(5, "roll", "cached", "v3-exit-at-start");
	must_say(answer, "cached: broken on purpose: exits at start");
}

SCENE(broken, one_that_never_reaches_its_update_point_stays)
{
	const json_t *answer;
	pid_t pid;

	stage_serve(&(struct rig_cached){ .version = "v1-stuck", .lines = SHORT_TIMES }, NULL);
	stage_load(100);
	pid = stage_pid("serving");
	for (int i = 0; i < 2; i++) {
		answer = ctl(6, "roll", "cached", "v2");
		cr_assert_str_eq(rig_text(answer, "roll.outcome"), "aborted");
		cr_assert(strstr(rig_text(answer, "cause"), "stuck"), "which thread? %s", rig_text(answer, "cause"));
		cr_assert_eq(stage_pid("serving"), pid);
	}
	stage_wait_processes(3);
	stage_load_spotless();
}

SCENE(broken, all_of_them_one_after_the_other_leave_no_trace)
{
	static const struct {
		const char *version;
		int status;
	} versions[] = { { "v3-refuse", 6 }, { "v3-crash-loading", 6 }, { "v3-exit-at-start", 5 },
			 { "v3-misload", 6 }, { "v3-never-ready", 5 },   { "v3-refuse", 6 } };
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = SHORT_TIMES }, NULL);
	stage_load(100);
	pid = stage_pid("serving");
	for (size_t i = 0; i < sizeof(versions) / sizeof(*versions); i++)
		ctl(versions[i].status, "roll", "cached", versions[i].version);
	cr_assert_eq(stage_pid("serving"), pid);
	ctl(0, "roll", "cached", "v2");
	ctl(0, "roll", "cached", "v3");
	stage_load_spotless();
}
