/* SPDX-License-Identifier: MIT */
#include "tests/hostile/neighbour.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_US (3 * USEC_PER_SEC)   /* of a machine that does other things, too */
#define PAUSE_US (500 * USEC_PER_MSEC) /* the same; alone it is some milliseconds */
#define CONNECTIONS 100

void neighbour_start(const char *version, const char *lines)
{
	char name[64], *text = NULL;

	snprintf(name, sizeof(name), "evil-%s", version);
	stage_link(name, "upg-hostile");
	stage_serve(&(struct rig_cached){ .lines = "Bake=300ms\n" }, RIG_NO_CRIU);
	stage_load(CONNECTIONS);
	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s/evil-%%v\nUser=nobody\nVersion=%s\nStartTimeout=5s\n%s",
			      rig_folder(stage.rig), version, lines ? lines : ""), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "evil", text), 0);
	free(text);
}

pid_t neighbour_pid(void)
{
	const json_t *answer = ctl(0, "status", "evil");
	pid_t pid = (pid_t)rig_number(answer, "services.0.instances.0.pid");

	cr_assert_gt(pid, 1, "%s", json_dumps(answer, 0));
	return pid;
}

static void answers_at_once(void)
{
	uint64_t began_us = clock_now_us();

	ctl(0, "status", "cached");
	cr_assert_lt(clock_now_us() - began_us, ANSWER_US);
}

void neighbour_must_not_matter(const char *from, const char *to)
{
	const json_t *answer;
	pid_t pid = stage_pid("serving");

	answers_at_once();
	answer = ctl(0, "roll", "cached", to);
	cr_assert_str_eq(rig_text(answer, "roll.outcome"), "done");
	cr_assert_str_eq(rig_text(answer, "roll.from"), from);
	cr_assert_lt((uint64_t)rig_number(answer, "roll.pause_us"), PAUSE_US, "%s", json_dumps(answer, 0));
	cr_assert_neq(stage_pid("serving"), pid);
	answers_at_once();
}

void neighbour_measure(void)
{
	const char *tests = getenv("UPG_TESTS");
	char build[4096];

	if (!tests)
		return;
	snprintf(build, sizeof(build), "%s/..", tests);
	setenv("UPG_DAEMON_BIN", build, 0);
}

unsigned long neighbour_memory_kib(void)
{
	unsigned long kib = 0;
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", rig_daemon_pid(stage.rig));
	file = fopen(path, "re");
	cr_assert_not_null(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "VmRSS: %lu kB", &kib) == 1)
			break;
	fclose(file);
	cr_assert_gt(kib, 0);
	return kib;
}
