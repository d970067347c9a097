/* SPDX-License-Identifier: MIT */
/* Kind=plain: programs that know nothing of upgraded are rolled beside each other, at the same listeners, under clients that come
 * one after the other. Whoever is not answered by whom he was taken by counts as cut. */
#include "tests/integration/callers.h"
#include "tests/integration/stage.h"

#include "base/clock.h"
#include "base/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

STAGE(plain, 90);

#define SHOWN_US (20 * USEC_PER_SEC)
#define CALLERS 8u

/* ---- the service, and who comes ---- */

static struct sockaddr_in at_port(void)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(stage.port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static void write_unit(const char *lines)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 "[Service]\nKind=plain\nExec=%s/plain-%%v\nVersion=v1\nListen=127.0.0.1:%u name=web\nRestartDelay=100ms\n"
		 "StartTimeout=5s\n%s", rig_folder(stage.rig), stage.port, lines);
	cr_assert_eq(rig_unit_write(stage.rig, "plain", text), 0);
}

static void serve(const char *lines)
{
	static const char *const names[] = { "v1",    "v2",   "v3",	"mute",	  "dies", "slow",
					     "crash", "deaf", "forks", "daemon", "beats" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char link[32];

		snprintf(link, sizeof(link), "plain-%s", names[i]);
		stage_link(link, "upg-plain");
	}
	if (!stage.port)
		stage.port = rig_port(stage.rig);
	write_unit(lines);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "plain");
}

static struct callers *come(void)
{
	const struct sockaddr_in address = at_port();

	return callers_start(CALLERS, (const struct sockaddr *)&address, sizeof(address), "who\n", "I am ");
}

static void leave(struct callers *callers, unsigned most_cut)
{
	struct callers_report report;

	callers_await(callers, 10 * CALLERS);
	report = callers_stop(callers);
	printf("plain: %u answered, %u refused, %u cut, worst wait %.0f ms\n", report.answered, report.refused, report.cut,
	       (double)report.worst_us / 1e3);
	cr_assert_eq(report.refused, 0, "%u connections were refused", report.refused);
	cr_assert_leq(report.cut, most_cut, "%u connections were cut", report.cut);
}

/* A client that stays. */
static int stay(void)
{
	const struct sockaddr_in address = at_port();
	const struct timeval patience = { .tv_sec = 10 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	cr_assert_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Who answers this one? Return: static text, "" if the connection has ended. */
static const char *who(int fd)
{
	static char text[128];
	ssize_t n;

	*text = 0;
	if (send(fd, "who\n", 4, MSG_NOSIGNAL) != 4)
		return "";
	n = recv(fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n - 1 : 0] = 0;
	return text;
}

static pid_t pid_of(const char *state)
{
	return stage_pid_of("plain", state);
}

static void wait_state(const char *state, const char *version)
{
	cr_assert_eq(rig_wait_status(stage.rig, "plain", state, version, SHOWN_US), 0);
}

static void wait_gone(const char *state)
{
	for (uint64_t due_us = clock_now_us() + SHOWN_US; pid_of(state); stage_sleep_ms(5))
		cr_assert_lt(clock_now_us(), due_us, "pid %d is %s still", (int)pid_of(state), state);
}

static bool logged(const char *text)
{
	char *log = rig_daemon_log(stage.rig);
	bool is = strstr(log, text);

	free(log);
	return is;
}

/* ---- forward ---- */

SCENE(plain, a_roll_cuts_nobody_off)
{
	struct callers *callers;
	const json_t *answer;
	int fd;

	serve("Bake=300ms\n");
	stage_wait_log("v1 has 1 listeners: web");
	fd = stay();
	cr_assert_eq(strncmp(who(fd), "I am v1 ", 8), 0);
	callers = come();
	callers_await(callers, 10 * CALLERS);
	answer = ctl(0, "roll", "plain", "v2");
	must_say(answer, "version v2 serves");
	cr_assert_eq(rig_number(answer, "roll.pause_us"), 0);
	cr_assert(json_is_true(json_object_get(json_object_get(answer, "roll"), "plain")));
	cr_assert(logged("no state and no connections move"));
	cr_assert(!logged("update point") && !logged("parked"));
	/* The old one drains for as long as this one stays, within DrainTimeout=. */
	cr_assert_gt(pid_of("draining"), 0);
	cr_assert_eq(strncmp(who(fd), "I am v1 ", 8), 0);
	callers_await(callers, 10 * CALLERS);
	fd = fd_close(fd);
	wait_gone("draining");
	stage_wait_log("has drained");
	ctl(0, "roll", "plain", "v3");
	leave(callers, 0);
	wait_gone("draining");
	ctl(0, "stop", "plain");
}

SCENE(plain, within_the_bake_both_serve)
{
	struct callers *callers;
	bool one = false, two = false;
	pid_t old;

	serve("Bake=30s\n");
	old = pid_of("serving");
	callers = come();
	ctl(0, "roll", "plain", "v2", "--wait=commit");
	wait_state("baking", "v2");
	cr_assert_eq(pid_of("kept"), old);
	for (uint64_t due_us = clock_now_us() + SHOWN_US; !one || !two;) {
		int fd = stay();
		const char *text = who(fd);

		one |= strncmp(text, "I am v1 ", 8) == 0;
		two |= strncmp(text, "I am v2 ", 8) == 0;
		fd_close(fd);
		cr_assert_lt(clock_now_us(), due_us, "only one of them serves");
	}
	ctl(0, "accept", "plain");
	wait_gone("kept");
	leave(callers, 0);
	cr_assert_eq(kill(old, 0), -1);
}

/* ---- a new version that does not come up ---- */

static void roll_is_refused(const char *version, const char *words, unsigned most_cut)
{
	struct callers *callers;
	pid_t old;

	serve("Bake=300ms\nStartTimeout=1s\nStartTimeoutMax=1s\n");
	old = pid_of("serving");
	callers = come();
	must_say(ctl(5, "roll", "plain", version), words);
	cr_assert_eq(pid_of("serving"), old);
	leave(callers, most_cut);
}

SCENE(plain, one_that_ends_at_its_start_is_refused)
{
	roll_is_refused("dies", "exited with status 3", 0);
}

SCENE(plain, one_that_never_becomes_ready_is_refused)
{
	roll_is_refused("mute", "it has not said READY=1 (Ready=notify", 0);
	wait_gone("draining");
}

SCENE(plain, one_that_goes_to_the_background_is_refused_and_ended)
{
	/* What it has accepted ends with it. */
	roll_is_refused("daemon", "it has to stay in the foreground", CALLERS);
	stage_wait_processes(2); /* upgraded, and v1 */
}

SCENE(plain, one_that_asks_for_more_time_is_waited_for)
{
	serve("Bake=100ms\nStartTimeout=1s\n");
	ctl(0, "roll", "plain", "slow");
	cr_assert(logged("gets on: warming up"));
}

SCENE(plain, a_roll_can_be_aborted_while_the_new_one_starts)
{
	struct callers *callers;
	struct rig_child *roll;
	pid_t old;

	serve("Bake=300ms\nStartTimeout=20s\n");
	old = pid_of("serving");
	callers = come();
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "plain", "mute", NULL), 0);
	stage_wait_log("version mute started");
	/* It accepts already: those it has are served to their end. */
	callers_await(callers, 10 * CALLERS);
	ctl(0, "abort", "plain");
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, NULL), 0);
	cr_assert_eq(pid_of("serving"), old);
	leave(callers, 0);
	wait_gone("draining");
}

/* ---- back ---- */

SCENE(plain, an_undo_in_the_bake_cuts_nobody_off)
{
	struct callers *callers;
	pid_t old;

	serve("Bake=30s\n");
	old = pid_of("serving");
	callers = come();
	ctl(0, "roll", "plain", "v2", "--wait=commit");
	wait_state("baking", "v2");
	callers_await(callers, 10 * CALLERS);
	must_say(ctl(0, "undo", "plain"), "version v1 serves again");
	wait_state("running", "v1");
	cr_assert_eq(pid_of("serving"), old, "it is the process that was there all the time");
	leave(callers, 0);
	wait_gone("draining");
}

SCENE(plain, an_undo_after_the_bake_starts_the_other_version)
{
	struct callers *callers;

	serve("Bake=100ms\n");
	callers = come();
	ctl(0, "roll", "plain", "v2");
	ctl(0, "undo", "plain");
	wait_state("running", "v1");
	leave(callers, 0);
	wait_gone("draining");
}

SCENE(plain, a_version_that_crashes_in_the_bake_costs_its_own_connections_alone)
{
	struct callers *callers;
	json_t *status;
	pid_t old;

	serve("Bake=30s\n");
	old = pid_of("serving");
	callers = come();
	callers_await(callers, 10 * CALLERS);
	must_say(ctl(6, "roll", "plain", "crash"), "SIGABRT");
	cr_assert_eq(pid_of("serving"), old);
	status = rig_status(stage.rig, "plain");
	cr_assert_str_eq(rig_text(status, "last_roll.outcome"), "rolled-back-running");
	json_decref(status);
	leave(callers, CALLERS);
}

SCENE(plain, a_version_that_is_killed_in_the_bake_costs_its_own_connections_alone)
{
	struct callers *callers;
	pid_t old;

	serve("Bake=30s\n");
	old = pid_of("serving");
	callers = come();
	ctl(0, "roll", "plain", "v2", "--wait=commit");
	wait_state("baking", "v2");
	callers_await(callers, 10 * CALLERS);
	cr_assert_eq(kill(pid_of("serving"), SIGKILL), 0);
	wait_state("running", "v1");
	cr_assert_eq(pid_of("serving"), old);
	leave(callers, CALLERS);
}

SCENE(plain, a_version_whose_check_fails_is_left_and_drains)
{
	struct callers *callers;
	pid_t old;

	serve("Bake=30s\nHealthInterval=50ms\nHealthFailures=1\nHealthCommand=/bin/sh -c \"test $UPGRADE_VERSION != v2\"\n");
	old = pid_of("serving");
	callers = come();
	must_say(ctl(6, "roll", "plain", "v2"), "HealthCommand");
	cr_assert_eq(pid_of("serving"), old);
	leave(callers, 0);
	wait_gone("draining");
}

SCENE(plain, a_version_without_a_beat_in_the_bake_is_killed)
{
	pid_t old;

	serve("Bake=30s\nWatchdog=300ms\nHealthTimeout=500ms\nHealthInterval=100ms\n");
	old = pid_of("serving");
	ctl(0, "stop", "plain");
	write_unit("Version=beats\nBake=30s\nWatchdog=300ms\nHealthTimeout=500ms\nHealthInterval=100ms\n");
	ctl(0, "start", "plain", "beats");
	ctl(0, "roll", "plain", "beats", "--again", "--wait=commit");
	wait_state("baking", "beats");
	old = pid_of("kept");
	cr_assert_eq(kill(pid_of("serving"), SIGUSR1), 0);
	wait_state("running", "beats");
	cr_assert_eq(pid_of("serving"), old);
}

SCENE(plain, when_the_old_version_dies_in_the_bake_the_new_one_serves_on)
{
	struct callers *callers;
	pid_t new;

	serve("Bake=30s\n");
	callers = come();
	ctl(0, "roll", "plain", "v2", "--wait=commit");
	wait_state("baking", "v2");
	new = pid_of("serving");
	cr_assert_eq(kill(pid_of("kept"), SIGKILL), 0);
	stage_wait_log("a way back is lost");
	cr_assert_eq(pid_of("serving"), new);
	callers_await(callers, 10 * CALLERS);
	/* Then undo starts it anew, beside the other. */
	ctl(0, "undo", "plain", "--bake=100ms");
	wait_state("running", "v1");
	leave(callers, CALLERS);
}

SCENE(plain, a_roll_to_a_third_version_in_the_bake_cuts_nobody_off)
{
	struct callers *callers;

	serve("Bake=30s\n");
	callers = come();
	ctl(0, "roll", "plain", "v2", "--wait=commit");
	wait_state("baking", "v2");
	ctl(0, "roll", "plain", "v3", "--bake=100ms");
	wait_state("running", "v3");
	leave(callers, 0);
	wait_gone("draining");
}

SCENE(plain, without_a_way_back_the_old_one_drains_at_once)
{
	struct callers *callers;

	serve("Bake=30s\nRollback=none\n");
	callers = come();
	ctl(0, "roll", "plain", "v2", "--wait=commit");
	wait_gone("draining");
	cr_assert_eq(pid_of("kept"), 0);
	leave(callers, 0);
}

/* ---- how it ends ---- */

SCENE(plain, a_stop_in_the_bake_ends_both)
{
	pid_t old, new;

	serve("Bake=30s\n");
	ctl(0, "roll", "plain", "v2", "--wait=commit");
	wait_state("baking", "v2");
	old = pid_of("kept");
	new = pid_of("serving");
	ctl(0, "stop", "plain");
	wait_gone("draining");
	cr_assert(kill(old, 0) < 0 && kill(new, 0) < 0);
}

SCENE(plain, one_that_does_not_drain_is_killed_in_the_end)
{
	serve("Bake=100ms\nDrainTimeout=300ms\n");
	ctl(0, "roll", "plain", "deaf");
	ctl(0, "roll", "plain", "v2");
	stage_wait_log("has not ended on SIGTERM by its time to drain");
	wait_gone("draining");
}

SCENE(plain, another_signal_may_say_that_it_is_to_end)
{
	serve("Bake=100ms\nStopSignal=QUIT\n");
	ctl(0, "roll", "plain", "v2");
	stage_wait_log("drains: SIGQUIT");
	wait_gone("draining");
	ctl(0, "stop", "plain");
}

SCENE(plain, workers_of_a_process_that_is_killed_end_with_it)
{
	struct callers *callers;
	unsigned before;
	pid_t old;

	serve("Bake=30s\n");
	old = pid_of("serving");
	callers = come();
	callers_await(callers, 10 * CALLERS);
	before = rig_processes();
	ctl(0, "roll", "plain", "forks", "--wait=commit");
	wait_state("baking", "forks");
	callers_await(callers, 10 * CALLERS);
	cr_assert_eq(kill(pid_of("serving"), SIGKILL), 0);
	wait_state("running", "v1");
	cr_assert_eq(pid_of("serving"), old);
	stage_wait_processes(before);
	leave(callers, CALLERS);
	/* And they drain with it. */
	ctl(0, "roll", "plain", "forks", "--bake=100ms");
	ctl(0, "roll", "plain", "v2", "--bake=100ms");
	wait_gone("draining");
	stage_wait_processes(before);
}

/* ---- outside of rolls ---- */

SCENE(plain, a_crash_refuses_nobody)
{
	struct callers *callers;
	pid_t old;

	serve("");
	old = pid_of("serving");
	callers = come();
	callers_await(callers, 10 * CALLERS);
	cr_assert_eq(kill(old, SIGKILL), 0);
	for (uint64_t due_us = clock_now_us() + SHOWN_US; pid_of("serving") == old || !pid_of("serving"); stage_sleep_ms(5))
		cr_assert_lt(clock_now_us(), due_us);
	leave(callers, CALLERS);
}

SCENE(plain, what_it_says_of_itself_is_shown)
{
	json_t *status;

	serve("");
	for (uint64_t due_us = clock_now_us() + SHOWN_US;; stage_sleep_ms(5)) {
		status = rig_status(stage.rig, "plain");
		if (strcmp(rig_text(json_array_get(json_object_get(status, "instances"), 0), "says"), "at your service") == 0)
			break;
		cr_assert_lt(clock_now_us(), due_us, "%s", json_dumps(status, 0));
		json_decref(status);
	}
	cr_assert_str_eq(rig_text(json_array_get(json_object_get(status, "listeners"), 0), "name"), "web");
	json_decref(status);
}

/* ---- how it is known to be ready ---- */

SCENE(plain, one_that_accepts_is_ready_by_the_kernel_s_word)
{
	struct callers *callers;

	serve("Bake=100ms\nReady=accepts\n");
	callers = come();
	ctl(0, "roll", "plain", "mute"); /* it says nothing, and serves */
	ctl(0, "roll", "plain", "forks");
	leave(callers, 0);
}

static void make_file(const char *path)
{
	cr_assert_eq(fd_close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), -1);
}

SCENE(plain, one_whose_check_succeeds_is_ready)
{
	struct rig_child *roll;
	char lines[512];

	make_file(stage_path("go-v1"));
	snprintf(lines, sizeof(lines), "Bake=100ms\nReady=health\nHealthInterval=50ms\nHealthCommand=/usr/bin/test -e %s-%%v\n",
		 stage_path("go"));
	serve(lines);
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "plain", "v2", NULL), 0);
	stage_wait_log("HealthCommand"); /* it was made, and has failed */
	cr_assert_gt(pid_of("standby"), 0);
	make_file(stage_path("go-v2"));
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, NULL), 0);
	wait_state("running", "v2");
	wait_gone("draining");
}

/* ---- what makes no sense ---- */

SCENE(plain, what_needs_a_state_is_refused_in_words)
{
	serve("Bake=30s\n");
	must_say(ctl(5, "save", "plain", stage_path("state")), "no state and no connections move");
	must_say(ctl(5, "roll", "plain", "v2", "--verify=roundtrip"), "needs a state");
	must_say(ctl(5, "roll", "plain", "v2", "--require-image"), "needs an image");
	must_say(ctl(5, "roll", "plain", "v2", "--rollback=image"), "needs an image");
	must_say(ctl(0, "plan", "plain", "v2"), "no state and no connections move");
	must_say(ctl(5, "plan", "plain", "nothere"), "would be refused");
	ctl(0, "roll", "plain", "v2", "--wait=commit");
	wait_state("baking", "v2");
	must_say(ctl(5, "pack", "plain"), "there is no image of a program without the library");
	must_say(ctl(5, "undo", "plain", "--way=image"), "an image that can be used");
	ctl(0, "undo", "plain", "--way=parked");
	wait_state("running", "v1");
}

/* ---- upgraded itself ---- */

static void kill_upgraded(void)
{
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
}

static void start_upgraded(void)
{
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
}

SCENE(plain, an_upgraded_that_is_killed_finds_the_process_that_serves)
{
	struct callers *callers;
	pid_t old;

	serve("Bake=100ms\n");
	old = pid_of("serving");
	callers = come();
	callers_await(callers, 10 * CALLERS);
	kill_upgraded();
	callers_await(callers, 10 * CALLERS);
	start_upgraded();
	wait_state("running", "v1");
	cr_assert_eq(pid_of("serving"), old);
	ctl(0, "roll", "plain", "v2");
	leave(callers, 0);
	wait_gone("draining");
	rig_reap(stage.rig);
}

SCENE(plain, a_roll_whose_upgraded_is_killed_while_the_new_one_starts_is_called_off)
{
	struct callers *callers;
	struct rig_child *roll;
	pid_t old;

	serve("Bake=100ms\nStartTimeout=20s\n");
	old = pid_of("serving");
	callers = come();
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "plain", "mute", NULL), 0);
	stage_wait_log("version mute started");
	kill_upgraded();
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, NULL), 0);
	start_upgraded();
	wait_state("running", "v1");
	cr_assert_eq(pid_of("serving"), old);
	wait_gone("draining");
	leave(callers, 0);
	rig_reap(stage.rig);
}

SCENE(plain, a_bake_goes_on_when_upgraded_is_killed)
{
	struct callers *callers;
	pid_t old, new;

	serve("Bake=60s\n");
	old = pid_of("serving");
	callers = come();
	ctl(0, "roll", "plain", "v2", "--wait=commit");
	wait_state("baking", "v2");
	new = pid_of("serving");
	kill_upgraded();
	start_upgraded();
	wait_state("baking", "v2");
	cr_assert_eq(pid_of("serving"), new);
	cr_assert_eq(pid_of("kept"), old);
	callers_await(callers, 10 * CALLERS);
	ctl(0, "undo", "plain");
	wait_state("running", "v1");
	cr_assert_eq(pid_of("serving"), old);
	leave(callers, 0);
	rig_reap(stage.rig);
	wait_gone("draining");
}

SCENE(plain, a_version_that_dies_while_no_upgraded_runs_leaves_the_one_before)
{
	struct callers *callers;
	pid_t old, new;

	serve("Bake=60s\n");
	old = pid_of("serving");
	callers = come();
	ctl(0, "roll", "plain", "v2", "--wait=commit");
	wait_state("baking", "v2");
	new = pid_of("serving");
	kill_upgraded();
	cr_assert_eq(kill(new, SIGKILL), 0);
	rig_reap(stage.rig);
	start_upgraded();
	wait_state("running", "v1");
	cr_assert_eq(pid_of("serving"), old);
	leave(callers, CALLERS);
	rig_reap(stage.rig);
}

SCENE(plain, one_that_drains_goes_on_with_it_when_upgraded_is_killed)
{
	pid_t old;
	int fd;

	serve("Bake=100ms\n");
	fd = stay();
	cr_assert_eq(strncmp(who(fd), "I am v1 ", 8), 0);
	ctl(0, "roll", "plain", "v2");
	old = pid_of("draining");
	cr_assert_gt(old, 0);
	kill_upgraded();
	start_upgraded();
	wait_state("running", "v2");
	cr_assert_eq(pid_of("draining"), old);
	cr_assert_eq(strncmp(who(fd), "I am v1 ", 8), 0);
	fd = fd_close(fd);
	for (uint64_t due_us = clock_now_us() + SHOWN_US; pid_of("draining"); stage_sleep_ms(5)) {
		rig_reap(stage.rig);
		cr_assert_lt(clock_now_us(), due_us);
	}
}

SCENE(plain, one_that_drains_goes_on_with_it_when_upgraded_is_upgraded)
{
	pid_t old;
	int fd;

	serve("Bake=100ms\n");
	fd = stay();
	cr_assert_eq(strncmp(who(fd), "I am v1 ", 8), 0);
	ctl(0, "roll", "plain", "v2");
	old = pid_of("draining");
	cr_assert_gt(old, 0);
	ctl(0, "roll", "upgraded");
	wait_state("running", "v2");
	cr_assert_eq(pid_of("draining"), old);
	cr_assert_eq(strncmp(who(fd), "I am v1 ", 8), 0);
	fd = fd_close(fd);
	wait_gone("draining");
	ctl(0, "roll", "plain", "v3");
}

SCENE(plain, an_upgrade_of_upgraded_is_not_noticed)
{
	struct callers *callers;
	pid_t old, new;

	serve("Bake=60s\n");
	old = pid_of("serving");
	callers = come();
	ctl(0, "roll", "upgraded");
	wait_state("running", "v1");
	cr_assert_eq(pid_of("serving"), old);
	ctl(0, "roll", "plain", "v2", "--wait=commit");
	wait_state("baking", "v2");
	new = pid_of("serving");
	ctl(0, "roll", "upgraded");
	wait_state("baking", "v2");
	cr_assert_eq(pid_of("serving"), new);
	cr_assert_eq(pid_of("kept"), old);
	ctl(0, "accept", "plain");
	wait_gone("kept");
	leave(callers, 0);
	wait_gone("draining");
}
