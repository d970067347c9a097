/* SPDX-License-Identifier: MIT */
/* State in files, and the proof that going back loses nothing. */
#include "tests/integration/stage.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHORT_BAKE "Bake=200ms\nRollback=parked\n"

STAGE(state, 90);

SCENE(state, is_saved_under_load_and_a_cold_start_has_all_of_it)
{
	const json_t *answer;
	struct stat st;
	int64_t records;
	int client;

	stage_serve(&(struct rig_cached){ .lines = SHORT_BAKE }, NULL);
	client = client_open();
	client_store(client, "some:thing", "worth keeping");
	stage_load(100);
	answer = ctl(0, "save", "cached", stage_path("saved.upg"));
	/* Keys and counters, no connections: those mean nothing in a file. */
	cr_assert_gt(rig_number(answer, "save.records"), 100);
	cr_assert_gt(rig_number(answer, "save.pause_us"), 0);
	cr_assert_eq(stat(stage_path("saved.upg"), &st), 0);
	cr_assert_gt(st.st_size, 1000);
	cr_assert_eq(st.st_mode & 0777, 0600);
	/* It explains itself: nobody needs to ask the application. */
	records = rig_number(answer, "save.records");
	answer = ctl(0, "state", "verify", stage_path("saved.upg"));
	cr_assert(json_is_true(json_object_get(answer, "whole")) && json_is_true(json_object_get(answer, "described")));
	cr_assert_eq(rig_number(answer, "records"), records);
	ctl(0, "state", "diff", stage_path("saved.upg"), stage_path("saved.upg"));
	stage_load_spotless();
	close(client);
	ctl(0, "stop", "cached");
	answer = ctl(0, "start", "--from", stage_path("saved.upg"), "cached", "v3");
	must_say(answer, "version v3 serves");
	client = client_open();
	cr_assert(client_holds(client, "some:thing", "worth keeping"));
	close(client);
	/* And it is a service like any other. */
	ctl(0, "roll", "cached", "v2");
}

SCENE(state, of_a_newer_version_is_refused_by_an_older_one_with_the_reason)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .version = "v3", .lines = SHORT_BAKE }, NULL);
	ctl(0, "save", "cached", stage_path("saved.upg"));
	ctl(0, "stop", "cached");
	answer = ctl(1, "start", "--from", stage_path("saved.upg"), "cached", "v1");
	must_say(answer, "cached.Item");
	answer = ctl(1, "start", "--from", stage_path("saved.upg"), "cached", "v2");
	must_say(answer, "version 3 to 2");
}

SCENE(state, that_is_none_starts_nothing)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .lines = SHORT_BAKE }, NULL);
	ctl(0, "stop", "cached");
	answer = ctl(1, "start", "--from", rig_program(stage.rig, "upgradectl"), "cached");
	must_say(answer, "UPGSTATE");
	answer = ctl(1, "start", "--from", stage_path("nowhere"), "cached");
	must_say(answer, "no request was sent");
	ctl(0, "start", "cached");
}

SCENE(state, is_not_left_half_written)
{
	struct stat st;

	stage_serve(&(struct rig_cached){ .lines = SHORT_BAKE }, NULL);
	ctl(4, "save", "other", stage_path("saved.upg"));
	cr_assert_neq(stat(stage_path("saved.upg"), &st), 0);
	ctl(0, "stop", "cached");
	ctl(3, "save", "cached", stage_path("saved.upg"));
	cr_assert_neq(stat(stage_path("saved.upg"), &st), 0);
}

SCENE(state, makes_the_round_trip_under_load_in_both_directions)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .lines = SHORT_BAKE }, NULL);
	stage_load(100);
	answer = ctl(0, "roll", "--verify=roundtrip", "cached", "v2");
	cr_assert(json_is_true(json_object_get(json_object_get(answer, "roll"), "verified")));
	answer = ctl(0, "roll", "--verify=roundtrip", "cached", "v3");
	cr_assert(json_is_true(json_object_get(json_object_get(answer, "roll"), "verified")));
	stage_load_spotless();
}

SCENE(state, that_would_not_survive_the_way_back_stops_the_roll_and_is_named)
{
	const json_t *answer;
	int client;

	stage_serve(&(struct rig_cached){ .version = "v3", .lines = SHORT_BAKE "Verify=roundtrip\n" }, NULL);
	client = client_open();
	client_store(client, "flagged", "yes");
	stage_load(50);
	/* Its loader loses flags: every count agrees, so only the round trip can tell. */
	answer = ctl(6, "roll", "cached", "v3-lossy");
	must_say(answer, "cached.Item");
	must_say(answer, "field");
	must_say(answer, "for example the record that begins with");
	cr_assert(client_holds(client, "flagged", "yes"));
	stage_load_spotless();
	close(client);
}

Test(state, over_a_cap_stops_the_roll_and_the_message_says_how_to_raise_it)
{
	const json_t *answer;
	int client;

	stage_serve(&(struct rig_cached){ .lines = SHORT_BAKE "StateRecordMax=300\n" }, NULL);
	client = client_open();
	client_store(client, "large", "0123456789012345678901234567890123456789012345678901234567890123456789"
				      "0123456789012345678901234567890123456789012345678901234567890123456789"
				      "0123456789012345678901234567890123456789012345678901234567890123456789"
				      "0123456789012345678901234567890123456789012345678901234567890123456789"
				      "0123456789012345678901234567890123456789012345678901234567890123456789");
	answer = ctl(6, "roll", "cached", "v2");
	must_say(answer, "StateRecordMax= of the service raises it");
	answer = ctl(1, "save", "cached", stage_path("saved.upg"));
	must_say(answer, "StateRecordMax=");
	/* The file is read anew at each roll. */
	stage_unit(&(struct rig_cached){ .lines = SHORT_BAKE "StateMax=100\n" });
	answer = ctl(6, "roll", "cached", "v2");
	must_say(answer, "StateMax= of the service raises it");
	stage_unit(&(struct rig_cached){ .lines = SHORT_BAKE "StateRecordMax=1K\nStateMax=1M\n" });
	ctl(0, "roll", "cached", "v2");
	close(client);
}
