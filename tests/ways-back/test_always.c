/* SPDX-License-Identifier: MIT */
/* With Journal=always a process may be killed at any moment, outside of any roll: another one takes its place, no
 * acknowledged write is lost, no connection is reset, and no request is left without an answer or gets two. */
#include "tests/integration/customers.h"
#include "tests/integration/stage.h"
#include "tests/ways-back/seed.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

STAGE(always, 240);

#define BACK_US (30 * USEC_PER_SEC)
#define CONNECTIONS 300u
#define REOPENED 100u /* connections a second */
#define WITHIN_MS 600u

#define LINES "Journal=always\nRestartDelay=100ms\nBake=200ms\nRollback=parked\n"

/* That a checkpoint is whole is seen by what a crash would cost. */
static void is_safe(void)
{
	uint64_t due_us = clock_now_us() + BACK_US;

	for (;;) {
		json_t *status = rig_status(stage.rig, "cached");
		bool safe = strncmp(rig_text(status, "crash"), "nothing", 7) == 0;

		json_decref(status);
		if (safe)
			return;
		cr_assert_lt(clock_now_us(), due_us, "no checkpoint");
		stage_sleep_ms(10);
	}
}

static void serve_with_values(const char *lines, unsigned reopen, const char *values)
{
	struct rig_load_options options = { .connections = CONNECTIONS, .keys = 4, .rate = 3000, .values = values,
					    .reopen = reopen };

	options.seed = seed_begin("always");
	stage.connections = CONNECTIONS;
	stage_serve(&(struct rig_cached){ .lines = lines }, NULL);
	cr_assert_eq(rig_load_start(stage.rig, stage.port, &options, &stage.load), 0);
	is_safe();
}

static void serve_with(const char *lines, unsigned reopen)
{
	serve_with_values(lines, reopen, "16-600");
}

/* What the processes that took a place said they had taken. Return: how many these were. */
static unsigned taken(void)
{
	char *log = rig_daemon_log(stage.rig);
	unsigned n = 0;

	for (char *at = log; (at = strstr(at, " goes on from the checkpoint: ")); n++) {
		char *line_end = strchr(at, '\n');

		cr_assert_not_null(line_end);
		*line_end = 0;
		fprintf(stderr, "always:%s\n", at);
		cr_assert_not_null(strstr(at, ", 0 reset"), "%s", at);
		cr_assert_null(strstr(at, "is lost"), "%s", at);
		at = line_end + 1;
	}
	free(log);
	return n;
}

/* Another process serves than @before. */
static void another_serves(pid_t before)
{
	uint64_t due_us = clock_now_us() + BACK_US;
	pid_t pid;

	while ((pid = stage_pid("serving")) <= 0 || pid == before) {
		cr_assert_lt(clock_now_us(), due_us, "nobody took its place");
		stage_sleep_ms(5);
	}
}

/* At any moment: in the middle of a checkpoint, too. What is being accepted is known to nobody but the process, and ends
 * with it; see the suite journal. */
static void is_killed(unsigned within_ms)
{
	pid_t pid = stage_pid("serving");

	cr_assert_gt(pid, 0);
	stage_sleep_ms(seed_below(within_ms));
	cr_assert_eq(rig_load_ask(stage.load, NULL, "reopen 0"), 0);
	stage_sleep_ms(seed_below(20));
	cr_assert_eq(kill(pid, SIGKILL), 0);
	another_serves(pid);
	stage_load_missed_nothing();
	cr_assert_eq(rig_load_ask(stage.load, NULL, "reopen %u", REOPENED), 0);
}

SCENE(always, a_process_may_be_killed_at_any_moment)
{
	serve_with(LINES, REOPENED);
	for (unsigned i = 0; i < 12; i++)
		is_killed(WITHIN_MS);
	is_safe();
	cr_assert_eq(taken(), 12);
	stage_load_spotless();
}

/* Each process is asked for a checkpoint as soon as it serves: most crashes come while one is under way. */
SCENE(always, a_process_may_be_killed_while_a_checkpoint_is_written)
{
	serve_with_values(LINES, REOPENED, "2000-8000");
	for (unsigned i = 0; i < 12; i++)
		is_killed(60);
	cr_assert_eq(taken(), 12);
	stage_load_spotless();
}

/* By what is written alone. */
SCENE(always, checkpoints_follow_each_other_as_the_journal_fills)
{
	serve_with_values(LINES "JournalSize=96M\n", REOPENED, "2000-8000");
	stage_wait_log("checkpoint 3 is whole");
	is_killed(WITHIN_MS);
	cr_assert_eq(taken(), 1);
	stage_load_spotless();
}

SCENE(always, rolls_go_on_as_they_did)
{
	serve_with(LINES, REOPENED);
	cr_assert_str_eq(rig_text(ctl(0, "plan", "cached", "v2"), "plan.crash"),
			 "nothing, once the first checkpoint after the bake is there");
	ctl(0, "roll", "cached", "v2");
	is_safe();
	is_killed(WITHIN_MS);
	is_safe();
	ctl(0, "roll", "cached", "v3");
	is_safe();
	is_killed(WITHIN_MS);
	stage_load_spotless();
}

/* A new version starts, and may take its time: until it is asked to take over, a crash costs what it costs without a roll. */
SCENE(always, a_crash_is_made_good_while_a_roll_waits_for_the_new_version)
{
	struct rig_answer answer = { 0 };
	struct rig_child *roll;

	serve_with(LINES, REOPENED);
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v3-never-ready", NULL), 0);
	stage_wait_log("standby: version v3-never-ready started as pid");
	is_killed(WITHIN_MS);
	cr_assert_eq(rig_run_wait(roll, BACK_US, &answer), 0);
	cr_assert_neq(answer.status, 0);
	rig_answer_done(&answer);
	is_safe();
	stage_load_spotless();
}

/* What upgraded holds (Listen=) and what the process had comes to the next one as one socket. */
SCENE(always, listeners_are_there_all_the_time)
{
	char lines[160];

	stage.port = rig_port(stage.rig);
	snprintf(lines, sizeof(lines), LINES "Listen=127.0.0.1:%u\n", stage.port);
	serve_with(lines, REOPENED);
	for (unsigned i = 0; i < 4; i++)
		is_killed(WITHIN_MS);
	ctl(0, "roll", "cached", "v2");
	is_safe();
	is_killed(WITHIN_MS);
	stage_load_spotless();
}

/* Its process writes on for nobody while upgraded is another program, and then for that. */
SCENE(always, begins_anew_with_the_next_upgraded)
{
	serve_with(LINES, REOPENED);
	must_say(ctl(0, "roll", "upgraded"), "has taken over");
	is_safe();
	is_killed(WITHIN_MS);
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	is_safe();
	is_killed(WITHIN_MS);
	stage_load_spotless();
}

SCENE(always, a_save_comes_first)
{
	serve_with(LINES "JournalSize=64M\n", 0);
	for (unsigned i = 0; i < 10; i++)
		ctl(0, "save", "cached", stage_path("state-%u", i));
	is_killed(WITHIN_MS);
	stage_load_spotless();
}

/* ---- a server with buffers of its own: tests/integration/apps/upg-clerk.c ---- */

SCENE(always, a_server_with_buffers_of_its_own_may_be_killed_at_any_moment)
{
	struct customers *customers;
	char *file = NULL;

	stage_copy("clerk-v1", "upg-clerk");
	stage.port = rig_port(stage.rig);
	cr_assert_gt(asprintf(&file, "[Service]\nExec=%s/clerk-%%v %u %s\nVersion=v1\n%s", rig_folder(stage.rig), stage.port,
			      stage_path("clerk.sock"), LINES), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", file), 0);
	free(file);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
	customers = customers_start(stage.port, stage_path("clerk.sock"), 80, 20, seed_begin("always"));
	is_safe();
	for (unsigned i = 0; i < 6; i++) {
		pid_t pid = stage_pid("serving");

		customers_reopen(customers, true);
		customers_wait(customers, 100 + seed_below(2000));
		customers_reopen(customers, false);
		/* The kernel does not count what is read and written by unix sockets. */
		customers_rest_unix(customers);
		stage_sleep_ms(seed_below(300));
		cr_assert_eq(kill(pid, SIGKILL), 0);
		customers_go_on_unix(customers);
		another_serves(pid);
		customers_wait(customers, 200);
	}
	cr_assert_eq(taken(), 6);
	customers_stop(customers);
}

/* ---- where it ends ---- */

static void store(unsigned n, const char *value)
{
	for (unsigned i = 0; i < n; i++) {
		char line[800], answer[16] = "";
		int fd = client_open();
		int size = snprintf(line, sizeof(line), "set k%u 0 0 %zu\r\n%s\r\n", i, strlen(value), value);

		cr_assert_eq(send(fd, line, (size_t)size, MSG_NOSIGNAL), size);
		cr_assert_eq(recv(fd, answer, 8, MSG_WAITALL), 8);
		cr_assert_str_eq(answer, "STORED\r\n");
		close(fd);
	}
}

/* What cannot be gone on from is tried with less, twice. Then it is started empty, as without all that, and
 * that is told. */
SCENE(always, what_cannot_be_gone_on_from_is_given_up)
{
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = LINES, .version = "v3-crash-loading" }, NULL);
	store(300, "x");
	/* This one has none of them yet; the next one has, and a load of them crashes. */
	stage_wait_log("checkpoint 1 is whole");
	pid = stage_pid("serving");
	cr_assert_eq(kill(pid, SIGKILL), 0);
	another_serves(pid);
	stage_wait_log("checkpoint 2 is whole");
	pid = stage_pid("serving");
	cr_assert_eq(kill(pid, SIGKILL), 0);
	another_serves(pid);
	stage_wait_log("could not be gone on from, 3 times: it is lost");
	stage_wait_log("in 100 ms, empty");
}

/* Nor does it stand still for long each time that it is tried. */
SCENE(always, one_that_does_not_come_to_rest_is_told_and_serves_on)
{
	char value[600];
	pid_t pid;

	memset(value, 'v', sizeof(value) - 1);
	value[sizeof(value) - 1] = 0;
	stage_serve(&(struct rig_cached){ .lines = LINES "JournalSize=256K\n", .version = "v1-stuck" }, NULL);
	stage_wait_log("broken on purpose: a thread never comes to its update point");
	/* The first may have been faster than that thread. By now the second is due. */
	store(1000, value);
	stage_wait_log("no checkpoint: did not reach an update point in time: stuck");
	store(1000, value);
	pid = stage_pid("serving");
	cr_assert_eq(kill(pid, SIGKILL), 0);
	another_serves(pid);
}
