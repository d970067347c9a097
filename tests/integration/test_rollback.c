/* SPDX-License-Identifier: MIT */
/* Versions that fail after they have taken over: the one before comes back from memory or from its image, with exactly what
 * was written since the commit taken back; and what happens when there is nothing to come back from. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

STAGE(rollback, 90);

#define WATCHFUL "HealthInterval=100ms\nHealthTimeout=1s\n"
#define SHOWN_US (10 * USEC_PER_SEC)

/* Late enough that the old version's image is there by then. */
#define LATE "Environment=CACHED_BREAK_AFTER=4000\n"

static void serve(const char *lines)
{
	stage_serve(&(struct rig_cached){ .version = "v2", .lines = lines }, NULL);
	stage_load(100);
}

/* ---- the two rungs ---- */

SCENE(rollback, a_crash_is_answered_from_memory)
{
	pid_t pid;

	serve("Bake=20s\nRollback=parked\n");
	pid = stage_pid("serving");
	stage_crash("v3-crash-after", "rolled-back-parked");
	cr_assert_eq(stage_pid("serving"), pid);
	stage_load_spotless();
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", SHOWN_US), 0);
}

SCENE(rollback, a_crash_is_answered_from_the_image_with_the_same_pid)
{
	pid_t pid;

	serve("Bake=20s\nRollback=image\n" LATE);
	pid = stage_pid("serving");
	stage_crash("v3-crash-after", "rolled-back-image");
	cr_assert_eq(stage_pid("serving"), pid);
	stage_load_spotless();
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", SHOWN_US), 0);
}

SCENE(rollback, from_an_image_brings_no_old_time_with_it)
{
	char path[64], ours[64] = "", its[64] = "";

	serve("Bake=20s\nRollback=image\n" LATE);
	stage_crash("v3-crash-after", "rolled-back-image");
	snprintf(path, sizeof(path), "/proc/%d/ns/time", stage_pid("serving"));
	cr_assert_gt(readlink("/proc/self/ns/time", ours, sizeof(ours) - 1), 0);
	cr_assert_gt(readlink(path, its, sizeof(its) - 1), 0);
	cr_assert_str_eq(its, ours);
	stage_load_spotless();
}

SCENE(rollback, a_crash_while_the_image_is_being_taken_is_answered_too)
{
	/* The image is begun right after the commit, and 20 requests are over before it is written; perhaps before it is begun. */
	serve("Bake=20s\nRollback=image\nEnvironment=CACHED_BREAK_AFTER=20\n");
	stage_crash("v3-crash-after", NULL);
	stage_load_spotless();
}

/* Without load, as a clean shutdown ends every connection. */
static void shut_down_in_the_bake(const char *rollback, const char *outcome)
{
	struct rig_answer answer = { 0 };
	struct rig_child *roll;
	char lines[64];
	int client;

	snprintf(lines, sizeof(lines), "Bake=1min\nRollback=%s\n", rollback);
	stage_serve(&(struct rig_cached){ .lines = lines }, NULL);
	client = client_open();
	client_store(client, "key", "value");
	close(client);
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v2", NULL), 0);
	stage_wait_bake("v2");
	cr_assert_eq(kill(stage_pid("serving"), SIGTERM), 0);
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 6, "%s", answer.out);
	cr_assert_str_eq(rig_text(answer.json, "roll.outcome"), outcome);
	rig_answer_done(&answer);
	client = client_open();
	cr_assert(client_holds(client, "key", "value"));
	close(client);
}

SCENE(rollback, a_clean_shutdown_in_the_bake_takes_no_port_with_it)
{
	shut_down_in_the_bake("parked", "rolled-back-parked");
}

SCENE(rollback, a_clean_shutdown_in_the_bake_takes_no_port_from_an_image)
{
	shut_down_in_the_bake("image", "rolled-back-image");
}

/* The bake is short, so the one who stops the new version is the one who hears that it serves. */
static void stop_when_it_serves(void *data, const char *line)
{
	const char *pid = strstr(line, "started as pid ");

	if (pid)
		*(pid_t *)data = (pid_t)atoi(pid + strlen("started as pid "));
	if (strstr(line, "v2 serves") && *(pid_t *)data > 0)
		kill(*(pid_t *)data, SIGSTOP);
}

SCENE(rollback, a_version_that_is_stopped_in_a_short_bake_is_not_accepted)
{
	struct rig_answer answer = { 0 };
	pid_t new = 0;

	stage_serve(&(struct rig_cached){ .lines = "Bake=600ms\nRollback=parked\n" WATCHFUL }, NULL);
	cr_assert_eq(rig_ctl_text(stage.rig, &answer, stop_when_it_serves, &new, "roll", "cached", "v2", NULL), 0);
	cr_assert_eq(answer.status, 6, "%s", answer.err);
	cr_assert(strstr(answer.err, "rolled-back-parked") || strstr(answer.out, "rolled-back-parked"), "%s%s", answer.out,
		  answer.err);
	rig_answer_done(&answer);
}

SCENE(rollback, a_hang_is_answered_from_memory)
{
	const json_t *answer;

	serve("Bake=20s\nRollback=parked\n" WATCHFUL);
	cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	answer = ctl(6, "roll", "cached", "v3-hang-after");
	cr_assert_str_eq(rig_text(answer, "roll.outcome"), "rolled-back-parked");
	cr_assert(strstr(rig_text(answer, "cause"), "has not answered"));
	stage_settle(json_object_get(answer, "roll"));
	stage_load_spotless();
}

SCENE(rollback, a_hang_is_answered_from_the_image)
{
	serve("Bake=20s\nRollback=image\n" WATCHFUL LATE);
	stage_crash("v3-hang-after", "rolled-back-image");
	stage_load_spotless();
}

SCENE(rollback, of_both_ways_the_faster_one_is_taken)
{
	const json_t *answer;

	serve("Bake=20s\nRollback=auto\n" LATE);
	cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	answer = ctl(6, "roll", "cached", "v3-crash-after");
	cr_assert_str_eq(rig_text(answer, "roll.outcome"), "rolled-back-parked");
	cr_assert_str_eq(rig_text(answer, "roll.way_back"), "parked+image");
	stage_settle(json_object_get(answer, "roll"));
	stage_load_spotless();
}

SCENE(rollback, when_the_parked_process_dies_the_image_is_left)
{
	struct rig_child *roll;
	struct rig_answer answer = { 0 };
	pid_t pid;

	serve("Bake=1min\nRollback=auto\n");
	pid = stage_pid("serving");
	cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v3", NULL), 0);
	stage_wait_bake("v3");
	cr_assert_eq(stage_pid("parked"), pid);
	cr_assert_eq(kill(pid, SIGKILL), 0);
	while (stage_pid("imaged") != pid)
		stage_sleep_ms(5);
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 6);
	cr_assert_str_eq(rig_text(answer.json, "roll.outcome"), "rolled-back-image");
	cr_assert_eq(stage_pid("serving"), pid);
	stage_settle(json_object_get(answer.json, "roll"));
	rig_answer_done(&answer);
	stage_load_spotless();
}

/* ---- nothing of it hinders what comes after ---- */

SCENE(rollback, several_in_a_row_leave_nothing_behind)
{
	serve("Bake=20s\n" LATE);
	stage_crash("v3-crash-after", "rolled-back-parked");
	ctl(0, "roll", "cached", "v3", "--bake=100ms");
	ctl(0, "undo", "cached", "--bake=100ms");
	stage_unit(&(struct rig_cached){ .lines = "Bake=20s\nRollback=image\n" LATE });
	stage_crash("v3-crash-after", "rolled-back-image");
	/* What came back from an image can be rolled, imaged, and brought back once more. */
	ctl(0, "roll", "cached", "v3", "--bake=100ms");
	ctl(0, "roll", "cached", "v2", "--bake=100ms");
	stage_crash("v3-crash-after", "rolled-back-image");
	stage_crash("v3-crash-after", "rolled-back-image");
	stage_unit(&(struct rig_cached){ .lines = "Bake=20s\nRollback=parked\n" });
	stage_crash("v3-crash-after", "rolled-back-parked");
	stage_load_spotless();
	stage_wait_processes(2);
	cr_assert_eq(stage_images(".tmp"), 0);
}

SCENE(rollback, one_that_came_back_from_its_image_aborts_like_any_other)
{
	serve("Bake=20s\nRollback=image\n" LATE);
	stage_crash("v3-crash-after", "rolled-back-image");
	ctl(6, "roll", "cached", "v3-refuse");
	ctl(6, "roll", "cached", "v3-misload");
	ctl(0, "roll", "cached", "v3", "--bake=100ms");
	stage_load_spotless();
}

SCENE(rollback, one_that_came_back_from_its_image_can_be_stopped_and_started)
{
	serve("Bake=20s\nRollback=image\n" LATE);
	stage_crash("v3-crash-after", "rolled-back-image");
	stage_load_spotless();
	ctl(0, "stop", "cached");
	stage_wait_processes(1);
	ctl(0, "start", "cached");
}

SCENE(rollback, one_that_came_back_from_its_image_is_restarted_when_it_dies)
{
	json_t *entry;

	serve("Bake=20s\nRollback=image\nRestartDelay=2s\n" LATE);
	stage_crash("v3-crash-after", "rolled-back-image");
	stage_load_spotless();
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "waiting to restart", NULL, SHOWN_US), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", SHOWN_US), 0);
	entry = rig_status(stage.rig, "cached");
	cr_assert_eq(rig_number(entry, "restarts"), 1);
	json_decref(entry);
}

/* ---- nothing to come back from ---- */

/* The daemon is asked until the roll is where both ways back are there. */
static struct rig_child *roll_until_imaged(const char *version)
{
	struct rig_child *roll;

	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", version, NULL), 0);
	stage_wait_bake(version);
	return roll;
}

/* Version @version serves, and holds nothing. */
static void serves_empty(const char *version)
{
	int client;

	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", version, SHOWN_US), 0);
	client = client_open();
	cr_assert_not(client_holds(client, "lost", "value"));
	client_store(client, "new", "life");
	cr_assert(client_holds(client, "new", "life"));
	close(client);
}

static void ends_cold(struct rig_child *roll)
{
	struct rig_answer answer = { 0 };

	cr_assert_eq(rig_run_wait(roll, 2 * SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 7);
	cr_assert_str_eq(rig_text(answer.json, "roll.outcome"), "cold-start");
	must_say(answer.json, "state and connections of");
	must_say(answer.json, "started empty");
	must_say(answer.json, "version v1 (pid ");
	rig_answer_done(&answer);
}

static void store_what_will_be_lost(void)
{
	int client = client_open();

	client_store(client, "lost", "value");
	close(client);
}

SCENE(rollback, without_a_way_back_the_version_before_starts_empty)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .lines = "Bake=20s\nRollback=none\n" }, NULL);
	store_what_will_be_lost();
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	cr_assert_eq(stage_pid("parked"), 0);
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	serves_empty("v1");
	answer = ctl(0, "status", "cached");
	cr_assert_str_eq(rig_text(answer, "services.0.last_roll.outcome"), "cold-start");
	cr_assert_str_eq(rig_text(answer, "services.0.last_roll.way_back"), "none");
	stage_wait_processes(2);
}

SCENE(rollback, with_parked_process_and_image_gone_the_version_before_starts_empty)
{
	struct rig_child *roll;
	const char *argv[] = { "/bin/sh", "-c", "rm -r \"$0\"/*/", stage_path("state/images/cached"), NULL };
	struct rig_run run = { .argv = argv };
	struct rig_child *remover;

	stage_serve(&(struct rig_cached){ .lines = "Bake=1min\nRollback=auto\n" }, NULL);
	store_what_will_be_lost();
	roll = roll_until_imaged("v2");
	cr_assert_eq(kill(stage_pid("parked"), SIGKILL), 0);
	cr_assert_eq(rig_run_begin(stage.rig, &run, &remover), 0);
	cr_assert_eq(rig_run_wait(remover, SHOWN_US, NULL), 0);
	cr_assert_eq(stage_images(""), 0);
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	ends_cold(roll);
	serves_empty("v1");
	stage_wait_processes(2);
}

SCENE(rollback, an_image_whose_program_was_replaced_is_not_restored)
{
	struct rig_child *roll;

	stage_copy("cached-v1", "examples/cached-v1");
	stage_copy("cached-v2", "examples/cached-v2");
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	char *text = NULL;
	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s/cached-%%v -p %u\nBake=1min\nRollback=image\nVersion=v1\n",
			      rig_folder(stage.rig), stage.port), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
	ctl(0, "start", "cached");
	store_what_will_be_lost();
	roll = roll_until_imaged("v2");
	stage_copy("cached-v1", "examples/cached-v3");
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	ends_cold(roll);
	serves_empty("v1");
	stage_wait_processes(2);
}

SCENE(rollback, when_even_the_version_before_does_not_start_it_says_so)
{
	struct rig_child *roll;
	struct rig_answer answer = { 0 };

	stage_link("cached-v1", "examples/cached-v1");
	stage_link("cached-v2", "examples/cached-v2");
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	char *text = NULL;
	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s/cached-%%v -p %u\nBake=1min\nRollback=none\nVersion=v1\n",
			      rig_folder(stage.rig), stage.port), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
	ctl(0, "start", "cached");
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v2", NULL), 0);
	stage_wait_bake("v2");
	cr_assert_eq(unlink(stage_path("cached-v1")), 0);
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 7);
	cr_assert_str_eq(rig_text(answer.json, "roll.outcome"), "failed");
	cr_assert_str_eq(rig_text(answer.json, "serving_text"), "nothing");
	rig_answer_done(&answer);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "failed", NULL, SHOWN_US), 0);
	stage_wait_processes(1);
}
