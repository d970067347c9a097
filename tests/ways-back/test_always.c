/* SPDX-License-Identifier: MIT */
/* With Journal=always a process may be killed at any moment, outside of any roll: another one takes its place, no acknowledged write
 * is lost, no connection is reset, and no request is left without an answer or gets two. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

STAGE(always, 240);

#define BACK_US (30 * USEC_PER_SEC)
#define CONNECTIONS 300u
#define REOPENED 100u /* connections a second */
#define WITHIN_MS 600u

#define LINES "Journal=always\nRestartDelay=100ms\nBake=200ms\nRollback=parked\n"

static unsigned rng;

static unsigned below(unsigned n)
{
	rng = rng * 1103515245u + 12345u;
	return (rng >> 8) % n;
}

/* That a checkpoint is whole is seen by what a crash would cost. */
static void is_safe(void)
{
	uint64_t due_us = clock_now_us() + BACK_US;

	for (;;) {
		json_t *status = rig_status(stage.rig, "cached");
		bool safe = strncmp(rig_text(status, "crash"), "nothing", 7) == 0;

		json_decref(status);
		if (safe)
			return;
		cr_assert_lt(clock_now_us(), due_us, "no checkpoint");
		stage_sleep_ms(10);
	}
}

static void serve_with(const char *lines, unsigned reopen)
{
	const char *text = getenv("UPG_SEED");
	struct rig_load_options options = { .connections = CONNECTIONS, .keys = 4, .rate = 3000, .values = "16-600",
					    .reopen = reopen };

	rng = text ? (unsigned)strtoul(text, NULL, 0) : (unsigned)clock_now_us();
	fprintf(stderr, "always: UPG_SEED=%u\n", rng);
	options.seed = rng;
	stage.connections = CONNECTIONS;
	stage_serve(&(struct rig_cached){ .lines = lines }, NULL);
	cr_assert_eq(rig_load_start(stage.rig, stage.port, &options, &stage.load), 0);
	is_safe();
}

static void nothing_was_missed(void)
{
	json_t *report = NULL;

	cr_assert_eq(rig_load_ask(stage.load, &report, "report"), 0);
	if (rig_number(report, "wrong") || rig_number(report, "failed") || rig_number(report, "lost_connections"))
		rig_fail(stage.rig, -EPROTO, "the load client missed something");
	cr_assert_eq(rig_number(report, "wrong"), 0);
	cr_assert_eq(rig_number(report, "failed"), 0);
	cr_assert_eq(rig_number(report, "lost_connections"), 0);
	json_decref(report);
}

/* Another process serves than @before. */
static void another_serves(pid_t before)
{
	uint64_t due_us = clock_now_us() + BACK_US;
	pid_t pid;

	while ((pid = stage_pid("serving")) <= 0 || pid == before) {
		cr_assert_lt(clock_now_us(), due_us, "nobody took its place");
		stage_sleep_ms(5);
	}
}

/* At any moment: in the middle of a checkpoint, too. What is being accepted is known to nobody but the process, and ends with it; see
 * the suite journal. */
static void is_killed(unsigned within_ms)
{
	pid_t pid = stage_pid("serving");

	cr_assert_gt(pid, 0);
	stage_sleep_ms(below(within_ms));
	cr_assert_eq(rig_load_ask(stage.load, NULL, "reopen 0"), 0);
	stage_sleep_ms(below(20));
	cr_assert_eq(kill(pid, SIGKILL), 0);
	another_serves(pid);
	nothing_was_missed();
	cr_assert_eq(rig_load_ask(stage.load, NULL, "reopen %u", REOPENED), 0);
}

SCENE(always, a_process_may_be_killed_at_any_moment)
{
	serve_with(LINES, REOPENED);
	for (unsigned i = 0; i < 12; i++)
		is_killed(WITHIN_MS);
	is_safe();
	stage_load_spotless();
}

/* Half of a journal is used up again and again, so that most crashes come while a checkpoint is under way. */
SCENE(always, a_process_may_be_killed_while_a_checkpoint_is_written)
{
	serve_with(LINES "JournalSize=4M\n", REOPENED);
	for (unsigned i = 0; i < 12; i++)
		is_killed(300);
	stage_load_spotless();
}

SCENE(always, rolls_go_on_as_they_did)
{
	serve_with(LINES, REOPENED);
	ctl(0, "roll", "cached", "v2");
	is_safe();
	is_killed(WITHIN_MS);
	is_safe();
	ctl(0, "roll", "cached", "v3");
	is_safe();
	is_killed(WITHIN_MS);
	stage_load_spotless();
}
