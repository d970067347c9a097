/* SPDX-License-Identifier: MIT */
/* A short pass of the kill matrix, and of upgraded killed at its system calls: `make torture` makes long ones. */
#include "tests/integration/stage.h"

#include "base/fd.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

/* The seconds are for the blows; a single one may take its time, and so do the daemon's starts. */
#define RUN_US (240 * UINT64_C(1000000))

TestSuite(torture, .init = stage_open, .fini = stage_abandon, .timeout = 300);

struct result {
	unsigned kills, well;
	unsigned long long wrong, lost, leaks, worst_ms;
};

static struct result run(const char *seconds, const char *sweep_seconds)
{
	const char *argv[] = { rig_program(stage.rig, "upg-torture"), "--seconds", seconds, "--sweep-seconds", sweep_seconds,
			       NULL };
	struct rig_answer answer = { 0 };
	struct result result = { 0 };
	struct rig_child *child;
	const char *line;

	cr_assert_eq(rig_run_begin(stage.rig, &(struct rig_run){ .argv = argv }, &child), 0);
	cr_assert_eq(rig_run_wait(child, RUN_US, &answer), 0);
	line = strstr(answer.out, "\ntorture: kills=");
	cr_assert_not_null(line, "it has not come to its end:\n%s%s", answer.out, answer.err);
	cr_assert_eq(sscanf(line, "\ntorture: kills=%u outcomes_ok=%u wrong=%llu lost=%llu leaks=%llu worst_outage_ms=%llu\n",
			    &result.kills, &result.well, &result.wrong, &result.lost, &result.leaks, &result.worst_ms), 6);
	cr_assert_eq(answer.status, 0, "status %d:\n%s%s", answer.status, answer.out, answer.err);
	rig_answer_done(&answer);
	return result;
}

static void all_well(struct result result)
{
	cr_assert_gt(result.kills, 0);
	cr_assert_eq(result.well, result.kills);
	cr_assert_eq(result.wrong, 0);
	cr_assert_eq(result.lost, 0);
	cr_assert_eq(result.leaks, 0);
	stage_close();
}

Test(torture, of_anybody_in_any_state_leaves_one_version_that_serves)
{
	all_well(run("12", "0"));
}

Test(torture, of_upgraded_at_any_system_call_leaves_one_version_that_serves)
{
	all_well(run("0", "12"));
}

/* ---- is it seen what is looked for? ---- */

static void traces_are(const struct rig_traces *before, unsigned locks, unsigned mounts)
{
	struct rig_traces now;

	rig_traces(stage.rig, &now);
	cr_assert_eq(now.locks, before->locks + locks);
	cr_assert_eq(now.mounts, before->mounts + mounts);
	cr_assert_eq(now.rules, before->rules);
}

/* As a process leaves it that took the lock by a descriptor which others have, too, and has ended. */
static int leave_lock(void)
{
	int fd = open(stage_path("conf/left"), O_RDWR | O_CREAT | O_CLOEXEC, 0600), status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(flock(fd, LOCK_EX | LOCK_NB) < 0);
	cr_assert(fd >= 0 && pid > 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	return fd;
}

Test(torture, sees_a_lock_and_a_mount_that_were_left)
{
	struct rig_traces before;
	int fd;

	rig_traces(stage.rig, &before);
	fd = leave_lock();
	traces_are(&before, 1, 0);
	fd_close(fd);
	traces_are(&before, 0, 0);
	cr_assert_eq(mount(stage_path("conf"), stage_path("conf"), NULL, MS_BIND, NULL), 0);
	traces_are(&before, 0, 1);
	cr_assert_eq(umount(stage_path("conf")), 0);
	traces_are(&before, 0, 0);
	stage_close();
}
