/* SPDX-License-Identifier: MIT */
/* What happens is told, and not only shown to whoever asked: in the log. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
