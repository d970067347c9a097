/* SPDX-License-Identifier: MIT */
/* The store of images: what is listed, shown, verified and removed; and that nothing is restored which is not what it was. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

STAGE(images, 90);

#define SHOWN_US (20 * USEC_PER_SEC)

static size_t count(const json_t *answer)
{
	return json_array_size(json_object_get(answer, "images"));
}

static long long generation(const json_t *answer, unsigned i)
{
	char path[64];

	snprintf(path, sizeof(path), "images.%u.generation", i);
	return rig_number(answer, path);
}

static const json_t *check_of(const json_t *answer, const char *name)
{
	json_t *check, *image = json_array_get(json_object_get(answer, "images"), 0);
	size_t i;

	json_array_foreach(json_object_get(image, "checks"), i, check)
		if (strcmp(rig_text(check, "name"), name) == 0)
			return check;
	cr_assert(false, "no check of %s in %s", name, json_dumps(answer, 0));
	return NULL;
}

static bool is_well(const json_t *answer, const char *name)
{
	return json_is_true(json_object_get(check_of(answer, name), "ok"));
}

#define must_fail(answer, name, text) \
	do { \
		cr_assert_not(is_well(answer, name)); \
		cr_assert(strstr(rig_text(check_of(answer, name), "detail"), text), "%s", \
			  rig_text(check_of(answer, name), "detail")); \
	} while (0)

/* A byte of the newest image's largest file. */
static void damage(void)
{
	const char *folder = stage_path("state/images/cached/%lld", generation(ctl(0, "images", "list", "cached"), 0));
	char name[NAME_MAX + 1] = "";
	struct dirent *entry;
	struct stat st;
	off_t most = 0;
	DIR *dir = opendir(folder);
	uint8_t byte;
	int fd;

	cr_assert_not_null(dir);
	while ((entry = readdir(dir))) {
		if (fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && S_ISREG(st.st_mode) && st.st_size > most) {
			most = st.st_size;
			strcpy(name, entry->d_name);
		}
	}
	cr_assert(strncmp(name, "pages-", 6) == 0, "%s is the largest", name);
	fd = openat(dirfd(dir), name, O_RDWR | O_CLOEXEC);
	cr_assert(fd >= 0 && pread(fd, &byte, 1, most / 2) == 1);
	byte ^= 1;
	cr_assert(pwrite(fd, &byte, 1, most / 2) == 1);
	close(fd);
	closedir(dir);
}

static void serve_copies(const char *lines)
{
	char *text = NULL;

	for (unsigned v = 1; v <= 2; v++) {
		char name[32], of[32];

		snprintf(name, sizeof(name), "cached-v%u", v);
		snprintf(of, sizeof(of), "examples/cached-v%u", v);
		stage_copy(name, of);
	}
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s/cached-%%v -p %u\nVersion=v1\n%s", rig_folder(stage.rig), stage.port,
			      lines), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
	ctl(0, "start", "cached");
}

/* The version that bakes dies, and what its predecessor's image is good for is seen. */
static const json_t *ends_as(const char *outcome)
{
	const json_t *answer;

	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	answer = ctl(0, "status", "cached");
	cr_assert_str_eq(rig_text(answer, "services.0.last_roll.outcome"), outcome);
	return answer;
}

static void bakes(const char *lines)
{
	stage_serve(&(struct rig_cached){ .lines = lines }, NULL);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
}

/* ---- what is told ---- */

SCENE(images, are_listed_shown_and_verified_while_clients_are_served)
{
	const json_t *answer;
	json_t *pin;
	struct stat st;
	bool exe = false, library = false;
	size_t i;

	stage_serve(&(struct rig_cached){ .lines = "Bake=300ms\n" }, NULL);
	cr_assert_eq(count(ctl(0, "images", "list")), 0);
	stage_load(200);
	ctl(0, "roll", "cached", "v2");
	answer = ctl(0, "images", "list");
	cr_assert_eq(count(answer), 1);
	cr_assert_str_eq(rig_text(answer, "images.0.service"), "cached");
	cr_assert_str_eq(rig_text(answer, "images.0.version"), "v1");
	cr_assert_str_eq(rig_text(answer, "images.0.state"), "whole");
	cr_assert_gt(rig_number(answer, "images.0.size_bytes"), 100000);
	cr_assert_eq(stat(rig_text(answer, "images.0.path"), &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0700);
	answer = ctl(0, "images", "show", "cached");
	json_array_foreach(json_object_get(json_array_get(json_object_get(answer, "images"), 0), "pins"), i, pin) {
		exe |= !strcmp(rig_text(pin, "kind"), "exe") && strstr(rig_text(pin, "path"), "cached-v1");
		library |= !strcmp(rig_text(pin, "kind"), "mapped") && strstr(rig_text(pin, "path"), "libc.so");
	}
	cr_assert(exe && library, "%s", json_dumps(answer, 0));
	cr_assert_eq(strlen(rig_text(answer, "images.0.files.0.xxh3")), 32);
	answer = ctl(0, "images", "verify", "cached");
	cr_assert(json_is_true(json_object_get(json_array_get(json_object_get(answer, "images"), 0), "restorable")));
	cr_assert(is_well(answer, "files") && is_well(answer, "needed files") && is_well(answer, "pid") && is_well(answer, "criu"));
	stage_load_spotless();
}

SCENE(images, are_told_to_people_as_well)
{
	struct rig_answer text = { 0 };

	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\n" }, NULL);
	ctl(0, "roll", "cached", "v2");
	cr_assert_eq(rig_ctl_text(stage.rig, &text, NULL, NULL, "images", "list", NULL), 0);
	cr_assert(text.status == 0 && strstr(text.out, "GENERATION") && strstr(text.out, "whole"), "%s%s", text.out, text.err);
	rig_answer_done(&text);
	cr_assert_eq(rig_ctl_text(stage.rig, &text, NULL, NULL, "images", "show", "cached", NULL), 0);
	cr_assert(text.status == 0 && strstr(text.out, "exe") && strstr(text.out, "cached-v1"), "%s%s", text.out, text.err);
	rig_answer_done(&text);
	damage();
	cr_assert_eq(rig_ctl_text(stage.rig, &text, NULL, NULL, "images", "verify", "cached", NULL), 0);
	cr_assert(text.status == 1 && strstr(text.out, "is damaged: its checksum"), "%s%s", text.out, text.err);
	cr_assert(strstr(text.err, "1 of 1 images could not be restored now"), "%s", text.err);
	rig_answer_done(&text);
}

SCENE(images, that_are_not_there_are_told_so)
{
	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\n" }, NULL);
	must_say(ctl(1, "images", "show", "cached"), "there is no image of cached");
	must_say(ctl(1, "images", "verify", "cached", "77"), "there is no image 77 of cached");
	cr_assert_eq(count(ctl(0, "images", "verify", "cached")), 0);
	must_say(ctl(4, "images", "list", "nobody"), "there is no service nobody");
	ctl(2, "images", "show");
	ctl(2, "images", "show", "cached", "newest");
	ctl(2, "images", "burn", "cached");
}

/* ---- how many stay ---- */

SCENE(images, are_limited_in_number)
{
	const json_t *answer;
	long long newest;

	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\nImagesKeep=2\n" }, NULL);
	stage_load(50);
	ctl(0, "roll", "cached", "v2");
	ctl(0, "roll", "cached", "v3");
	ctl(0, "undo", "cached");
	answer = ctl(0, "images", "list", "cached");
	cr_assert_eq(count(answer), 2);
	cr_assert_str_eq(rig_text(answer, "images.0.version"), "v3");
	cr_assert_str_eq(rig_text(answer, "images.1.version"), "v2");
	newest = generation(answer, 0);
	stage_unit(&(struct rig_cached){ .lines = "Bake=100ms\nImagesKeep=0\n" });
	/* The file is read at the next roll; until then what was read last counts. */
	must_say(ctl(0, "images", "gc"), "0 images were removed");
	ctl(0, "roll", "cached", "v3");
	cr_assert_eq(count(ctl(0, "images", "list")), 0);
	cr_assert_gt(newest, 0);
	stage_load_spotless();
}

SCENE(images, are_limited_in_age)
{
	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\nImagesMaxAge=1s\n" }, NULL);
	ctl(0, "roll", "cached", "v2");
	cr_assert_eq(count(ctl(0, "images", "list")), 1);
	stage_sleep_ms(2100);
	must_say(ctl(0, "images", "gc", "cached"), "1 images were removed");
	cr_assert_eq(stage_images(""), 0);
}

SCENE(images, are_limited_in_size_but_not_while_a_roll_needs_them)
{
	const json_t *answer;
	char number[32];

	bakes("Bake=20s\nImagesMaxSize=1K\nRollback=image\n");
	answer = ctl(0, "images", "list");
	cr_assert_str_eq(rig_text(answer, "images.0.state"), "in use");
	snprintf(number, sizeof(number), "%lld", generation(answer, 0));
	must_say(ctl(0, "images", "gc"), "0 images were removed");
	must_say(ctl(8, "images", "gc", "cached", number), "in use");
	ends_as("rolled-back-image");
	ctl(0, "roll", "cached", "v2", "--bake=100ms");
	cr_assert_eq(count(ctl(0, "images", "list")), 0);
}

SCENE(images, that_are_named_are_removed_whatever_the_limits)
{
	const json_t *answer;
	char number[32];

	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\n" }, NULL);
	ctl(0, "roll", "cached", "v2");
	snprintf(number, sizeof(number), "%lld", generation(ctl(0, "images", "list"), 0));
	answer = ctl(0, "images", "gc", "cached", number);
	must_say(answer, "1 images were removed");
	cr_assert_str_eq(rig_text(answer, "images.0.state"), "removed");
	cr_assert_eq(stage_images(""), 0);
}

/* ---- what is not restored ---- */

SCENE(images, that_are_damaged_are_not_gone_on_with)
{
	const json_t *answer;

	bakes("Bake=1min\nRollback=image\n");
	damage();
	must_fail(ctl(1, "images", "verify", "cached"), "files", "is damaged: its checksum");
	ends_as("cold-start");
	stage_wait_log("is damaged: its checksum is not the one it was written with");
	/* Restored, found out and ended: the daemon and the service are all there is. */
	stage_wait_processes(2);
	answer = ctl(0, "images", "list");
	cr_assert_str_eq(rig_text(answer, "images.0.state"), "kept");
	must_say(ctl(0, "images", "gc"), "0 images were removed");
}

SCENE(images, whose_program_was_changed_say_so)
{
	serve_copies("Bake=1min\nRollback=image\n");
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	cr_assert(is_well(ctl(0, "images", "verify", "cached"), "needed files"));
	stage_copy("cached-v1", "examples/cached-v3");
	must_fail(ctl(1, "images", "verify", "cached"), "needed files", "its executable");
	must_fail(ctl(1, "images", "verify", "cached"), "needed files", "put the file of that version back");
	ends_as("cold-start");
	stage_wait_log("was changed since the image was taken");
}

/* Somebody else has the pid: any process at all, with a name of its own. */
static pid_t pid_take(pid_t pid)
{
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)&pid, .set_tid_size = 1 };
	uint64_t due_us = clock_now_us() + SHOWN_US;
	long r;

	/* Whoever had it has ended, and may not have been reaped yet. */
	while ((r = syscall(SYS_clone3, &args, sizeof(args))) < 0 && errno == EEXIST && clock_now_us() < due_us)
		stage_sleep_ms(1);
	if (r == 0) {
		execlp("sleep", "sleep", "1000", (char *)NULL);
		_exit(1);
	}
	cr_assert_eq(r, pid, "clone3: %s", strerror(errno));
	return pid;
}

SCENE(images, whose_pid_is_taken_name_who_has_it)
{
	pid_t old, other;

	stage_serve(&(struct rig_cached){ .lines = "Bake=1min\nRollback=image\n" }, NULL);
	old = stage_pid("serving");
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	other = pid_take(old);
	must_fail(ctl(1, "images", "verify", "cached"), "pid", "is taken by a running process: ");
	ends_as("cold-start");
	stage_wait_log("is taken by a running process: 'sleep'");
	cr_assert_eq(kill(other, SIGKILL), 0);
	cr_assert_eq(waitpid(other, NULL, 0), other);
	/* It was kept, and now nothing is in its way. */
	ctl(0, "images", "verify", "cached");
}

SCENE(images, of_a_parked_process_count_its_pid_as_free)
{
	bakes("Bake=1min\nRollback=auto\n");
	cr_assert_gt(stage_pid("parked"), 0);
	ctl(0, "images", "verify", "cached");
}

/* ---- the daemon's ends ---- */

SCENE(images, outlive_the_daemon)
{
	const json_t *answer;
	long long taken;

	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\n" }, NULL);
	ctl(0, "roll", "cached", "v2");
	taken = generation(ctl(0, "images", "list"), 0);
	cr_assert_eq(rig_daemon_stop(stage.rig), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	answer = ctl(0, "images", "list");
	cr_assert_eq(count(answer), 1);
	cr_assert_eq(generation(answer, 0), taken);
	ctl(0, "images", "verify", "cached");
	ctl(0, "start", "cached", "v1");
	ctl(0, "roll", "cached", "v2");
	answer = ctl(0, "images", "list");
	cr_assert_eq(count(answer), 1);
	cr_assert_gt(generation(answer, 0), taken);
}

SCENE(images, that_are_half_taken_when_the_daemon_is_killed_are_never_there)
{
	const char *real = getenv("UPG_CRIU") ? getenv("UPG_CRIU") : "criu";
	const char *wrapper = stage_path("criu");
	struct rig_child *roll;
	pid_t orphan;
	FILE *file;

	/* Writes half of it and then waits for its caller, as CRIU does between two requests; the real one until `bad` is there. */
	file = fopen(wrapper, "we");
	cr_assert_not_null(file);
	fprintf(file, "#!/bin/sh\nif [ -e '%s' ]; then\necho half >\"$(echo %s/*.tmp)/inventory.img\"\n"
		"exec cat <&3 >/dev/null\nfi\nexec %s \"$@\"\n", stage_path("bad"), stage_path("state/images/cached"), real);
	cr_assert(fclose(file) == 0 && chmod(wrapper, 0755) == 0);
	stage_serve(&(struct rig_cached){ .lines = "Bake=1min\n" }, wrapper);
	file = fopen(stage_path("bad"), "we");
	cr_assert_not_null(file);
	fclose(file);
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v2", NULL), 0);
	stage_wait_log("is parked");
	for (unsigned i = 0; i < 1000 && !stage_images(".tmp"); i++)
		stage_sleep_ms(10);
	cr_assert_eq(stage_images(".tmp"), 1);
	cr_assert_eq(count(ctl(0, "images", "list")), 0);
	orphan = stage_pid("serving");
	cr_assert_eq(rig_daemon_kill(stage.rig, SIGKILL), 0);
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, NULL), 0);
	stage.port = rig_port(stage.rig);
	stage_unit(&(struct rig_cached){ .lines = "Bake=100ms\n" });
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	cr_assert_eq(count(ctl(0, "images", "list")), 0);
	cr_assert_eq(stage_images(""), 0);
	cr_assert_eq(kill(orphan, SIGTERM), 0);
	stage_wait_processes(1);
}
