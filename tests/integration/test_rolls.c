/* SPDX-License-Identifier: MIT */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#define SHORT_BAKE "Bake=200ms\n"
#define LONG_BAKE "Bake=1min\n"
#define SHOWN_US (10 * USEC_PER_SEC)

STAGE(rolls, 90);

/* ---- forward ---- */

static void roll_to_v3(unsigned connections)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .lines = SHORT_BAKE }, NULL);
	stage_load(connections);
	answer = ctl(0, "roll", "cached", "v2");
	cr_assert_str_eq(rig_text(answer, "roll.outcome"), "done");
	cr_assert_str_eq(rig_text(answer, "roll.way_back"), "parked+image");
	/* Each key, each connection and the counters are a record; each connection and the listener a descriptor. */
	cr_assert_eq(rig_number(answer, "roll.fds"), (int64_t)connections + 1);
	cr_assert_gt(rig_number(answer, "roll.records"), (int64_t)connections * 2);
	cr_assert_gt(rig_number(answer, "roll.pause_us"), 0);
	answer = ctl(0, "roll", "cached", "v3");
	cr_assert_str_eq(rig_text(answer, "roll.from"), "v2");
	must_say(answer, "version v3");
	stage_load_spotless();
}

SCENE(rolls, goes_from_v1_over_v2_to_v3_with_nothing_lost)
{
	roll_to_v3(100);
}

SCENE(rolls, keeps_more_connections_than_one_message_can_carry)
{
	roll_to_v3(300);
}

SCENE(rolls, keeps_a_thousand_connections)
{
	roll_to_v3(1000);
}

SCENE(rolls, keeps_fifteen_hundred_connections)
{
	roll_to_v3(1500);
}

SCENE(rolls, skips_a_version_by_composing_its_migrations)
{
	int client;

	stage_serve(&(struct rig_cached){ .lines = SHORT_BAKE }, NULL);
	client = client_open();
	client_store(client, "kept", "from v1");
	stage_load(50);
	ctl(0, "roll", "cached", "v3");
	cr_assert(client_holds(client, "kept", "from v1"));
	ctl(0, "undo", "cached");
	cr_assert(client_holds(client, "kept", "from v1"));
	stage_load_spotless();
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	close(client);
}

SCENE(rolls, answers_at_the_commit_when_that_is_what_was_asked_for)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .lines = LONG_BAKE }, NULL);
	stage_load(50);
	answer = ctl(0, "roll", "cached", "v2", "--wait=commit");
	must_say(answer, "version v2 serves");
	stage_wait_bake("v2");
	stage_load_spotless();
}

static void on_line(void *data, const char *line)
{
	static const char *const phases[] = {
		"standby", "quiesce", "transfer", "verify", "commit", "park", "image", "bake", "done",
	};
	unsigned *seen = data;

	if (*seen < sizeof(phases) / sizeof(*phases) && strstr(line, phases[*seen]))
		++*seen;
}

SCENE(rolls, tells_its_phases_in_their_order)
{
	struct rig_answer answer = { 0 };
	unsigned seen = 0;

	stage_serve(&(struct rig_cached){ .lines = SHORT_BAKE }, NULL);
	stage_load(50);
	cr_assert_eq(rig_ctl_text(stage.rig, &answer, on_line, &seen, "roll", "cached", "v2", NULL), 0);
	cr_assert_eq(answer.status, 0);
	cr_assert_eq(seen, 9, "only %u phases came in their order:\n%s", seen, answer.err);
	rig_answer_done(&answer);
	stage_load_spotless();
}

/* ---- back ---- */

SCENE(rolls, undoes_by_migrating_down)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .version = "v2", .lines = SHORT_BAKE }, NULL);
	stage_load(100);
	ctl(0, "roll", "cached", "v3");
	answer = ctl(0, "undo", "cached");
	cr_assert_str_eq(rig_text(answer, "roll.to"), "v2");
	stage_load_spotless();
}

SCENE(rolls, undoes_an_undo)
{
	stage_serve(&(struct rig_cached){ .lines = SHORT_BAKE }, NULL);
	stage_load(100);
	ctl(0, "roll", "cached", "v2");
	ctl(0, "undo", "cached");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	ctl(0, "undo", "cached");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", SHOWN_US), 0);
	stage_load_spotless();
}

SCENE(rolls, undoes_a_version_that_is_still_baking)
{
	stage_serve(&(struct rig_cached){ .lines = LONG_BAKE }, NULL);
	stage_load(100);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	ctl(0, "undo", "cached", "--bake=100ms");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	stage_load_spotless();
}

SCENE(rolls, has_nothing_to_undo_before_the_first)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .lines = SHORT_BAKE }, NULL);
	answer = ctl(5, "undo", "cached");
	must_say(answer, "nothing to undo");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
}

/* ---- one at a time ---- */

SCENE(rolls, refuses_a_second_one_while_the_first_is_under_way)
{
	struct rig_child *first;
	struct rig_answer answer = { 0 };

	stage_serve(&(struct rig_cached){ .lines = "Bake=1s\nStartTimeout=2s\n" }, NULL);
	stage_load(50);
	cr_assert_eq(rig_ctl_begin(stage.rig, &first, "roll", "cached", "v3-never-ready", NULL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "rolling", NULL, SHOWN_US), 0);
	must_say(ctl(8, "roll", "cached", "v2"), "another roll");
	ctl(8, "undo", "cached");
	ctl(8, "save", "cached", stage_path("state"));
	cr_assert_eq(rig_run_wait(first, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 5);
	rig_answer_done(&answer);
	stage_load_spotless();
}

/* A roll to a third version is another matter, see operator. */
SCENE(rolls, refuses_a_save_while_one_bakes)
{
	stage_serve(&(struct rig_cached){ .lines = LONG_BAKE }, NULL);
	stage_load(50);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	ctl(8, "save", "cached", stage_path("state"));
	must_say(ctl(0, "roll", "cached", "v2"), "runs version v2 already");
	stage_load_spotless();
}

SCENE(rolls, goes_on_when_its_caller_gave_up_waiting)
{
	stage_serve(&(struct rig_cached){ .lines = "Bake=1s\n" }, NULL);
	stage_load(50);
	ctl(9, "roll", "cached", "v2", "--timeout=200ms");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", SHOWN_US), 0);
	stage_load_spotless();
}

SCENE(rolls, goes_on_when_its_caller_is_killed)
{
	struct rig_child *caller;
	json_t *entry;

	stage_serve(&(struct rig_cached){ .lines = "Bake=500ms\n" }, NULL);
	stage_load(100);
	cr_assert_eq(rig_ctl_begin(stage.rig, &caller, "roll", "cached", "v2", NULL), 0);
	/* Whichever phase that is. */
	while (stage_pid("standby") == 0 && stage_pid("parked") == 0)
		;
	cr_assert_eq(rig_run_kill(caller, SIGKILL), 0);
	cr_assert_eq(rig_run_wait(caller, SHOWN_US, NULL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", SHOWN_US), 0);
	entry = rig_status(stage.rig, "cached");
	cr_assert_str_eq(rig_text(entry, "last_roll.outcome"), "done");
	json_decref(entry);
	stage_load_spotless();
}

SCENE(rolls, stops_a_version_that_is_still_baking)
{
	stage_serve(&(struct rig_cached){ .lines = LONG_BAKE }, NULL);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	ctl(0, "stop", "cached");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "stopped", NULL, SHOWN_US), 0);
	stage_wait_processes(1);
}
