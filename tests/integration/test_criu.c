/* SPDX-License-Identifier: MIT */
/* Machines without a usable CRIU, and a CRIU that turns bad while it is needed: everything works with the parked process as the
 * only way back, says so, and nothing of the failed image stays behind. */
#include "tests/integration/bad_criu.h"
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

STAGE(criu, 90);

#define SHOWN_US (20 * USEC_PER_SEC)

/* ---- none ---- */

SCENE(criu, is_not_needed_to_start_and_roll_and_undo)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .lines = "Bake=200ms\n" }, RIG_NO_CRIU);
	stage_load(100);
	answer = ctl(0, "roll", "cached", "v2");
	cr_assert_str_eq(rig_text(answer, "roll.way_back"), "parked");
	ctl(0, "undo", "cached");
	stage_load_spotless();
}

SCENE(criu, is_not_needed_to_come_back_from_memory)
{
	stage_serve(&(struct rig_cached){ .version = "v2", .lines = "Bake=20s\n" }, RIG_NO_CRIU);
	stage_load(100);
	stage_crash("v3-crash-after", "rolled-back-parked");
	stage_load_spotless();
}

SCENE(criu, missing_makes_rollback_by_image_one_from_memory)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .version = "v2", .lines = "Bake=20s\nRollback=image\n" }, RIG_NO_CRIU);
	stage_load(100);
	stage_crash("v3-crash-after", "rolled-back-parked");
	answer = ctl(0, "roll", "cached", "v3", "--bake=100ms");
	cr_assert_str_eq(rig_text(answer, "roll.way_back"), "parked");
	stage_load_spotless();
}

static const json_t *check_of_images(const json_t *answer)
{
	json_t *check;
	size_t i;

	json_array_foreach(json_object_get(answer, "checks"), i, check)
		if (strcmp(rig_text(check, "name"), "images") == 0)
			return check;
	return NULL;
}

SCENE(criu, missing_is_what_check_reports)
{
	const json_t *answer, *images;
	struct rig_answer text = { 0 };

	stage_serve(&(struct rig_cached){ .lines = "Bake=200ms\n" }, RIG_NO_CRIU);
	answer = ctl(1, "check");
	images = check_of_images(answer);
	cr_assert(json_is_false(json_object_get(images, "ok")));
	cr_assert(strstr(rig_text(images, "detail"), RIG_NO_CRIU), "what is missing? %s", rig_text(images, "detail"));
	cr_assert_eq(rig_ctl_text(stage.rig, &text, NULL, NULL, "check", NULL), 0);
	cr_assert_eq(text.status, 1);
	cr_assert(strstr(text.out, RIG_NO_CRIU), "%s", text.out);
	rig_answer_done(&text);
}

static void on_line(void *data, const char *line)
{
	*(bool *)data |= strstr(line, "the way back is the parked process alone") != NULL;
}

SCENE(criu, missing_is_told_during_each_roll)
{
	struct rig_answer answer = { 0 };
	bool told = false;

	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\n" }, RIG_NO_CRIU);
	cr_assert_eq(rig_ctl_text(stage.rig, &answer, on_line, &told, "roll", "cached", "v2", NULL), 0);
	cr_assert_eq(answer.status, 0);
	cr_assert(told, "%s", answer.err);
	rig_answer_done(&answer);
}

SCENE(criu, that_works_is_what_check_reports)
{
	const json_t *images;

	stage_serve(&(struct rig_cached){ .lines = "Bake=200ms\n" }, NULL);
	images = check_of_images(ctl(0, "check"));
	cr_assert(json_is_true(json_object_get(images, "ok")));
	cr_assert_eq(stage_images(""), 0);
	stage_wait_processes(2);
}

/* ---- one that turns bad ---- */

/* A roll with a bad CRIU is done, keeps the parked process, and leaves the next one, with a good CRIU, all it needs. */
static void rolls_nevertheless(const char *deed)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .lines = "Bake=200ms\nImageTimeout=1s\n" }, bad_criu(deed));
	stage_load(100);
	bad_criu_turn();
	answer = ctl(0, "roll", "cached", "v2");
	cr_assert_str_eq(rig_text(answer, "roll.outcome"), "done");
	cr_assert_str_eq(rig_text(answer, "roll.way_back"), "parked");
	/* The daemon, the service, the load. */
	stage_wait_processes(3);
	cr_assert_eq(stage_images(""), 0);
	bad_criu_turn_back();
	answer = ctl(0, "roll", "cached", "v3");
	cr_assert_str_eq(rig_text(answer, "roll.way_back"), "parked+image");
	stage_load_spotless();
}

SCENE(criu, that_hangs_holds_no_roll_up)
{
	rolls_nevertheless("exec sleep 1000");
}

SCENE(criu, that_hangs_behind_a_shell_holds_no_roll_up)
{
	rolls_nevertheless("sleep 1000; exit 1");
}

SCENE(criu, that_fails_holds_no_roll_up)
{
	rolls_nevertheless("echo 'criu: out of order' >&2; exit 1");
}

SCENE(criu, that_talks_nonsense_holds_no_roll_up)
{
	rolls_nevertheless("head -c 3000 /dev/urandom; head -c 200 /dev/urandom >&3; exit 0");
}

static void falls_back_to_memory(const char *lines, const char *deed)
{
	stage_serve(&(struct rig_cached){ .version = "v2", .lines = lines }, bad_criu(deed));
	stage_load(100);
	bad_criu_turn();
	stage_crash("v3-crash-after", "rolled-back-parked");
	stage_wait_processes(3);
	cr_assert_eq(stage_images(""), 0);
	stage_load_spotless();
}

SCENE(criu, that_fails_makes_rollback_by_image_one_from_memory)
{
	falls_back_to_memory("Bake=20s\nRollback=image\nImageTimeout=1s\n", "exit 1");
}

SCENE(criu, that_hangs_makes_rollback_by_image_one_from_memory)
{
	falls_back_to_memory("Bake=20s\nRollback=image\nImageTimeout=500ms\n", "exec sleep 1000");
}

/* Killed at a moment that no one chose: what is promised is that the new version serves and that nothing is left over. */
static void killed_after(const char *seconds)
{
	const json_t *answer;
	char deed[256];

	snprintf(deed, sizeof(deed), "$real \"$@\" & sleep %s; kill -9 $!; wait; exit 1", seconds);
	stage_serve(&(struct rig_cached){ .lines = "Bake=1s\nImageTimeout=3s\n" }, bad_criu(deed));
	stage_load(100);
	bad_criu_turn();
	answer = ctl(0, "roll", "cached", "v2");
	cr_assert_str_eq(rig_text(answer, "roll.outcome"), "done");
	stage_wait_processes(3);
	cr_assert_eq(stage_images(".tmp"), 0);
	bad_criu_turn_back();
	answer = ctl(0, "roll", "cached", "v3");
	cr_assert_str_eq(rig_text(answer, "roll.way_back"), "parked+image");
	stage_load_spotless();
}

SCENE(criu, that_is_killed_at_once_holds_no_roll_up)
{
	killed_after("0.002");
}

SCENE(criu, that_is_killed_in_the_middle_holds_no_roll_up)
{
	killed_after("0.02");
}

SCENE(criu, that_is_killed_near_its_end_holds_no_roll_up)
{
	killed_after("0.06");
}

/* Whatever became of the frozen process, the service is there and is told of truly. */
SCENE(criu, that_is_killed_in_the_middle_costs_no_more_than_the_way_back)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .version = "v2", .lines = "Bake=1min\nImageTimeout=3s\n" },
		    bad_criu("$real \"$@\" & sleep 0.02; kill -9 $!; wait; exit 1"));
	bad_criu_turn();
	ctl(0, "roll", "cached", "v3", "--wait=commit");
	stage_wait_bake("v3");
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", SHOWN_US), 0);
	answer = ctl(0, "status", "cached");
	cr_assert(strcmp(rig_text(answer, "services.0.last_roll.outcome"), "rolled-back-parked") == 0 ||
		  strcmp(rig_text(answer, "services.0.last_roll.outcome"), "cold-start") == 0);
	stage_wait_processes(2);
	cr_assert_eq(stage_images(".tmp"), 0);
}
