/* SPDX-License-Identifier: MIT */
/* Processes that are children of ours: what is heard of their end. These are real scripts of /bin/sh. */
#include "tests/supervisor/asked.h"

#include "supervisor/unit/unit.h"

#include <sys/wait.h>

static struct place place;
static struct unit *unit;
static bool ended;

static void set_up(void)
{
	place_open(&place);
	ended = false;
}

static void tear_down(void)
{
	unit = unit_free(unit);
	place_close(&place);
}

TestSuite(spawned, .timeout = 20, .init = set_up, .fini = tear_down);

static void on_exit_of(struct instance *instance)
{
	(void)instance;
	ended = true;
}

static const struct instance_events events = { .on_exit = on_exit_of };

/* A process that runs @script and has ended. Return: to be freed. */
static struct instance *run(const char *script)
{
	struct instance *instance;
	struct why why = { 0 };
	char path[128], text[1024];

	snprintf(text, sizeof(text), "#!/bin/sh\n%s", script);
	place_write(&place, "web-v1", text);
	snprintf(path, sizeof(path), "%s/web-v1", place.config_dir);
	cr_assert_eq(chmod(path, 0700), 0);
	snprintf(text, sizeof(text), "[Service]\nExec=%s/web-%%v\n", place.config_dir);
	cr_assert_eq(unit_parse("web", "web.conf", text, &unit, &why), 0, "%s", why.text);
	cr_assert_eq(origin_start(&place.spawner.origin, unit, "v1", &events, NULL, &instance, &why), 0, "%s", why.text);
	while (!ended)
		cr_assert_geq(loop_turn(place.spawner.loop, 1000), 0);
	return instance;
}

static const char *last_line(const struct instance *instance)
{
	char *lines[LINES_MAX];
	size_t n = lines_list(&instance->lines, lines);

	return n ? lines[n - 1] : "";
}

Test(spawned, is_heard_to_its_last_line_even_if_that_has_no_end)
{
	struct instance *instance = run("echo first\nprintf 'last words'\nexit 3\n");

	cr_assert(WIFEXITED(instance->status) && WEXITSTATUS(instance->status) == 3);
	cr_assert_eq(instance->lines.n, 2);
	cr_assert_str_eq(last_line(instance), "last words");
	instance_free(instance);
}

/* Who holds the other end of the pipe may outlive it. */
Test(spawned, ends_even_if_a_child_of_it_prints_without_end)
{
	struct instance *instance = run("line=$(printf '%0250d' 0)\nyes \"$line\" &\nyes \"$line\" | head -c 200000\nexit 3\n");

	cr_assert(WIFEXITED(instance->status) && WEXITSTATUS(instance->status) == 3);
	instance_free(instance); /* closes the pipe, which ends the child */
}
