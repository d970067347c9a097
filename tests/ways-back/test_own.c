/* SPDX-License-Identifier: MIT */
/* Journal=yes with a server whose buffers are its own (tests/integration/apps/upg-clerk.c): a version may die at any moment of its
 * bake, and no byte of an answer is lost, comes twice or is wrong. */
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

STAGE(own, 240);

#define BACK_US (60 * USEC_PER_SEC)
#define TCP_CUSTOMERS 80u
#define UNIX_CUSTOMERS 20u
#define WITHIN_MS 400u

static struct customers *customers;

static void serve(const char *lines, unsigned n_tcp, unsigned n_unix)
{
	unsigned seed = seed_begin("own");
	char *file = NULL;

	stage_copy("clerk-v1", "upg-clerk");
	stage_copy("clerk-v2", "upg-clerk");
	stage_copy("clerk-v3", "upg-clerk");
	stage.port = rig_port(stage.rig);
	cr_assert_gt(asprintf(&file, "[Service]\nExec=%s/clerk-%%v %u %s\nVersion=v1\nJournal=yes\nBake=1min\n%s",
			      rig_folder(stage.rig), stage.port, stage_path("clerk.sock"), lines), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", file), 0);
	free(file);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
	customers = customers_start(stage.port, stage_path("clerk.sock"), n_tcp, n_unix, seed);
	customers_reopen(customers, true);
}

/* The last roll has failed, and @from came back from it with all there was. */
static void came_back(const char *from, const char *outcome)
{
	json_t *status;
	const json_t *roll;
	char *text;

	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", from, BACK_US), 0);
	customers_wait(customers, 200);
	status = rig_status(stage.rig, "cached");
	roll = json_object_get(status, "last_roll");
	text = json_dumps(roll, 0);
	cr_assert_str_eq(rig_text(roll, "from"), from);
	cr_assert_eq(strncmp(rig_text(roll, "outcome"), outcome, strlen(outcome)), 0, "%s", text);
	cr_assert(json_is_true(json_object_get(roll, "journal")), "%s", text);
	cr_assert_eq(rig_number(roll, "reset"), 0, "%s", text);
	cr_assert_eq(rig_number(roll, "lost_us"), 0, "%s", text);
	cr_assert_gt(rig_number(roll, "replayed"), 0, "%s", text);
	fprintf(stderr, "own: %s -> %s: %s, %lld changes, %lld connections adopted\n", from, rig_text(roll, "to"),
		rig_text(roll, "outcome"), (long long)rig_number(roll, "replayed"), (long long)rig_number(roll, "adopted"));
	free(text);
	json_decref(status);
}

/* A client on a connection of its own; the answer's first line, without its end. */
static const char *ask(const char *line)
{
	static char text[64];
	int fd = client_open();
	ssize_t n;

	cr_assert_eq(send(fd, line, strlen(line), MSG_NOSIGNAL), (ssize_t)strlen(line));
	n = recv(fd, text, sizeof(text) - 1, 0);
	close(fd);
	cr_assert_gt(n, 0, "%s", strerror(errno));
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return text;
}

/* A crash between accept() and the moment in which the library hears of a connection loses it. So nobody calls when it comes. */
static pid_t roll_to(const char *to)
{
	pid_t pid;

	ctl(0, "roll", "cached", to, "--wait=commit");
	pid = stage_pid("serving");
	cr_assert_gt(pid, 0);
	customers_wait(customers, 100 + seed_below(2000));
	customers_reopen(customers, false);
	return pid;
}

/* @to is killed at any moment. Of unix sockets the kernel does not count what is read and written, so those rest, in the middle of
 * what they do; the others go on. */
static void is_killed(const char *from, const char *to, const char *outcome)
{
	pid_t pid = roll_to(to);

	customers_rest_unix(customers);
	/* The server is one thread: when it has answered this, it has done with all that came before. */
	cr_assert_eq(strncmp(ask("4000 0\n"), "4000 ", 5), 0);
	stage_sleep_ms(seed_below(WITHIN_MS));
	cr_assert_eq(kill(pid, SIGKILL), 0);
	customers_go_on_unix(customers);
	came_back(from, outcome);
	customers_reopen(customers, true);
}

SCENE(own, buffers_lose_nothing_when_the_new_version_is_killed)
{
	serve("Rollback=parked\n", TCP_CUSTOMERS, UNIX_CUSTOMERS);
	for (unsigned i = 0; i < 6; i++)
		is_killed("v1", i % 2 ? "v3" : "v2", "rolled-back-parked");
	ctl(0, "roll", "cached", "v3", "--wait=commit");
	ctl(0, "accept", "cached");
	is_killed("v3", "v2", "rolled-back-parked");
	fprintf(stderr, "own: %llu answers\n", (unsigned long long)customers_stop(customers));
}

SCENE(own, buffers_lose_nothing_when_an_image_is_gone_back_to)
{
	serve("Rollback=image\n", TCP_CUSTOMERS, UNIX_CUSTOMERS);
	is_killed("v1", "v2", "rolled-back-");
	is_killed("v1", "v3", "rolled-back-");
	customers_stop(customers);
}

/* The crash is in a request: nothing is being read or written at that moment, so that unix sockets are exact as well. The request
 * is carried out once, by who can. */
SCENE(own, buffers_lose_nothing_when_the_new_version_aborts_in_a_request)
{
	serve("Rollback=parked\n", TCP_CUSTOMERS / 2, TCP_CUSTOMERS / 2);
	for (unsigned i = 1; i <= 4; i++) {
		char line[32];

		roll_to("v2");
		cr_assert_str_eq(ask("die\n"), "alive");
		came_back("v1", "rolled-back-parked");
		snprintf(line, sizeof(line), "0 %u 0", 2 * i);
		cr_assert_str_eq(ask("0 0\n"), line);
		customers_reopen(customers, true);
	}
	customers_stop(customers);
}

/* A bake that goes well takes the library's copies away, and a roll that is undone takes everything along. */
SCENE(own, buffers_are_rolled_forward_and_back_while_all_live)
{
	serve("Rollback=parked\n", TCP_CUSTOMERS, UNIX_CUSTOMERS);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	customers_wait(customers, 500);
	ctl(0, "undo", "cached", "--wait=commit");
	ctl(0, "accept", "cached");
	customers_wait(customers, 500);
	ctl(0, "roll", "cached", "v3", "--wait=commit");
	customers_wait(customers, 500);
	ctl(0, "accept", "cached");
	customers_wait(customers, 500);
	customers_stop(customers);
}

/* One that asks for much and takes nothing finds no room in a small journal. That is told, and costs that connection only. */
SCENE(own, buffers_of_one_that_takes_nothing_cost_that_connection_only)
{
	static const char request[] = "4001 400000\n";
	int64_t uncovered = 0;
	json_t *status;
	pid_t pid;
	int fd;

	serve("Rollback=parked\nJournalSize=4M\n", 10, 0);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	pid = stage_pid("serving");
	fd = client_open();
	for (unsigned i = 0; i < 40; i++)
		cr_assert_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
	for (unsigned i = 0; uncovered != 1 && i < 1000; i++) {
		status = rig_status(stage.rig, "cached");
		uncovered = rig_number(status, "last_roll.uncovered");
		json_decref(status);
		stage_sleep_ms(10);
	}
	cr_assert_eq(uncovered, 1);
	customers_reopen(customers, false);
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", BACK_US), 0);
	status = rig_status(stage.rig, "cached");
	cr_assert_eq(rig_number(status, "last_roll.reset"), 1, "%s", json_dumps(status, 0));
	json_decref(status);
	customers_wait(customers, 200);
	customers_stop(customers);
	close(fd);
}
