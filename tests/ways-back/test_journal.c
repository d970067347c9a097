/* SPDX-License-Identifier: MIT */
/* With Journal=yes a version may die at any moment of its bake: no acknowledged write is lost, no connection is reset, and no
 * request is left without an answer or gets two. That is what the load client demands anyway when no crash was announced to it. */
#include "tests/integration/stage.h"
#include "tests/ways-back/seed.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

STAGE(journal, 240);

#define BACK_US (60 * USEC_PER_SEC)
#define CONNECTIONS 300u
#define REOPENED 100u /* connections a second; those that new accepts are the harder ones */
#define WITHIN_MS 500u

#define LINES "Journal=yes\nHealthInterval=100ms\nHealthTimeout=500ms\n"

static void serve(const char *lines, unsigned reopen)
{
	struct rig_load_options options = { .connections = CONNECTIONS, .keys = 4, .rate = 3000, .values = "16-600",
					    .reopen = reopen };

	options.seed = seed_begin("journal");
	stage.connections = CONNECTIONS;
	stage_serve(&(struct rig_cached){ .lines = lines }, NULL);
	cr_assert_eq(rig_load_start(stage.rig, stage.port, &options, &stage.load), 0);
}

static void lines_are(const char *lines)
{
	stage_unit(&(struct rig_cached){ .lines = lines });
}

/* The last roll has failed, and @from came back from it with all there was. */
static void came_back(const char *from, const char *outcome)
{
	json_t *status = rig_status(stage.rig, "cached");
	const json_t *roll = json_object_get(status, "last_roll");
	char *text = json_dumps(roll, 0);

	cr_assert_str_eq(rig_text(roll, "from"), from);
	cr_assert_eq(strncmp(rig_text(roll, "outcome"), outcome, strlen(outcome)), 0, "%s", text);
	cr_assert(json_is_true(json_object_get(roll, "journal")), "%s", text);
	cr_assert_eq(rig_number(roll, "reset"), 0, "%s", text);
	cr_assert_eq(rig_number(roll, "lost_us"), 0, "%s", text);
	/* Not all, as some are about to be opened anew by their client. */
	cr_assert_gt(rig_number(roll, "kept"), (int64_t)CONNECTIONS * 3 / 4, "%s", text);
	fprintf(stderr, "journal: %s -> %s: %s, %lld changes, %lld connections adopted\n", from, rig_text(roll, "to"),
		rig_text(roll, "outcome"), (long long)rig_number(roll, "replayed"), (long long)rig_number(roll, "adopted"));
	free(text);
	json_decref(status);
	stage_load_missed_nothing();
}

/*
 * Between accept() and the moment in which the library hears of it, a connection is known to nobody but the process, and ends
 * with it. That is a matter of microseconds, but this would find it. So no new one is on its way when the crash comes; the requests
 * go on.
 */
static void accepting_stops(void)
{
	cr_assert_eq(rig_load_ask(stage.load, NULL, "reopen 0"), 0);
}

/* @signal hits @to somewhere in the first half second of its bake. */
static void fails(const char *from, const char *to, int signal, const char *outcome)
{
	pid_t pid;

	ctl(0, "roll", "cached", to, "--wait=commit");
	pid = stage_pid("serving");
	cr_assert_gt(pid, 0);
	stage_sleep_ms(seed_below(WITHIN_MS));
	accepting_stops();
	stage_sleep_ms(seed_below(20));
	cr_assert_eq(kill(pid, signal), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", from, BACK_US), 0);
	came_back(from, outcome);
	cr_assert_eq(rig_load_ask(stage.load, NULL, "reopen %u", REOPENED), 0);
}

/* What came back is as good as any: it can be rolled. */
static void is_rolled(const char *to, const char *lines)
{
	lines_are(LINES "Bake=200ms\nRollback=parked\n");
	ctl(0, "roll", "cached", to);
	lines_are(lines);
}

SCENE(journal, brings_back_what_lies_parked)
{
	static const char lines[] = LINES "Bake=30s\nRollback=parked\n";

	serve(lines, REOPENED);
	for (unsigned i = 0; i < 4; i++) {
		fails("v1", "v2", SIGKILL, "rolled-back-parked");
		fails("v1", "v3", SIGKILL, "rolled-back-parked");
	}
	is_rolled("v2", lines);
	fails("v2", "v3", SIGKILL, "rolled-back-parked");
	fails("v2", "v3", SIGKILL, "rolled-back-parked");
	is_rolled("v3", lines);
	stage_load_spotless();
}

SCENE(journal, brings_back_an_image)
{
	static const char lines[] = LINES "Bake=30s\nRollback=image\n";

	serve(lines, REOPENED);
	fails("v1", "v2", SIGKILL, "rolled-back-");
	fails("v1", "v3", SIGKILL, "rolled-back-");
	is_rolled("v2", lines);
	fails("v2", "v3", SIGKILL, "rolled-back-");
	is_rolled("v3", lines);
	stage_load_spotless();
}

SCENE(journal, brings_back_an_image_that_was_finished_long_before)
{
	pid_t pid;

	serve(LINES "Bake=30s\nRollback=image\n", REOPENED);
	for (unsigned i = 0; i < 2; i++) {
		const char *to = i ? "v3" : "v2";

		ctl(0, "roll", "cached", to, "--wait=commit");
		cr_assert_eq(rig_wait_status(stage.rig, "cached", "baking", to, BACK_US), 0);
		pid = stage_pid("serving");
		stage_sleep_ms(seed_below(WITHIN_MS));
		accepting_stops();
		cr_assert_eq(kill(pid, SIGKILL), 0);
		cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", BACK_US), 0);
		came_back("v1", "rolled-back-image");
		cr_assert_eq(rig_load_ask(stage.load, NULL, "reopen %u", REOPENED), 0);
	}
	stage_load_spotless();
}

SCENE(journal, is_taken_from_one_that_hangs)
{
	serve(LINES "Bake=30s\nRollback=auto\n", REOPENED);
	fails("v1", "v2", SIGSTOP, "rolled-back-parked");
	fails("v1", "v3", SIGSTOP, "rolled-back-parked");
	stage_load_spotless();
}

SCENE(journal, is_taken_from_one_that_aborts_in_the_middle_of_a_request)
{
	serve(LINES "Bake=30s\nRollback=parked\n", 0);
	for (unsigned i = 0; i < 3; i++) {
		ctl(6, "roll", "cached", "v3-crash-after");
		came_back("v1", "rolled-back-parked");
	}
	stage_load_spotless();
}

SCENE(journal, that_is_full_is_told_and_the_ordinary_rules_hold)
{
	json_t *status;

	serve(LINES "Bake=30s\nRollback=parked\nJournalSize=1M\n", 0);
	cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_log("could not write on in its journal");
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", BACK_US), 0);
	status = rig_status(stage.rig, "cached");
	cr_assert(json_is_false(json_object_get(json_object_get(status, "last_roll"), "journal")));
	cr_assert(strstr(rig_text(status, "last_roll.journal_note"), "JournalSize="));
	cr_assert_gt(rig_number(status, "last_roll.reset"), 0);
	cr_assert_gt(rig_number(status, "last_roll.lost_us"), 0);
	stage_settle(json_object_get(status, "last_roll"));
	json_decref(status);
	stage_load_spotless();
}

#define MANY 300u

static int many[MANY];

static void ask_all(void)
{
	for (unsigned i = 0; i < MANY; i++)
		cr_assert(client_holds(many[i], "key", "value"));
}

/* Return: how many connections are at their end. */
static unsigned count_ended(void)
{
	unsigned ended = 0;

	for (unsigned i = 0; i < MANY; i++) {
		struct pollfd poll_fd = { .fd = many[i], .events = POLLIN };

		/* A reset was sent before the version before served again; nothing else is to be read. */
		if (poll(&poll_fd, 1, 0) == 1)
			ended++;
		else
			cr_assert(client_holds(many[i], "key", "value"));
	}
	return ended;
}

/* Roll to @to, use all connections, and end it. Return: how many connections were said to be lost; as many are. */
static unsigned lose_what_was_told(const char *to, char *ret_size, size_t size)
{
	json_t *status;
	unsigned told;

	for (unsigned i = 0; i < MANY; i++)
		many[i] = client_open();
	client_store(many[0], "key", "value");
	ask_all();
	ctl(0, "roll", "cached", to, "--wait=commit");
	ask_all();
	status = rig_status(stage.rig, "cached");
	told = (unsigned)rig_number(status, "last_roll.uncovered");
	cr_assert(json_is_true(json_object_get(json_object_get(status, "last_roll"), "journal")));
	snprintf(ret_size, size, "%lldK", (long long)rig_number(status, "last_roll.journal_size_would_do") / 1024);
	cr_assert_eq(strstr(rig_text(status, "last_roll.journal_note"), "are not in the journal") != NULL, told != 0);
	json_decref(status);
	if (told)
		stage_wait_log("connections are not in the journal of version v2, and a failure may cost them");
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", BACK_US), 0);
	status = rig_status(stage.rig, "cached");
	cr_assert_eq(rig_number(status, "last_roll.reset"), told, "%s", json_dumps(status, 0));
	cr_assert_eq(rig_number(status, "last_roll.kept"), MANY - told);
	json_decref(status);
	cr_assert_eq(count_ended(), told);
	for (unsigned i = 0; i < MANY; i++)
		close(many[i]);
	return told;
}

SCENE(journal, that_is_too_small_tells_which_connections_it_costs_and_what_size_would_do)
{
	char size[32], again[32], *lines = NULL;
	unsigned told;

	stage_serve(&(struct rig_cached){ .lines = LINES "Bake=30s\nRollback=parked\nJournalSize=128K\n" }, NULL);
	told = lose_what_was_told("v2", size, sizeof(size));
	cr_assert(told > 50 && told < MANY - 50, "%u", told);
	cr_assert_gt(asprintf(&lines, LINES "Bake=30s\nRollback=parked\nJournalSize=%s\n", size), 0);
	lines_are(lines);
	cr_assert_eq(lose_what_was_told("v2", again, sizeof(again)), 0, "with JournalSize=%s", size);
	free(lines);
}

SCENE(journal, needs_two_versions_that_can)
{
	const json_t *answer;
	char *text = NULL;

	stage_link("cached-good", "upg-actor");
	stage_link("cached-slow", "upg-actor");
	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s/cached-%%v\nVersion=good\nBake=100ms\nJournal=yes\n",
			      rig_folder(stage.rig)), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
	answer = ctl(0, "roll", "cached", "slow");
	cr_assert(json_is_false(json_object_get(json_object_get(answer, "roll"), "journal")));
	cr_assert(strstr(rig_text(answer, "roll.journal_note"), "version good cannot apply changes"), "%s",
		  rig_text(answer, "roll.journal_note"));
}
