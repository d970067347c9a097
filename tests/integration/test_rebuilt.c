/* SPDX-License-Identifier: MIT */
/* The supervisor dies, and its logbook is gone, damaged or of another format: the living processes tell the next one what it had,
 * and nobody else can. */
#include "tests/integration/stage.h"

#include "base/clock.h"
#include "supervisor/logbook/logbook.pb-c.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

STAGE(rebuilt, 120);

#define SHOWN_US (20 * USEC_PER_SEC)
#define NOBODY 65534
#define NOTE_LINK "/memfd:upgraded-note (deleted)"

/* ---- what becomes of the logbook ---- */

struct file {
	uint8_t *data;
	size_t size;
};

static struct file read_book(void)
{
	int fd = open(stage_path("state/logbook"), O_RDONLY | O_CLOEXEC);
	struct file file = { .data = malloc(1 << 20) };

	cr_assert_geq(fd, 0);
	file.size = (size_t)read(fd, file.data, 1 << 20);
	cr_assert_gt(file.size, 64);
	cr_assert_lt(file.size, 1 << 20);
	close(fd);
	return file;
}

static void write_book(struct file file)
{
	int fd = open(stage_path("state/logbook"), O_WRONLY | O_CLOEXEC);

	cr_assert_eq(write(fd, file.data, file.size), (ssize_t)file.size);
	close(fd);
	free(file.data);
}

static void lose_book(void)
{
	cr_assert_eq(unlink(stage_path("state/logbook")), 0);
}

#define FRAME_HEAD 20u
#define TAG_PROCESS 0x0a /* the entry's field 1 */

/* Entries of processes lose some bits in their middle: all, or the last one. */
static void damage(bool all)
{
	struct file file = read_book();
	size_t last = 0;
	uint32_t length;

	for (size_t at = 64; at + FRAME_HEAD < file.size; at += FRAME_HEAD + length) {
		memcpy(&length, file.data + at + 4, sizeof(length));
		length = le32toh(length);
		if (file.data[at + FRAME_HEAD] != TAG_PROCESS)
			continue;
		last = at + FRAME_HEAD + length / 2;
		if (all)
			file.data[last] ^= 0x55;
	}
	cr_assert_gt(last, 0);
	if (!all)
		file.data[last] ^= 0x55;
	write_book(file);
}

static void damage_processes(void)
{
	damage(true);
}

static void damage_last_process(void)
{
	damage(false);
}

static uint32_t crc32c(const uint8_t *data, size_t size)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < size; i++) {
		crc ^= data[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

/* As an upgraded of another time may have written it. */
static void make_other_format(void)
{
	struct file file = read_book();
	uint32_t format = htole32(7), check;

	memcpy(file.data + 8, &format, sizeof(format));
	check = htole32(crc32c(file.data, 60));
	memcpy(file.data + 60, &check, sizeof(check));
	write_book(file);
}

static void die(void (*harm)(void))
{
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	harm();
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
}

/* ---- it comes back ---- */

static void comes_back(void (*harm)(void))
{
	pid_t pid;
	json_t *entry;

	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\n" }, NULL);
	stage_load(200);
	ctl(0, "roll", "cached", "v2");
	pid = stage_pid("serving");
	die(harm);
	stage_wait_log("by the note that upgraded");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v2", SHOWN_US), 0);
	cr_assert_eq(stage_pid("serving"), pid);
	must_say(ctl(0, "start", "cached"), "runs already");
	stage_wait_processes(3);
	/* What it was rolled from is not forgotten. */
	ctl(0, "undo", "cached", "--bake=100ms");
	entry = rig_status(stage.rig, "cached");
	cr_assert_str_eq(rig_text(entry, "version"), "v1");
	json_decref(entry);
	ctl(0, "roll", "cached", "v3");
	/* And the logbook is whole again. */
	pid = stage_pid("serving");
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v3", SHOWN_US), 0);
	cr_assert_eq(stage_pid("serving"), pid);
	stage_load_spotless();
	ctl(0, "stop", "cached");
	stage_wait_processes(1);
}

SCENE(rebuilt, where_it_is_gone)
{
	comes_back(lose_book);
}

SCENE(rebuilt, where_it_is_damaged)
{
	comes_back(damage_processes);
}

SCENE(rebuilt, where_it_is_of_another_format)
{
	comes_back(make_other_format);
}

static void kill_at(void *data, const char *line)
{
	pid_t pid = rig_daemon_pid(stage.rig);

	if (pid && strstr(line, data))
		kill(pid, SIGKILL);
}

/* Two processes hold notes, and one may serve. */
static void dies_in_a_roll_at(const char *moment)
{
	struct rig_answer answer = { 0 };

	stage_serve(&(struct rig_cached){ .lines = "Bake=3s\nQuiesceTimeout=3s\n" }, NULL);
	stage_load(200);
	cr_assert_eq(rig_ctl_text(stage.rig, &answer, kill_at, (char *)(uintptr_t)moment, "roll", "cached", "v2", NULL), 0);
	cr_assert_eq(answer.status, 1, "status %d:\n%s", answer.status, answer.err);
	rig_answer_done(&answer);
	die(lose_book);
	stage_end_bake();
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", NULL, SHOWN_US), 0);
	stage_wait_processes(3);
	must_say(ctl(0, "start", "cached"), "runs already");
	ctl(0, "roll", "cached", "v3");
	stage_load_spotless();
}

SCENE(rebuilt, in_a_roll_before_the_commit)
{
	dies_in_a_roll_at("ready to receive");
}

SCENE(rebuilt, in_a_roll_at_the_commit)
{
	dies_in_a_roll_at("agree");
}

SCENE(rebuilt, in_a_roll_after_the_commit)
{
	dies_in_a_roll_at("v2 serves");
}

static void die_baking(bool crashes)
{
	pid_t serving, parked;

	stage_serve(&(struct rig_cached){ .lines = "Bake=1min\n" }, NULL);
	stage_load(100);
	if (crashes)
		cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	serving = stage_pid("serving");
	parked = stage_pid("parked");
	die(lose_book);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "baking", NULL, SHOWN_US), 0);
	cr_assert_eq(stage_pid("serving"), serving);
	cr_assert_eq(stage_pid("parked"), parked);
}

SCENE(rebuilt, in_a_bake_that_is_undone)
{
	die_baking(false);
	ctl(0, "undo", "cached", "--bake=100ms");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	stage_load_spotless();
}

SCENE(rebuilt, in_a_bake_whose_version_crashes)
{
	die_baking(true);
	stage_comes_back_parked();
	stage_load_spotless();
}

/* ---- what cannot be proved ---- */

static void serve_actor(const char *character)
{
	char name[64], *text = NULL;

	snprintf(name, sizeof(name), "cached-%s", character);
	stage_link(name, "upg-actor");
	stage_link("cached-good", "upg-actor");
	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s/cached-%%v\nVersion=%s\nBake=100ms\nStopTimeout=5s\n",
			      rig_folder(stage.rig), character), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
}

SCENE(rebuilt, but_for_a_process_of_which_nothing_is_proved)
{
	char number[32];
	pid_t pid;

	serve_actor("notes-nothing");
	pid = stage_pid("serving");
	snprintf(number, sizeof(number), "(pid %d)", (int)pid);
	die(lose_book);
	stage_wait_log("nothing proves that it is the one that serves");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "out of reach", NULL, SHOWN_US), 0);
	must_say(ctl(1, "start", "cached"), number);
	must_say(ctl(5, "roll", "cached", "good"), "out of reach");
	cr_assert_eq(kill(pid, 0), 0);
	stage_wait_processes(2);
	/* By order it ends. */
	ctl(0, "stop", "cached");
	rig_reap(stage.rig);
	stage_wait_processes(1);
	ctl(0, "start", "cached", "good");
}

/* ---- others ---- */

/* The service's own note, which another process cannot have made. Return: a descriptor. */
static int open_note(pid_t pid)
{
	char path[64], link[64];

	for (int number = 0; number < 64; number++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, number);
		n = readlink(path, link, sizeof(link) - 1);
		link[n > 0 ? n : 0] = 0;
		if (strcmp(link, NOTE_LINK) == 0)
			return open(path, O_RDONLY); /* stays open for whoever is forked */
	}
	cr_assert_fail("pid %d holds no note", (int)pid);
	return -1;
}

static uint64_t start_ticks(void)
{
	char text[1024] = "";
	unsigned long long ticks = 0;
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);

	if (read(fd, text, sizeof(text) - 1) > 0 && strrchr(text, ')'))
		(void)sscanf(strrchr(text, ')') + 2,
			     "%*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
			     &ticks);
	close(fd);
	return ticks;
}

/* All that a note of @pid says, said of this process: true in nothing but who wrote it. Return: sealed memory. */
static int forge(int note)
{
	static uint8_t data[1 << 16];
	ssize_t n = pread(note, data, sizeof(data), 0);
	Upgraded__Logbook__Note *forged = upgraded__logbook__note__unpack(NULL, n > 0 ? (size_t)n : 0, data);
	int fd = memfd_create("upgraded-note", MFD_ALLOW_SEALING);
	size_t size;

	for (size_t i = 0; forged && i < forged->n_entries; i++)
		if (forged->entries[i]->what_case == UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS) {
			forged->entries[i]->process->pid = getpid();
			forged->entries[i]->process->start_ticks = start_ticks();
		}
	size = forged ? upgraded__logbook__note__pack(forged, data) : 0;
	if (size == 0 || write(fd, data, size) != (ssize_t)size ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		_exit(3);
	return fd;
}

/* A process of another user, which does @pretends, and then nothing but be there. */
static pid_t begin_stranger(void (*pretends)(int note), int note)
{
	int ready[2];
	char byte;
	pid_t pid;

	cr_assert_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
			_exit(2);
		pretends(note);
		if (write(ready[1], "", 1) == 1)
			pause();
		_exit(4);
	}
	close(ready[1]);
	cr_assert_eq(read(ready[0], &byte, 1), 1, "the stranger did not come so far");
	close(ready[0]);
	return pid;
}

static void end_stranger(pid_t pid)
{
	cr_assert_eq(kill(pid, 0), 0, "a process that nobody asked for was ended");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void pretend_with_a_forged_note(int note)
{
	forge(note);
	close(note);
}

static void tell_kernel(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		_exit(5);
	close(fd);
}

/* Its name is all that it has of one: whoever closes the last descriptor of it would wait for its file system. */
static void pretend_with_a_file_of_that_name(int note)
{
	/* As user 65534 of a place of its own, where it may mount what it likes. */
	if (prctl(PR_SET_DUMPABLE, 1) < 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		_exit(5);
	tell_kernel("/proc/self/setgroups", "deny");
	tell_kernel("/proc/self/uid_map", "65534 65534 1");
	tell_kernel("/proc/self/gid_map", "65534 65534 1");
	if (mount("none", "/tmp", "tmpfs", 0, NULL) < 0 ||
	    open("/tmp" NOTE_LINK, O_RDWR | O_CREAT, 0600) < 0 || umount2("/tmp", MNT_DETACH) < 0)
		_exit(6);
	close(note);
}

static void pretend_with_the_note_of_another(int note)
{
	(void)note; /* holds it */
}

static void refuses(void (*pretends)(int note), const char *told)
{
	char number[32];
	pid_t stranger, pid;
	int note;

	stage_serve(&(struct rig_cached){ .lines = "" }, NULL);
	stage_load(50);
	pid = stage_pid("serving");
	note = open_note(pid);
	stranger = begin_stranger(pretends, note);
	snprintf(number, sizeof(number), "pid %d (", (int)stranger);
	/* Beside the one that serves it is nobody. */
	die(lose_book);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	cr_assert_eq(stage_pid("serving"), pid);
	stage_load_spotless();
	ctl(0, "stop", "cached");
	/* And where nothing serves, it keeps nobody from starting. */
	die(lose_book);
	if (told) {
		stage_wait_log(number);
		stage_wait_log(told);
	}
	ctl(0, "start", "cached");
	cr_assert_neq(stage_pid("serving"), stranger);
	ctl(0, "stop", "cached");
	close(note);
	end_stranger(stranger);
}

SCENE(rebuilt, by_no_stranger_who_forges_a_note)
{
	refuses(pretend_with_a_forged_note, "it was made by user 65534; it is not believed");
}

SCENE(rebuilt, by_no_stranger_who_has_a_file_of_the_name_of_a_note)
{
	refuses(pretend_with_a_file_of_that_name, "it is a file of some file system; it is not believed");
}

SCENE(rebuilt, by_no_stranger_who_holds_the_note_of_another_process)
{
	refuses(pretend_with_the_note_of_another, NULL);
}

/* What is left of the logbook says that it was being started: it serves since long. */
SCENE(rebuilt, but_for_a_process_whose_last_entry_is_lost)
{
	pid_t pid;

	serve_actor("notes-nothing");
	pid = stage_pid("serving");
	die(damage_last_process);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "out of reach", NULL, SHOWN_US), 0);
	cr_assert_eq(stage_pid("serving"), pid);
	cr_assert_eq(kill(pid, 0), 0);
	ctl(0, "stop", "cached");
	rig_reap(stage.rig);
}

/* The program of the service, by a user and with a channel that @maker has made. */
static pid_t run_the_program(uid_t user, uid_t maker)
{
	char path[PATH_MAX], link[64], is[PATH_MAX], ought[PATH_MAX];
	uint64_t due_us = clock_now_us() + SHOWN_US;
	ssize_t n;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/cached-notes-nothing", rig_folder(stage.rig));
	cr_assert(realpath(path, ought));
	pid = fork();
	if (pid == 0) {
		int pair[2];

		if (setresuid(maker, maker, 0) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0 || dup2(pair[0], 60) < 0 ||
		    dup2(pair[1], 61) < 0 || setresuid(0, 0, 0) < 0 || setresuid(user, user, user) < 0)
			_exit(3);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setenv("UPGRADED_FD", "60", 1);
		execl(path, path, (char *)NULL);
		_exit(4);
	}
	snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
	do {
		cr_assert_lt(clock_now_us(), due_us, "the stranger did not become the program");
		n = readlink(link, is, sizeof(is) - 1);
		is[n > 0 ? n : 0] = 0;
	} while (strcmp(is, ought) != 0);
	return pid;
}

static void refuses_one_that_runs_it(uid_t user, uid_t maker)
{
	pid_t stranger;

	serve_actor("notes-nothing");
	ctl(0, "stop", "cached");
	stranger = run_the_program(user, maker);
	die(lose_book);
	ctl(0, "start", "cached");
	cr_assert_neq(stage_pid("serving"), stranger);
	ctl(0, "stop", "cached");
	end_stranger(stranger);
}

SCENE(rebuilt, by_no_stranger_who_runs_its_program)
{
	refuses_one_that_runs_it(NOBODY, 0);
}

SCENE(rebuilt, by_no_process_whose_channel_is_of_a_stranger)
{
	refuses_one_that_runs_it(0, NOBODY);
}

/* By whom nobody can tell it apart: what keeps the two above from it is what they say. */
SCENE(rebuilt, but_for_one_that_runs_its_program_as_its_user)
{
	char number[32];
	pid_t pid;

	serve_actor("notes-nothing");
	ctl(0, "stop", "cached");
	pid = run_the_program(0, 0);
	snprintf(number, sizeof(number), "(pid %d)", (int)pid);
	die(lose_book);
	must_say(ctl(1, "start", "cached"), number);
	end_stranger(pid);
}

/* Nobody will ever know which of the two serves. */
SCENE(rebuilt, but_for_two_of_which_either_may_serve)
{
	char number[32];
	pid_t pid, other;

	serve_actor("notes-nothing");
	pid = stage_pid("serving");
	other = run_the_program(0, 0);
	snprintf(number, sizeof(number), "(pid %d)", (int)pid);
	die(lose_book);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "out of reach", NULL, SHOWN_US), 0);
	must_say(ctl(1, "start", "cached"), number);
	/* It holds nobody up: upgraded itself can be replaced, and killed. */
	ctl(0, "roll", "upgraded");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "out of reach", NULL, SHOWN_US), 0);
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "out of reach", NULL, SHOWN_US), 0);
	/* One has ended: the other may serve still. */
	cr_assert_eq(kill(pid, SIGKILL), 0);
	rig_reap(stage.rig);
	stage_wait_log("may serve as well");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "out of reach", NULL, SHOWN_US), 0);
	ctl(1, "start", "cached");
	ctl(0, "stop", "cached");
	cr_assert_eq(waitpid(other, NULL, 0), other);
	ctl(0, "start", "cached", "good");
}

SCENE(rebuilt, and_a_stop_ends_both_of_two_of_which_either_may_serve)
{
	pid_t pid, other;

	serve_actor("notes-nothing");
	pid = stage_pid("serving");
	other = run_the_program(0, 0);
	die(lose_book);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "out of reach", NULL, SHOWN_US), 0);
	ctl(0, "stop", "cached");
	rig_reap(stage.rig);
	cr_assert_lt(kill(pid, 0), 0);
	cr_assert_lt(kill(other, 0), 0);
	ctl(0, "start", "cached", "good");
}
