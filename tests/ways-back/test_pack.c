/* SPDX-License-Identifier: MIT */
/* A parked version leaves memory within the bake, by order or because memory is short, and its image is the way back. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <signal.h>
#include <string.h>

STAGE(pack, 90);

#define SHOWN_US (10 * USEC_PER_SEC)

static struct rig_child *roll;

static void bake(const char *lines, const char *criu)
{
	stage_serve(&(struct rig_cached){ .lines = lines }, criu);
	stage_load(100);
	cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v2", NULL), 0);
	stage_wait_bake("v2");
}

static void crash(const char *outcome)
{
	struct rig_answer answer = { 0 };

	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 6, "%s", answer.out);
	cr_assert_str_eq(rig_text(answer.json, "roll.outcome"), outcome);
	stage_settle(json_object_get(answer.json, "roll"));
	rig_answer_done(&answer);
	stage_load_spotless();
}

static void is_an_image(pid_t pid)
{
	while (stage_pid("imaged") != pid) /* the scene's time is the limit */
		stage_sleep_ms(5);
	cr_assert_eq(stage_pid("parked"), 0);
	cr_assert_neq(kill(pid, 0), 0);
}

SCENE(pack, turns_the_parked_process_into_an_image)
{
	pid_t old;

	bake("Bake=1min\nRollback=parked\n", NULL);
	old = stage_pid("parked");
	cr_assert_eq(stage_images(""), 0);
	ctl(0, "pack", "cached");
	is_an_image(old);
	cr_assert_eq(stage_images(""), 1);
	crash("rolled-back-image");
	cr_assert_eq(stage_pid("serving"), old);
}

SCENE(pack, ends_the_process_whose_image_is_there_already)
{
	pid_t old;

	bake("Bake=1min\nRollback=auto\n", NULL);
	old = stage_pid("parked");
	ctl(0, "pack", "cached");
	is_an_image(old);
	crash("rolled-back-image");
	cr_assert_eq(stage_pid("serving"), old);
}

SCENE(pack, happens_by_itself_when_memory_is_short)
{
	pid_t old;

	/* More than any machine has available. */
	stage_serve(&(struct rig_cached){ .lines = "Bake=1min\nRollback=parked\nMemoryLow=900T\n" }, NULL);
	stage_load(100);
	old = stage_pid("serving");
	cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v2", NULL), 0);
	stage_wait_log("memory is short");
	is_an_image(old);
	crash("rolled-back-image");
}

SCENE(pack, leaves_the_process_where_it_is_when_no_image_can_be_taken)
{
	pid_t old;

	bake("Bake=1min\nRollback=parked\n", RIG_NO_CRIU);
	old = stage_pid("parked");
	must_say(ctl(5, "pack", "cached"), "no usable CRIU");
	cr_assert_eq(stage_pid("parked"), old);
	crash("rolled-back-parked");
	cr_assert_eq(stage_pid("serving"), old);
}

SCENE(pack, has_a_meaning_within_a_bake_only)
{
	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\n" }, NULL);
	must_say(ctl(5, "pack", "cached"), "no roll is under way");
	ctl(0, "roll", "cached", "v2");
	must_say(ctl(5, "pack", "cached"), "no roll is under way");
}
