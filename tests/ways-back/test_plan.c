/* SPDX-License-Identifier: MIT */
/* `plan` says beforehand what a roll would meet, and touches nothing for it; `--require-image` refuses what could not go back
 * by an image. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

STAGE(plan, 60);

#define SHOWN_US (10 * USEC_PER_SEC)

static void serve(const char *lines)
{
	stage_serve(&(struct rig_cached){ .lines = lines }, NULL);
}

static const json_t *way(const json_t *answer, const char *name)
{
	json_t *entry;
	size_t i;

	json_array_foreach(json_object_get(json_object_get(answer, "plan"), "ways"), i,
			   entry) if (strcmp(rig_text(entry, "name"), name) == 0) return entry;
	cr_assert_fail("no way called %s in %s", name, json_dumps(answer, 0));
	return NULL;
}

static bool is(const json_t *json, const char *name)
{
	return json_is_true(json_object_get(json, name));
}

SCENE(plan, tells_all_of_a_roll_that_can_go_back_every_way)
{
	const json_t *answer, *plan;
	pid_t pid;

	serve("Bake=300ms\nRollback=auto\n");
	stage_load(100);
	pid = stage_pid("serving");
	answer = ctl(0, "plan", "cached", "v2");
	plan = json_object_get(answer, "plan");
	cr_assert(is(plan, "possible"));
	cr_assert_str_eq(rig_text(plan, "from"), "v1");
	cr_assert_str_eq(rig_text(plan, "to"), "v2");
	cr_assert_eq(rig_number(plan, "pid"), (int64_t)pid);
	cr_assert(is(plan, "inventory"));
	/* Its listener and the clients'. */
	cr_assert_eq(rig_number(plan, "registered"), 101);
	cr_assert_eq(rig_number(plan, "warnings"), 0, "%s", json_dumps(plan, 0));
	cr_assert_eq(rig_number(plan, "fatal"), 0, "%s", json_dumps(plan, 0));
	cr_assert_gt(rig_number(plan, "image_bytes"), 1 << 20);
	cr_assert_gt(rig_number(plan, "memory_bytes"), 1 << 20);
	cr_assert_gt(json_array_size(json_object_get(plan, "up")), 0);
	cr_assert_eq(json_array_size(json_object_get(plan, "up")), json_array_size(json_object_get(plan, "down")));
	cr_assert(is(way(answer, "live"), "there") && is(way(answer, "parked"), "there") &&
		  is(way(answer, "image"), "there"));
	cr_assert_eq(rig_number(plan, "rolls"), 0);
	cr_assert_eq(stage_pid("serving"), pid);
	/* The one that was on trial is gone, and the roll is as if nothing had been. */
	stage_wait_processes(3);
	ctl(0, "roll", "cached", "v2");
	answer = ctl(0, "plan", "cached", "v3");
	cr_assert_eq(rig_number(answer, "plan.rolls"), 1);
	cr_assert_gt(rig_number(answer, "plan.pause_median_us"), 0);
	stage_load_spotless();
}

SCENE(plan, finds_out_that_the_version_could_not_be_started_again)
{
	char folder[] = "/tmp/upg-plan.XXXXXX", lines[128];
	const json_t *answer;

	cr_assert(mkdtemp(folder));
	snprintf(lines, sizeof(lines), "Bake=300ms\nWorkingDirectory=%s\n", folder);
	serve(lines);
	answer = ctl(0, "plan", "cached", "v2");
	cr_assert(is(way(answer, "cold"), "there"));
	cr_assert(rmdir(folder) == 0);
	/* It cannot be started there; nor can the new version, which would be refused. */
	answer = ctl(5, "plan", "cached", "v2");
	cr_assert(!is(way(answer, "cold"), "there") && strstr(rig_text(way(answer, "cold"), "cause"), folder), "%s",
		  json_dumps(answer, 0));
	answer = ctl(1, "check");
	cr_assert(strstr(json_dumps(answer, 0), folder), "%s", json_dumps(answer, 0));
}

SCENE(plan, compares_the_schemas_that_both_programs_carry)
{
	const json_t *answer;

	serve("Bake=300ms\n");
	answer = ctl(0, "plan", "cached", "v3");
	cr_assert(json_is_true(json_object_get(json_object_get(json_object_get(answer, "plan"), "loss"), "known")),
		  "%s", json_dumps(answer, 0));
	cr_assert_str_eq(rig_text(answer, "plan.loss.by"), "undo");
}

SCENE(plan, of_a_version_that_ends_at_once_says_why_a_roll_is_refused)
{
	const json_t *answer;

	serve("Bake=300ms\n");
	answer = ctl(5, "plan", "cached", "v3-exit-at-start");
	must_say(answer, "before it said hello");
	cr_assert(!is(json_object_get(answer, "plan"), "possible"));
	cr_assert(!is(way(answer, "live"), "there"));
	stage_wait_processes(2);
}

SCENE(plan, of_a_version_that_is_not_there_is_refused)
{
	serve("Bake=300ms\n");
	must_say(ctl(5, "plan", "cached", "v99"), "cached-v99");
}

SCENE(plan, without_criu_says_which_way_back_is_missing)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .lines = "Bake=300ms\n" }, RIG_NO_CRIU);
	answer = ctl(1, "plan", "cached", "v2");
	cr_assert(is(json_object_get(answer, "plan"), "possible"));
	must_say(answer, "not every way back would be there (image)");
	cr_assert(is(way(answer, "parked"), "there"));
	cr_assert(!is(way(answer, "image"), "there"));
	cr_assert(strstr(rig_text(way(answer, "image"), "cause"), "no usable CRIU"));
	ctl(0, "plan", "cached", "v2", "--rollback=parked");
	ctl(5, "plan", "cached", "v2", "--require-image");
}

/* Versions in a folder of the test's own, among them one that starts and says nothing. */
static void serve_beside_a_mute(const char *lines)
{
	char *text = NULL;

	stage_link("cached-v1", "examples/cached-v1");
	stage_link("cached-v2", "examples/cached-v2");
	stage_link("cached-mute", rig_program(stage.rig, "upg-actor"));
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s/cached-%%v -p %u\nBake=300ms\nVersion=v1\n%s",
			      rig_folder(stage.rig), stage.port, lines),
		     0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
	ctl(0, "start", "cached");
}

SCENE(plan, of_a_version_that_says_nothing_ends_by_its_deadline)
{
	serve_beside_a_mute("StartTimeout=300ms\n");
	must_say(ctl(5, "plan", "cached", "mute"), "did not say hello within 300 ms");
	stage_wait_processes(2);
}

SCENE(plan, gives_way_to_a_roll)
{
	struct rig_answer answer = { 0 };
	struct rig_child *plan;

	serve_beside_a_mute("StartTimeout=50s\n");
	cr_assert_eq(rig_ctl_begin(stage.rig, &plan, "plan", "cached", "mute", NULL), 0);
	stage_wait_log("plan: version mute is started");
	ctl(0, "roll", "cached", "v2");
	cr_assert_eq(rig_run_wait(plan, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 8);
	rig_answer_done(&answer);
	stage_wait_processes(2);
}

SCENE(plan, is_not_made_while_a_roll_is_on)
{
	serve("Bake=1min\n");
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	must_say(ctl(8, "plan", "cached", "v3"), "under way");
}

/* ---- --require-image ---- */

SCENE(plan, a_roll_that_needs_an_image_is_done_where_there_can_be_one)
{
	const json_t *answer;

	serve("Bake=300ms\nRollback=auto\nRequireImage=yes\n");
	stage_load(100);
	answer = ctl(0, "roll", "cached", "v2");
	cr_assert_str_eq(rig_text(answer, "roll.way_back"), "parked+image");
	answer = ctl(0, "undo", "cached", "--require-image");
	cr_assert_str_eq(rig_text(answer, "roll.way_back"), "parked+image");
	stage_load_spotless();
}

SCENE(plan, a_roll_that_needs_an_image_is_refused_without_criu)
{
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = "Bake=300ms\nRequireImage=yes\n" }, RIG_NO_CRIU);
	pid = stage_pid("serving");
	must_say(ctl(5, "roll", "cached", "v2"), "no usable CRIU");
	must_say(ctl(5, "roll", "cached", "v2"), "nothing was touched");
	cr_assert_eq(stage_pid("serving"), pid);
	stage_unit(&(struct rig_cached){ .lines = "Bake=300ms\n" });
	must_say(ctl(5, "roll", "cached", "v2", "--require-image"), "no usable CRIU");
	ctl(0, "roll", "cached", "v2");
}

SCENE(plan, a_roll_that_needs_an_image_and_takes_none_is_refused)
{
	serve("Bake=300ms\nRollback=parked\n");
	must_say(ctl(5, "roll", "cached", "v2", "--require-image"), "Rollback=parked takes none");
	ctl(0, "roll", "cached", "v2", "--require-image", "--rollback=image");
}

/* A CRIU that works until it is told to be bad. */
static const char *bad_later(void)
{
	const char *path = stage_path("criu"), *real = getenv("UPG_CRIU");
	FILE *file = fopen(path, "we");

	cr_assert_not_null(file);
	fprintf(file, "#!/bin/sh\n[ -e '%s' ] && exit 1\nexec %s \"$@\"\n", stage_path("bad"), real ? real : "criu");
	cr_assert_eq(fclose(file), 0);
	cr_assert_eq(chmod(path, 0700), 0);
	return path;
}

SCENE(plan, an_image_that_fails_although_it_was_required_is_told)
{
	const char *criu = bad_later();
	const json_t *answer;
	FILE *file;

	stage_serve(&(struct rig_cached){ .lines = "Bake=300ms\nRequireImage=yes\n" }, criu);
	file = fopen(stage_path("bad"), "we");
	cr_assert_not_null(file);
	cr_assert_eq(fclose(file), 0);
	answer = ctl(0, "roll", "cached", "v2");
	must_say(answer, "version v2 serves, but the required image could not be taken");
	cr_assert_str_eq(rig_text(answer, "roll.way_back"), "parked");
	cr_assert_str_eq(rig_text(answer, "roll.outcome"), "done");
}
