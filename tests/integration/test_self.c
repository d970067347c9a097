/* SPDX-License-Identifier: MIT */
/* upgraded upgrades itself: `upgradectl roll upgraded`. Its services, what is parked, images and bakes go on, and nobody notices.
 * */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

STAGE(self, 120);

#define SHOWN_US (20 * USEC_PER_SEC)

/* The same process, another program. */
static void roll_upgraded(void)
{
	pid_t pid = rig_daemon_pid(stage.rig);

	must_say(ctl(0, "roll", "upgraded"), "has taken over");
	cr_assert_eq(rig_daemon_pid(stage.rig), pid);
	cr_assert_eq(kill(pid, 0), 0);
}

static void gives_way(const char *program, const char *how)
{
	char path[4096];
	const json_t *answer;

	snprintf(path, sizeof(path), "%s", rig_program(stage.rig, program));
	answer = ctl(6, "roll", "upgraded", path);
	must_say(answer, "goes on");
	must_say(answer, how);
}

static void baking_with(const char *way_back)
{
	json_t *status = rig_status(stage.rig, "cached");
	const json_t *roll = json_object_get(status, "last_roll");

	cr_assert_str_eq(rig_text(status, "state"), "baking");
	cr_assert_str_eq(rig_text(status, "version"), "v2");
	cr_assert_str_eq(rig_text(roll, "way_back"), way_back, "%s", json_dumps(status, 0));
	json_decref(status);
}

/* A flush of the logbook, or what was given up and is being closed, has some for a moment. */
static unsigned descriptors_at_rest(void)
{
	unsigned n = rig_descriptors(rig_daemon_pid(stage.rig));

	for (unsigned same = 0; same < 10; same++) {
		unsigned now;

		stage_sleep_ms(20);
		now = rig_descriptors(rig_daemon_pid(stage.rig));
		if (now != n)
			same = 0;
		n = now;
	}
	return n;
}

SCENE(self, is_replaced_and_nobody_notices)
{
	pid_t pid;
	unsigned fds, now;

	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\n" }, NULL);
	stage_load(300);
	pid = stage_pid("serving");
	roll_upgraded();
	fds = descriptors_at_rest();
	for (unsigned i = 0; i < 3; i++) {
		roll_upgraded();
		cr_assert_eq(stage_pid("serving"), pid);
	}
	now = descriptors_at_rest();
	cr_assert_eq(now, fds, "%u, and %u before", now, fds);
	/* It is a child still: all that a child can be asked for. */
	ctl(0, "roll", "cached", "v2", "--require-image");
	ctl(0, "undo", "cached");
	roll_upgraded();
	ctl(0, "roll", "cached", "v3");
	stage_load_spotless();
}

SCENE(self, knows_how_a_process_ends_that_it_has_taken_over)
{
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = "RestartDelay=10ms\n" }, NULL);
	pid = stage_pid("serving");
	roll_upgraded();
	cr_assert_eq(kill(pid, SIGSEGV), 0);
	stage_wait_log("was killed by SIGSEGV");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	cr_assert_neq(stage_pid("serving"), pid);
}

SCENE(self, remembers_what_does_not_run)
{
	json_t *status;

	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\n" }, NULL);
	ctl(0, "roll", "cached", "v2");
	ctl(0, "stop", "cached");
	roll_upgraded();
	status = rig_status(stage.rig, "cached");
	cr_assert_str_eq(rig_text(status, "state"), "stopped");
	cr_assert_str_eq(rig_text(json_object_get(status, "last_roll"), "outcome"), "done");
	json_decref(status);
	ctl(0, "start", "cached");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", SHOWN_US), 0);
}

/* ---- within a bake ---- */

/* @crashes: the client keeps in mind what was before the commit. */
static void serve_baking(const char *lines, bool crashes)
{
	stage_serve(&(struct rig_cached){ .lines = lines }, NULL);
	stage_load(200);
	if (crashes)
		cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
}

SCENE(self, takes_a_bake_along_that_is_then_done)
{
	struct rig_child *waits;
	struct rig_answer answer = { 0 };

	stage_serve(&(struct rig_cached){ .lines = "" }, NULL);
	stage_load(200);
	cr_assert_eq(rig_ctl_begin(stage.rig, &waits, "roll", "cached", "v2", "--bake=6s", NULL), 0);
	stage_wait_bake("v2");
	roll_upgraded();
	baking_with("parked+image");
	/* Who waits is answered by the program that came. */
	cr_assert_eq(rig_run_wait(waits, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 0, "%s", answer.err);
	cr_assert(strstr(answer.out, "\"done\""), "%s", answer.out);
	rig_answer_done(&answer);
	stage_wait_processes(3); /* upgraded, v2 and the load: nothing lies parked any more */
	stage_load_spotless();
}

/* Nothing but what was written since the commit is lost, and on no other connection than those that are reset. */
static void crashes_and_comes_back(void)
{
	json_t *status;

	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	status = rig_status(stage.rig, "cached");
	stage_settle(json_object_get(status, "last_roll"));
	json_decref(status);
}

/* What came back is as good as any. */
static void is_rolled(void)
{
	ctl(0, "roll", "cached", "v3", "--bake=100ms");
	stage_load_spotless();
}

SCENE(self, takes_a_bake_along_whose_version_crashes)
{
	pid_t parked;

	serve_baking("Bake=1min\n", true);
	parked = stage_pid("parked");
	roll_upgraded();
	baking_with("parked+image");
	cr_assert_eq(stage_pid("parked"), parked);
	crashes_and_comes_back();
	cr_assert_eq(stage_pid("serving"), parked);
	is_rolled();
}

SCENE(self, takes_a_bake_along_that_is_undone)
{
	serve_baking("Bake=1min\n", false);
	roll_upgraded();
	ctl(0, "undo", "cached", "--bake=100ms");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	stage_load_spotless();
}

SCENE(self, takes_an_image_along)
{
	serve_baking("Bake=1min\n", true);
	ctl(0, "pack", "cached");
	roll_upgraded();
	baking_with("image");
	crashes_and_comes_back();
	is_rolled();
}

SCENE(self, takes_a_journal_along)
{
	json_t *status;

	serve_baking("Bake=1min\nJournal=yes\n", false);
	roll_upgraded();
	stage_sleep_ms(200); /* so that there is something in it */
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	status = rig_status(stage.rig, "cached");
	cr_assert_eq(rig_number(json_object_get(status, "last_roll"), "lost_us"), 0);
	cr_assert_gt(rig_number(json_object_get(status, "last_roll"), "replayed"), 0);
	json_decref(status);
	stage_load_spotless();
}

SCENE(self, takes_a_bake_along_again_and_again)
{
	serve_baking("Bake=1min\n", false);
	for (unsigned i = 0; i < 3; i++)
		roll_upgraded();
	baking_with("parked+image");
	ctl(0, "accept", "cached");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", SHOWN_US), 0);
	stage_load_spotless();
}

/* What is under way comes to its bake first; then it goes along. */
SCENE(self, waits_for_a_roll_to_come_to_its_bake)
{
	struct rig_child *roll, *self;
	struct rig_answer answer = { 0 };

	stage_serve(&(struct rig_cached){ .lines = "Bake=1min\n" }, NULL);
	stage_load(200);
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v2", "--wait=commit", NULL), 0);
	cr_assert_eq(rig_ctl_begin(stage.rig, &self, "roll", "upgraded", NULL), 0);
	cr_assert_eq(rig_run_wait(self, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 0, "%s", answer.err);
	rig_answer_done(&answer);
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 0, "%s", answer.err);
	rig_answer_done(&answer);
	ctl(0, "accept", "cached");
	stage_load_spotless();
}

/* A service does not have a say in it. */
SCENE(self, does_not_wait_for_a_service_that_stands_still)
{
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = "Heartbeat=100ms\nHealthTimeout=1min\n" }, NULL);
	pid = stage_pid("serving");
	cr_assert_eq(kill(pid, SIGSTOP), 0);
	roll_upgraded();
	cr_assert_eq(kill(pid, SIGCONT), 0);
	ctl(0, "roll", "cached", "v2", "--bake=100ms");
}

/* ---- programs that are not what they should be ---- */

SCENE(self, gives_way_to_the_program_before)
{
	serve_baking("Bake=2min\n", false);
	gives_way("upg-next-fails", "makes no sense to me");
	gives_way("upg-next-crashes", "SIGSEGV");
	gives_way("upg-next-exits", "ended before it had taken over");
	gives_way("upg-next-hangs", "did not take over in time");
	baking_with("parked+image");
	roll_upgraded();
	ctl(0, "undo", "cached", "--bake=100ms");
	stage_load_spotless();
}

static void refused(const char *program, const char *how)
{
	must_say(ctl(5, "roll", "upgraded", program), how);
}

SCENE(self, asks_the_next_program_first)
{
	stage_serve(&(struct rig_cached){ .lines = "" }, NULL);
	stage_load(50);
	refused("/nonexistent/upgraded", "No such file");
	refused("/etc/passwd", "Permission denied");
	refused("/bin/true", "could not take over");
	refused("/bin/cat", "could not take over");
	stage_copy("upgraded-of-others", "upgraded");
	cr_assert_eq(chmod(stage_path("upgraded-of-others"), 0777), 0);
	refused(stage_path("upgraded-of-others"), "can be written to by others");
	ctl(0, "roll", "cached", "v2", "--bake=100ms");
	stage_load_spotless();
}

/* A package has put another file in its place, and removed the one that runs. */
SCENE(self, is_replaced_by_the_file_that_lies_there_now)
{
	char path[4096];

	stage_serve(&(struct rig_cached){ .lines = "" }, NULL);
	stage_copy("upgraded-next", "upgraded");
	snprintf(path, sizeof(path), "%s", stage_path("upgraded-next"));
	must_say(ctl(0, "roll", "upgraded", path), "has taken over");
	stage_copy("upgraded-next", "upgraded"); /* another file at the same path */
	roll_upgraded();
	cr_assert_eq(unlink(path), 0);
	must_say(ctl(5, "roll", "upgraded"), "No such file");
	ctl(0, "roll", "cached", "v2", "--bake=100ms");
}

/* Killed as soon as it is on its way, wherever that is: what is left is a crash like any other. */
SCENE(self, may_be_killed_on_the_way)
{
	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\n" }, NULL);
	stage_load(100);
	for (unsigned i = 0; i < 8; i++) {
		struct rig_child *self;

		cr_assert_eq(rig_ctl_begin(stage.rig, &self, "roll", "upgraded", NULL), 0);
		stage_sleep_ms(5 * i);
		cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
		cr_assert_eq(rig_run_wait(self, SHOWN_US, NULL), 0);
		cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
		cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", NULL, SHOWN_US), 0);
	}
	ctl(0, "roll", "cached", "v2");
	stage_load_spotless();
}
