/* SPDX-License-Identifier: MIT */
/* Listen=: a service that crashes outside of a roll refuses nobody while it starts again. */
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
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

STAGE(listening, 90);

#define SHOWN_US (20 * USEC_PER_SEC)
#define CALLERS 8u
#define CRASHES 3u

/* ---- who comes ---- */

static struct sockaddr_in at_port(void)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(stage.port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static struct callers *come(void)
{
	const struct sockaddr_in address = at_port();

	return callers_start(CALLERS, (const struct sockaddr *)&address, sizeof(address), "version\r\n", "VERSION ");
}

/* Return: 0; -errno. */
static int try_port(void)
{
	const struct sockaddr_in address = at_port();
	FD_CLEANUP int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

/* ---- what is done to the service ---- */

static const char *listen_line(const char *more)
{
	static char text[256];

	snprintf(text, sizeof(text), "Listen=127.0.0.1:%u\nRestartDelay=100ms\n%s", stage.port, more);
	return text;
}

static const char *held(void)
{
	static char text[256];
	json_t *status = rig_status(stage.rig, "cached"), *listener;
	size_t i;

	*text = 0;
	json_array_foreach(json_object_get(status, "listeners"), i, listener)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s %s", i ? ", " : "",
			 rig_text(listener, "address"), rig_text(listener, "state"));
	json_decref(status);
	return text;
}

static void expect_held(const char *state)
{
	char text[64];

	snprintf(text, sizeof(text), "127.0.0.1:%u %s", stage.port, state);
	cr_assert_str_eq(held(), text);
}

/* It is killed, and another process of it serves. */
static void crash(const char *service)
{
	pid_t pid = stage_pid_of(service, "serving");

	cr_assert_gt(pid, 0);
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, service, "running", NULL, SHOWN_US), 0);
	for (uint64_t due_us = clock_now_us() + SHOWN_US; stage_pid_of(service, "serving") == pid; stage_sleep_ms(5))
		cr_assert_lt(clock_now_us(), due_us, "pid %d serves on", (int)pid);
	cr_assert_eq(rig_wait_status(stage.rig, service, "running", NULL, SHOWN_US), 0);
}

/* Under callers, several times. Nobody is refused; whoever was being served when it died comes again, and that is all. */
static void crash_under(struct callers *callers, const char *service)
{
	struct callers_report report;

	for (unsigned i = 0; i < CRASHES; i++) {
		callers_await(callers, 10 * CALLERS);
		crash(service);
	}
	callers_await(callers, CALLERS);
	report = callers_stop(callers);
	cr_assert_eq(report.refused, 0, "%u connections were refused", report.refused);
	cr_assert_leq(report.cut, CRASHES * CALLERS, "%u connections were cut", report.cut);
	/* The delay of 100 ms at least, which doubles. */
	cr_assert_geq(report.worst_us, 100 * USEC_PER_MSEC);
	printf("listening: %s: %u answered, %u refused, %u cut, worst wait %.0f ms\n", service, report.answered, report.refused,
	       report.cut, (double)report.worst_us / 1e3);
}

/* ---- crashes ---- */

SCENE(listening, a_crash_refuses_nobody)
{
	stage_serve(&(struct rig_cached){ .lines = listen_line("") }, NULL);
	expect_held("held");
	crash_under(come(), "cached");
	expect_held("held");
}

/* The same clients without the key: what this is for. */
SCENE(listening, without_the_key_a_crash_refuses_clients)
{
	struct callers_report report;
	struct callers *callers;

	stage_serve(&(struct rig_cached){ .lines = "RestartDelay=100ms\n" }, NULL);
	cr_assert_str_eq(held(), "");
	callers = come();
	callers_await(callers, CALLERS);
	crash("cached");
	callers_await(callers, CALLERS);
	report = callers_stop(callers);
	cr_assert_gt(report.refused, 0);
}

SCENE(listening, a_crash_of_a_version_that_was_rolled_to_refuses_nobody)
{
	struct callers *callers;

	stage_serve(&(struct rig_cached){ .lines = listen_line("Bake=100ms\n") }, NULL);
	callers = come();
	ctl(0, "roll", "cached", "v2");
	ctl(0, "roll", "cached", "v3");
	expect_held("held");
	crash_under(callers, "cached");
	/* And what was started anew can be rolled. */
	ctl(0, "roll", "cached", "v2", "--bake=100ms");
	expect_held("held");
}

SCENE(listening, a_crash_in_a_bake_refuses_nobody)
{
	struct callers_report report;
	struct callers *callers;

	stage_serve(&(struct rig_cached){ .lines = listen_line("Bake=30s\n") }, NULL);
	callers = come();
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	callers_await(callers, CALLERS);
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	callers_await(callers, CALLERS);
	crash("cached");
	callers_await(callers, CALLERS);
	report = callers_stop(callers);
	cr_assert_eq(report.refused, 0);
	expect_held("held");
}

SCENE(listening, the_last_rung_refuses_nobody)
{
	struct callers_report report;
	struct callers *callers;

	stage_serve(&(struct rig_cached){ .lines = listen_line("Bake=30s\nRollback=none\n") }, NULL);
	callers = come();
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_log("version v2 serves");
	callers_await(callers, CALLERS);
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	callers_await(callers, CALLERS);
	report = callers_stop(callers);
	cr_assert_eq(report.refused, 0);
	expect_held("held");
}

/* upgraded holds duplicates of its own again, although the ones of its predecessor ended with that. */
SCENE(listening, a_crash_after_one_of_upgraded_refuses_nobody)
{
	struct callers *callers;

	stage_serve(&(struct rig_cached){ .lines = listen_line("") }, NULL);
	callers = come();
	callers_await(callers, CALLERS);
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	callers_await(callers, CALLERS);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", NULL, SHOWN_US), 0);
	expect_held("held");
	kill(stage_pid("serving"), SIGKILL);
	rig_reap(stage.rig); /* as PID 1 would */
	stage_wait_log("starting version v1 again");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", NULL, SHOWN_US), 0);
	callers_await(callers, CALLERS);
	crash_under(callers, "cached");
}

/* Also of a service that has no process at the moment: who waits at its listener waits on. */
SCENE(listening, an_upgrade_of_upgraded_loses_nobody_who_waits)
{
	struct callers_report report;
	struct callers *callers;

	stage_serve(&(struct rig_cached){ .lines = listen_line("RestartDelay=3s\n") }, NULL);
	callers = come();
	callers_await(callers, CALLERS);
	ctl(0, "roll", "upgraded");
	expect_held("held");
	callers_await(callers, CALLERS);
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	stage_wait_log("starting version v1 again in 3000 ms");
	ctl(0, "roll", "upgraded");
	expect_held("held");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", NULL, SHOWN_US), 0);
	callers_await(callers, CALLERS);
	report = callers_stop(callers);
	cr_assert_eq(report.refused, 0);
	cr_assert_leq(report.cut, CALLERS, "%u connections were cut", report.cut);
}

SCENE(listening, a_crash_refuses_nobody_by_ipv6)
{
	const struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(stage.port),
					      .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	FD_CLEANUP int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char text[128];

	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		cr_skip("no IPv6 here");
	fd = fd_close(fd);
	snprintf(text, sizeof(text), "Listen=[::1]:%u\nRestartDelay=100ms\n", stage.port);
	stage_serve(&(struct rig_cached){ .options = "-c 4000 -l ::1", .lines = text }, NULL);
	crash_under(callers_start(CALLERS, (const struct sockaddr *)&address, sizeof(address), "version\r\n", "VERSION "),
		    "cached");
}

/* ---- by path ---- */

static struct sockaddr_un at_path(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", stage_path("c.sock"));
	return address;
}

/* A service that listens at a path as well. @user: a line, or "". */
static void serve_clerk(const char *user)
{
	char text[2048];

	stage_link("clerk-v1", "upg-clerk");
	snprintf(text, sizeof(text),
		 "[Service]\nExec=%s/clerk-%%v %u %s/c.sock\nVersion=v1\nRestartDelay=100ms\nListen=%s/c.sock\n%s",
		 rig_folder(stage.rig), stage.port, rig_folder(stage.rig), rig_folder(stage.rig), user);
	cr_assert_eq(rig_unit_write(stage.rig, "clerk", text), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "clerk");
}

SCENE(listening, a_crash_refuses_nobody_by_path)
{
	const struct sockaddr_un address = at_path();
	struct stat st;

	serve_clerk("");
	cr_assert_eq(stat(address.sun_path, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0660);
	crash_under(callers_start(CALLERS, (const struct sockaddr *)&address, sizeof(address), "1 5\n", "1 "), "clerk");
	ctl(0, "stop", "clerk");
	cr_assert_neq(access(address.sun_path, F_OK), 0);
}

/* ---- what the service's user may not do by itself ---- */

SCENE(listening, as_another_user_it_has_a_port_below_1024_and_a_path_of_its_own)
{
	const struct sockaddr_un address = at_path();
	struct stat st;

	if (geteuid() != 0)
		cr_skip("needs root");
	/* Where the user can reach its program. */
	cr_assert_eq(chmod(rig_folder(stage.rig), 0755), 0);
	stage.port = 7;
	serve_clerk("User=nobody\nListen=127.0.0.1:7\n");
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(try_port(), 0);
		cr_assert_eq(stat(address.sun_path, &st), 0);
		cr_assert_eq(st.st_uid, 65534);
		cr_assert_eq(st.st_mode & 07777, 0660);
		crash("clerk");
	}
	ctl(0, "stop", "clerk");
	cr_assert_eq(try_port(), -ECONNREFUSED);
	cr_assert_neq(access(address.sun_path, F_OK), 0);
}

/* ---- starts, rolls, stops ---- */

SCENE(listening, a_start_at_an_address_in_use_is_refused)
{
	const struct sockaddr_in address = at_port();
	FD_CLEANUP int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const json_t *answer;
	char words[128];

	cr_assert_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(fd, 5), 0);
	stage_unit(&(struct rig_cached){ .lines = listen_line("") });
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	answer = ctl(1, "start", "cached");
	snprintf(words, sizeof(words), "Listen=: cannot listen at 127.0.0.1:%u: Address already in use: pid %d ", stage.port,
		 (int)getpid());
	must_say(answer, words);
	must_say(answer, "cached.conf:");
	fd = fd_close(fd);
	ctl(0, "start", "cached");
	expect_held("held");
}

SCENE(listening, a_stop_refuses_at_once)
{
	stage_serve(&(struct rig_cached){ .lines = listen_line("") }, NULL);
	cr_assert_eq(try_port(), 0);
	ctl(0, "stop", "cached");
	cr_assert_eq(try_port(), -ECONNREFUSED);
	cr_assert_str_eq(held(), "");
}

/* The version that serves has opened it by itself: nothing is closed, and nobody notices. */
SCENE(listening, a_roll_takes_the_key_up_and_the_listener_from_who_serves)
{
	struct callers *callers;

	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\nRestartDelay=100ms\n" }, NULL);
	callers = come();
	stage_unit(&(struct rig_cached){ .lines = listen_line("Bake=100ms\n") });
	ctl(0, "roll", "cached", "v2");
	expect_held("held");
	crash_under(callers, "cached");
}

SCENE(listening, a_roll_that_names_another_address_opens_it_first)
{
	uint16_t first = stage.port, other = rig_port(stage.rig);
	char text[256];

	stage_serve(&(struct rig_cached){ .lines = listen_line("Bake=100ms\n") }, NULL);
	snprintf(text, sizeof(text), "Listen=127.0.0.1:%u\n", other);
	stage_unit(&(struct rig_cached){ .port = other, .lines = text });
	/* The old one keeps its port until the new one has taken over, which does not know it. */
	ctl(0, "roll", "cached", "v2", "--bake=100ms");
	cr_assert_eq(try_port(), -ECONNREFUSED);
	stage.port = other;
	expect_held("held");
	cr_assert_eq(try_port(), 0);
	/* With the file that it had, the version before has its address again, which nobody has had meanwhile. */
	ctl(0, "undo", "cached", "--bake=100ms");
	cr_assert_eq(try_port(), -ECONNREFUSED);
	stage.port = first;
	expect_held("held");
	cr_assert_eq(try_port(), 0);
}

SCENE(listening, an_undo_in_the_bake_has_the_addresses_of_the_version_before)
{
	uint16_t first = stage.port, other = rig_port(stage.rig);
	char text[256];

	stage_serve(&(struct rig_cached){ .lines = listen_line("Bake=100ms\n") }, NULL);
	snprintf(text, sizeof(text), "Listen=127.0.0.1:%u\nBake=30s\n", other);
	stage_unit(&(struct rig_cached){ .port = other, .lines = text });
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	ctl(0, "undo", "cached");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	expect_held("held");
	cr_assert_eq(try_port(), 0);
	crash("cached");
	stage.port = other;
	cr_assert_eq(try_port(), -ECONNREFUSED);
	stage.port = first;
}

/* It goes on to name the address, and the version does not listen there any more. */
SCENE(listening, an_address_that_a_version_rolled_to_does_not_use_is_closed)
{
	uint16_t first = stage.port, other = rig_port(stage.rig);
	char text[256];

	stage_serve(&(struct rig_cached){ .lines = listen_line("") }, NULL);
	snprintf(text, sizeof(text), "Listen=127.0.0.1:%u\nListen=127.0.0.1:%u\n", first, other);
	stage_unit(&(struct rig_cached){ .port = other, .lines = text });
	ctl(0, "roll", "cached", "v2", "--bake=100ms");
	stage_wait_log("version v2 (pid ");
	stage_wait_log("does not listen at ");
	cr_assert_eq(try_port(), -ECONNREFUSED);
	snprintf(text, sizeof(text), "127.0.0.1:%u unused, 127.0.0.1:%u held", first, other);
	cr_assert_str_eq(held(), text);
}

SCENE(listening, of_an_address_that_the_version_does_not_use_nobody_is_left_waiting)
{
	uint16_t used = stage.port, other = rig_port(stage.rig);
	char text[256];

	snprintf(text, sizeof(text), "Listen=127.0.0.1:%u\nListen=127.0.0.1:%u\nRestartDelay=100ms\n", used, other);
	stage_serve(&(struct rig_cached){ .lines = text }, NULL);
	stage_wait_log("does not listen at ");
	stage.port = other;
	cr_assert_eq(try_port(), -ECONNREFUSED);
	stage.port = used;
	cr_assert_eq(try_port(), 0);
	snprintf(text, sizeof(text), "127.0.0.1:%u held, 127.0.0.1:%u unused", used, other);
	cr_assert_str_eq(held(), text);
}
