/* SPDX-License-Identifier: MIT */
/* An ssh server, dropbear 2022.83, of which each session is a process of its own: the master is rolled, the sessions go on under the code
 * that began them, and their ends reach the master that serves then. */
#include "tests/integration/stage.h"
#include "tests/ports/dropbear_clients.h"

#include "base/clock.h"
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHOWN_US (20 * USEC_PER_SEC)
#define PLACES 5u /* for sessions of one address that have not logged in: MAX_UNAUTH_PER_IP */

static void dropbear_open(void);

TestSuite(dropbear, .init = dropbear_open, .fini = stage_abandon, .timeout = 120);

/* ---- the service ---- */

static char ports[PATH_MAX / 4]; /* where the two versions are */
static char host_key[512];       /* its public half */

/* Return: what it has printed; lives until the next call. */
static const char *run(const char *const argv[])
{
	static struct rig_answer answer;
	struct rig_child *child;

	rig_answer_done(&answer);
	cr_assert_eq(rig_run_begin(stage.rig, &(struct rig_run){ .argv = argv }, &child), 0);
	cr_assert_eq(rig_run_wait(child, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 0, "%s: %s", argv[0], answer.err);
	return answer.out;
}

/* A key for @path. Return: its public half, without a comment, which dbclient would take for a part of it. Lives until the next call. */
static const char *make_key(const char *path)
{
	static char key[256];
	char tool[PATH_MAX];
	const char *said;

	snprintf(tool, sizeof(tool), "%s/dropbear-v1.tree/dropbearkey", ports);
	said = strstr(run((const char *const[]){ tool, "-t", "ed25519", "-f", path, NULL }), "ssh-ed25519 ");
	cr_assert_not_null(said);
	snprintf(key, sizeof(key), "%.*s", (int)(strlen("ssh-ed25519 ") + strcspn(said + strlen("ssh-ed25519 "), " \n")), said);
	return key;
}

static void write_file(const char *path, const char *fmt, ...)
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
	write_file(passwd, "root:x:0:0:root:%s:/bin/sh\n", home);
	cr_assert_eq(mount(passwd, "/etc/passwd", NULL, MS_BIND, NULL), 0, "%s", strerror(errno));
}

static void dropbear_open(void)
{
	char *folder = realpath(getenv("UPG_PORTS") ? getenv("UPG_PORTS") : "build/ports", NULL);

	cr_assert_not_null(folder, "the ports are not built: make test SUITE=ports");
	snprintf(ports, sizeof(ports), "%s", folder);
	free(folder);
	stage_open();
	snprintf(ssh_setup.home, sizeof(ssh_setup.home), "%s", stage_path("home"));
	snprintf(ssh_setup.key, sizeof(ssh_setup.key), "%s", stage_path("home/key"));
	snprintf(ssh_setup.dbclient, sizeof(ssh_setup.dbclient), "%s/dropbear-v1.tree/dbclient", ports);
	cr_assert(mkdir(ssh_setup.home, 0700) == 0 && mkdir(stage_path("home/.ssh"), 0700) == 0);
	write_file(stage_path("home/.ssh/authorized_keys"), "%s\n", make_key(ssh_setup.key));
	snprintf(host_key, sizeof(host_key), "%s", make_key(stage_path("hostkey")));
	move_home(ssh_setup.home);
}

/* Sessions end when they notice that their clients are gone. */
static void dropbear_close(void)
{
	struct rig_answer answer = { 0 };

	cr_assert_eq(rig_ctl(stage.rig, &answer, "stop", "dropbear", NULL), 0);
	rig_answer_done(&answer);
	stage_wait_processes(1);
	stage_close();
}

#define DROPBEAR(name) \
	static void name##_scene(void); \
	Test(dropbear, name) \
	{ \
		name##_scene(); \
		dropbear_close(); \
	} \
	static void name##_scene(void)

/* @program: before "-v1"; NULL: as built. */
static void unit_with(const char *program, const char *options, const char *lines)
{
	char *text = NULL;

	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s%s-%%v -E -P %s -r %s -p 127.0.0.1:%u %s\nVersion=v1\n%s", program ? "" : ports,
			      program ? program : "/dropbear", stage_path("pid"), stage_path("hostkey"), stage.port, options, lines), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "dropbear", text), 0);
	free(text);
}

static void serve(const char *lines)
{
	unit_with(NULL, "-F", lines);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "dropbear");
}

static pid_t master(const char *state)
{
	json_t *entry = rig_status(stage.rig, "dropbear"), *instance;
	pid_t pid = 0;
	size_t i;

	cr_assert_not_null(entry);
	json_array_foreach(json_object_get(entry, "instances"), i, instance)
		if (strcmp(rig_text(instance, "state"), state) == 0)
			pid = (pid_t)rig_number(instance, "pid");
	json_decref(entry);
	return pid;
}

/* The version that serves is killed in its bake. */
static void crash_in_bake(const char *comes_back)
{
	cr_assert_eq(rig_wait_status(stage.rig, "dropbear", "baking", NULL, SHOWN_US), 0);
	cr_assert_eq(kill(master("serving"), SIGKILL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "dropbear", "running", comes_back, SHOWN_US), 0);
}

/* Back while the way forward bakes, and done with. */
static void undo_in_bake(void)
{
	ctl(0, "undo", "dropbear", "--wait=commit");
	ctl(0, "accept", "dropbear");
	cr_assert_eq(rig_wait_status(stage.rig, "dropbear", "running", "v1", SHOWN_US), 0);
}

/* ---- sessions ---- */

static void begin(struct counter *counter)
{
	int r = counter_begin(counter, stage.port);
	char errors[200] = "";

	if (r < 0)
		ssh_end(&counter->ssh, errors, sizeof(errors));
	cr_assert_eq(r, 0, "no session: %s, %s", strerror(-r), errors);
}

static void counts(struct counter *counter)
{
	cr_assert(counter_await(counter, 10), "after %llu: %s", (unsigned long long)atomic_load(&counter->count), counter->wrong);
}

static void end(struct counter *counter)
{
	counts(counter);
	cr_assert_eq(counter_end(counter), 0, "%s", counter->wrong);
	cr_assert_str_eq(counter->wrong, "");
}

DROPBEAR(a_session_counts_on_over_rolls_undos_and_a_crash)
{
	struct counter counter;
	char log[160];

	serve("Bake=300ms\n");
	begin(&counter);
	ctl(0, "roll", "dropbear", "v2");
	counts(&counter);
	ctl(0, "undo", "dropbear");
	counts(&counter);
	ctl(0, "roll", "dropbear", "v2", "--verify=roundtrip");
	ctl(0, "roll", "dropbear", "v1");
	unit_with(NULL, "-F", "Bake=1min\n");
	ctl(0, "roll", "dropbear", "v2", "--wait=commit");
	crash_in_bake("v1");
	counts(&counter);
	/* It was one process all the time. */
	snprintf(log, sizeof(log), "[%d]", counter.session);
	stage_wait_log(log);
	end(&counter);
	cr_log_info("%llu answers, the slowest in %.1f ms", (unsigned long long)atomic_load(&counter.count),
		    (double)counter.longest_us / 1000);
	stage_wait_processes(2); /* the daemon and v1 */
}

/* In each of the ways in which a version can go, what it has begun goes on. */
DROPBEAR(sessions_outlive_the_version_that_began_them)
{
	struct counter of[5];

	serve("Bake=1min\n");
	begin(&of[0]);
	ctl(0, "roll", "dropbear", "v2", "--wait=commit");
	begin(&of[1]);
	undo_in_bake();
	begin(&of[2]);
	ctl(0, "roll", "dropbear", "v2", "--wait=commit");
	begin(&of[3]);
	crash_in_bake("v1");
	begin(&of[4]);
	for (unsigned i = 0; i < 5; i++)
		end(&of[i]);
	/* The daemon and v1: whoever has ended was reaped, also what began under others. */
	stage_wait_processes(2);
}

DROPBEAR(nobody_is_refused_while_it_is_rolled)
{
	static struct comers comers;
	double pause_ms, longest_ms = 0;

	serve("Bake=100ms\n");
	cr_assert_eq(comers_begin(&comers, stage.port, 3), 0);
	for (unsigned i = 0; i < 20; i++) {
		const json_t *answer = ctl(0, "roll", "dropbear", i % 2 ? "v1" : "v2");

		pause_ms = (double)rig_number(answer, "roll.pause_us") / 1000;
		if (pause_ms > longest_ms)
			longest_ms = pause_ms;
	}
	comers_end(&comers);
	stage_wait_processes(2);
	for (unsigned i = 0; i < comers.n; i++)
		cr_expect_str_eq(comers.wrong[i], "");
	cr_assert_eq(atomic_load(&comers.failed), 0);
	cr_assert_gt(atomic_load(&comers.came), 20);
	cr_log_info("%llu sessions, the longest pause %.1f ms", (unsigned long long)atomic_load(&comers.came), longest_ms);
}

/* ---- half-done key exchanges ---- */

DROPBEAR(a_half_done_key_exchange_goes_on)
{
	/* Of what dbclient sends before it has logged in: in its first line, in the list of what it knows, in its part of the key, and in
	 * what is encrypted. */
	static const size_t first[] = { 5, 300, 760, 900 };
	struct gate gates[4];
	struct ssh ssh[4];

	serve("Bake=100ms\n");
	for (unsigned i = 0; i < 4; i++) {
		cr_assert_eq(gate_begin(&gates[i], rig_port(stage.rig), stage.port, first[i]), 0);
		cr_assert_eq(ssh_begin(&ssh[i], gates[i].port, SSH_TRUST_ANY, "echo well"), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		for (uint64_t due_us = clock_now_us() + SHOWN_US; atomic_load(&gates[i].held) == 0; stage_sleep_ms(5))
			cr_assert_lt(clock_now_us(), due_us, "the client never sent more than %zu bytes", first[i]);
	ctl(0, "roll", "dropbear", "v2");
	for (unsigned i = 0; i < 4; i++) {
		const char *line;

		gate_open(&gates[i]);
		line = ssh_read(&ssh[i]);
		cr_assert(line && strcmp(line, "well") == 0, "held after %zu bytes: %s", first[i], line ? line : "nothing");
		cr_assert_eq(ssh_end(&ssh[i], NULL, 0), 0);
		gate_end(&gates[i]);
	}
}

/* ---- sessions that have not logged in ---- */

static int visit(void)
{
	int fd = visitor_open(stage.port);

	cr_assert_geq(fd, 0, "a visitor was refused: %s", strerror(-fd));
	return fd;
}

static void nobody_gets_in(void)
{
	int fd = visitor_open(stage.port);

	cr_assert(fd == -EPIPE || fd == -ECONNRESET, "a visitor more than the limit got in, or: %d", fd);
}

/* One place is free, or is about to be, and no other. */
static int one_more_gets_in(void)
{
	uint64_t due_us = clock_now_us() + SHOWN_US;
	int fd;

	while ((fd = visitor_open(stage.port)) < 0) {
		cr_assert_lt(clock_now_us(), due_us, "nobody gets in: the end of a session did not reach the master");
		stage_sleep_ms(5);
	}
	nobody_gets_in();
	return fd;
}

DROPBEAR(the_ends_of_sessions_reach_the_next_master)
{
	int visitors[PLACES];

	serve("Bake=1min\n");
	for (unsigned i = 0; i < PLACES; i++)
		visitors[i] = visit();
	nobody_gets_in();
	ctl(0, "roll", "dropbear", "v2", "--wait=commit");
	/* v2 knows them, and that their beginnings are not known. */
	nobody_gets_in();
	stage_wait_log("127.0.0.1 has 5 sessions that have not logged in, 5 of them from before version 2");
	fd_close(visitors[0]);
	visitors[0] = one_more_gets_in();
	stage_wait_log("127.0.0.1 has 5 sessions that have not logged in, 4 of them from before version 2");
	/* One of v1's and the one of v2 end when v1 serves again. */
	undo_in_bake();
	nobody_gets_in();
	fd_close(visitors[0]);
	visitors[0] = one_more_gets_in();
	fd_close(visitors[1]);
	visitors[1] = one_more_gets_in();
	for (unsigned i = 0; i < PLACES; i++)
		fd_close(visitors[i]);
}

DROPBEAR(what_ended_while_a_master_was_parked_has_reached_it_when_it_comes_back)
{
	int visitors[PLACES], more;

	serve("Bake=1min\n");
	for (unsigned i = 0; i < PLACES; i++)
		visitors[i] = visit();
	ctl(0, "roll", "dropbear", "v2", "--wait=commit");
	fd_close(visitors[0]);
	visitors[0] = one_more_gets_in();
	crash_in_bake("v1");
	/* Four of v1's are there. The one that v2 began goes on, but v1 has never heard of it. */
	more = one_more_gets_in();
	fd_close(visitors[1]);
	visitors[1] = one_more_gets_in();
	fd_close(more);
	for (unsigned i = 0; i < PLACES; i++)
		fd_close(visitors[i]);
}

/* A master has no image while sessions are its own child processes, as CRIU would take them along. One that was rolled to has one: its
 * end of each pipe is the service's, whoever holds the other. */
DROPBEAR(the_ends_of_sessions_reach_a_master_that_was_restored_from_its_image)
{
	int visitors[PLACES];
	char *log;

	serve("Rollback=image\nBake=100ms\n");
	for (unsigned i = 0; i < PLACES; i++)
		visitors[i] = visit();
	ctl(0, "roll", "dropbear", "v2");
	nobody_gets_in();
	unit_with(NULL, "-F", "Rollback=image\nBake=1min\n");
	ctl(0, "plan", "dropbear", "v1");
	ctl(0, "roll", "dropbear", "v1", "--wait=commit");
	stage_wait_bake("v1");
	cr_assert_eq(kill(master("serving"), SIGKILL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "dropbear", "running", "v2", SHOWN_US), 0);
	stage_wait_log("version v2 was restored from its image");
	nobody_gets_in();
	fd_close(visitors[0]);
	visitors[0] = one_more_gets_in();
	log = rig_daemon_log(stage.rig);
	cr_assert_null(strstr(log, "roll v2 -> v1: image: will not come back as it was"));
	free(log);
	for (unsigned i = 0; i < PLACES; i++)
		fd_close(visitors[i]);
}

DROPBEAR(who_logs_in_after_a_roll_gives_its_place_free)
{
	struct gate gate;
	struct ssh ssh;
	int visitors[PLACES];
	const char *line;

	serve("Bake=100ms\n");
	cr_assert_eq(gate_begin(&gate, rig_port(stage.rig), stage.port, 900), 0);
	cr_assert_eq(ssh_begin(&ssh, gate.port, SSH_TRUST_ANY, "echo in; read -r x"), 0);
	for (uint64_t due_us = clock_now_us() + SHOWN_US; atomic_load(&gate.held) == 0; stage_sleep_ms(5))
		cr_assert_lt(clock_now_us(), due_us);
	for (unsigned i = 1; i < PLACES; i++)
		visitors[i] = visit();
	ctl(0, "roll", "dropbear", "v2");
	nobody_gets_in();
	gate_open(&gate);
	line = ssh_read(&ssh);
	cr_assert(line && strcmp(line, "in") == 0);
	visitors[0] = one_more_gets_in();
	ssh_end(&ssh, NULL, 0);
	gate_end(&gate);
	for (unsigned i = 0; i < PLACES; i++)
		fd_close(visitors[i]);
}

/* ---- what a master has besides ---- */

static int log_in(enum ssh_trust trust, char *errors, size_t size)
{
	struct ssh ssh;

	cr_assert_eq(ssh_begin(&ssh, stage.port, trust, "true"), 0);
	return ssh_end(&ssh, errors, size);
}

DROPBEAR(the_host_key_is_that_of_the_file)
{
	char errors[400];

	serve("Bake=100ms\n");
	write_file(stage_path("home/.ssh/known_hosts"), "127.0.0.1 %s\n", host_key);
	cr_assert_eq(log_in(SSH_TRUST_KNOWN, errors, sizeof(errors)), 0, "%s", errors);
	ctl(0, "roll", "dropbear", "v2");
	cr_assert_eq(log_in(SSH_TRUST_KNOWN, errors, sizeof(errors)), 0, "%s", errors);
	/* Another key in the file is another host's, as far as a client can tell. */
	cr_assert_eq(unlink(stage_path("hostkey")), 0);
	make_key(stage_path("hostkey"));
	ctl(0, "roll", "dropbear", "v1");
	cr_assert_neq(log_in(SSH_TRUST_KNOWN, errors, sizeof(errors)), 0);
	cr_assert(strstr(errors, "mismatch"), "%s", errors);
}

static pid_t pid_file(void)
{
	char text[32] = "";
	FILE *file = fopen(stage_path("pid"), "re");

	cr_assert_not_null(file);
	cr_assert_not_null(fgets(text, sizeof(text), file));
	fclose(file);
	return (pid_t)atoi(text);
}

DROPBEAR(the_pid_file_names_who_serves)
{
	serve("Bake=1min\n");
	cr_assert_eq(pid_file(), master("serving"));
	ctl(0, "roll", "dropbear", "v2", "--wait=commit");
	cr_assert_eq(pid_file(), master("serving"));
	crash_in_bake("v1");
	cr_assert_eq(pid_file(), master("serving"));
	ctl(0, "roll", "dropbear", "v2", "--wait=commit");
	undo_in_bake();
	cr_assert_eq(pid_file(), master("serving"));
	ctl(0, "stop", "dropbear");
	cr_assert(access(stage_path("pid"), F_OK) < 0 && errno == ENOENT);
}

DROPBEAR(one_that_would_daemonize_is_told_how_to_stay)
{
	unit_with(NULL, "", "");
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	must_say(ctl(1, "start", "dropbear"), "add -F to Exec=");
}

/* ---- Children= ---- */

/* A session has made itself a session in the kernel's sense, too, so that nothing here ends it, whatever the key says. */
static void goes_on_with(const char *lines)
{
	struct counter of[2];
	const json_t *plan;

	serve(lines);
	begin(&of[0]);
	plan = ctl(0, "plan", "dropbear", "v2", "--rollback=parked");
	cr_assert_eq(rig_number(plan, "plan.children.0.pid"), of[0].session, "%s", json_dumps(plan, 0));
	cr_assert(strstr(rig_text(plan, "plan.children.0.fate"), "group of its own"), "%s", rig_text(plan, "plan.children.0.fate"));
	ctl(0, "roll", "dropbear", "v2");
	/* The bake is over, and v1 is no more. */
	counts(&of[0]);
	ctl(0, "undo", "dropbear");
	counts(&of[0]);
	begin(&of[1]);
	ctl(0, "stop", "dropbear");
	counts(&of[0]);
	counts(&of[1]);
	/* The next one knows nothing of them, and serves beside them. */
	ctl(0, "start", "dropbear");
	cr_assert_eq(log_in(SSH_TRUST_ANY, NULL, 0), 0);
	end(&of[0]);
	end(&of[1]);
	stage_wait_processes(2);
}

DROPBEAR(sessions_go_on_after_a_roll_and_a_stop_with_children_handed_over)
{
	goes_on_with("Bake=100ms\n");
}

DROPBEAR(sessions_go_on_after_a_roll_and_a_stop_with_children_kept)
{
	goes_on_with("Bake=100ms\nChildren=keep\n");
}

DROPBEAR(sessions_go_on_after_a_roll_and_a_stop_with_children_ended)
{
	goes_on_with("Bake=100ms\nChildren=end\n");
}

/* ---- what a session inherits ---- */

/* How many of a process's descriptors are of a kind: "socket:", "pipe:", ... */
static unsigned descriptors(pid_t pid, const char *kind)
{
	char path[64], target[256];
	struct dirent *entry;
	unsigned n = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	folder = opendir(path);
	cr_assert_not_null(folder);
	while ((entry = readdir(folder)) != NULL) {
		ssize_t size = readlinkat(dirfd(folder), entry->d_name, target, sizeof(target) - 1);

		target[size > 0 ? size : 0] = '\0';
		n += strncmp(target, kind, strlen(kind)) == 0;
	}
	closedir(folder);
	return n;
}

/* The session's process of the visitor that came last, while it has not logged in. */
static pid_t last_session(pid_t of)
{
	char path[64], text[512] = "", *last;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", of, of);
	file = fopen(path, "re");
	cr_assert_not_null(file);
	cr_assert_not_null(fgets(text, sizeof(text), file));
	fclose(file);
	text[strcspn(text, "\n")] = '\0';
	last = text + strlen(text);
	while (last > text && last[-1] == ' ')
		*--last = '\0';
	last = strrchr(text, ' ');
	return (pid_t)atoi(last ? last + 1 : text);
}

/* Its connection is the only socket that it has. Of the pipes one is its own, which it tells its master by, two lead its signals to its
 * loop, and the output is the master's. */
static void inherits_nothing(pid_t session)
{
	cr_assert_eq(descriptors(session, "socket:"), 1);
	cr_assert_eq(descriptors(session, "anon_inode:"), 0);
	cr_assert_eq(descriptors(session, "pipe:"), 5);
}

static void lives_apart(void)
{
	int visitors[4];

	for (unsigned i = 0; i < 3; i++)
		visitors[i] = visit();
	inherits_nothing(last_session(master("serving")));
	ctl(0, "roll", "dropbear", "v2", "--wait=commit");
	visitors[3] = visit();
	inherits_nothing(last_session(master("serving")));
	undo_in_bake();
	for (unsigned i = 0; i < 4; i++)
		fd_close(visitors[i]);
}

DROPBEAR(a_session_inherits_nothing_of_the_library)
{
	serve("Bake=1min\n");
	lives_apart();
}

/* Where a master cannot read its own program it runs sessions without executing it anew: they have all memory and all descriptors that it
 * had. */
DROPBEAR(nor_does_one_that_only_forks)
{
	char program[PATH_MAX];
	struct counter counter;

	for (unsigned v = 1; v <= 2; v++) {
		const char *copy = stage_path("unreadable-v%u", v);

		snprintf(program, sizeof(program), "%s/dropbear-v%u", ports, v);
		run((const char *const[]){ "install", "-m", "111", program, copy, NULL });
	}
	unit_with(stage_path("unreadable"), "-F", "Bake=1min\nCapabilityBoundingSet=CAP_SETUID CAP_SETGID\n");
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "dropbear");
	begin(&counter);
	lives_apart();
	end(&counter);
}
