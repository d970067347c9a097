/* SPDX-License-Identifier: MIT */
#include "tests/bench/served.h"

#include <stdlib.h>
#include <string.h>

void bench_must(int rc)
{
	if (rc < 0)
		exit(EXIT_FAILURE);
}

void bench_ctl(struct rig *rig, const char *verb, const char *version, const char *option)
{
	struct rig_answer answer = { 0 };

	bench_must(rig_ctl(rig, &answer, verb, "cached", version, option, NULL));
	if (answer.status != 0)
		bench_must(rig_fail(rig, -EXIT_FAILURE, "upgradectl %s: status %d\n%s%s", verb, answer.status, answer.out,
				    answer.err));
	rig_answer_done(&answer);
}

pid_t bench_pid_of(struct rig *rig, const char *state)
{
	json_t *status = rig_status(rig, "cached"), *instance;
	pid_t pid = 0;
	size_t i;

	json_array_foreach(json_object_get(status, "instances"), i, instance)
		if (strcmp(rig_text(instance, "state"), state) == 0)
			pid = (pid_t)rig_number(instance, "pid");
	json_decref(status);
	return pid;
}
