/* SPDX-License-Identifier: MIT */
#include "tests/ports/dropbear_stage.h"

#include "base/clock.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the service ---- */

char dropbear_ports[PATH_MAX / 4], dropbear_host_key[512];

const char *dropbear_run(const char *const argv[])
{
	static struct rig_answer answer;
	struct rig_child *child;

	rig_answer_done(&answer);
	cr_assert_eq(rig_run_begin(stage.rig, &(struct rig_run){ .argv = argv }, &child), 0);
	cr_assert_eq(rig_run_wait(child, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 0, "%s: %s", argv[0], answer.err);
	return answer.out;
}

/* Without a comment, which dbclient would take for a part of the key. */
const char *dropbear_make_key(const char *path)
{
	static char key[256];
	char tool[PATH_MAX];
	const char *said;

	snprintf(tool, sizeof(tool), "%s/dropbear-v1.tree/dropbearkey", dropbear_ports);
	said = strstr(dropbear_run((const char *const[]){ tool, "-t", "ed25519", "-f", path, NULL }), "ssh-ed25519 ");
	cr_assert_not_null(said);
	snprintf(key, sizeof(key), "%.*s", (int)(strlen("ssh-ed25519 ") + strcspn(said + strlen("ssh-ed25519 "), " \n")), said);
	return key;
}

void dropbear_write(const char *path, const char *fmt, ...)
{
	FILE *file = fopen(path, "we");
	va_list args;

	cr_assert_not_null(file, "%s: %s", path, strerror(errno));
	va_start(args, fmt);
	vfprintf(file, fmt, args);
	va_end(args);
	cr_assert_eq(fclose(file), 0);
}

/* For this test and what it starts, root's home lies in the rig's folder: nothing of the machine's own is read or written. */
static void move_home(const char *home)
{
	const char *passwd = stage_path("passwd");

	cr_assert_eq(unshare(CLONE_NEWNS), 0, "these tests need root: %s", strerror(errno));
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	dropbear_write(passwd, "root:x:0:0:root:%s:/bin/sh\n", home);
	cr_assert_eq(mount(passwd, "/etc/passwd", NULL, MS_BIND, NULL), 0, "%s", strerror(errno));
}

void dropbear_open(void)
{
	char *folder = realpath(getenv("UPG_PORTS") ? getenv("UPG_PORTS") : "build/ports", NULL);

	cr_assert_not_null(folder, "the ports are not built: make test SUITE=ports");
	snprintf(dropbear_ports, sizeof(dropbear_ports), "%s", folder);
	free(folder);
	stage_open();
	snprintf(ssh_setup.home, sizeof(ssh_setup.home), "%s", stage_path("home"));
	snprintf(ssh_setup.key, sizeof(ssh_setup.key), "%s", stage_path("home/key"));
	snprintf(ssh_setup.dbclient, sizeof(ssh_setup.dbclient), "%s/dropbear-v1.tree/dbclient", dropbear_ports);
	cr_assert(mkdir(ssh_setup.home, 0700) == 0 && mkdir(stage_path("home/.ssh"), 0700) == 0);
	dropbear_write(stage_path("home/.ssh/authorized_keys"), "%s\n", dropbear_make_key(ssh_setup.key));
	snprintf(dropbear_host_key, sizeof(dropbear_host_key), "%s", dropbear_make_key(stage_path("hostkey")));
	move_home(ssh_setup.home);
}

/* Sessions end when they notice that their clients are gone. */
void dropbear_close(void)
{
	struct rig_answer answer = { 0 };

	cr_assert_eq(rig_ctl(stage.rig, &answer, "stop", "dropbear", NULL), 0);
	rig_answer_done(&answer);
	stage_wait_processes(1);
	stage_close();
}

void dropbear_unit(const char *program, const char *options, const char *lines)
{
	char *text = NULL;

	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s%s-%%v -E -P %s -r %s -p 127.0.0.1:%u %s\nVersion=v1\n%s",
			      program ? "" : dropbear_ports, program ? program : "/dropbear", stage_path("pid"),
			      stage_path("hostkey"), stage.port, options, lines), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "dropbear", text), 0);
	free(text);
}

void dropbear_serve(const char *lines)
{
	dropbear_unit(NULL, "-F", lines);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "dropbear");
}

pid_t dropbear_master(const char *state)
{
	return stage_pid_of("dropbear", state);
}

void dropbear_crash(const char *comes_back)
{
	cr_assert_eq(rig_wait_status(stage.rig, "dropbear", "baking", NULL, SHOWN_US), 0);
	cr_assert_eq(kill(dropbear_master("serving"), SIGKILL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "dropbear", "running", comes_back, SHOWN_US), 0);
}

void dropbear_undo(void)
{
	ctl(0, "undo", "dropbear", "--wait=commit");
	ctl(0, "accept", "dropbear");
	cr_assert_eq(rig_wait_status(stage.rig, "dropbear", "running", "v1", SHOWN_US), 0);
}

/* ---- sessions ---- */

void session_begin(struct counter *counter)
{
	int r = counter_begin(counter, stage.port);
	char errors[200] = "";

	if (r < 0)
		ssh_end(&counter->ssh, errors, sizeof(errors));
	cr_assert_eq(r, 0, "no session: %s, %s", strerror(-r), errors);
}

void session_counts(struct counter *counter)
{
	cr_assert(counter_await(counter, 10), "after %llu: %s", (unsigned long long)atomic_load(&counter->count), counter->wrong);
}

void session_end(struct counter *counter)
{
	session_counts(counter);
	cr_assert_eq(counter_end(counter), 0, "%s", counter->wrong);
	cr_assert_str_eq(counter->wrong, "");
}

/* ---- sessions that have not logged in ---- */

int dropbear_visit(void)
{
	int fd = visitor_open(stage.port);

	cr_assert_geq(fd, 0, "a visitor was refused: %s", strerror(-fd));
	return fd;
}

void dropbear_is_full(void)
{
	int fd = visitor_open(stage.port);

	cr_assert_eq(fd, -EPIPE, "a visitor more than the limit got in, or: %s", fd < 0 ? strerror(-fd) : "it did");
}

int dropbear_takes_one_more(void)
{
	uint64_t due_us = clock_now_us() + SHOWN_US;
	int fd;

	while ((fd = visitor_open(stage.port)) < 0) {
		cr_assert_lt(clock_now_us(), due_us, "nobody gets in: the end of a session did not reach the master");
		stage_sleep_ms(5);
	}
	dropbear_is_full();
	return fd;
}

int dropbear_log_in(enum ssh_trust trust, char *errors, size_t size)
{
	struct ssh ssh;

	cr_assert_eq(ssh_begin(&ssh, stage.port, trust, "true"), 0);
	return ssh_end(&ssh, errors, size);
}
