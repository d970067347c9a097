/* SPDX-License-Identifier: MIT */
/* A sample of the calls of each process, failing one after the other: `make faults` has them all. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* The seconds are for the trials; a single one may take its time on a slow machine, and so do the first ones, which count. */
#define RUN_US (280 * USEC_PER_SEC)
#define WORDS_MAX 10

TestSuite(nth, .init = stage_open, .fini = stage_abandon, .timeout = 300);

static void leaves_one_version_that_serves(const char *const words[])
{
	const char *argv[WORDS_MAX + 2] = { rig_program(stage.rig, "upg-faults") };
	unsigned long long wrong, lost, leaks;
	struct rig_answer answer = { 0 };
	unsigned tried, struck, well;
	struct rig_child *child;
	const char *line;

	for (size_t i = 0; i < WORDS_MAX && words[i]; i++)
		argv[i + 1] = words[i];
	cr_assert_eq(rig_run_begin(stage.rig, &(struct rig_run){ .argv = argv }, &child), 0);
	cr_assert_eq(rig_run_wait(child, RUN_US, &answer), 0);
	line = strstr(answer.out, "\nfaults: tried=");
	cr_assert_not_null(line, "it has not come to its end:\n%s%s", answer.out, answer.err);
	cr_assert_eq(sscanf(line, "\nfaults: tried=%u struck=%u well=%u wrong=%llu lost=%llu leaks=%llu\n", &tried, &struck, &well,
			    &wrong, &lost, &leaks), 6);
	cr_assert_eq(answer.status, 0, "status %d:\n%s%s", answer.status, answer.out, answer.err);
	cr_assert_gt(struck, 0);
	cr_assert_eq(well, struck);
	cr_assert_eq(wrong + lost + leaks, 0);
	rig_answer_done(&answer);
	stage_close();
}

#define leave_one_version_that_serves(...) leaves_one_version_that_serves((const char *const[]){ __VA_ARGS__, NULL })

Test(nth, call_that_fails_leaves_one_version_that_serves)
{
	leave_one_version_that_serves("--seconds", "40");
}

Test(nth, call_and_all_after_it_that_fail_leave_one_version_that_serves)
{
	leave_one_version_that_serves("--seconds", "20", "--from-then");
}

/* What is not had back must not be taken for what has ended: a second process would be started beside it. */
Test(nth, call_that_fails_while_upgraded_starts_loses_none_of_its_services)
{
	leave_one_version_that_serves("--scene", "start", "--role", "upgraded", "--most", "10", "--seconds", "60");
}

/* Nobody but the parked process has the state, and it is told once. */
Test(nth, allocation_that_fails_on_the_way_back_does_not_cost_it)
{
	leave_one_version_that_serves("--scene", "resume", "--kind", "memory", "--most", "12");
}
