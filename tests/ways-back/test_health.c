/* SPDX-License-Identifier: MIT */
/* Health during the bake: whatever is found wrong with a version that has taken over, the one before comes back, with all state
 * if it lives and answers, and the report says in words what it was; and what only looks wrong for a moment, or takes its
 * time, is left alone. */
#include "tests/integration/stage.h"

#include "base/clock.h"
#include "base/fd.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

STAGE(health, 120);

#define SHOWN_US (20 * USEC_PER_SEC)
#define OFTEN "HealthInterval=100ms\nHealthTimeout=2s\n"

/* ---- a server of the test's own, whose health is the test's ---- */

static struct {
	int listener;
	unsigned port;
	atomic_bool well;
	atomic_uint asked, failed;
	bool flaps; /* two bad answers, then a good one, and so on */
} site;

static void answer(int fd)
{
	static const char good[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
	static const char bad[] = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\nthe database is away\n";
	unsigned n = atomic_fetch_add(&site.asked, 1);
	bool well = site.flaps ? n % 3 == 2 : atomic_load(&site.well);
	char request[2048];

	if (!well)
		atomic_fetch_add(&site.failed, 1);
	if (recv(fd, request, sizeof(request), 0) > 0)
		(void)!send(fd, well ? good : bad, well ? sizeof(good) - 1 : sizeof(bad) - 1, MSG_NOSIGNAL);
	close(fd);
}

static void *serve_site(void *unused)
{
	int fd;

	(void)unused;
	while ((fd = accept4(site.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		answer(fd);
	return NULL;
}

static void open_site(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	pthread_t thread;

	atomic_store(&site.well, true);
	site.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(site.listener, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(site.listener, 16), 0);
	cr_assert_eq(getsockname(site.listener, (struct sockaddr *)&address, &size), 0);
	site.port = ntohs(address.sin_port);
	cr_assert_eq(pthread_create(&thread, NULL, serve_site, NULL), 0);
	cr_assert_eq(pthread_detach(thread), 0);
}

/* ---- serving with checks ---- */

static void serve(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Version v2 under load, parked when it is rolled. */
static void serve(const char *fmt, ...)
{
	char lines[2048] = "Bake=1min\nRollback=parked\n" OFTEN;
	size_t n = strlen(lines);
	va_list args;

	va_start(args, fmt);
	vsnprintf(lines + n, sizeof(lines) - n, fmt, args);
	va_end(args);
	stage_serve(&(struct rig_cached){ .version = "v2", .lines = lines }, NULL);
	stage_load(100);
}

static struct rig_child *bake(void)
{
	struct rig_child *roll;

	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v3", NULL), 0);
	stage_wait_bake("v3");
	return roll;
}

/* The same, when it is going to fail at once and not to be asked for its state. */
static struct rig_child *bake_for_a_crash(void)
{
	cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	return bake();
}

/* Until the @i-th check, of which 0 is the heartbeat, is in @state; it is @name. */
static void wait_check(unsigned i, const char *name, const char *state)
{
	uint64_t until_us = clock_now_us() + SHOWN_US;
	char path[64], text[256] = "";

	while (clock_now_us() < until_us) {
		json_t *entry = rig_status(stage.rig, "cached");

		snprintf(path, sizeof(path), "health.%u.check", i);
		cr_assert(strstr(rig_text(entry, path), name), "%s", json_dumps(entry, 0));
		snprintf(path, sizeof(path), "health.%u.state", i);
		snprintf(text, sizeof(text), "%s", rig_text(entry, path));
		json_decref(entry);
		if (strcmp(text, state) == 0)
			return;
	}
	cr_assert_fail("%s is %s, not %s", name, text, state);
}

static void ends(struct rig_child *roll, const char *outcome, const char *cause, struct rig_answer *ret_ended)
{
	cr_assert_eq(rig_run_wait(roll, 2 * SHOWN_US, ret_ended), 0);
	cr_assert_eq(ret_ended->status, 6, "%s%s", ret_ended->out, ret_ended->err);
	cr_assert_str_eq(rig_text(ret_ended->json, "roll.outcome"), outcome);
	cr_assert(strstr(rig_text(ret_ended->json, "cause"), "version v3 (pid "), "%s", rig_text(ret_ended->json, "cause"));
	cr_assert(strstr(rig_text(ret_ended->json, "cause"), cause), "not \"%s\": %s", cause, rig_text(ret_ended->json, "cause"));
}

/* It is dead or hangs: exactly what was written since the commit is taken back. */
static void is_taken_back(struct rig_child *roll, const char *cause)
{
	struct rig_answer ended = { 0 };

	ends(roll, "rolled-back-parked", cause, &ended);
	stage_settle(json_object_get(ended.json, "roll"));
	rig_answer_done(&ended);
	stage_load_spotless();
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", SHOWN_US), 0);
}

/* It is alive and able: nothing is lost. The version before has a bake of its own now. */
static void is_rolled_back(struct rig_child *roll, const char *cause)
{
	struct rig_answer ended = { 0 };

	ends(roll, "rolled-back-live", cause, &ended);
	rig_answer_done(&ended);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "baking", "v2", SHOWN_US), 0);
	stage_load_spotless();
}

/* ---- what is wrong with it ---- */

SCENE(health, a_version_that_exits_is_taken_back)
{
	const json_t *status;

	serve(" ");
	stage_crash("v3-exit-after", "rolled-back-parked");
	status = ctl(0, "status", "cached");
	cr_assert(strstr(rig_text(status, "services.0.last_roll.cause"), "exited with status 3"));
	stage_load_spotless();
}

SCENE(health, a_version_that_a_signal_ends_is_taken_back)
{
	struct rig_child *roll;

	serve(" ");
	roll = bake_for_a_crash();
	cr_assert_eq(kill(stage_pid("serving"), SIGSEGV), 0);
	is_taken_back(roll, "was killed by SIGSEGV");
}

SCENE(health, a_version_that_hangs_is_taken_back_although_its_port_is_listened_on)
{
	struct rig_child *roll;

	stage.port = rig_port(stage.rig);
	serve("HealthTCP=127.0.0.1:%u\n", stage.port);
	roll = bake_for_a_crash();
	wait_check(1, "HealthTCP=", "ok");
	cr_assert_eq(kill(stage_pid("serving"), SIGSTOP), 0);
	is_taken_back(roll, "not every thread passes its update point");
}

SCENE(health, a_version_whose_command_fails_is_taken_back_with_the_command_s_last_line)
{
	struct rig_child *roll;
	char *line;
	int fd;

	cr_assert_gt(asprintf(&line,
			      "HealthCommand=/bin/sh -c 'test ! -e %s || { echo \"$UPGRADE_VERSION has a full disk\"; exit 9; }'\n",
			      stage_path("sick")), 0);
	serve("%s", line);
	free(line);
	roll = bake();
	wait_check(0, "heartbeat", "ok");
	wait_check(1, "HealthCommand=", "ok");
	fd = open(stage_path("sick"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	close(fd);
	is_rolled_back(roll, " failed 3 times in a row: exited with status 9: v3 has a full disk");
}

SCENE(health, a_version_that_answers_503_is_taken_back_with_the_answer)
{
	struct rig_child *roll;
	char cause[256];

	open_site();
	serve("HealthFailures=5\nHealthHTTP=http://127.0.0.1:%u/ready\n", site.port);
	roll = bake();
	wait_check(1, "HealthHTTP=", "ok");
	atomic_store(&site.well, false);
	snprintf(cause, sizeof(cause),
		 "HealthHTTP=http://127.0.0.1:%u/ready failed 5 times in a row: HTTP status 503: the database is away", site.port);
	is_rolled_back(roll, cause);
}

SCENE(health, a_version_whose_port_is_closed_is_taken_back)
{
	struct rig_child *roll;

	open_site();
	serve("HealthTCP=127.0.0.1:%u\n", site.port);
	roll = bake();
	wait_check(1, "HealthTCP=", "ok");
	/* Ends the thread's accept(), and refuses from here on. */
	cr_assert_eq(shutdown(site.listener, SHUT_RDWR), 0);
	is_rolled_back(roll, " failed 3 times in a row: Connection refused");
}

/* ---- what is not ---- */

SCENE(health, a_check_that_flaps_below_the_limit_changes_nothing)
{
	open_site();
	site.flaps = true;
	stage_serve(&(struct rig_cached){ .version = "v2" }, NULL);
	stage_load(100);
	char *lines;
	cr_assert_gt(asprintf(&lines, "Bake=2s\nHealthInterval=50ms\nHealthHTTP=http://127.0.0.1:%u/\n", site.port), 0);
	stage_unit(&(struct rig_cached){ .version = "v2", .lines = lines });
	free(lines);
	ctl(0, "roll", "cached", "v3");
	cr_assert_gt(atomic_load(&site.failed), 6);
	stage_load_spotless();
}

SCENE(health, the_bake_waits_for_a_check_s_first_success)
{
	struct rig_child *roll;
	struct rig_answer ended = { 0 };
	char *lines;
	int fd;

	cr_assert_gt(asprintf(&lines, "Bake=100ms\nHealthInterval=100ms\nHealthFailures=1000\nHealthCommand=/usr/bin/test -e %s\n",
			      stage_path("well")), 0);
	stage_serve(&(struct rig_cached){ .version = "v2", .lines = lines }, NULL);
	free(lines);
	stage_load(100);
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v3", NULL), 0);
	stage_wait_log("the time to bake is over, but HealthCommand=");
	cr_assert_not(rig_run_ended(roll));
	fd = open(stage_path("well"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, &ended), 0);
	cr_assert_eq(ended.status, 0, "%s%s", ended.out, ended.err);
	rig_answer_done(&ended);
	stage_load_spotless();
}

SCENE(health, a_check_that_cannot_be_made_refuses_the_roll_with_its_line)
{
	pid_t pid;

	stage_serve(&(struct rig_cached){ .version = "v2" }, NULL);
	stage_load(100);
	pid = stage_pid("serving");
	stage_unit(&(struct rig_cached){ .version = "v2", .lines = "HealthHTTP=localhost/ready\n" });
	must_say(ctl(5, "roll", "cached", "v3"), "cached.conf:");
	must_say(ctl(5, "roll", "cached", "v3"), "HealthHTTP=localhost/ready: ");
	ctl(1, "check");
	cr_assert_eq(stage_pid("serving"), pid);
	stage_load_spotless();
}

/* ---- slow ones ---- */

static void serve_actor(const char *version, const char *lines)
{
	static const char *const names[] = { "good",	     "starts-slowly", "starts-silently",
					     "loads-slowly", "warms",	      "warms-silently" };
	char name[64], *text;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(name, sizeof(name), "cached-%s", names[i]);
		stage_link(name, "upg-actor");
	}
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s/cached-%%v\nVersion=%s\n%s", rig_folder(stage.rig), version, lines), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
	ctl(0, "start", "cached");
}

#define LITTLE_TIME "Bake=100ms\nStartTimeout=1s\nTransferTimeout=500ms\n"

SCENE(health, a_slow_start_that_gets_on_is_waited_for)
{
	serve_actor("starts-slowly", LITTLE_TIME);
	stage_wait_log("gets on: reading the catalogue");
	ctl(0, "roll", "cached", "good");
	ctl(0, "roll", "cached", "starts-slowly");
}

SCENE(health, a_slow_start_that_says_nothing_is_not)
{
	serve_actor("good", LITTLE_TIME);
	must_say(ctl(5, "roll", "cached", "starts-silently"), "within 1000 ms (StartTimeout=)");
	ctl(0, "stop", "cached");
	must_say(ctl(1, "start", "cached", "starts-silently"), "within 1000 ms (StartTimeout=)");
}

SCENE(health, a_state_file_that_loads_slowly_is_waited_for)
{
	serve_actor("good", LITTLE_TIME);
	ctl(0, "save", "cached", stage_path("saved"));
	ctl(0, "stop", "cached");
	ctl(0, "start", "cached", "loads-slowly", "--from", stage_path("saved"));
	stage_wait_log(" records loaded");
}

SCENE(health, within_a_roll_s_pause_clients_are_not_made_to_wait)
{
	serve_actor("good", LITTLE_TIME);
	must_say(ctl(6, "roll", "cached", "loads-slowly"), "TransferTimeout=");
}

static void serve_warming(void)
{
	char *lines;

	cr_assert_gt(asprintf(&lines, "Bake=1min\nRollback=parked\nHealthInterval=400ms\nHealthFailures=2\n"
				      "Environment=ACTOR_WARM=%s\nHealthCommand=/usr/bin/test -e %s\n",
			      stage_path("warm"), stage_path("warm")), 0);
	serve_actor("good", lines);
	free(lines);
}

SCENE(health, a_version_that_warms_up_and_says_so_is_not_sick)
{
	struct rig_child *roll;

	serve_warming();
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "warms", NULL), 0);
	stage_wait_bake("warms");
	stage_wait_log("excused, as it makes progress: warming the caches");
	wait_check(1, "HealthCommand=", "ok");
	cr_assert_not(rig_run_ended(roll));
	ctl(0, "stop", "cached");
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, NULL), 0);
}

SCENE(health, a_version_that_warms_up_and_says_nothing_is)
{
	serve_warming();
	must_say(ctl(6, "roll", "cached", "warms-silently"), " failed 2 times in a row: exited with status 1");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "baking", "good", SHOWN_US), 0);
}
