/* SPDX-License-Identifier: MIT */
/* What happens is told, and not only shown to whoever asked: in the log. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

STAGE(told, 60);

#define SHOWN_US (10 * USEC_PER_SEC)

/* The line of the log that holds @text, in which @words must stand, too. */
static void must_log(const char *text, const char *const words[])
{
	char *log, *line, *end;

	stage_wait_log(text);
	log = rig_daemon_log(stage.rig);
	line = strstr(log, text);
	while (line > log && line[-1] != '\n')
		line--;
	end = strchrnul(line, '\n');
	*end = 0;
	for (size_t i = 0; words[i]; i++)
		cr_assert(strstr(line, words[i]), "\"%s\" does not stand in: %s", words[i], line);
	free(log);
}

#define must_log(text, ...) must_log(text, (const char *const[]){ __VA_ARGS__, NULL })

static const char *by_us(void)
{
	static char text[64];

	snprintf(text, sizeof(text), "asked for by uid %u (pid ", (unsigned)geteuid());
	return text;
}

SCENE(told, an_outage_stands_in_one_line_of_the_log)
{
	stage_serve(&(struct rig_cached){ .version = "v2", .lines = "Bake=20s\nRollback=parked\n" }, NULL);
	stage_load(20);
	stage_crash("v3-crash-after", "rolled-back-parked");
	must_log("cached: roll v2 -> v3-crash-after: rolled-back-parked", "was killed by SIGABRT", "lost: what was written in the ",
		 "connections: ", " kept, ", " reset", "; pause ", "serves: version v2 (pid ", by_us());
	stage_load_spotless();
}

SCENE(told, a_refusal_has_its_reason_in_the_log)
{
	stage_serve(&(struct rig_cached){ .lines = "Bake=1min\n" }, NULL);
	ctl(5, "roll", "cached", "v99");
	must_log("cached: roll v99: not done: ", "the roll to v99 was refused", "cached-v99", by_us());
	ctl(5, "roll", "cached", "v3-never-ready");
	must_log("cached: roll v1 -> v3-never-ready: refused: ", "nothing is lost", "serves: version v1 (pid ", by_us());
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	ctl(8, "start", "cached");
	must_log("cached: start: not done: ", "another roll is under way", by_us());
	ctl(4, "stop", "nobody");
	must_log("nobody: stop: not done: ", "there is no service nobody", by_us());
	ctl(0, "accept", "cached");
}

SCENE(told, an_order_has_who_asked_for_it_in_the_log)
{
	stage_unit(&(struct rig_cached){ .lines = NULL });
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(1, "start", "cached", "v9");
	must_log("cached: start v9: not done: ", "cached-v9", by_us());
	ctl(0, "start", "cached");
	must_log("cached: start: asked for by uid ", by_us());
	ctl(0, "stop", "cached");
	must_log("cached: stop: asked for by uid ", by_us());
}

/* The deploy has gone away with its success: the log has what came later. */
SCENE(told, a_rollback_after_the_answer_is_logged)
{
	stage_serve(&(struct rig_cached){ .lines = "Bake=20s\nRollback=parked\n" }, NULL);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	must_log("cached: roll v1 -> v2: rolled-back-parked", "was killed by SIGKILL", "serves: version v1 (pid ", by_us());
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	cr_assert(file && fputs(text, file) >= 0);
	cr_assert_eq(fclose(file), 0);
	cr_assert_eq(chmod(path, 0755), 0);
}

static bool file_holds(const char *path, const char *text)
{
	char line[4096] = "";
	FILE *file = fopen(path, "r");
	size_t n = file ? fread(line, 1, sizeof(line) - 1, file) : 0;

	if (file)
		fclose(file);
	line[n] = 0;
	return strstr(line, text);
}

/* Nobody waits for the roll any more when it goes back; and what is run may take its time. */
SCENE(told, a_rollback_runs_a_command)
{
	char lines[512];

	write_file(stage_path("hook"), "#!/bin/sh\necho \"$SERVICE $OUTCOME $FROM $TO $LOST_US $CAUSE\" >\"$1\"\necho told them\n"
				       "echo and more >&2\nexit 3\n");
	snprintf(lines, sizeof(lines), "Bake=20s\nRollback=parked\nOnRollback=%s %s\n", stage_path("hook"), stage_path("told-%%v"));
	stage_serve(&(struct rig_cached){ .lines = lines }, NULL);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	must_log("OnRollback=: pid ", "exited with status 3");
	must_log("cached[OnRollback ", "told them");
	cr_assert(file_holds(stage_path("told-v2"), "cached rolled-back-parked v1 v2 "));
	cr_assert(file_holds(stage_path("told-v2"), "was killed by SIGKILL"));
	ctl(5, "roll", "cached", "v99"); /* nothing went back */
	ctl(0, "roll", "cached", "v3", "--bake=100ms");
	ctl(0, "stop", "cached");
}

SCENE(told, a_hang_is_told_at_the_first_missed_beat_with_its_threads)
{
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = "Bake=1min\nRollback=parked\nHealthInterval=200ms\nHealthTimeout=30s\n" }, NULL);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	pid = stage_pid("serving");
	cr_assert_eq(kill(pid, SIGSTOP), 0);
	must_log("has not answered for ", "not every thread passes its update point");
	must_log("thread cached-v2 (tid ", "is stopped");
	cr_assert_eq(kill(pid, SIGCONT), 0);
	must_log("answers again", "version v2");
	ctl(0, "accept", "cached");
}
