/* SPDX-License-Identifier: MIT */
/* The supervisor dies, and the next one has it all in hand: whatever was under way, and whatever is wrong with the logbook. Beside
 * test_crash.c, where it dies in a roll forward. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

STAGE(survive, 120);

#define SHOWN_US (20 * USEC_PER_SEC)

/* Once at its line: the line of the next roll is not meant. */
static void kill_at(void *data, const char *line)
{
	pid_t pid = rig_daemon_pid(stage.rig);

	if (pid && strstr(line, data))
		kill(pid, SIGKILL);
}

static unsigned descriptors(pid_t pid)
{
	unsigned n = rig_descriptors(pid);

	cr_assert_gt(n, 0, "pid %d is not there", (int)pid);
	return n;
}

static void die_and_come_back(void)
{
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
}

/* One process serves, nothing else is left, and a roll of it goes well. @clients: is the load one of the processes? */
static void one_serves(unsigned clients)
{
	json_t *entry;
	char version[64];
	pid_t pid;

	stage_end_bake();
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", NULL, SHOWN_US), 0);
	stage_wait_processes(2 + clients);
	pid = stage_pid("serving");
	cr_assert_gt(pid, 0);
	cr_assert_eq(kill(pid, 0), 0);
	must_say(ctl(0, "start", "cached"), "runs already");
	entry = rig_status(stage.rig, "cached");
	snprintf(version, sizeof(version), "%s", rig_text(entry, "version"));
	json_decref(entry);
	ctl(0, "roll", "cached", strcmp(version, "v2") == 0 ? "v3" : "v2", "--bake=100ms");
}

/* ---- on the way back ---- */

static void undo_dies_at(const char *way, const char *moment, bool within_bake)
{
	struct rig_answer answer = { 0 };

	stage_serve(&(struct rig_cached){ .lines = "Bake=30s\n" }, NULL);
	stage_load(200);
	if (within_bake) {
		ctl(0, "roll", "cached", "v2", "--wait=commit");
		stage_wait_bake("v2");
	} else {
		ctl(0, "roll", "cached", "v2", "--bake=100ms");
	}
	if (strcmp(way, "--way=live") != 0)
		cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	cr_assert_eq(rig_ctl_text(stage.rig, &answer, kill_at, (char *)(uintptr_t)moment, "undo", "cached",
				  within_bake ? way : "--bake=1s", NULL), 0);
	cr_assert(strstr(answer.err, moment), "%s", answer.err);
	cr_assert_eq(answer.status, 1, "status %d:\n%s", answer.status, answer.err);
	rig_answer_done(&answer);
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	one_serves(1);
}

static void undo_loses_nothing_at(const char *moment, bool within_bake)
{
	undo_dies_at("--way=live", moment, within_bake);
	stage_load_spotless();
}

SCENE(survive, an_undo_whose_version_was_started)
{
	undo_loses_nothing_at("v1 started", true);
}

SCENE(survive, an_undo_whose_version_is_ready)
{
	undo_loses_nothing_at("ready to receive", true);
}

SCENE(survive, an_undo_that_asks_to_quiesce)
{
	undo_loses_nothing_at("asked to quiesce", true);
}

SCENE(survive, an_undo_that_stands_still)
{
	undo_loses_nothing_at("all threads of", true);
}

SCENE(survive, an_undo_that_has_saved)
{
	undo_loses_nothing_at(" saved ", true);
}

SCENE(survive, an_undo_on_which_both_agree)
{
	undo_loses_nothing_at("agree", true);
}

SCENE(survive, an_undo_that_has_committed)
{
	undo_loses_nothing_at("v1 serves", true);
}

SCENE(survive, an_undo_after_the_bake_that_has_saved)
{
	undo_loses_nothing_at(" saved ", false);
}

SCENE(survive, an_undo_after_the_bake_whose_bake_is_on)
{
	undo_loses_nothing_at("watching", false);
}

/* ---- standing still ---- */

/* In the middle of what it does about a message. It must not be held against the process that sent it. */
static void stand_at(void *data, const char *line)
{
	pid_t pid = rig_daemon_pid(stage.rig);

	if (!pid || !strstr(line, data))
		return;
	cr_assert_eq(kill(pid, SIGSTOP), 0);
	stage_sleep_ms(2000); /* lasts */
	cr_assert_eq(kill(pid, SIGCONT), 0);
}

static void roll_stands_at(const char *moment)
{
	struct rig_answer answer = { 0 };

	stage_serve(&(struct rig_cached){ .lines = "Bake=300ms\nRollback=parked\nQuiesceTimeout=10s\n"
						   "TransferTimeout=10s\n" }, NULL);
	stage_load(100);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(rig_ctl_text(stage.rig, &answer, stand_at, (char *)(uintptr_t)moment, "roll", "cached",
					  i % 2 ? "v3" : "v2", NULL), 0);
		cr_assert(strstr(answer.err, moment), "%s", answer.err);
		cr_assert_eq(answer.status, 0, "status %d:\n%s", answer.status, answer.err);
		rig_answer_done(&answer);
	}
	stage_load_spotless();
}

SCENE(survive, being_stopped_while_the_old_version_comes_to_rest)
{
	roll_stands_at("asked to quiesce");
}

SCENE(survive, being_stopped_when_the_new_version_has_taken_over)
{
	roll_stands_at("serves; the pause");
}

/* It is asked again each second, and answers each time, which must not be held against it. */
SCENE(survive, a_process_that_stands_still_meanwhile_and_answers_late)
{
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = "Bake=50ms\nRollback=parked\n" }, RIG_NO_CRIU);
	stage_load(50);
	pid = stage_pid("serving");
	cr_assert_eq(kill(pid, SIGSTOP), 0);
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, RIG_NO_CRIU), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "returning", NULL, SHOWN_US), 0);
	stage_sleep_ms(2500); /* lasts: it is asked several times */
	cr_assert_eq(kill(pid, SIGCONT), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	cr_assert_eq(stage_pid("serving"), pid);
	ctl(0, "roll", "cached", "v2");
	ctl(0, "undo", "cached", "--bake=50ms");
	stage_wait_processes(3);
	stage_load_spotless();
}

/* ---- a start ---- */

SCENE(survive, a_start_that_was_under_way)
{
	struct rig_answer answer = { 0 };
	struct rig_child *start;

	stage_unit(&(struct rig_cached){ .lines = "StartTimeout=30s\n" });
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_eq(rig_ctl_begin(stage.rig, &start, "start", "cached", "v3-never-ready", NULL), 0);
	stage_wait_log("v3-never-ready starts as pid");
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_run_wait(start, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 1);
	rig_answer_done(&answer);
	/* Nobody was told that it serves: it is not started again by itself. */
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached", "v1");
	stage_load(50);
	one_serves(1);
	stage_load_spotless();
}

/* At whatever moment of one that goes well. */
SCENE(survive, a_start_at_any_moment)
{
	stage_unit(&(struct rig_cached){ .lines = "" });
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	for (unsigned ms = 0; ms < 30; ms += 6) {
		struct rig_child *start;
		json_t *entry;

		cr_assert_eq(rig_ctl_begin(stage.rig, &start, "start", "cached", "v1", NULL), 0);
		stage_sleep_ms(ms);
		die_and_come_back();
		cr_assert_eq(rig_run_wait(start, SHOWN_US, NULL), 0);
		entry = rig_status(stage.rig, "cached");
		if (strcmp(rig_text(entry, "state"), "running") != 0)
			ctl(0, "start", "cached", "v1");
		json_decref(entry);
		one_serves(0);
		ctl(0, "stop", "cached");
		stage_wait_processes(1);
	}
}

/* ---- a stop ---- */

static void serve_actor(const char *character, const char *lines)
{
	char name[64], *text = NULL;

	snprintf(name, sizeof(name), "cached-%s", character);
	stage_link(name, "upg-actor");
	stage_link("cached-good", "upg-actor");
	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s/cached-%%v\nVersion=%s\nBake=100ms\n%s", rig_folder(stage.rig), character,
			      lines), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
}

SCENE(survive, a_stop_that_was_under_way_is_finished)
{
	struct rig_child *stop;

	serve_actor("lingers", "StopTimeout=2s\n");
	cr_assert_eq(rig_ctl_begin(stage.rig, &stop, "stop", "cached", NULL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "stopping", NULL, SHOWN_US), 0);
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_run_wait(stop, SHOWN_US, NULL), 0);
	stage_wait_processes(1); /* it lives on */
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "stopped", NULL, SHOWN_US), 0);
	stage_wait_log("did not end on SIGTERM within StopTimeout=");
	stage_wait_processes(1);
	ctl(0, "start", "cached", "good");
}

/* ---- a save ---- */

/* Until `start` is refused for the reason that this is under way. */
static void wait_refused_as(const char *what)
{
	uint64_t due_us = clock_now_us() + SHOWN_US;
	struct rig_answer answer = { 0 };
	bool there;

	do {
		rig_answer_done(&answer);
		cr_assert_eq(rig_ctl(stage.rig, &answer, "start", "cached", NULL), 0);
		there = answer.status == 8 && stage_said(answer.json, what);
		cr_assert_lt(clock_now_us(), due_us);
	} while (!there);
	rig_answer_done(&answer);
}

SCENE(survive, a_save_that_was_under_way)
{
	struct rig_answer answer = { 0 };
	struct rig_child *save;

	stage_serve(&(struct rig_cached){ .version = "v1-stuck", .lines = "QuiesceTimeout=20s\n" }, NULL);
	stage_load(50);
	cr_assert_eq(rig_ctl_begin(stage.rig, &save, "save", "cached", stage_path("a.state"), NULL), 0);
	wait_refused_as("saving");
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_run_wait(save, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 1);
	rig_answer_done(&answer);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1-stuck", SHOWN_US), 0);
	cr_assert_gt(stage_pid("serving"), 0);
	stage_wait_processes(3);
	stage_load_spotless();
}

SCENE(survive, a_save_at_any_moment)
{
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = "" }, NULL);
	stage_load(100);
	pid = stage_pid("serving");
	for (unsigned ms = 0; ms < 30; ms += 6) {
		struct rig_child *save;

		cr_assert_eq(rig_ctl_begin(stage.rig, &save, "save", "cached", stage_path("b.state"), NULL), 0);
		stage_sleep_ms(ms);
		die_and_come_back();
		cr_assert_eq(rig_run_wait(save, SHOWN_US, NULL), 0);
		cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
		cr_assert_eq(stage_pid("serving"), pid);
	}
	ctl(0, "save", "cached", stage_path("c.state"));
	one_serves(1);
	stage_load_spotless();
}

/* ---- what it leaves behind ---- */

/* What was kept for a bake is closed in passing, so this waits until so many are left. */
static void wait_descriptors(pid_t pid, unsigned most)
{
	uint64_t due_us = clock_now_us() + SHOWN_US;

	while (descriptors(pid) > most) {
		cr_assert_lt(clock_now_us(), due_us, "pid %d has %u descriptors open, not %u", (int)pid, descriptors(pid), most);
		stage_sleep_ms(10);
	}
}

SCENE(survive, often_and_leave_no_descriptors_behind)
{
	unsigned daemon, service;

	stage_serve(&(struct rig_cached){ .lines = "" }, NULL);
	stage_load(50);
	/* As each of those that are compared: started anew, and one roll, and its bake is over. */
	die_and_come_back();
	ctl(0, "roll", "cached", "v2", "--bake=50ms");
	stage_sleep_ms(500); /* for what is closed in passing; if it is not done by then, this is no stricter than it should be */
	daemon = descriptors(rig_daemon_pid(stage.rig));
	service = descriptors(stage_pid("serving"));
	for (unsigned i = 0; i < 4; i++) {
		die_and_come_back();
		ctl(0, "roll", "cached", i % 2 ? "v2" : "v3", "--bake=50ms");
	}
	wait_descriptors(rig_daemon_pid(stage.rig), daemon);
	wait_descriptors(stage_pid("serving"), service);
	for (unsigned i = 0; i < 4; i++)
		die_and_come_back();
	wait_descriptors(rig_daemon_pid(stage.rig), daemon);
	wait_descriptors(stage_pid("serving"), service);
	stage_wait_processes(3);
	stage_load_spotless();
}

/* What a service prints is logged by whoever is there; with nobody there it is not blocked. */
SCENE(survive, with_what_the_service_prints)
{
	pid_t pid;

	serve_actor("talks", "");
	pid = stage_pid("serving");
	cr_assert_eq(kill(pid, SIGUSR2), 0);
	stage_wait_log("said 1");
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_eq(stage_pid("serving"), pid);
	cr_assert_eq(kill(pid, SIGUSR2), 0);
	stage_wait_log("said 2");
}

/* It writes to a pipe that nobody reads. */
SCENE(survive, although_the_service_prints_while_nobody_listens)
{
	pid_t pid;

	serve_actor("talks", "RestartDelay=50ms\n");
	pid = stage_pid("serving");
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(kill(pid, SIGUSR2), 0);
	stage_sleep_ms(300); /* lasts: in that time it would end */
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "talks", SHOWN_US), 0);
	cr_assert_eq(stage_pid("serving"), pid);
	cr_assert_eq(kill(pid, SIGUSR2), 0);
	stage_wait_log("said 2");
}

/* ---- processes that do not answer ---- */

SCENE(survive, beside_a_process_that_stands_still_and_start_no_other)
{
	char number[32];
	const json_t *answer;
	pid_t pid;

	stage_serve(&(struct rig_cached){ .lines = "" }, NULL);
	pid = stage_pid("serving");
	snprintf(number, sizeof(number), "pid %d", (int)pid);
	cr_assert_eq(kill(pid, SIGSTOP), 0);
	/* Twice: the first one dies while it waits for the process. */
	for (unsigned i = 0; i < 2; i++) {
		die_and_come_back();
		answer = ctl(8, "start", "cached");
		must_say(answer, "has not come back yet");
		must_say(answer, number);
	}
	cr_assert_eq(kill(pid, 0), 0);
	stage_wait_processes(2);
	cr_assert_eq(kill(pid, SIGCONT), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	cr_assert_eq(stage_pid("serving"), pid);
	one_serves(0);
}

SCENE(survive, beside_a_process_that_cannot_be_reached)
{
	char number[32];
	pid_t pid;

	serve_actor("keeps-nothing", "StopTimeout=5s\n");
	pid = stage_pid("serving");
	snprintf(number, sizeof(number), "(pid %d)", (int)pid);
	die_and_come_back();
	stage_wait_log("cannot be reached");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "out of reach", NULL, SHOWN_US), 0);
	cr_assert_eq(kill(pid, 0), 0);
	must_say(ctl(1, "start", "cached"), number);
	must_say(ctl(5, "roll", "cached", "good"), "out of reach");
	must_say(ctl(5, "roll", "cached", "good"), number);
	must_say(ctl(5, "save", "cached", stage_path("d.state")), "out of reach");
	cr_assert_eq(kill(pid, 0), 0);
	/* And once more, by the next one. */
	die_and_come_back();
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "out of reach", NULL, SHOWN_US), 0);
	cr_assert_eq(kill(pid, 0), 0);
	ctl(0, "stop", "cached");
	rig_reap(stage.rig);
	stage_wait_processes(1);
	ctl(0, "start", "cached", "good");
}

/* ---- the logbook ---- */

/* A disk of its own for the state folder, which only this process and what it starts see. */
static void mount_small_disk(void)
{
	cr_assert_eq(mkdir(stage_path("state"), 0700) < 0 && errno != EEXIST, 0);
	cr_assert_eq(unshare(CLONE_NEWNS), 0, "unshare: %s", strerror(errno));
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0, "%s", strerror(errno));
	cr_assert_eq(mount("small", stage_path("state"), "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=0700"), 0, "%s",
		     strerror(errno));
}

static void fill_disk(void)
{
	static const char block[4096];
	int fd = open(stage_path("state/filler"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	size_t size = sizeof(block);

	cr_assert_geq(fd, 0);
	while (size)
		if (write(fd, block, size) <= 0) {
			cr_assert_eq(errno, ENOSPC);
			size /= 2;
		}
	close(fd);
}

/* The page that the logbook ends in has room yet: that is used up by what is written into it. */
SCENE(survive, a_full_disk_without_touching_what_serves)
{
	struct rig_answer answer = { 0 };
	bool refused = false;
	pid_t pid;

	mount_small_disk();
	stage_unit(&(struct rig_cached){ .lines = "Bake=50ms\nRollback=parked\n" });
	cr_assert_eq(rig_daemon_start(stage.rig, RIG_NO_CRIU), 0);
	ctl(0, "start", "cached");
	stage_load(50);
	fill_disk();
	for (unsigned i = 0; i < 20 && !refused; i++) {
		pid = stage_pid("serving");
		rig_answer_done(&answer);
		cr_assert_eq(rig_ctl(stage.rig, &answer, "roll", "cached", i % 2 ? "v3" : "v2", NULL), 0);
		refused = answer.status != 0;
	}
	cr_assert(refused, "a roll is never refused although nothing can be written down");
	must_say(answer.json, "could not be written down");
	must_say(answer.json, strerror(ENOSPC));
	cr_assert_eq(stage_pid("serving"), pid);
	rig_answer_done(&answer);
	stage_wait_processes(3);
	/* What is not in the book is not lost: the process that serves was in it before. */
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, RIG_NO_CRIU), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", NULL, SHOWN_US), 0);
	cr_assert_eq(stage_pid("serving"), pid);
	cr_assert_eq(unlink(stage_path("state/filler")), 0);
	one_serves(1);
	stage_load_spotless();
	cr_assert_eq(rig_daemon_stop(stage.rig), 0);
	cr_assert_eq(umount2(stage_path("state"), MNT_DETACH), 0);
}

SCENE(survive, a_full_disk_that_refuses_a_start)
{
	struct rig_answer answer = { 0 };
	bool refused = false;

	mount_small_disk();
	stage_unit(&(struct rig_cached){ .lines = "Rollback=parked\n" });
	cr_assert_eq(rig_daemon_start(stage.rig, RIG_NO_CRIU), 0);
	fill_disk();
	for (unsigned i = 0; i < 20 && !refused; i++) {
		rig_answer_done(&answer);
		cr_assert_eq(rig_ctl(stage.rig, &answer, "start", "cached", NULL), 0);
		refused = answer.status != 0;
		if (!refused)
			ctl(0, "stop", "cached");
	}
	cr_assert(refused, "a start is never refused although nothing can be written down");
	must_say(answer.json, "could not be written down");
	must_say(answer.json, strerror(ENOSPC));
	rig_answer_done(&answer);
	stage_wait_processes(1); /* what was started for a moment is gone */
	cr_assert_eq(unlink(stage_path("state/filler")), 0);
	ctl(0, "start", "cached");
	cr_assert_eq(rig_daemon_stop(stage.rig), 0);
	cr_assert_eq(umount2(stage_path("state"), MNT_DETACH), 0);
}

static off_t book_size(void)
{
	struct stat st;

	cr_assert_eq(stat(stage_path("state/logbook"), &st), 0, "%s", strerror(errno));
	return st.st_size;
}

SCENE(survive, a_torn_logbook)
{
	static const char half[] = "\x01\x02\x03\x04\x40\x00\x00";
	pid_t pid;
	int fd;

	stage_serve(&(struct rig_cached){ .lines = "" }, NULL);
	stage_load(50);
	pid = stage_pid("serving");
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	fd = open(stage_path("state/logbook"), O_WRONLY | O_APPEND | O_CLOEXEC);
	cr_assert_eq(write(fd, half, sizeof(half)), (ssize_t)sizeof(half));
	close(fd);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	stage_wait_log("the logbook: ");
	cr_assert_eq(stage_pid("serving"), pid);
	/* The last entry, cut off in its middle, said what is wanted of the service. */
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(truncate(stage_path("state/logbook"), book_size() - 5), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	cr_assert_eq(stage_pid("serving"), pid);
	one_serves(1);
	stage_load_spotless();
}
