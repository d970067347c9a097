/* SPDX-License-Identifier: MIT */
/* Some rolls back to back, in all ways in which a roll can go: `make soak` makes many, under many connections. */
#include "tests/integration/stage.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define RUN_US (270 * UINT64_C(1000000))

TestSuite(soak, .init = stage_open, .fini = stage_abandon, .timeout = 300);

Test(soak, of_rolls_of_each_kind_leaves_nothing_behind)
{
	const char *argv[] = { rig_program(stage.rig, "upg-soak"), "--rolls", "20", "--connections", "300", "--rate", "2000",
			       NULL };
	/* A sanitizer wants to be the first library of a process, and what tells of the heap is in front of it; and memory that it
	 * holds back is no growth. */
	const char *environment[] = { "ASAN_OPTIONS=abort_on_error=1:detect_leaks=1:verify_asan_link_order=0:"
					"quarantine_size_mb=0:thread_local_quarantine_size_kb=0", NULL };
	struct rig_answer answer = { 0 };
	struct rig_child *child;
	const char *line;
	unsigned rolls = 0;

	cr_assert_eq(rig_run_begin(stage.rig, &(struct rig_run){ .argv = argv, .environment = environment }, &child), 0);
	cr_assert_eq(rig_run_wait(child, RUN_US, &answer), 0);
	line = strstr(answer.out, "\nsoak: rolls=");
	cr_assert_not_null(line, "it has not come to its end:\n%s%s", answer.out, answer.err);
	cr_assert_eq(sscanf(line, "\nsoak: rolls=%u ", &rolls), 1);
	cr_assert_geq(rolls, 20u);
	cr_assert(strstr(line, " failed=0\n"), "%s%s", answer.out, answer.err);
	cr_assert_eq(answer.status, 0, "status %d:\n%s%s", answer.status, answer.out, answer.err);
	rig_answer_done(&answer);
	stage_close();
}
