/* SPDX-License-Identifier: MIT */
/* What one service prints, leaves behind, or does with its processes is no other's business, and no burden to the supervisor. */
#include "tests/integration/stage.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

STAGE(neighbours, 90);

#define SHOWN_US (10 * USEC_PER_SEC)

/* The service `actor`, whose versions are characters of upg-actor. */
static void actor_unit(const char *lines)
{
	char *text = NULL;

	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s/actor-%%v\n%s", rig_folder(stage.rig), lines), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "actor", text), 0);
	free(text);
}

static void actor_plays(const char *character)
{
	char name[64];

	snprintf(name, sizeof(name), "actor-%s", character);
	stage_link(name, rig_program(stage.rig, "upg-actor"));
}

/* `cached` is rolled under load, and nobody there notices the neighbour. */
static void is_rolled_as_if_alone(void)
{
	stage_load(100);
	ctl(0, "roll", "cached", "v2");
	stage_load_spotless();
}

SCENE(neighbours, of_a_service_that_prints_without_end_are_rolled_as_if_alone)
{
	stage_serve(&(struct rig_cached){ .lines = "Bake=300ms\n" }, NULL);
	actor_plays("babbles");
	actor_unit("LogRate=20\n");
	ctl(0, "start", "actor", "babbles");
	stage_wait_log("lines dropped");
	is_rolled_as_if_alone();
	ctl(0, "stop", "actor");
}

SCENE(neighbours, of_one_that_leaves_a_chatty_child_behind_are_rolled_as_if_alone)
{
	stage_serve(&(struct rig_cached){ .lines = "Bake=300ms\n" }, NULL);
	actor_plays("leaves-chatter");
	actor_unit("LogRate=20\nRestart=no\n");
	ctl(0, "start", "actor", "leaves-chatter");
	cr_assert_eq(rig_wait_status(stage.rig, "actor", "failed", NULL, SHOWN_US), 0);
	is_rolled_as_if_alone();
	/* It had nobody to print to any more. */
	stage_wait_processes(2);
}

/* The log goes into a pipe that nobody reads. */
SCENE(neighbours, are_rolled_while_nobody_reads_the_log)
{
	const char *path = stage_path("upgraded.log");
	FD_CLEANUP int reader = -1;
	char text[4096];
	ssize_t n;

	cr_assert_eq(mkfifo(path, 0600), 0);
	reader = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	cr_assert_geq(reader, 0);
	memset(text, '.', sizeof(text));
	while ((n = write(reader, text, sizeof(text))) > 0)
		;
	stage_unit(&(struct rig_cached){ .lines = "Bake=300ms\n" });
	actor_plays("babbles");
	actor_unit("LogRate=0\nLogRateBytes=0\n");
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
	ctl(0, "start", "actor", "babbles");
	is_rolled_as_if_alone();
	ctl(0, "stop", "actor");
	/* When somebody reads again, what was dropped is told. */
	for (uint64_t due_us = clock_now_us() + SHOWN_US;;) {
		n = read(reader, text, sizeof(text) - 1);
		text[n > 0 ? n : 0] = '\0';
		if (strstr(text, " lines of this log were dropped: nobody read it"))
			break;
		cr_assert_lt(clock_now_us(), due_us, "nothing was told");
		if (n < 0)
			stage_sleep_ms(10);
	}
	ctl(0, "stop", "cached");
	cr_assert_eq(rig_daemon_stop(stage.rig), 0);
	/* As a file, for whoever looks at it at the end of a test. */
	cr_assert_eq(unlink(stage_path("upgraded.log")), 0);
}

/* ---- processes that are not what they seem ---- */

static void wrap(const char *version, const char *command)
{
	char name[64];
	FILE *file;

	snprintf(name, sizeof(name), "actor-%s", version);
	file = fopen(stage_path("%s", name), "we");
	cr_assert_not_null(file);
	fprintf(file, "#!/bin/sh\n%s %s/play-%s\n", command, rig_folder(stage.rig), version);
	fclose(file);
	cr_assert_eq(chmod(stage_path("%s", name), 0755), 0);
	snprintf(name, sizeof(name), "play-%s", version);
	stage_link(name, rig_program(stage.rig, "upg-actor"));
}

SCENE(neighbours, start_programs_behind_a_wrapper_only_if_it_execs_them)
{
	const json_t *answer;

	wrap("behind", "");
	wrap("open", "exec");
	actor_unit("");
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	answer = ctl(1, "start", "actor", "behind");
	must_say(answer, "is not the program, which says that it is pid ");
	must_say(answer, "let the script's last line be 'exec PROGRAM ...'");
	stage_wait_processes(1);
	ctl(0, "start", "actor", "open");
	answer = ctl(5, "roll", "actor", "behind");
	must_say(answer, "'exec PROGRAM ...'");
	must_say(ctl(5, "plan", "actor", "behind"), "'exec PROGRAM ...'");
	cr_assert_eq(rig_wait_status(stage.rig, "actor", "running", "open", SHOWN_US), 0);
	stage_wait_processes(2);
}

SCENE(neighbours, stay_in_the_foreground)
{
	const json_t *answer;

	actor_plays("daemonizes");
	actor_unit("");
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	answer = ctl(1, "start", "actor", "daemonizes");
	/* Its copy is found and ended; or it has ended with the group of the first process, before it made itself a session. */
	must_say(answer, "exited with status 0, and ");
	must_say(answer, "its channel");
	must_say(answer, "it has to stay in the foreground, without daemon(3)");
	/* Nothing is left of it that could be in the way. */
	stage_wait_processes(1);
}

/* ---- child processes ---- */

static pid_t helper(void)
{
	pid_t pid = 0;
	char *log;

	stage_wait_log("]: helper ");
	log = rig_daemon_log(stage.rig);
	cr_assert_eq(sscanf(strstr(log, "]: helper "), "]: helper %d", &pid), 1);
	free(log);
	return pid;
}

static void hire(const char *lines)
{
	char more[128];

	actor_plays("hires");
	actor_plays("hires-too");
	snprintf(more, sizeof(more), "Rollback=parked\nBake=200ms\n%s", lines);
	actor_unit(more);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "actor", "hires");
}

/* What `plan` says becomes of it. */
static const char *fate_of(pid_t pid)
{
	const json_t *answer = ctl(0, "plan", "actor", "hires-too", "--rollback=parked");

	cr_assert_eq(rig_number(answer, "plan.children.0.pid"), pid, "%s", json_dumps(answer, 0));
	return rig_text(answer, "plan.children.0.fate");
}

SCENE(neighbours, hand_child_processes_over_to_their_next_version)
{
	pid_t pid;

	hire("");
	pid = helper();
	cr_assert(strstr(fate_of(pid), "ends with the service (Children=hand-over)"));
	ctl(0, "roll", "actor", "hires-too");
	stage_wait_log("goes on (Children=hand-over)");
	cr_assert_eq(kill(pid, 0), 0);
	stage_wait_processes(3);
	ctl(0, "stop", "actor");
	stage_wait_processes(1);
}

SCENE(neighbours, end_child_processes_with_the_bake_if_that_is_wanted)
{
	hire("Children=end\n");
	cr_assert(strstr(fate_of(helper()), "ends with this version (Children=end)"));
	ctl(0, "roll", "actor", "hires-too");
	stage_wait_log("1 of its child processes end");
	stage_wait_processes(2);
}

SCENE(neighbours, keep_child_processes_beyond_a_stop_if_that_is_wanted)
{
	pid_t pid;

	hire("Children=keep\n");
	pid = helper();
	cr_assert(strstr(fate_of(pid), "Children=keep"));
	ctl(0, "stop", "actor");
	stage_wait_log("goes on (Children=keep)");
	stage_wait_processes(2);
	cr_assert_eq(kill(pid, SIGKILL), 0);
	stage_wait_processes(1);
}

SCENE(neighbours, end_what_a_version_has_started_that_failed)
{
	hire("");
	helper();
	actor_plays("dies-before-commit");
	ctl(5, "roll", "actor", "dies-before-commit");
	stage_wait_processes(3);
	ctl(0, "stop", "actor");
	stage_wait_processes(1);
}
