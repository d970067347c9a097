/* SPDX-License-Identifier: MIT */
/* Each rung of the ladder back, with clients that check every answer. */
#include "tests/integration/stage.h"

STAGE(rungs, 90);

SCENE(rungs, before_the_commit_nothing_was_gone)
{
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = "Bake=300ms\n" }, NULL);
	stage_load(200);
	pid = stage_pid("serving");
	ctl(6, "roll", "cached", "v3-crash-loading");
	cr_assert_eq(stage_pid("serving"), pid);
	stage_load_spotless();
}
