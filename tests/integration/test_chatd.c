/* SPDX-License-Identifier: MIT */
/* A server with a thread for each client, and a graph for its state: rolled, undone, and brought back with its threads. */
#include "tests/integration/chatters.h"
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define SHOWN_US (20 * USEC_PER_SEC)
#define ROOMS 20u

STAGE(chatd, 120);

/* ---- around it ---- */

static void serve(const char *lines)
{
	char *text = NULL;

	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s-%%v -p %u\nVersion=v1\nLimitNOFILE=4096\n%s",
			      rig_program(stage.rig, "examples/chatd"), stage.port, lines), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "chat", text), 0);
	free(text);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "chat");
}

static void roll(const char *version)
{
	const json_t *answer = ctl(0, "roll", "chat", version);

	cr_assert_str_eq(rig_text(answer, "roll.outcome"), "done");
}

static void assert_version(struct chatter *chatter, const char *version)
{
	cr_assert_str_eq(chatter_ask(chatter, "VERSION"), version);
}

/* Everything of the rooms that all versions show alike. */
static char *rooms_of(struct chatter *chatter)
{
	char *all = NULL, *part;
	size_t size;
	FILE *out = open_memstream(&all, &size);

	for (unsigned i = 0; i < ROOMS; i++) {
		part = chatter_list(chatter, "HISTORY room%u", i);
		fprintf(out, "room%u\n%s", i, part);
		free(part);
		part = chatter_list(chatter, "WHO room%u", i);
		/* Version 2 adds since when. */
		for (char *line = strtok(part, "\n"); line; line = strtok(NULL, "\n")) {
			char *since = strstr(line, " since ");

			fprintf(out, "%.*s\n", (int)(since ? since - line : (ptrdiff_t)strlen(line)), line);
		}
		free(part);
	}
	part = chatter_list(chatter, "ROOMS");
	fputs(part, out);
	free(part);
	fclose(out);
	return all;
}

static void assert_rooms(struct chatter *chatter, const char *before)
{
	char *after = rooms_of(chatter);

	cr_assert_str_eq(after, before);
	free(after);
}

static struct chatter *arrive(unsigned n)
{
	struct chatter *chatters = calloc(n, sizeof(*chatters));

	for (unsigned i = 0; i < n; i++) {
		chatter_open(&chatters[i], stage.port, 0);
		cr_assert_str_eq(chatter_ask(&chatters[i], "NICK c%u", i), "OK");
		cr_assert_str_eq(chatter_ask(&chatters[i], "JOIN room%u", i % ROOMS), "OK");
	}
	return chatters;
}

static void depart(struct chatter *chatters, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		chatter_close(&chatters[i]);
	free(chatters);
}

/* The first of each room says something, and the others hear it. */
static void say_in_each_room(struct chatter *chatters, unsigned n, const char *what)
{
	char want[256];

	for (unsigned room = 0; room < ROOMS; room++) {
		cr_assert_str_eq(chatter_ask(&chatters[room], "SAY room%u %s", room, what), "OK");
		snprintf(want, sizeof(want), "SAID room%u c%u %s", room, room, what);
		for (unsigned i = room + ROOMS; i < n; i += ROOMS)
			cr_assert_str_eq(chatter_hear(&chatters[i]), want);
	}
}

/* ---- forward and back by rolls ---- */

SCENE(chatd, two_hundred_clients_miss_no_word_and_hear_none_twice)
{
	struct crowd *crowd;

	serve("Bake=300ms\n");
	crowd = crowd_start(stage.port, ROOMS);
	crowd_wait(crowd, 5);
	roll("v2");
	crowd_wait(crowd, 5);
	ctl(0, "undo", "chat");
	crowd_wait(crowd, 5);
	cr_assert_geq(crowd_stop(crowd), UINT64_C(15) * ROOMS * CROWD_ROOM * (CROWD_ROOM - 1));
	cr_assert_eq(rig_wait_status(stage.rig, "chat", "running", "v1", SHOWN_US), 0);
}

SCENE(chatd, histories_and_members_are_the_same_in_every_version)
{
	struct chatter *chatters;
	char *before;

	/* The round trip also shows that every reference comes back as the number that it was. */
	serve("Bake=300ms\nVerify=roundtrip\n");
	chatters = arrive(60);
	for (unsigned i = 0; i < 10; i++)
		say_in_each_room(chatters, 60, "as it was");
	before = rooms_of(&chatters[0]);
	roll("v2");
	assert_version(&chatters[7], "VERSION v2");
	assert_rooms(&chatters[0], before);
	ctl(0, "undo", "chat");
	assert_version(&chatters[7], "VERSION v1");
	assert_rooms(&chatters[0], before);
	say_in_each_room(chatters, 60, "and on");
	free(before);
	depart(chatters, 60);
}

SCENE(chatd, an_author_is_known_by_reference_from_v2_on)
{
	struct chatter bob, eve;
	char *list;

	serve("Bake=200ms\n");
	chatter_open(&bob, stage.port, 0);
	chatter_open(&eve, stage.port, 0);
	chatter_ask(&bob, "NICK bob");
	chatter_ask(&eve, "NICK eve");
	chatter_ask(&bob, "JOIN room");
	chatter_ask(&eve, "JOIN room");
	chatter_ask(&eve, "SAY room said by eve");
	cr_assert_str_eq(chatter_hear(&bob), "SAID room eve said by eve");
	chatter_ask(&bob, "SAY room said by bob");
	cr_assert_str_eq(chatter_hear(&eve), "SAID room bob said by bob");
	cr_assert_str_eq(chatter_ask(&eve, "QUIT"), "BYE");
	cr_assert_str_empty(chatter_hear(&eve));
	roll("v2");
	cr_assert_str_eq(chatter_ask(&bob, "NICK robert"), "OK");
	list = chatter_list(&bob, "HISTORY room");
	cr_assert(strstr(list, " robert said by bob"), "bob is there, so his word follows him: %s", list);
	cr_assert(strstr(list, " eve said by eve"), "eve has left, and her name stays: %s", list);
	free(list);
	ctl(0, "undo", "chat");
	list = chatter_list(&bob, "HISTORY room");
	cr_assert(strstr(list, " robert said by bob"), "%s", list);
	cr_assert(strstr(list, " eve said by eve"), "%s", list);
	free(list);
	chatter_close(&bob);
	chatter_close(&eve);
}

SCENE(chatd, half_a_line_and_unread_output_travel)
{
	enum { WORDS = 400 };
	struct chatter slow, fast;
	char want[600], filler[400];

	serve("Bake=200ms\n");
	memset(filler, '.', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = '\0';
	chatter_open(&slow, stage.port, 4096);
	chatter_open(&fast, stage.port, 0);
	chatter_ask(&slow, "NICK slow");
	chatter_ask(&slow, "JOIN room");
	chatter_ask(&fast, "NICK fast");
	chatter_ask(&fast, "JOIN room");
	/* More than the sockets hold, and less than is too much. */
	for (unsigned i = 0; i < WORDS; i++)
		cr_assert_str_eq(chatter_ask(&fast, "SAY room %u %s", i, filler), "OK");
	chatter_send(&fast, "PING one li");
	roll("v2");
	chatter_send(&fast, "ne\n");
	cr_assert_str_eq(chatter_hear(&fast), "PONG one");
	for (unsigned i = 0; i < WORDS; i++) {
		snprintf(want, sizeof(want), "SAID room fast %u %s", i, filler);
		cr_assert_str_eq(chatter_hear(&slow), want);
	}
	cr_assert_str_eq(chatter_ask(&slow, "PING"), "PONG ");
	chatter_close(&slow);
	chatter_close(&fast);
}

SCENE(chatd, who_never_reads_is_dropped_and_holds_nobody_up)
{
	struct chatter slow, fast;
	char filler[400], *who;

	serve("Bake=200ms\n");
	memset(filler, '.', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = '\0';
	chatter_open(&slow, stage.port, 4096);
	chatter_open(&fast, stage.port, 0);
	chatter_ask(&slow, "NICK slow");
	chatter_ask(&slow, "JOIN room");
	chatter_ask(&fast, "NICK fast");
	chatter_ask(&fast, "JOIN room");
	for (unsigned i = 0; i < 2000; i++)
		cr_assert_str_eq(chatter_ask(&fast, "SAY room %u %s", i, filler), "OK");
	roll("v2"); /* also with what is left of it */
	who = chatter_list(&fast, "WHO room");
	cr_assert_null(strstr(who, "slow"));
	free(who);
	chatter_close(&slow);
	chatter_close(&fast);
}

/* ---- in a file ---- */

SCENE(chatd, users_from_a_file_wait_for_their_clients)
{
	struct chatter bob, eve;
	char *before, *after;

	serve("Bake=200ms\n");
	chatter_open(&bob, stage.port, 0);
	chatter_open(&eve, stage.port, 0);
	chatter_ask(&bob, "NICK bob");
	chatter_ask(&eve, "NICK eve");
	chatter_ask(&bob, "JOIN room");
	chatter_ask(&eve, "JOIN room");
	chatter_ask(&bob, "SAY room for later");
	before = chatter_list(&bob, "HISTORY room");
	ctl(0, "save", "chat", stage_path("chat.upg"));
	chatter_close(&bob);
	chatter_close(&eve);
	ctl(0, "stop", "chat");

	ctl(0, "start", "--from", stage_path("chat.upg"), "chat", "v2");
	chatter_open(&bob, stage.port, 0);
	after = chatter_list(&bob, "HISTORY room");
	cr_assert_str_eq(after, before);
	free(after);
	cr_assert_str_eq(chatter_ask(&bob, "NICK bob"), "OK", "he is the one who was in the room");
	cr_assert_str_eq(chatter_ask(&bob, "SAY room is anyone here"), "OK");
	chatter_open(&eve, stage.port, 0);
	cr_assert_str_eq(chatter_ask(&eve, "NICK eve"), "OK");
	cr_assert_str_eq(chatter_ask(&bob, "SAY room now"), "OK");
	cr_assert_str_eq(chatter_hear(&eve), "SAID room bob now");
	cr_assert_str_eq(chatter_ask(&eve, "NICK bob"), "ERR that name is taken");
	free(before);
	chatter_close(&bob);
	chatter_close(&eve);
}

/* ---- a version that fails ---- */

/* Roll to a version that crashes when it is told to, tell it, and see the one before come back. */
static void crash(struct chatter *culprit, const char *rung)
{
	ctl(0, "roll", "chat", "v2-crash", "--wait=commit");
	stage_wait_bake("v2-crash");
	chatter_send(culprit, "CRASH\n");
	cr_assert_eq(rig_wait_status(stage.rig, "chat", "running", "v1", SHOWN_US), 0);
	stage_wait_log(rung);
	cr_assert_str_empty(chatter_hear(culprit), "its connection was used since the commit, so it is reset");
}

static void threads_come_back(const char *lines, const char *rung)
{
	enum { N = 200 };
	struct chatter *chatters, culprit;
	char *before, *who;

	serve(lines);
	chatters = arrive(N);
	say_in_each_room(chatters, N, "before");
	before = rooms_of(&chatters[0]);
	chatter_open(&culprit, stage.port, 0);
	chatter_ask(&culprit, "NICK culprit");
	cr_assert_str_eq(chatter_ask(&culprit, "JOIN hideout"), "OK");
	/* All threads sit in read() now, and stand at their update points while they are away. */
	crash(&culprit, rung);
	who = chatter_list(&chatters[0], "WHO hideout");
	cr_assert_str_eq(who, "END\n", "the thread of a lost connection has ended");
	free(who);
	free(before);
	before = rooms_of(&chatters[0]);
	say_in_each_room(chatters, N, "after");
	/* Nudged once more, all of them come once more. */
	free(before);
	before = rooms_of(&chatters[0]);
	roll("v2");
	assert_rooms(&chatters[0], before);
	say_in_each_room(chatters, N, "in v2");
	ctl(0, "undo", "chat");
	say_in_each_room(chatters, N, "in v1 again");
	free(before);
	chatter_close(&culprit);
	depart(chatters, N);
}

SCENE(chatd, threads_come_back_from_an_image)
{
	threads_come_back("Bake=20s\nRollback=image\n", "rolled-back-image");
}

SCENE(chatd, threads_come_back_from_memory)
{
	threads_come_back("Bake=20s\nRollback=parked\n", "rolled-back-parked");
}
