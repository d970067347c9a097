/* SPDX-License-Identifier: MIT */
/* A version is its program and the service file that it was started with. Each process here is started with NOTE=... in its
 * environment, so that /proc says which file that was. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SHOWN_US (10 * USEC_PER_SEC)
#define NOTE(name, more) "Environment=NOTE=" name "\nRestartDelay=100ms\n" more

STAGE(configuration, 60);

/* Does the process that serves run with NOTE=@name? */
static bool serves_with(const char *name)
{
	char path[64], wanted[64], text[4096];
	FILE *file;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/environ", stage_pid("serving"));
	snprintf(wanted, sizeof(wanted), "NOTE=%s", name);
	file = fopen(path, "re");
	cr_assert_not_null(file, "%s", path);
	n = fread(text, 1, sizeof(text), file);
	fclose(file);
	return memmem(text, n, wanted, strlen(wanted) + 1);
}

static void change(const char *lines)
{
	stage_unit(&(struct rig_cached){ .lines = lines });
}

static void break_file(void)
{
	cr_assert_eq(rig_unit_write(stage.rig, "cached", "[Service]\nNonsense=yes\n"), 0);
}

SCENE(configuration, of_the_version_before_is_what_undo_outside_of_the_bake_starts_it_with)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .lines = NOTE("old", "Bake=100ms\n") }, RIG_NO_CRIU);
	stage_load(20);
	change(NOTE("new", "Bake=100ms\n"));
	cr_assert(serves_with("old"));
	ctl(0, "roll", "cached", "v2");
	cr_assert(serves_with("new"));
	break_file();
	ctl(0, "undo", "cached");
	cr_assert(serves_with("old"));
	answer = ctl(0, "undo", "cached");
	cr_assert(serves_with("new"), "an undo is undone");
	answer = ctl(5, "roll", "cached", "v3");
	must_say(answer, "Nonsense");
	cr_assert(serves_with("new"));
	stage_load_spotless();
}

SCENE(configuration, of_the_version_before_is_what_undo_within_the_bake_starts_it_with)
{
	stage_serve(&(struct rig_cached){ .lines = NOTE("old", "Bake=30s\n") }, RIG_NO_CRIU);
	stage_load(20);
	change(NOTE("new", "Bake=1min\n"));
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	cr_assert_eq(unlink(stage_path("conf/cached.conf")), 0);
	ctl(0, "undo", "cached", "--wait=commit");
	stage_wait_bake("v1");
	cr_assert(serves_with("old"));
	ctl(0, "undo", "cached", "--wait=commit");
	stage_wait_bake("v2");
	cr_assert(serves_with("new"));
	stage_load_spotless();
}

SCENE(configuration, of_the_roll_is_that_of_the_version_that_it_goes_to)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .lines = NOTE("old", "Bake=1min\n") }, RIG_NO_CRIU);
	change(NOTE("new", "Bake=100ms\n"));
	answer = ctl(0, "roll", "cached", "v2");
	cr_assert_str_eq(rig_text(answer, "roll.outcome"), "done");
	ctl(0, "undo", "cached", "--wait=commit");
	stage_wait_bake("v1"); /* a minute of it, as v1's file said */
}

SCENE(configuration, of_a_crashed_version_is_what_it_is_started_with_again)
{
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = NOTE("own", "") }, RIG_NO_CRIU);
	pid = stage_pid("serving");
	break_file();
	kill(pid, SIGKILL);
	stage_wait_log("serves as pid");
	while (!stage_pid("serving") || stage_pid("serving") == pid)
		stage_sleep_ms(20);
	cr_assert(serves_with("own"));
}

SCENE(configuration, of_the_version_before_is_what_a_cold_start_uses)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .lines = NOTE("old", "Rollback=none\n") }, RIG_NO_CRIU);
	change(NOTE("new", "Rollback=none\nBake=1min\n"));
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	break_file();
	kill(stage_pid("serving"), SIGKILL);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	cr_assert(serves_with("old"));
	answer = ctl(0, "status", "cached");
	cr_assert_str_eq(rig_text(answer, "services.0.last_roll.outcome"), "cold-start");
}

SCENE(configuration, that_was_changed_is_told_by_status_and_plan)
{
	json_t *status;
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .lines = NOTE("old", "") }, RIG_NO_CRIU);
	status = rig_status(stage.rig, "cached");
	cr_assert_eq(json_array_size(json_object_get(status, "changed")), 0);
	json_decref(status);
	change(NOTE("new", "Bake=7s\n"));
	status = rig_status(stage.rig, "cached");
	cr_assert_eq(json_array_size(json_object_get(status, "changed")), 2);
	cr_assert_str_eq(json_string_value(json_array_get(json_object_get(status, "changed"), 0)), "Environment");
	cr_assert_str_eq(json_string_value(json_array_get(json_object_get(status, "changed"), 1)), "Bake");
	json_decref(status);
	answer = ctl(1, "plan", "cached", "v2");
	cr_assert_eq(json_array_size(json_object_get(json_object_get(answer, "plan"), "changed")), 2);
	break_file();
	status = rig_status(stage.rig, "cached");
	cr_assert(strstr(rig_text(status, "file_error"), "Nonsense"));
	json_decref(status);
}

/* The service file names another port: the next version listens there, and lets the other one go. */
SCENE(configuration, of_another_port_is_rolled_to_and_undone)
{
	uint16_t port = stage.port, other = rig_port(stage.rig);
	const json_t *answer;
	char address[64];
	int client;

	stage_serve(&(struct rig_cached){ .lines = "Bake=30s\n" }, RIG_NO_CRIU);
	client = client_open();
	client_store(client, "kept", "value");
	stage_unit(&(struct rig_cached){ .port = other, .lines = "Bake=30s\n" });
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	answer = ctl(0, "status", "cached");
	snprintf(address, sizeof(address), "(127.0.0.1:%u)", port);
	cr_assert(strstr(json_dumps(answer, 0), address), "%s", json_dumps(answer, 0));
	stage_wait_log("version v2 has no use for listener");
	cr_assert(client_holds(client, "kept", "value"), "connections go along");
	stage.port = other;
	close(client);
	client = client_open();
	cr_assert(client_holds(client, "kept", "value"));
	ctl(0, "undo", "cached", "--wait=commit");
	stage_wait_bake("v1");
	cr_assert(client_holds(client, "kept", "value"));
	stage.port = port;
	close(client);
	client = client_open();
	cr_assert(client_holds(client, "kept", "value"), "the version before listens where it did");
	close(client);
}

/* As it was parked with the listener that the failed version had let go. */
SCENE(configuration, of_another_port_is_no_more_when_the_version_that_has_it_crashes)
{
	uint16_t port = stage.port;
	int client;

	stage_serve(&(struct rig_cached){ .lines = "Bake=30s\n" }, RIG_NO_CRIU);
	client = client_open();
	client_store(client, "kept", "value");
	close(client);
	stage_unit(&(struct rig_cached){ .port = rig_port(stage.rig), .lines = "Bake=30s\n" });
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	kill(stage_pid("serving"), SIGSEGV);
	stage_wait_log("rolled-back");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	stage.port = port;
	client = client_open();
	cr_assert(client_holds(client, "kept", "value"));
	close(client);
}

/* ---- the same version again ---- */

SCENE(configuration, that_was_changed_is_taken_by_the_same_version_and_undone)
{
	pid_t first;
	int client;

	stage_serve(&(struct rig_cached){ .lines = NOTE("old", "Bake=100ms\n") }, NULL);
	stage_load(50);
	client = client_open();
	client_store(client, "kept", "value");
	first = stage_pid("serving");
	change(NOTE("new", "Bake=100ms\n"));
	must_say(ctl(0, "roll", "cached", "v1"), "--again");
	cr_assert_eq(stage_pid("serving"), first);
	ctl(0, "roll", "cached", "v1", "--again");
	cr_assert_neq(stage_pid("serving"), first);
	cr_assert(serves_with("new"));
	cr_assert(client_holds(client, "kept", "value"));
	ctl(0, "undo", "cached");
	cr_assert(serves_with("old"));
	ctl(0, "undo", "cached");
	cr_assert(serves_with("new"), "an undo is undone");
	cr_assert(client_holds(client, "kept", "value"));
	close(client);
	stage_load_spotless();
}

/* Both ways back are to the very process that served before, with its environment. */
static void comes_back_after_a_crash(const char *rollback, const char *outcome)
{
	pid_t first;
	int client;

	stage_serve(&(struct rig_cached){ .lines = NOTE("old", "Bake=30s\n") }, NULL);
	client = client_open();
	client_store(client, "kept", "value");
	first = stage_pid("serving");
	change(NOTE("new", "Bake=30s\n"));
	ctl(0, "roll", "cached", "v1", "--again", "--wait=commit", rollback);
	stage_wait_bake("v1");
	cr_assert(serves_with("new"));
	kill(stage_pid("serving"), SIGKILL);
	stage_wait_log(outcome);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	cr_assert_eq(stage_pid("serving"), first);
	cr_assert(serves_with("old"));
	cr_assert(client_holds(client, "kept", "value"), "it was idle, and goes on");
	close(client);
}

SCENE(configuration, of_the_same_version_before_comes_back_from_memory)
{
	comes_back_after_a_crash("--rollback=parked", "rolled-back-parked");
}

SCENE(configuration, of_the_same_version_before_comes_back_from_its_image)
{
	comes_back_after_a_crash("--rollback=image", "rolled-back-image");
}

/* undo could not bring back a program that is there no more. */
SCENE(configuration, is_not_taken_by_the_same_version_of_another_program)
{
	const json_t *answer;
	char unit[512];
	pid_t first;

	stage_copy("cached-v1", "examples/cached-v1");
	snprintf(unit, sizeof(unit), "[Service]\nExec=%s/cached-%%v -p %u -t 2\nVersion=v1\n", rig_folder(stage.rig), stage.port);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", unit), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, RIG_NO_CRIU), 0);
	ctl(0, "start", "cached");
	first = stage_pid("serving");
	stage_copy("cached-v1", "examples/cached-v2");
	answer = ctl(5, "roll", "cached", "v1", "--again");
	must_say(answer, "was replaced or removed while it ran");
	must_say(answer, "give the new build a new name");
	must_say(ctl(5, "plan", "cached", "v1", "--again"), "was replaced or removed while it ran");
	cr_assert_eq(stage_pid("serving"), first);
}
