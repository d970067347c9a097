/* SPDX-License-Identifier: MIT */
/* Back while the new version lives: a roll in the other direction, with all its state, from within its bake or long after it. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

STAGE(backwards, 90);

#define SHOWN_US (10 * USEC_PER_SEC)

/* Roll and come back when its bake is on; the roll's own upgradectl still waits. */
static struct rig_child *bake(const char *version)
{
	struct rig_child *roll;

	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", version, NULL), 0);
	stage_wait_bake(version);
	return roll;
}

static void roll_ended(struct rig_child *roll, int status, const char *outcome)
{
	struct rig_answer answer = { 0 };

	cr_assert_eq(rig_run_wait(roll, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, status, "%d: %s", answer.status, answer.out);
	cr_assert_str_eq(rig_text(answer.json, "roll.outcome"), outcome);
	rig_answer_done(&answer);
}

/* The same after a "crash" that the load was told of: exactly what was written since the commit is taken back. */
static void roll_settled(struct rig_child *roll, const char *outcome)
{
	struct rig_answer answer = { 0 };

	cr_assert_eq(rig_run_wait(roll, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 6, "%d: %s", answer.status, answer.out);
	cr_assert_str_eq(rig_text(answer.json, "roll.outcome"), outcome);
	cr_assert_gt(rig_number(answer.json, "roll.lost_us"), 0);
	stage_settle(json_object_get(answer.json, "roll"));
	rig_answer_done(&answer);
}

/* A service whose versions lie in the rig's folder, where a test can take them away. */
static void serve_folder(void)
{
	char *text = NULL;

	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s/cached-%%v -p %u -c 4000\nVersion=v1\nBake=1min\n",
			      rig_folder(stage.rig), stage.port), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
}

/* ---- with all state ---- */

SCENE(backwards, undo_within_the_bake_loses_nothing)
{
	struct rig_child *roll;
	const json_t *answer;
	pid_t parked;

	stage_serve(&(struct rig_cached){ .lines = "Bake=1min\n" }, NULL);
	stage_load(300);
	roll = bake("v2");
	parked = stage_pid("parked");
	cr_assert_gt(parked, 0);
	answer = ctl(0, "undo", "cached", "--bake=300ms");
	cr_assert_str_eq(rig_text(answer, "roll.outcome"), "done");
	cr_assert_eq(rig_number(answer, "roll.lost_us"), 0);
	roll_ended(roll, 6, "rolled-back-live");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	/* Not the one that lay parked, whose state is that of the commit. */
	cr_assert_neq(stage_pid("serving"), parked);
	cr_assert_neq(kill(parked, 0), 0);
	stage_load_spotless();
}

static void on_line(void *data, const char *line)
{
	static const char *const phases[] = { "started as pid", "quiesce", "transfer", "commit" };
	unsigned *seen = data;

	if (*seen < sizeof(phases) / sizeof(*phases) && strstr(line, phases[*seen]))
		++*seen;
}

SCENE(backwards, undo_within_the_bake_is_told_from_its_first_phase_on)
{
	struct rig_answer answer = { 0 };
	struct rig_child *roll;
	unsigned seen = 0;

	stage_serve(&(struct rig_cached){ .lines = "Bake=1min\n" }, NULL);
	roll = bake("v2");
	cr_assert_eq(rig_ctl_text(stage.rig, &answer, on_line, &seen, "undo", "cached", "--bake=100ms", NULL), 0);
	cr_assert_eq(answer.status, 0, "%s", answer.err);
	cr_assert_eq(seen, 4, "only %u phases came in their order:\n%s", seen, answer.err);
	rig_answer_done(&answer);
	roll_ended(roll, 6, "rolled-back-live");
}

SCENE(backwards, undo_waits_for_an_image_under_way)
{
	struct rig_child *roll;

	stage_serve(&(struct rig_cached){ .lines = "Bake=1min\nRollback=image\n" }, NULL);
	stage_load(200);
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v2", NULL), 0);
	stage_wait_log("version v2 serves");
	ctl(0, "undo", "cached", "--bake=100ms");
	roll_ended(roll, 6, "rolled-back-live");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	stage_load_spotless();
}

SCENE(backwards, undo_goes_several_versions_back_at_once)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\n" }, NULL);
	stage_load(200);
	ctl(0, "roll", "cached", "v2");
	ctl(0, "roll", "cached", "v3");
	answer = ctl(5, "undo", "cached", "--to=v9");
	must_say(answer, "did not serve before");
	ctl(0, "undo", "cached", "--to=v1");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	stage_load_spotless();
}

/* A check that is well until the new version serves; a file tells it when to fail. */
static const char *sick_check(const char *more)
{
	static char lines[1024];

	snprintf(lines, sizeof(lines),
		 "Bake=1min\nHealthInterval=50ms\nHealthFailures=2\n"
		 "HealthCommand=/bin/sh -c \"test $UPGRADE_VERSION != v2 || ! test -e %s\"\n%s", stage_path("sick"), more);
	return lines;
}

static void make_sick(void)
{
	int fd = open(stage_path("sick"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	close(fd);
}

SCENE(backwards, a_version_that_does_not_do_well_is_left_with_all_its_state)
{
	struct rig_child *roll;
	struct rig_answer answer = { 0 };

	stage_serve(&(struct rig_cached){ .lines = sick_check("") }, NULL);
	stage_load(200);
	roll = bake("v2");
	make_sick();
	cr_assert_eq(rig_run_wait(roll, 2 * SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 6, "%s", answer.out);
	cr_assert_str_eq(rig_text(answer.json, "roll.outcome"), "rolled-back-live");
	cr_assert_eq(rig_number(answer.json, "roll.lost_us"), 0);
	must_say(answer.json, "HealthCommand=");
	rig_answer_done(&answer);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "baking", "v1", SHOWN_US), 0);
	stage_load_spotless();
}

SCENE(backwards, a_version_that_is_sick_and_cannot_save_is_left_without)
{
	struct rig_child *roll;

	/* The version before cannot load, and so there is no way back but the parked one. */
	stage_serve(&(struct rig_cached){ .version = "v3-crash-loading", .lines = sick_check("") }, NULL);
	stage_load(100);
	cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	roll = bake("v2");
	make_sick();
	roll_settled(roll, "rolled-back-parked");
	stage_load_spotless();
}

SCENE(backwards, a_version_that_is_sick_is_kept_where_no_way_back_is_left)
{
	struct rig_child *roll;
	pid_t serving;

	/* Nothing is kept of the version before, and it cannot load. */
	stage_serve(&(struct rig_cached){ .version = "v3-crash-loading", .lines = sick_check("Rollback=none\n") }, NULL);
	stage_load(100);
	roll = bake("v2");
	serving = stage_pid("serving");
	make_sick();
	stage_wait_log("is kept all the same");
	cr_assert_eq(stage_pid("serving"), serving);
	stage_load_spotless();
	ctl(0, "stop", "cached");
	roll_ended(roll, 0, "done");
}

SCENE(backwards, a_check_that_is_broken_itself_sends_nobody_round_in_circles)
{
	struct rig_child *roll;
	char lines[512];

	snprintf(lines, sizeof(lines),
		 "Bake=2s\nHealthInterval=50ms\nHealthFailures=2\nHealthCommand=/bin/sh -c \"! test -e %s\"\n",
		 stage_path("sick"));
	stage_serve(&(struct rig_cached){ .lines = lines }, NULL);
	stage_load(100);
	roll = bake("v2");
	make_sick();
	roll_ended(roll, 6, "rolled-back-live");
	stage_wait_log("it is kept, as it is what was gone back to");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", 2 * SHOWN_US), 0);
	/* And undo does not lead to what was left for cause. */
	must_say(ctl(5, "undo", "cached"), "nothing to undo");
	stage_load_spotless();
}

/* ---- when that cannot be ---- */

/* As if undo had never been asked for: @serving serves, and the rungs of its bake are there as before. */
static void is_untouched(struct rig_child *roll, pid_t serving)
{
	cr_assert_eq(stage_pid("serving"), serving);
	cr_assert_gt(stage_pid("parked"), 0);
	cr_assert_eq(kill(serving, SIGKILL), 0);
	roll_settled(roll, "rolled-back-parked");
	stage_load_spotless();
}

SCENE(backwards, when_the_version_before_is_gone_the_new_one_serves_on)
{
	struct rig_child *roll;
	const json_t *answer;
	pid_t serving;

	stage_link("cached-v2", "examples/cached-v2");
	stage_copy("cached-v1", "examples/cached-v1");
	serve_folder();
	stage_load(100);
	cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	roll = bake("v2");
	serving = stage_pid("serving");
	cr_assert_eq(unlink(stage_path("cached-v1")), 0);
	answer = ctl(5, "undo", "cached");
	must_say(answer, "cached-v1");
	is_untouched(roll, serving);
}

SCENE(backwards, when_the_version_before_cannot_load_the_new_one_serves_on)
{
	struct rig_child *roll;
	const json_t *answer;
	pid_t serving;

	stage_serve(&(struct rig_cached){ .version = "v3-crash-loading", .lines = "Bake=1min\n" }, NULL);
	stage_load(100);
	cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	roll = bake("v2");
	serving = stage_pid("serving");
	answer = ctl(6, "undo", "cached");
	must_say(answer, "aborted before it committed");
	is_untouched(roll, serving);
}

SCENE(backwards, when_the_new_one_dies_on_the_way_the_parked_one_comes_back)
{
	struct rig_child *roll, *undo;
	struct rig_answer answer = { 0 };
	pid_t serving;

	/* The version before takes its time to start, and so there is a moment to die in. */
	stage_link("cached-v2", "examples/cached-v2");
	stage_link("cached-v1", "examples/cached-v1");
	serve_folder();
	stage_load(100);
	cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	roll = bake("v2");
	serving = stage_pid("serving");
	cr_assert_eq(unlink(stage_path("cached-v1")), 0);
	stage_link("cached-v1", "examples/cached-v3-never-ready");
	cr_assert_eq(rig_ctl_begin(stage.rig, &undo, "undo", "cached", NULL), 0);
	stage_wait_log("rolling back to version v1");
	cr_assert_eq(kill(serving, SIGKILL), 0);
	roll_settled(roll, "rolled-back-parked");
	cr_assert_eq(rig_run_wait(undo, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 0, "%s", answer.out);
	rig_answer_done(&answer);
	stage_load_spotless();
}

/* ---- by order, without what was written since ---- */

static void given_up(const char *lines, const char *way, const char *outcome)
{
	struct rig_child *roll;
	const json_t *answer;
	pid_t old;

	stage_serve(&(struct rig_cached){ .lines = lines }, NULL);
	stage_load(100);
	old = stage_pid("serving");
	cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	roll = bake("v2");
	answer = ctl(0, "undo", "cached", way);
	must_say(answer, "since the commit is gone");
	cr_assert_gt(rig_number(answer, "roll.lost_us"), 0);
	cr_assert_eq(stage_pid("serving"), old);
	roll_settled(roll, outcome);
	stage_load_spotless();
}

SCENE(backwards, undo_brings_the_parked_process_back_when_told_to)
{
	given_up("Bake=1min\n", "--way=parked", "rolled-back-parked");
}

SCENE(backwards, undo_brings_the_image_back_when_told_to)
{
	given_up("Bake=1min\n", "--way=image", "rolled-back-image");
}

SCENE(backwards, a_rung_that_is_not_there_is_refused_and_touches_nothing)
{
	struct rig_child *roll;
	pid_t serving;

	stage_serve(&(struct rig_cached){ .lines = "Bake=1min\nRollback=parked\n" }, NULL);
	stage_load(50);
	must_say(ctl(5, "undo", "cached", "--way=parked"), "within the bake");
	roll = bake("v2");
	serving = stage_pid("serving");
	must_say(ctl(5, "undo", "cached", "--way=image"), "there is no version before that is an image");
	cr_assert_eq(stage_pid("serving"), serving);
	ctl(0, "undo", "cached", "--bake=100ms");
	roll_ended(roll, 6, "rolled-back-live");
	stage_load_spotless();
}
