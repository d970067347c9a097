/* SPDX-License-Identifier: MIT */
#include "tests/torture/sweep.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINES "Bake=50ms\nRollback=parked\nRestartDelay=10ms\nQuiesceTimeout=5s\nTransferTimeout=6s\n"
#define ROLL_US (60 * USEC_PER_SEC)
#define COUNT_US (10 * USEC_PER_SEC)

static const char *report_path(const struct torture *torture, char path[static PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/strike-report", rig_folder(torture->rig));
	return path;
}

/* From here on the rig starts what traces upgraded in its place, until strike_off(). */
static int strike_on(struct torture *torture)
{
	char folder[PATH_MAX], program[PATH_MAX + 16], report[PATH_MAX];

	snprintf(program, sizeof(program), "%s", rig_program(torture->rig, "upgraded"));
	setenv("UPG_STRIKE_PROGRAM", program, 1);
	setenv("UPG_STRIKE_REPORT", report_path(torture, report), 1);
	snprintf(folder, sizeof(folder), "%s/strike", rig_folder(torture->rig));
	snprintf(program, sizeof(program), "%s/upgraded", folder);
	if ((mkdir(folder, 0700) < 0 && errno != EEXIST) ||
	    (symlink(rig_program(torture->rig, "upg-strike"), program) < 0 && errno != EEXIST))
		return -errno;
	setenv("UPG_DAEMON_BIN", folder, 1);
	torture->traced = true;
	return 0;
}

static void strike_off(struct torture *torture, const char *before)
{
	if (before)
		setenv("UPG_DAEMON_BIN", before, 1);
	else
		unsetenv("UPG_DAEMON_BIN");
	unsetenv("UPG_STRIKE_FROM_START");
	torture->traced = false;
}

static void strike_at(unsigned long at, bool from_start)
{
	char number[32];

	snprintf(number, sizeof(number), "%lu", at);
	setenv("UPG_STRIKE_AT", number, 1);
	if (from_start)
		setenv("UPG_STRIKE_FROM_START", "1", 1);
	else
		unsetenv("UPG_STRIKE_FROM_START");
}

/* The last line of the report, which is then removed. Return: false: there is none. */
static bool report_take(const struct torture *torture, char how[static 16], unsigned long *ret_calls)
{
	char path[PATH_MAX];
	FILE *file = fopen(report_path(torture, path), "re");
	bool found = false;

	while (file && fscanf(file, "%15s %lu %*u", how, ret_calls) == 2)
		found = true;
	if (file)
		fclose(file);
	unlink(path);
	return found;
}

static int count_now(struct torture *torture, unsigned long *ret_calls)
{
	uint64_t due_us = clock_now_us() + COUNT_US;
	char how[16];

	if (kill(rig_daemon_pid(torture->rig), SIGUSR2) < 0)
		return -errno;
	while (!report_take(torture, how, ret_calls)) {
		if (clock_now_us() >= due_us)
			return rig_fail(torture->rig, -ETIMEDOUT, "upg-strike does not say how many system calls it has counted");
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
	}
	return 0;
}

/* One roll, killed at @at; 0: counted only. */
static int roll_struck(struct torture *torture, unsigned long at, unsigned long *ret_calls)
{
	struct rig_child *roll;
	char how[16];
	int rc;

	strike_at(at, false);
	rc = torture_daemon_again(torture, SIGKILL);
	unlink(getenv("UPG_STRIKE_REPORT"));
	if (rc == 0)
		rc = rig_load_ask(torture->load, NULL, "crash");
	if (rc < 0)
		return rc;
	rc = torture_roll_begin(torture, LINES, rig_daemon_pid(torture->rig), &roll);
	if (rc == 0)
		rc = rig_run_wait(roll, ROLL_US, NULL);
	if (rc == 0 && !at)
		rc = count_now(torture, ret_calls);
	else if (report_take(torture, how, ret_calls))
		torture->kills++;
	return rc;
}

static bool struck_at_start(struct torture *torture)
{
	int kept = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC), rc;

	/* That it does not come up is what is wanted here, and nothing to tell. */
	if (kept < 0 || null < 0)
		return false;
	dup2(null, STDERR_FILENO);
	rc = rig_daemon_start(torture->rig, NULL);
	dup2(kept, STDERR_FILENO);
	close(kept);
	close(null);
	return rc < 0;
}

/* A start, with a service to get back, killed at @at; 0: counted only. */
static int start_struck(struct torture *torture, unsigned long at, unsigned long *ret_calls)
{
	int rc = rig_load_ask(torture->load, NULL, "crash");

	if (rc == 0)
		rc = rig_daemon_kill(torture->rig, SIGKILL);
	if (rc < 0)
		return rc;
	unlink(getenv("UPG_STRIKE_REPORT"));
	strike_at(at, true);
	if (struck_at_start(torture)) {
		torture->kills++;
	} else {
		if (!at)
			rc = count_now(torture, ret_calls);
		/* It may have ended after it was there. */
		torture->kills += at && !rig_daemon_pid(torture->rig);
		if (rc == 0)
			rc = rig_daemon_kill(torture->rig, SIGKILL);
	}
	strike_at(0, false);
	return rc < 0 ? rc : rig_daemon_start(torture->rig, NULL);
}

static int sound(struct torture *torture, const char *what, unsigned long at, unsigned long of)
{
	int fate;

	if (strcmp(what, "roll") == 0) {
		int rc;

		strike_at(0, false);
		rc = torture_daemon_again(torture, SIGKILL);
		if (rc < 0)
			return rc;
	}
	torture->trouble[0] = '\0';
	fate = torture_sound(torture, FATE_NOTHING);
	if (fate < 0)
		return fate;
	if (at && !*torture->trouble)
		torture->well++;
	if (*torture->trouble)
		printf("system call %lu of about %lu of a %s: %s\n", at, of, what, *torture->trouble ? torture->trouble : "well");
	fflush(stdout);
	return 0;
}

/* Far from each other first, and each one once before any comes twice: the step has no factor in common with @of. */
static unsigned long spread(unsigned long i, unsigned long of)
{
	unsigned long step = of * 618 / 1000, a, b;

	for (;; step++) {
		for (a = step, b = of; b; ) {
			unsigned long rest = a % b;

			a = b;
			b = rest;
		}
		if (a == 1)
			return 1 + i * step % of;
	}
}

static int sweep(struct torture *torture, uint64_t due_us, struct sweep *s)
{
	unsigned long unused;
	int rc = roll_struck(torture, 0, &s->roll_calls);

	if (rc == 0)
		rc = sound(torture, "roll", 0, 0);
	if (rc == 0)
		rc = start_struck(torture, 0, &s->start_calls);
	if (rc == 0)
		rc = sound(torture, "start", 0, 0);
	/* One of each at least, however slow the machine is. */
	while (rc == 0 && (!s->starts || clock_now_us() < due_us) && (s->rolls < s->roll_calls || s->starts < s->start_calls)) {
		if (s->rolls < s->roll_calls) {
			unsigned long at = spread(s->rolls++, s->roll_calls);
			unsigned kills = torture->kills;

			rc = roll_struck(torture, at, &unused);
			if (rc == 0)
				rc = sound(torture, "roll", kills == torture->kills ? 0 : at, s->roll_calls);
		}
		if (rc == 0 && s->starts < s->start_calls && (!s->starts || clock_now_us() < due_us)) {
			unsigned long at = spread(s->starts++, s->start_calls);
			unsigned kills = torture->kills;

			rc = start_struck(torture, at, &unused);
			if (rc == 0)
				rc = sound(torture, "start", kills == torture->kills ? 0 : at, s->start_calls);
		}
	}
	return rc;
}

int sweep_run(struct torture *torture, uint64_t due_us, struct sweep *ret_sweep)
{
	const char *set = getenv("UPG_DAEMON_BIN");
	char *before = set ? strdup(set) : NULL;
	int rc = strike_on(torture);

	*ret_sweep = (struct sweep){ 0 };
	if (rc == 0)
		rc = sweep(torture, due_us, ret_sweep);
	strike_off(torture, before);
	free(before);
	/* At the end it is one that nobody traces. */
	return rc < 0 ? rc : torture_daemon_again(torture, SIGKILL);
}
