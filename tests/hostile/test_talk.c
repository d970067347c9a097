/* SPDX-License-Identifier: MIT */
/* Services that say much, or the same again and again. */
#include "tests/hostile/neighbour.h"

#include "base/clock.h"

STAGE(talk, 120);

#define ROOMY_KIB (32u << 10)

SCENE(talk, without_end_leaves_time_for_others)
{
	unsigned long before;

	neighbour_measure();
	neighbour_start("talks", NULL);
	before = neighbour_memory_kib();
	ctl(0, "start", "evil");
	neighbour_must_not_matter("v1", "v2");
	neighbour_must_not_matter("v2", "v3");
	cr_assert_lt(neighbour_memory_kib(), before + ROOMY_KIB);
	stage_load_spotless();
}

SCENE(talk, of_standing_by_is_answered_once)
{
	struct rig_child *start;
	struct rig_answer answer;
	unsigned long before;

	neighbour_measure();
	neighbour_start("stands-by", NULL);
	before = neighbour_memory_kib();
	cr_assert_eq(rig_ctl_begin(stage.rig, &start, "start", "evil", NULL), 0);
	neighbour_must_not_matter("v1", "v2");
	/* It has its five seconds, and no more. */
	cr_assert_eq(rig_run_wait(start, 20 * USEC_PER_SEC, &answer), 0);
	cr_assert_eq(answer.status, 1, "%s", answer.out);
	rig_answer_done(&answer);
	cr_assert_lt(neighbour_memory_kib(), before + ROOMY_KIB);
	stage_load_spotless();
}
