/* SPDX-License-Identifier: MIT */
/* Whoever dies, at whatever moment of a roll: afterwards exactly one version serves, and connections and data are where they
 * were. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

STAGE(crash, 90);

#define SHOWN_US (10 * USEC_PER_SEC)

/* ---- upgraded ---- */

static void kill_at(void *data, const char *line)
{
	pid_t pid = rig_daemon_pid(stage.rig);

	if (pid && strstr(line, data))
		kill(pid, SIGKILL);
}

/* Another supervisor has in hand what serves, and it is rolled to @next. NULL: it cannot be. */
static void next_daemon_has_it(const char *next)
{
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	stage_end_bake();
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", NULL, SHOWN_US), 0);
	cr_assert_gt(stage_pid("serving"), 0);
	must_say(ctl(0, "start", "cached"), "runs already");
	stage_wait_processes(3);
	if (next)
		ctl(0, "roll", "cached", next);
}

enum parked { NOT_PARKED, IS_PARKED, MAY_BE_PARKED };

/* @parked: does the version before lie parked afterwards? */
static void daemon_dies_at_with(const char *from, const char *moment, enum parked parked)
{
	struct rig_answer answer = { 0 };

	stage_serve(&(struct rig_cached){ .version = from, .lines = "Bake=3s\nQuiesceTimeout=3s\n" }, NULL);
	stage_load(300);
	cr_assert_eq(rig_ctl_text(stage.rig, &answer, kill_at, (char *)(uintptr_t)moment, "roll", "cached", "v2", NULL), 0);
	cr_assert_eq(answer.status, 1, "status %d:\n%s", answer.status, answer.err);
	cr_assert(strstr(answer.err, moment), "%s", answer.err);
	rig_answer_done(&answer);
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	/* The load, and the one version that serves. */
	if (parked != MAY_BE_PARKED)
		stage_wait_processes(parked == IS_PARKED ? 3 : 2);
	next_daemon_has_it(strcmp(from, "v1") == 0 ? "v3" : NULL);
	stage_load_spotless();
}

static void daemon_dies_at(const char *from, const char *moment)
{
	daemon_dies_at_with(from, moment, NOT_PARKED);
}

SCENE(crash, of_the_daemon_when_new_was_started)
{
	daemon_dies_at("v1", "v2 started");
}

SCENE(crash, of_the_daemon_when_new_is_ready)
{
	daemon_dies_at("v1", "ready to receive");
}

SCENE(crash, of_the_daemon_while_old_comes_to_rest)
{
	daemon_dies_at("v1-stuck", "asked to quiesce");
}

SCENE(crash, of_the_daemon_when_old_stands)
{
	daemon_dies_at("v1", "all threads of");
}

SCENE(crash, of_the_daemon_when_old_has_saved)
{
	daemon_dies_at("v1", " saved ");
}

SCENE(crash, of_the_daemon_when_both_agree)
{
	daemon_dies_at("v1", "agree");
}

SCENE(crash, of_the_daemon_when_new_serves)
{
	daemon_dies_at("v1", "v2 serves");
}

SCENE(crash, of_the_daemon_when_old_is_parked)
{
	daemon_dies_at("v1", "is parked");
}

SCENE(crash, of_the_daemon_when_the_image_is_taken)
{
	daemon_dies_at_with("v1", "has an image", MAY_BE_PARKED); /* the bake begins at that moment */
}

SCENE(crash, of_the_daemon_during_the_bake)
{
	daemon_dies_at_with("v1", "watching", IS_PARKED);
}

/* Within a bake, and started again. */
static void die_baking(const char *lines, bool crashes)
{
	pid_t serving, parked;
	json_t *status;

	stage_serve(&(struct rig_cached){ .lines = lines }, NULL);
	stage_load(100);
	if (crashes)
		cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	serving = stage_pid("serving");
	parked = stage_pid("parked");
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	stage_wait_processes(3);
	cr_assert_eq(mkdir(stage_path("state/images/cached/1.tmp"), 0700), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_eq(stage_images(".tmp"), 0);
	/* It listens before the version that serves has answered, if that takes long. */
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "baking", NULL, SHOWN_US), 0);
	cr_assert_eq(stage_pid("serving"), serving);
	cr_assert_eq(stage_pid("parked"), parked);
	status = rig_status(stage.rig, "cached");
	cr_assert_str_eq(rig_text(status, "state"), "baking");
	/* What has come back is no child of this supervisor, and nobody could give it its pid again. */
	cr_assert_str_eq(rig_text(json_object_get(status, "last_roll"), "way_back"), "parked");
	json_decref(status);
}

SCENE(crash, of_the_daemon_leaves_its_successor_the_bake)
{
	die_baking("Bake=1min\n", false);
	ctl(0, "undo", "cached", "--bake=100ms");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	stage_load_spotless();
}

SCENE(crash, of_the_daemon_leaves_its_successor_a_bake_that_comes_to_its_end)
{
	die_baking("Bake=12s\n", false);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", 2 * SHOWN_US), 0);
	stage_wait_processes(3);
	/* What it was rolled from is not forgotten. */
	ctl(0, "undo", "cached", "--bake=100ms");
	stage_load_spotless();
}

static void comes_back_from_memory(void)
{
	stage_comes_back_parked();
	ctl(0, "roll", "cached", "v3", "--bake=100ms");
	stage_load_spotless();
}

SCENE(crash, of_the_daemon_leaves_its_successor_the_way_back)
{
	die_baking("Bake=1min\n", true);
	comes_back_from_memory();
}

/* A supervisor of its own for each of these. */
SCENE(crash, of_the_daemon_twice_in_one_bake_leaves_the_way_back)
{
	die_baking("Bake=1min\n", true);
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "roll", "upgraded");
	comes_back_from_memory();
}

/* Then nobody holds what the way back needs: the version before is no way back, and is started again, empty. */
SCENE(crash, of_the_daemon_and_of_the_new_version_is_made_good_without_a_way_back)
{
	pid_t serving;

	stage_serve(&(struct rig_cached){ .lines = "Bake=1min\nRestartDelay=10ms\n" }, NULL);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	serving = stage_pid("serving");
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(kill(serving, SIGKILL), 0);
	stage_wait_processes(0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", SHOWN_US), 0);
	stage_wait_processes(2);
}

/* The next supervisor has the channel to the parked version by then, and nobody is left whom it could take the place of. */
SCENE(crash, of_the_daemon_and_then_of_a_new_version_that_hangs_is_made_good)
{
	pid_t serving;

	stage_serve(&(struct rig_cached){ .lines = "Bake=1min\nRestartDelay=10ms\n" }, NULL);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	serving = stage_pid("serving");
	cr_assert_eq(kill(serving, SIGSTOP), 0);
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	stage_wait_log("has not answered yet");
	cr_assert_eq(kill(serving, SIGKILL), 0);
	rig_reap(stage.rig);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", SHOWN_US), 0);
	cr_assert_neq(stage_pid("serving"), serving);
	rig_reap(stage.rig);
	stage_wait_processes(2);
}

/* Twice, and while nothing is under way: nobody notices. */
SCENE(crash, of_the_daemon_again_and_again_is_noticed_by_nobody)
{
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\n" }, NULL);
	stage_load(300);
	pid = stage_pid("serving");
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
		cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
		cr_assert_eq(stage_pid("serving"), pid);
	}
	/* What a roll will not do is not promised. */
	must_say(ctl(5, "roll", "cached", "v2", "--require-image"), "no child of this upgraded");
	ctl(0, "roll", "cached", "v2");
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "undo", "cached", "--bake=100ms");
	ctl(0, "roll", "cached", "v3");
	stage_load_spotless();
}

SCENE(crash, of_a_service_that_has_no_supervisor_is_made_good_by_the_next)
{
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = "RestartDelay=10ms\n" }, NULL);
	pid = stage_pid("serving");
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(kill(pid, SIGKILL), 0);
	stage_wait_processes(0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	stage_wait_log("ended while upgraded was away");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	cr_assert_neq(stage_pid("serving"), pid);
}

/* It was a child of the one before: how it ends is known all the same. */
SCENE(crash, of_a_service_that_came_back_is_told_and_answered)
{
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = "RestartDelay=10ms\n" }, NULL);
	pid = stage_pid("serving");
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_eq(kill(pid, SIGSEGV), 0);
	rig_reap(stage.rig); /* as PID 1 would */
	stage_wait_log("starting version v1 again");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	cr_assert_neq(stage_pid("serving"), pid);
}

/* What is printed is heard by the next supervisor, and a stop is gentle. */
SCENE(crash, of_the_daemon_does_not_end_what_is_heard_of_a_service)
{
	stage_serve(&(struct rig_cached){ .lines = "" }, NULL);
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "stop", "cached");
	stage_wait_processes(1);
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "stopped", NULL, SHOWN_US), 0);
}

/* ---- old and new ---- */

/* Programs that stand in for versions of the example service, beside real ones. */
static void serve_with_actors(const char *lines)
{
	static const char *const actors[] = { "hangs-loading", "stops-loading", "dies-loading", "dies-before-commit",
					      "claims-commit", "leaves-before-commit" };
	char name[64], *text = NULL;

	for (size_t i = 0; i < sizeof(actors) / sizeof(*actors); i++) {
		snprintf(name, sizeof(name), "cached-%s", actors[i]);
		stage_link(name, "upg-actor");
	}
	stage_link("cached-v1", "examples/cached-v1");
	stage_link("cached-v2", "examples/cached-v2");
	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s/cached-%%v -p %u -c 4000\nVersion=v1\n%s", rig_folder(stage.rig),
			      stage.port, lines), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
	stage_load(100);
}

/* The roll is called off, the same process serves on, and the next roll is fine. */
static void is_called_off(const char *version, const char *cause)
{
	const json_t *answer;
	pid_t pid;

	serve_with_actors("Bake=100ms\nTransferTimeout=1s\n");
	pid = stage_pid("serving");
	answer = ctl(6, "roll", "cached", version);
	cr_assert_str_eq(rig_text(answer, "roll.outcome"), "aborted");
	cr_assert(strstr(rig_text(answer, "cause"), cause), "the cause is: %s", rig_text(answer, "cause"));
	cr_assert_eq(stage_pid("serving"), pid);
	stage_wait_processes(3);
	ctl(0, "roll", "cached", "v2");
	stage_load_spotless();
}

SCENE(crash, of_new_before_the_commit_is_called_off)
{
	is_called_off("dies-before-commit", "SIGKILL");
}

SCENE(crash, of_new_while_it_loads_is_called_off_and_names_the_record)
{
	is_called_off("dies-loading", "was killed by SIGKILL while loading record 1 of cached.Stats");
}

SCENE(crash, of_a_new_that_leaves_in_peace_is_called_off)
{
	is_called_off("leaves-before-commit", "exited with status 0");
}

SCENE(crash, no_but_a_new_that_loads_forever_is_called_off)
{
	is_called_off("hangs-loading", "TransferTimeout=");
}

SCENE(crash, no_but_a_new_that_is_stopped_while_it_loads_is_called_off)
{
	is_called_off("stops-loading", "TransferTimeout=");
}

SCENE(crash, no_but_a_new_that_lies_about_the_commit_is_called_off)
{
	is_called_off("claims-commit", "TransferTimeout=");
}

SCENE(crash, of_the_daemon_while_new_loads_leaves_old_serving)
{
	struct rig_child *roll;

	serve_with_actors("Bake=100ms\nTransferTimeout=2s\n");
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "hangs-loading", NULL), 0);
	while (stage_pid("quiesced") == 0)
		;
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, NULL), 0);
	/* An actor that hangs notices nothing, and it does not serve: it is this test's to end. */
	stage_load_spotless();
}

/* ---- old ---- */

/* The roll of one actor to another, until the first one stands still. Return: its pid. */
static pid_t roll_actors(const char *from, const char *to, struct rig_child **ret_roll)
{
	char name[64], *text = NULL;
	pid_t pid;

	snprintf(name, sizeof(name), "cached-%s", from);
	stage_link(name, "upg-actor");
	snprintf(name, sizeof(name), "cached-%s", to);
	stage_link(name, "upg-actor");
	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s/cached-%%v\nVersion=%s\nBake=500ms\nTransferTimeout=30s\n"
			      "RestartDelay=50ms\n", rig_folder(stage.rig), from), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
	cr_assert_eq(rig_ctl_begin(stage.rig, ret_roll, "roll", "cached", to, NULL), 0);
	while ((pid = stage_pid("quiesced")) == 0)
		stage_sleep_ms(1);
	return pid;
}

SCENE(crash, of_old_while_it_saves_costs_its_state_and_says_so)
{
	struct rig_child *roll;
	struct rig_answer answer = { 0 };

	/* More than fits the pipe, so old waits in the middle of saving. */
	cr_assert_eq(kill(roll_actors("large", "hangs-reading", &roll), SIGKILL), 0);
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 7);
	cr_assert_str_eq(rig_text(answer.json, "roll.outcome"), "cold-start");
	must_say(answer.json, "SIGKILL");
	must_say(answer.json, "lost");
	rig_answer_done(&answer);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "large", SHOWN_US), 0);
	stage_wait_processes(2);
}

SCENE(crash, of_old_when_all_it_had_is_in_new_costs_nothing_but_a_way_back)
{
	struct rig_child *roll;
	struct rig_answer answer = { 0 };
	pid_t pid = roll_actors("good", "slow", &roll);

	stage_wait_log("version good saved 1000 records");
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 0);
	cr_assert_str_eq(rig_text(answer.json, "roll.way_back"), "none");
	cr_assert_eq(rig_number(answer.json, "roll.records"), 1000);
	rig_answer_done(&answer);
	stage_wait_processes(2);
}

SCENE(crash, of_old_while_it_serves_ends_a_roll_that_has_not_begun_to_move)
{
	struct rig_child *roll;
	struct rig_answer answer = { 0 };
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = "StartTimeout=20s\nRestartDelay=50ms\n" }, NULL);
	pid = stage_pid("serving");
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v3-never-ready", NULL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "rolling", NULL, SHOWN_US), 0);
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, &answer), 0);
	cr_assert_neq(answer.status, 0);
	must_say(answer.json, "SIGKILL");
	rig_answer_done(&answer);
	/* It died outside of anything the roll had done: it is started again like any service. */
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	cr_assert_neq(stage_pid("serving"), pid);
	stage_wait_processes(2);
}

SCENE(crash, of_old_after_the_commit_costs_nothing_but_a_way_back)
{
	struct rig_child *roll;
	struct rig_answer answer = { 0 };
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = "Bake=1s\nRollback=parked\n" }, NULL);
	stage_load(100);
	pid = stage_pid("serving");
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v2", NULL), 0);
	stage_wait_bake("v2");
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 0);
	cr_assert_str_eq(rig_text(answer.json, "roll.way_back"), "none");
	rig_answer_done(&answer);
	stage_wait_processes(3);
	stage_load_spotless();
}
