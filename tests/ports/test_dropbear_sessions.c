/* SPDX-License-Identifier: MIT */
/* Sessions of an ssh server, each of which is a process of its own: they go on under the code that began them, whatever becomes of
 * their master, and have nothing to do with the library. */
#include "tests/ports/dropbear_stage.h"

#include "base/clock.h"
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

DROPBEAR_STAGE(dropbear_sessions, 120);

/* ---- they go on ---- */

DROPBEAR(dropbear_sessions, count_on_over_rolls_undos_and_a_crash)
{
	struct counter counter;

	dropbear_serve("Bake=300ms\n");
	session_begin(&counter);
	ctl(0, "roll", "dropbear", "v2");
	session_counts(&counter);
	ctl(0, "undo", "dropbear");
	session_counts(&counter);
	ctl(0, "roll", "dropbear", "v2", "--verify=roundtrip");
	ctl(0, "roll", "dropbear", "v1");
	dropbear_unit(NULL, "-F", "Bake=1min\n");
	ctl(0, "roll", "dropbear", "v2", "--wait=commit");
	dropbear_crash("v1");
	session_counts(&counter);
	session_end(&counter);
	cr_log_info("%llu answers, the slowest in %.1f ms", (unsigned long long)atomic_load(&counter.count),
		    (double)counter.longest_us / 1000);
	stage_wait_processes(2); /* the daemon and v1 */
}

/* In each of the ways in which a version can go, what it has begun goes on. */
DROPBEAR(dropbear_sessions, outlive_the_version_that_began_them)
{
	struct counter of[5];

	dropbear_serve("Bake=1min\n");
	session_begin(&of[0]);
	ctl(0, "roll", "dropbear", "v2", "--wait=commit");
	session_begin(&of[1]);
	dropbear_undo();
	session_begin(&of[2]);
	ctl(0, "roll", "dropbear", "v2", "--wait=commit");
	session_begin(&of[3]);
	dropbear_crash("v1");
	session_begin(&of[4]);
	for (unsigned i = 0; i < 5; i++)
		session_end(&of[i]);
	/* The daemon and v1: whoever has ended was reaped, also what began under others. */
	stage_wait_processes(2);
}

/* ---- Children= ---- */

static bool has_logged_its_end(pid_t session)
{
	char *log = rig_daemon_log(stage.rig), *line, *rest = log, who[32];
	bool has = false;

	snprintf(who, sizeof(who), "[%d]", session);
	while ((line = strsep(&rest, "\n")) != NULL)
		has |= strstr(line, who) && strstr(line, "Exit (root)");
	free(log);
	return has;
}

/* What a session says when its client leaves. @logged: it is to be in the log; else it is not, when its process is gone. */
static void leaves(struct counter *counter, bool logged)
{
	uint64_t due_us = clock_now_us() + SHOWN_US;

	session_end(counter);
	while (logged ? !has_logged_its_end(counter->session) : kill(counter->session, 0) == 0) {
		cr_assert_lt(clock_now_us(), due_us, "session %d is %s", counter->session, logged ? "silent" : "there");
		stage_sleep_ms(5);
	}
	cr_assert_eq(has_logged_its_end(counter->session), logged);
}

/* A session has made itself a session in the kernel's sense, too, so that nothing here ends it, whatever the key says. But it
 * depends on the key whether what it says is logged when its master is gone, and after a stop. */
static void goes_on_with(const char *lines, bool logged_later, bool logged_after_stop)
{
	struct counter of[4];
	const json_t *plan;

	dropbear_serve(lines);
	session_begin(&of[0]);
	plan = ctl(0, "plan", "dropbear", "v2", "--rollback=parked");
	cr_assert_eq(rig_number(plan, "plan.children.0.pid"), of[0].session, "%s", json_dumps(plan, 0));
	cr_assert(strstr(rig_text(plan, "plan.children.0.fate"), "group of its own"), "%s", rig_text(plan, "plan.children.0.fate"));
	session_begin(&of[1]);
	ctl(0, "roll", "dropbear", "v2");
	/* The bake is over, and v1 is no more. */
	session_counts(&of[0]);
	leaves(&of[1], logged_later);
	ctl(0, "undo", "dropbear");
	session_counts(&of[0]);
	session_begin(&of[2]);
	session_begin(&of[3]);
	leaves(&of[3], true);
	ctl(0, "stop", "dropbear");
	session_counts(&of[0]);
	leaves(&of[2], logged_after_stop);
	/* The next one knows nothing of them, and serves beside them. */
	ctl(0, "start", "dropbear");
	cr_assert_eq(dropbear_log_in(SSH_TRUST_ANY, NULL, 0), 0);
	session_end(&of[0]);
	stage_wait_processes(2);
}

DROPBEAR(dropbear_sessions, go_on_after_a_roll_and_a_stop_with_children_handed_over)
{
	goes_on_with("Bake=100ms\n", true, false);
}

DROPBEAR(dropbear_sessions, go_on_after_a_roll_and_a_stop_with_children_kept)
{
	goes_on_with("Bake=100ms\nChildren=keep\n", true, true);
}

DROPBEAR(dropbear_sessions, go_on_after_a_roll_and_a_stop_with_children_ended)
{
	goes_on_with("Bake=100ms\nChildren=end\n", false, false);
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

/* Its connection is the only socket that it has. Of the pipes one is its own, by which it tells its master; two lead its signals to
 * its loop, and two are the master's output. */
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
		visitors[i] = dropbear_visit();
	inherits_nothing(last_session(dropbear_master("serving")));
	ctl(0, "roll", "dropbear", "v2", "--wait=commit");
	visitors[3] = dropbear_visit();
	inherits_nothing(last_session(dropbear_master("serving")));
	dropbear_undo();
	for (unsigned i = 0; i < 4; i++)
		fd_close(visitors[i]);
}

DROPBEAR(dropbear_sessions, inherit_nothing_of_the_library)
{
	dropbear_serve("Bake=1min\n");
	lives_apart();
}

/* Where a master cannot read its own program, a session goes on without executing it anew: it has all memory and all descriptors
 * that the master had. */
DROPBEAR(dropbear_sessions, inherit_nothing_where_they_are_only_forked)
{
	char program[PATH_MAX];
	struct counter counter;

	for (unsigned v = 1; v <= 2; v++) {
		const char *copy = stage_path("unreadable-v%u", v);

		snprintf(program, sizeof(program), "%s/dropbear-v%u", dropbear_ports, v);
		dropbear_run((const char *const[]){ "install", "-m", "111", program, copy, NULL });
	}
	dropbear_unit(stage_path("unreadable"), "-F", "Bake=1min\nCapabilityBoundingSet=CAP_SETUID CAP_SETGID\n");
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "dropbear");
	session_begin(&counter);
	lives_apart();
	session_end(&counter);
}
