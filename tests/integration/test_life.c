/* SPDX-License-Identifier: MIT */
/* Services outside of rolls: started, stopped, listed, dead. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

STAGE(life, 60);

#define SHOWN_US (10 * USEC_PER_SEC)

SCENE(life, a_service_starts_is_listed_and_stops)
{
	const json_t *answer;
	int client;

	stage_unit(&(struct rig_cached){ .version = "v2" });
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	answer = ctl(0, "list");
	cr_assert_str_eq(rig_text(answer, "services.0.name"), "cached");
	cr_assert_str_eq(rig_text(answer, "services.0.state"), "stopped");
	must_say(ctl(0, "start", "cached"), "version v2 serves");
	client = client_open();
	client_store(client, "a", "b");
	close(client);
	answer = ctl(0, "status", "cached");
	cr_assert_str_eq(rig_text(answer, "services.0.state"), "running");
	cr_assert_str_eq(rig_text(answer, "services.0.version"), "v2");
	cr_assert_str_eq(rig_text(answer, "services.0.instances.0.state"), "serving");
	ctl(0, "stop", "cached");
	ctl(3, "status", "cached");
	stage_wait_processes(1);
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	cr_assert_eq(lstat(path, &st), 0, "%s", path);
	return st.st_mode & 0777;
}

SCENE(life, what_the_daemon_makes_is_for_its_user_alone)
{
	stage_unit(&(struct rig_cached){ 0 });
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_eq(mode_of(stage_path("control")), 0600);
	cr_assert_eq(mode_of(stage_path("lock")), 0600);
	cr_assert_eq(mode_of(stage_path("state/images")), 0700);
}

SCENE(life, a_version_can_be_named_at_the_start)
{
	stage_unit(&(struct rig_cached){ .version = "v2" });
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	must_say(ctl(0, "start", "cached", "v3"), "version v3 serves");
	must_say(ctl(0, "start", "cached"), "runs already");
}

SCENE(life, one_that_dies_is_started_again_empty)
{
	json_t *entry;
	pid_t pid;
	int client;

	stage_serve(&(struct rig_cached){ .lines = "RestartDelay=50ms\n" }, NULL);
	client = client_open();
	client_store(client, "key", "value");
	close(client);
	pid = stage_pid("serving");
	cr_assert_eq(kill(pid, SIGKILL), 0);
	while (stage_pid("serving") == pid || stage_pid("serving") == 0)
		stage_sleep_ms(10);
	entry = rig_status(stage.rig, "cached");
	cr_assert_eq(rig_number(entry, "restarts"), 1);
	cr_assert_str_eq(rig_text(entry, "state"), "running");
	json_decref(entry);
	client = client_open();
	cr_assert_not(client_holds(client, "key", "value"));
	close(client);
	stage_wait_processes(2);
}

SCENE(life, one_that_was_rolled_is_started_again_in_its_new_version)
{
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = "RestartDelay=50ms\nBake=50ms\n" }, NULL);
	ctl(0, "roll", "cached", "v2");
	pid = stage_pid("serving");
	cr_assert_eq(kill(pid, SIGSEGV), 0);
	while (stage_pid("serving") == pid || stage_pid("serving") == 0)
		stage_sleep_ms(10);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", SHOWN_US), 0);
	stage_load(50);
	ctl(0, "roll", "cached", "v3");
	stage_load_spotless();
}

SCENE(life, one_that_dies_stays_dead_if_that_is_wanted)
{
	const json_t *answer;
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = "Restart=no\n" }, NULL);
	pid = stage_pid("serving");
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "failed", NULL, SHOWN_US), 0);
	answer = ctl(3, "status", "cached");
	cr_assert(strstr(rig_text(answer, "services.0.description"), "SIGKILL"), "%s", rig_text(answer, "services.0.description"));
	must_say(ctl(3, "roll", "cached", "v2"), "not running");
	ctl(0, "start", "cached");
}

SCENE(life, stopping_what_does_not_run_says_so)
{
	stage_unit(&(struct rig_cached){ 0 });
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	must_say(ctl(0, "stop", "cached"), "is stopped already");
	must_say(ctl(3, "roll", "cached", "v2"), "is not running");
	ctl(3, "undo", "cached");
	ctl(3, "status", "cached");
}

SCENE(life, a_service_that_there_is_not_is_no_service)
{
	stage_unit(&(struct rig_cached){ 0 });
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	must_say(ctl(4, "start", "nothing"), "there is no service nothing");
	ctl(4, "roll", "nothing", "v2");
	ctl(4, "stop", "nothing");
	ctl(4, "undo", "nothing");
	ctl(4, "status", "nothing");
}

SCENE(life, without_a_daemon_the_tool_says_where_it_looked)
{
	struct rig_answer answer = { 0 };

	cr_assert_eq(rig_ctl_text(stage.rig, &answer, NULL, NULL, "list", NULL), 0);
	cr_assert_eq(answer.status, 1);
	cr_assert(strstr(answer.err, rig_control_path(stage.rig)), "%s", answer.err);
	cr_assert(strstr(answer.err, "upgraded"), "%s", answer.err);
	rig_answer_done(&answer);
}

SCENE(life, the_end_of_the_daemon_ends_everything)
{
	stage_serve(&(struct rig_cached){ .lines = "Bake=50ms\n" }, NULL);
	ctl(0, "roll", "cached", "v2");
	cr_assert_eq(rig_daemon_stop(stage.rig), 0);
	cr_assert_eq(rig_processes(), 0);
	/* The image of the version before stays, and nothing half done. */
	cr_assert_eq(stage_images(""), 1);
	cr_assert_eq(stage_images(".tmp"), 0);
	cr_assert_neq(access(rig_control_path(stage.rig), F_OK), 0);
}

SCENE(life, the_end_of_the_daemon_ends_a_roll_that_bakes)
{
	stage_serve(&(struct rig_cached){ .lines = "Bake=1min\n" }, NULL);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	cr_assert_eq(rig_daemon_stop(stage.rig), 0);
	cr_assert_eq(rig_processes(), 0);
	/* The image of the version before stays, and nothing half done. */
	cr_assert_eq(stage_images(""), 1);
	cr_assert_eq(stage_images(".tmp"), 0);
}

SCENE(life, the_end_of_the_daemon_ends_a_roll_under_way)
{
	struct rig_child *roll;

	stage_serve(&(struct rig_cached){ .lines = "StartTimeout=20s\n" }, NULL);
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v3-never-ready", NULL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "rolling", NULL, SHOWN_US), 0);
	cr_assert_eq(rig_daemon_stop(stage.rig), 0);
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, NULL), 0);
	cr_assert_eq(rig_processes(), 0);
	cr_assert_eq(stage_images(""), 0);
}

#define REFUSED "belongs to uid 65534, who could change it: chown 0 "

static void note_refusal(void *data, const char *line)
{
	bool *refused = data;

	*refused |= strstr(line, REFUSED) != NULL;
}

/* The folder of the rig holds too much to be removed: a daemon of our own has one below it. */
static struct rig_child *daemon_in(const char *run, bool *refused)
{
	char program[PATH_MAX], config[PATH_MAX], state[PATH_MAX], owner[16];
	const char *argv[] = { program, "--config-dir", config, "--run-dir", run, "--state-dir", state,
			       "--criu", RIG_NO_CRIU, "--trust-user", owner, NULL };
	struct rig_run how = { .argv = argv, .on_line = note_refusal, .data = refused };
	struct rig_child *child;
	struct stat st;

	snprintf(program, sizeof(program), "%s", rig_program(stage.rig, "upgraded"));
	snprintf(config, sizeof(config), "%s", stage_path("conf"));
	snprintf(state, sizeof(state), "%s", stage_path("other-state"));
	cr_assert_eq(stat(rig_folder(stage.rig), &st), 0);
	snprintf(owner, sizeof(owner), "%u", (unsigned)st.st_uid);
	cr_assert_eq(rig_run_begin(stage.rig, &how, &child), 0);
	return child;
}

/* Return: the status of upgradectl list. */
static int ask_in(const char *run)
{
	char program[PATH_MAX], socket[PATH_MAX];
	const char *argv[] = { program, "--socket", socket, "list", NULL };
	struct rig_answer answer = { 0 };
	struct rig_child *child;
	int status;

	snprintf(program, sizeof(program), "%s", rig_program(stage.rig, "upgradectl"));
	snprintf(socket, sizeof(socket), "%s/control", run);
	cr_assert_eq(rig_run_begin(stage.rig, &(struct rig_run){ .argv = argv }, &child), 0);
	cr_assert_eq(rig_run_wait(child, SHOWN_US, &answer), 0);
	status = answer.status;
	rig_answer_done(&answer);
	return status;
}

static void do_in(const char *run, const char *what)
{
	const char *argv[] = { "sh", "-euc", what, "sh", run, NULL };
	struct rig_answer answer = { 0 };
	struct rig_child *child;

	cr_assert_eq(rig_run_begin(stage.rig, &(struct rig_run){ .argv = argv }, &child), 0);
	cr_assert_eq(rig_run_wait(child, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 0, "%s: %s", what, answer.err);
	rig_answer_done(&answer);
}

static void wait_until_it_answers_in(const char *run)
{
	while (ask_in(run) != 0)
		stage_sleep_ms(20);
}

SCENE(life, what_somebody_removes_of_the_run_folder_comes_back)
{
	struct rig_answer answer = { 0 };
	struct rig_child *daemon;
	char run[PATH_MAX], theirs[PATH_MAX];
	bool refused = false;

	stage_unit(&(struct rig_cached){ 0 });
	snprintf(run, sizeof(run), "%s", stage_path("other-run"));
	snprintf(theirs, sizeof(theirs), "%s", stage_path("their-run"));
	daemon = daemon_in(run, &refused);
	wait_until_it_answers_in(run);
	do_in(run, "rm \"$1/control\"");
	wait_until_it_answers_in(run);
	do_in(run, "rm -rf \"$1\"");
	wait_until_it_answers_in(run);
	/* Another user's folder in its place is not taken; it is when it is ours. */
	cr_assert(mkdir(theirs, 0755) == 0 && chown(theirs, 65534, 65534) == 0);
	cr_assert_eq(renameat2(AT_FDCWD, run, AT_FDCWD, theirs, RENAME_EXCHANGE), 0);
	while (!refused) {
		cr_assert_neq(ask_in(run), 0);
		stage_sleep_ms(20);
	}
	cr_assert_neq(ask_in(run), 0);
	cr_assert_eq(chown(run, 0, 0), 0);
	cr_assert_eq(kill(rig_run_pid(daemon), SIGHUP), 0);
	wait_until_it_answers_in(run);
	cr_assert_eq(rig_run_kill(daemon, SIGTERM), 0);
	cr_assert_eq(rig_run_wait(daemon, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 0, "%s", answer.err);
	rig_answer_done(&answer);
}

SCENE(life, what_a_service_leaves_behind_ends_with_it)
{
	char *text = NULL;

	stage_link("app-litters", "upg-actor");
	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s/app-%%v\nVersion=litters\n", rig_folder(stage.rig)), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
	/* The daemon, the service, and its orphan that lives; the dead one is reaped. */
	stage_wait_processes(3);
	ctl(0, "stop", "cached");
	stage_wait_processes(1);
}

SCENE(life, a_jail_that_is_killed_takes_everything_with_it)
{
	char jail[PATH_MAX];
	const char *argv[] = { jail, "--", "sh", "-c", "setsid sleep 1000 & setsid sh -c 'sleep 1000 & sleep 1000' & wait", NULL };
	struct rig_run run = { .argv = argv };
	struct rig_child *child;
	ssize_t n = readlink("/proc/self/exe", jail, sizeof(jail) - 1);

	cr_assert_gt(n, 0);
	jail[n] = '\0';
	strcpy(strrchr(jail, '/') + 1, "jail");
	cr_assert_eq(rig_run_begin(stage.rig, &run, &child), 0);
	/* The jail, its init, a shell, a sleeper in a session of its own, and two in another. */
	while (rig_processes() < 6)
		stage_sleep_ms(5);
	cr_assert_eq(rig_run_kill(child, SIGKILL), 0);
	cr_assert_eq(rig_run_wait(child, SHOWN_US, NULL), 0);
	stage_wait_processes(0);
}
