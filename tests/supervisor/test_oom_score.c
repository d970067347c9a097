/* SPDX-License-Identifier: MIT */
/* Which process of a service goes first when memory is short. These are real scripts of /bin/sh. */
#include "tests/supervisor/asked.h"

#include "supervisor/process/victim.h"
#include "supervisor/unit/unit.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

static struct place place;
static struct unit *unit;

static void set_up(void)
{
	place_open(&place);
}

static void tear_down(void)
{
	unit = unit_free(unit);
	place_close(&place);
}

TestSuite(oom_score, .timeout = 20, .init = set_up, .fini = tear_down);

static void on_exit_of(struct instance *instance)
{
	(void)instance;
}

static const struct instance_events events = { .on_exit = on_exit_of };

/* A service file whose program is @script, with @more. */
static void prepare(const char *script, const char *more)
{
	struct why why = { 0 };
	char path[128], text[1024];

	snprintf(text, sizeof(text), "#!/bin/sh\n%s", script);
	place_write(&place, "web-v1", text);
	snprintf(path, sizeof(path), "%s/web-v1", place.config_dir);
	cr_assert_eq(chmod(path, 0700), 0);
	snprintf(text, sizeof(text), "[Service]\nExec=%s/web-%%v\n%s", place.config_dir, more);
	cr_assert_eq(unit_parse("web", "web.conf", text, &unit, &why), 0, "%s", why.text);
}

/* A process that runs until it is killed; it starts a child, and prints its own value. Return: to be freed. */
static struct instance *keep(const char *more, bool aside)
{
	int (*begin)(struct origin *, struct unit *, const char *, const struct instance_events *, void *, struct instance **,
		     struct why *) = aside ? origin_start_aside : origin_start;
	struct instance *instance;
	struct why why = { 0 };

	prepare("sleep 1000 &\ncat /proc/self/oom_score_adj\nwait\n", more);
	cr_assert_eq(begin(&place.spawner.origin, unit, "v1", &events, NULL, &instance, &why), 0, "%s", why.text);
	while (!instance->lines.n)
		cr_assert_geq(loop_turn(place.spawner.loop, 1000), 0);
	return instance;
}

static int value_of(pid_t pid)
{
	int value = 0;

	cr_assert_eq(victim_value(pid, &value), 0);
	return value;
}

/* The first child, which the shell starts before it prints. */
static pid_t child_of(const struct instance *instance)
{
	char path[64];
	int child = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", instance->pid, instance->pid);
	file = fopen(path, "re");
	cr_assert(file && fscanf(file, "%d", &child) == 1);
	fclose(file);
	return child;
}

static const char *last_line(const struct instance *instance)
{
	char *lines[LINES_MAX];
	size_t n = lines_list(&instance->lines, lines);

	return n ? lines[n - 1] : "";
}

Test(oom_score, has_the_value_that_its_file_says_while_it_serves)
{
	struct instance *instance = keep("OOMScoreAdjust=150\n", false);

	cr_assert_str_eq(last_line(instance), "150");
	cr_assert_eq(value_of(instance->pid), 150);
	instance_free(instance);
}

Test(oom_score, has_the_value_of_the_supervisor_where_its_file_says_nothing)
{
	struct instance *instance = keep("", false);

	cr_assert_eq(value_of(instance->pid), victim_own_value());
	instance_set_victim(instance, false);
	cr_assert_eq(value_of(instance->pid), victim_own_value());
	instance_free(instance);
}

Test(oom_score, aside_goes_first_with_all_its_children_until_it_is_spared)
{
	struct instance *instance = keep("OOMScoreAdjust=20\n", true);
	pid_t child = child_of(instance);

	cr_assert_str_eq(last_line(instance), "1000", "from before its first instruction on");
	cr_assert_eq(value_of(child), 1000);
	instance_set_victim(instance, false);
	cr_assert_eq(value_of(instance->pid), 20);
	cr_assert_eq(value_of(child), 20);
	cr_assert_not(instance->victim.is_first);
	kill(child, SIGKILL);
	instance_free(instance);
}

Test(oom_score, goes_first_when_it_is_parked_and_not_any_more_when_it_serves_again)
{
	struct instance *instance = keep("OOMScoreAdjust=20\nChildren=end\n", false);
	pid_t child = child_of(instance);

	for (int round = 0; round < 2; round++) {
		instance_set_victim(instance, true);
		cr_assert_eq(value_of(instance->pid), 1000);
		cr_assert_eq(value_of(child), 1000);
		instance_set_victim(instance, false);
		cr_assert_eq(value_of(instance->pid), 20);
		cr_assert_eq(value_of(child), 20);
	}
	kill(child, SIGKILL);
	instance_free(instance);
}

Test(oom_score, has_no_children_as_victims_that_go_on_without_it)
{
	static const char *const lines[] = { "OOMScoreAdjust=20\n", "OOMScoreAdjust=20\nChildren=keep\n" };

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct instance *instance = keep(lines[i], false);
		pid_t child = child_of(instance);

		instance_set_victim(instance, true);
		cr_assert_eq(value_of(instance->pid), 1000);
		cr_assert_eq(value_of(child), 20);
		kill(child, SIGKILL);
		instance_free(instance);
		unit = unit_free(unit);
	}
}

/* What a service sets by itself is its own decision, and is what it goes back to. */
Test(oom_score, keeps_a_value_that_it_has_set_by_itself)
{
	struct instance *instance = keep("OOMScoreAdjust=20\n", false);
	pid_t child = child_of(instance);
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", child);
	file = fopen(path, "we");
	cr_assert(file && fputs("333", file) >= 0 && fclose(file) == 0);
	instance_set_victim(instance, true);
	cr_assert_eq(value_of(child), 333);
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", instance->pid);
	file = fopen(path, "we");
	cr_assert(file && fputs("444", file) >= 0 && fclose(file) == 0);
	instance_set_victim(instance, false);
	cr_assert_eq(value_of(instance->pid), 444);
	cr_assert_eq(value_of(child), 333);
	kill(child, SIGKILL);
	instance_free(instance);
}

/* CRIU does not bring the value back: what is restored has that of the supervisor. */
Test(oom_score, that_was_restored_gets_its_own_value_again)
{
	struct instance *instance = keep("OOMScoreAdjust=20\n", false);
	struct victim victim = { .normal = 77, .is_first = true };
	struct why why = { 0 };

	cr_assert_eq(victim_restored(&victim, instance->pid, &why), 0, "%s", why.text);
	cr_assert_eq(value_of(instance->pid), 77);
	cr_assert_not(victim.is_first);
	instance_free(instance);
}

Test(oom_score, is_not_started_with_a_value_that_cannot_be_had)
{
	struct instance *instance;
	struct why why = { 0 };
	FILE *file = fopen("/proc/self/oom_score_adj", "we");
	bool may_lower = file && fputs("-1000", file) >= 0 && fclose(file) == 0;

	if (may_lower) /* with CAP_SYS_RESOURCE there is nothing that cannot be had */
		return;
	prepare("exit 0\n", "OOMScoreAdjust=-1000\n");
	cr_assert_lt(origin_start(&place.spawner.origin, unit, "v1", &events, NULL, &instance, &why), 0);
	cr_assert_not_null(strstr(why.text, "set oom_score_adj to -1000 (a value below that of this process needs "
					    "CAP_SYS_RESOURCE)"), "%s", why.text);
	cr_assert_lt(origin_try(&place.spawner.origin, unit, "v1", &why), 0, "a look ahead finds it, too");
}

Test(oom_score, that_is_not_there_is_told)
{
	struct victim victim = { .normal = 0 };
	struct why why = { 0 };

	cr_assert_lt(victim_mark(&victim, 0x7ffffff0, true, &why), 0);
	cr_assert_str_eq(why.text, "oom_score_adj of pid 2147483632 cannot be set to 1000: No such file or directory");
	cr_assert_not(victim.is_first);
}
