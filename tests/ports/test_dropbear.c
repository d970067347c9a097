/* SPDX-License-Identifier: MIT */
/* An ssh server, dropbear 2022.83, whose master is rolled: what it knows of its sessions goes along, and their ends reach the
 * master that serves then. */
#include "tests/ports/dropbear_stage.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

DROPBEAR_STAGE(dropbear, 120);

/* ---- those who come ---- */

DROPBEAR(dropbear, nobody_is_refused_while_it_is_rolled)
{
	static struct comers comers;
	double pause_ms, longest_ms = 0;

	dropbear_serve("Bake=100ms\n");
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

DROPBEAR(dropbear, a_half_done_key_exchange_goes_on)
{
	/* Of what dbclient sends before it has logged in: in its first line, in the list of what it knows, in its part of the key,
	 * and in what is encrypted. */
	static const size_t first[] = { 5, 300, 760, 900 };
	struct gate gates[4];
	struct ssh ssh[4];

	dropbear_serve("Bake=100ms\n");
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

DROPBEAR(dropbear, the_ends_of_sessions_reach_the_next_master)
{
	int visitors[PLACES];

	dropbear_serve("Bake=1min\n");
	for (unsigned i = 0; i < PLACES; i++)
		visitors[i] = dropbear_visit();
	dropbear_is_full();
	ctl(0, "roll", "dropbear", "v2", "--wait=commit");
	/* v2 knows them, and that their beginnings are not known. */
	dropbear_is_full();
	stage_wait_log("127.0.0.1 has 5 sessions that have not logged in, 5 of them from before version 2");
	fd_close(visitors[0]);
	visitors[0] = dropbear_takes_one_more();
	stage_wait_log("127.0.0.1 has 5 sessions that have not logged in, 4 of them from before version 2");
	/* One of v1's and the one of v2 end when v1 serves again. */
	dropbear_undo();
	dropbear_is_full();
	fd_close(visitors[0]);
	visitors[0] = dropbear_takes_one_more();
	fd_close(visitors[1]);
	visitors[1] = dropbear_takes_one_more();
	for (unsigned i = 0; i < PLACES; i++)
		fd_close(visitors[i]);
}

DROPBEAR(dropbear, what_ended_while_a_master_was_parked_has_reached_it_when_it_comes_back)
{
	int visitors[PLACES], more;

	dropbear_serve("Bake=1min\n");
	for (unsigned i = 0; i < PLACES; i++)
		visitors[i] = dropbear_visit();
	ctl(0, "roll", "dropbear", "v2", "--wait=commit");
	fd_close(visitors[0]);
	visitors[0] = dropbear_takes_one_more();
	dropbear_crash("v1");
	/* Four of v1's are there. The one that v2 began goes on, but v1 has never heard of it. */
	more = dropbear_takes_one_more();
	fd_close(visitors[1]);
	visitors[1] = dropbear_takes_one_more();
	fd_close(more);
	for (unsigned i = 0; i < PLACES; i++)
		fd_close(visitors[i]);
}

/* A master has no image while sessions are its own child processes, as CRIU would take them along. One that was rolled to has one:
 * its end of each pipe is the service's, whoever holds the other. */
DROPBEAR(dropbear, the_ends_of_sessions_reach_a_master_that_was_restored_from_its_image)
{
	int visitors[PLACES];
	char *log;

	dropbear_serve("Rollback=image\nBake=100ms\n");
	for (unsigned i = 0; i < PLACES; i++)
		visitors[i] = dropbear_visit();
	ctl(0, "roll", "dropbear", "v2");
	dropbear_is_full();
	dropbear_unit(NULL, "-F", "Rollback=image\nBake=1min\n");
	ctl(0, "plan", "dropbear", "v1");
	ctl(0, "roll", "dropbear", "v1", "--wait=commit");
	stage_wait_bake("v1");
	cr_assert_eq(kill(dropbear_master("serving"), SIGKILL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "dropbear", "running", "v2", SHOWN_US), 0);
	stage_wait_log("version v2 was restored from its image");
	dropbear_is_full();
	fd_close(visitors[0]);
	visitors[0] = dropbear_takes_one_more();
	log = rig_daemon_log(stage.rig);
	cr_assert_null(strstr(log, "roll v2 -> v1: image: will not come back as it was"));
	free(log);
	for (unsigned i = 0; i < PLACES; i++)
		fd_close(visitors[i]);
}

DROPBEAR(dropbear, who_logs_in_after_a_roll_gives_its_place_free)
{
	struct gate gate;
	struct ssh ssh;
	int visitors[PLACES];
	const char *line;

	dropbear_serve("Bake=100ms\n");
	cr_assert_eq(gate_begin(&gate, rig_port(stage.rig), stage.port, 900), 0);
	cr_assert_eq(ssh_begin(&ssh, gate.port, SSH_TRUST_ANY, "echo in; read -r x"), 0);
	for (uint64_t due_us = clock_now_us() + SHOWN_US; atomic_load(&gate.held) == 0; stage_sleep_ms(5))
		cr_assert_lt(clock_now_us(), due_us);
	for (unsigned i = 1; i < PLACES; i++)
		visitors[i] = dropbear_visit();
	ctl(0, "roll", "dropbear", "v2");
	dropbear_is_full();
	gate_open(&gate);
	line = ssh_read(&ssh);
	cr_assert(line && strcmp(line, "in") == 0);
	visitors[0] = dropbear_takes_one_more();
	ssh_end(&ssh, NULL, 0);
	gate_end(&gate);
	for (unsigned i = 0; i < PLACES; i++)
		fd_close(visitors[i]);
}

/* ---- what a master has besides ---- */

DROPBEAR(dropbear, the_host_key_is_that_of_the_file)
{
	char errors[400];

	dropbear_serve("Bake=100ms\n");
	dropbear_write(stage_path("home/.ssh/known_hosts"), "127.0.0.1 %s\n", dropbear_host_key);
	cr_assert_eq(dropbear_log_in(SSH_TRUST_KNOWN, errors, sizeof(errors)), 0, "%s", errors);
	ctl(0, "roll", "dropbear", "v2");
	cr_assert_eq(dropbear_log_in(SSH_TRUST_KNOWN, errors, sizeof(errors)), 0, "%s", errors);
	/* Another key in the file is another host's, as far as a client can tell. */
	cr_assert_eq(unlink(stage_path("hostkey")), 0);
	dropbear_make_key(stage_path("hostkey"));
	ctl(0, "roll", "dropbear", "v1");
	cr_assert_neq(dropbear_log_in(SSH_TRUST_KNOWN, errors, sizeof(errors)), 0);
	cr_assert(strstr(errors, "mismatch"), "%s", errors);
}

static pid_t pid_file(void)
{
	char text[32] = "";
	FILE *file = fopen(stage_path("pid"), "re");

	if (!file)
		return 0;
	if (!fgets(text, sizeof(text), file))
		*text = '\0';
	fclose(file);
	return (pid_t)atoi(text);
}

/* It is written by the version that serves, right after it has heard so. */
static void pid_file_names_who_serves(void)
{
	pid_t serving = dropbear_master("serving");

	for (uint64_t due_us = clock_now_us() + SHOWN_US; pid_file() != serving; stage_sleep_ms(5))
		cr_assert_lt(clock_now_us(), due_us, "it names pid %d instead of %d", pid_file(), serving);
}

DROPBEAR(dropbear, the_pid_file_names_who_serves)
{
	dropbear_serve("Bake=1min\n");
	pid_file_names_who_serves();
	ctl(0, "roll", "dropbear", "v2", "--wait=commit");
	pid_file_names_who_serves();
	dropbear_crash("v1");
	pid_file_names_who_serves();
	ctl(0, "roll", "dropbear", "v2", "--wait=commit");
	dropbear_undo();
	pid_file_names_who_serves();
	ctl(0, "stop", "dropbear");
	cr_assert(access(stage_path("pid"), F_OK) < 0 && errno == ENOENT);
}

/* What the two programs say of themselves, before anything is rolled. */
DROPBEAR(dropbear, what_is_lost_on_the_way_back_is_known_beforehand)
{
	char tool[PATH_MAX], v1[PATH_MAX], v2[PATH_MAX];

	dropbear_serve("");
	snprintf(tool, sizeof(tool), "%s", rig_program(stage.rig, "upgradectl"));
	snprintf(v1, sizeof(v1), "%s/dropbear-v1", dropbear_ports);
	snprintf(v2, sizeof(v2), "%s/dropbear-v2", dropbear_ports);
	cr_assert(strstr(dropbear_run((const char *const[]){ tool, "state", "compat", v1, v2, NULL }),
			 "0 missing, 0 lost on the way down, 1 losses accepted"));
}

DROPBEAR(dropbear, one_that_would_daemonize_is_told_how_to_stay)
{
	dropbear_unit(NULL, "", "");
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	must_say(ctl(1, "start", "dropbear"), "add -F to Exec=");
}
