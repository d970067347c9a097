/* SPDX-License-Identifier: MIT */
/* What a service can do with descriptors, and cannot do to others. */
#include "tests/hostile/neighbour.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

STAGE(descriptors, 120);

/* ---- others' descriptors ---- */

#define SHORT_TIMES "QuiesceTimeout=1500ms\nTransferTimeout=500ms\n"
/* Enough for some 400 questions, where each NotYet is answered with one: a socket holds 277 of them. */
#define LONG_TIMES "QuiesceTimeout=7s\nTransferTimeout=500ms\n"

/* What they need gets the lowest numbers that are free, which were the file's or the pipe's. */
static void start_victims(void)
{
	static const char *const names[] = { "abel", "remus", "osiris" };
	char text[512];

	stage_link("victim-v1", "upg-hostile");
	snprintf(text, sizeof(text), "[Service]\nExec=%s/victim-%%v\nVersion=v1\n", rig_folder(stage.rig));
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		cr_assert_eq(rig_unit_write(stage.rig, names[i], text), 0);
		ctl(0, "start", names[i]);
	}
}

static void read_nothing_of_others(void)
{
	kill(neighbour_pid(), SIGUSR2);
	stage_wait_log(" 0 of others");
	ctl(0, "stop", "evil");
}

SCENE(descriptors, of_others_are_not_in_what_is_left_unread_after_a_save)
{
	char file[64] = "/tmp/saved";

	neighbour_start("leaves-unread", LONG_TIMES);
	ctl(0, "start", "evil");
	ctl(1, "save", "evil", file);
	start_victims();
	read_nothing_of_others();
	neighbour_must_not_matter("v1", "v2");
	stage_load_spotless();
}

SCENE(descriptors, of_others_are_not_in_what_is_left_unread_after_a_roll)
{
	struct rig_child *roll;
	struct rig_answer answer;

	neighbour_start("leaves-unread", LONG_TIMES);
	ctl(0, "start", "evil");
	stage_link("evil-next", "upg-hostile");
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "evil", "next", NULL), 0);
	/* By then the roll has closed its commit word and its pipe. */
	stage_wait_log("aborting: version leaves-unread");
	start_victims();
	kill(neighbour_pid(), SIGUSR2);
	cr_assert_eq(rig_run_wait(roll, 60 * USEC_PER_SEC, &answer), 0);
	cr_assert_eq(answer.status, 6, "%s", answer.out);
	rig_answer_done(&answer);
	read_nothing_of_others();
	neighbour_must_not_matter("v1", "v2");
	stage_load_spotless();
}

/* ---- closes that take their time ---- */

SCENE(descriptors, that_linger_stop_nobody)
{
	neighbour_start("lingers", NULL);
	ctl(0, "start", "evil");
	neighbour_must_not_matter("v1", "v2");
	stage_wait_log("its message (pong) came with descriptors");
	neighbour_must_not_matter("v2", "v3");
	stage_load_spotless();
}

SCENE(descriptors, that_linger_in_custody_stop_nobody)
{
	neighbour_start("lingers-in-custody", SHORT_TIMES);
	ctl(0, "start", "evil");
	stage_link("evil-next", "upg-hostile");
	ctl(6, "roll", "evil", "next");
	neighbour_must_not_matter("v1", "v2");
	stage_load_spotless();
}

/* ---- too many, and too large ---- */

#define ROOMY_KIB (32u << 10) /* far less than what was sent, far more than the daemon needs */

SCENE(descriptors, with_long_names_are_refused)
{
	unsigned long before;
	const json_t *answer;

	neighbour_measure();
	neighbour_start("long-names", "TransferTimeout=5s\n");
	ctl(0, "start", "evil");
	stage_link("evil-next", "upg-hostile");
	before = neighbour_memory_kib();
	answer = ctl(6, "roll", "evil", "next");
	must_say(answer, "the name of a descriptor is longer than 64 bytes");
	cr_assert_lt(neighbour_memory_kib(), before + ROOMY_KIB);
	neighbour_must_not_matter("v1", "v2");
	stage_load_spotless();
}

SCENE(descriptors, in_a_flood_leave_room_for_others)
{
	struct rig_child *roll;
	struct rig_answer answer;

	neighbour_start("floods", "TransferTimeout=10s\n");
	ctl(0, "start", "evil");
	stage_link("evil-next", "upg-hostile");
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "evil", "next", NULL), 0);
	neighbour_must_not_matter("v1", "v2");
	neighbour_must_not_matter("v2", "v3");
	cr_assert_eq(rig_run_wait(roll, 60 * USEC_PER_SEC, &answer), 0);
	cr_assert_eq(answer.status, 6, "%s", answer.out);
	cr_assert(strstr(answer.out, "LimitNOFILE= of upgraded") || strstr(answer.out, "than it may have open"), "%s", answer.out);
	rig_answer_done(&answer);
	stage_load_spotless();
}

SCENE(descriptors, that_nobody_asked_for_are_closed_as_fast_as_they_come)
{
	neighbour_start("wastes", NULL);
	ctl(0, "start", "evil");
	neighbour_must_not_matter("v1", "v2");
	neighbour_must_not_matter("v2", "v3");
	stage_load_spotless();
}
