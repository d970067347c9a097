/* SPDX-License-Identifier: MIT */
#include "tests/demo/demo.h"

#define SOUND(from, to, what) \
	{ .kind = SCENE_ROLL, .title = from " -> " to, .story = what, .service = "cached", .verb = "roll", .version = to, \
	  .status = 0, .outcome = "done", .serves = to }
#define BROKEN(name, what, how, code, more) \
	{ .kind = SCENE_ABORT, .title = "v3 -> v3-" name, .story = what, .service = "cached", .verb = "roll", \
	  .version = "v3-" name, .lines = more, .status = (code), .outcome = (how), .serves = "v3" }
#define BACK(name, what, way, from, is_crash, more) \
	{ .kind = SCENE_BACK, .title = "v3 -> v3-" name ", back from " from, .story = what, .service = "cached", \
	  .verb = "roll", .version = "v3-" name, .rollback = "--rollback=" way, .lines = more, .crash = (is_crash), \
	  .status = 6, .outcome = "rolled-back-" way, .serves = "v3" }

/* Served requests before a crash: at the load's rate, so many come only after old is parked, or its image is taken. */
/* Every object of chatd points to others; its migrations are generated, and the way back is proved before each commit. */
#define TALK(what_kind, of, told, with, to, then) \
	{ .kind = (what_kind), .title = of, .story = told, .service = "chatd", .verb = with, .version = to, \
	  .lines = "Bake=1s\nVerify=roundtrip\n", .status = 0, .outcome = "done", .serves = then }

#define AFTER_THE_PARK "Bake=10s\nEnvironment=CACHED_BREAK_AFTER=4000\n"
#define AFTER_THE_IMAGE "Bake=20s\nEnvironment=CACHED_BREAK_AFTER=24000\n"
#define SOON_MISSED "HealthInterval=200ms\nHealthTimeout=1s\n"

const struct scene scenes[] = {
	SOUND("v1", "v2", "Items get more fields, seconds become nanoseconds: every record is migrated on its way."),
	SOUND("v2", "v3", "Values are grouped under namespaces."),

	BROKEN("exit-at-start", "Its program ends before it says a word.", "refused", 5, NULL),
	BROKEN("never-ready", "It starts and never gets ready; StartTimeout= is one second here.", "refused", 5,
	       "Bake=1s\nStartTimeout=1s\n"),
	BROKEN("refuse", "It was given everything and refuses to take over.", "aborted", 6, NULL),
	BROKEN("crash-loading", "It crashes in the midst of the records.", "aborted", 6, NULL),
	BROKEN("misload", "It forgets every hundredth item it is given: the counts disagree.", "aborted", 6, NULL),
	{ .kind = SCENE_ABORT, .title = "v1-stuck -> v2, on a service beside it",
	  .story = "One of the running version's threads never comes to its update point.", .service = "stuck",
	  .verb = "roll", .version = "v2", .status = 6, .outcome = "aborted", .serves = "v1-stuck" },

	BACK("crash-after", "It takes over, serves, and crashes after 4,000 requests.", "parked", "memory", true, AFTER_THE_PARK),
	BACK("crash-after", "The same after 24,000 requests, when the version before exists only as a CRIU image.", "image",
	     "its image", true, AFTER_THE_IMAGE),
	BACK("hang-after", "It takes over, serves, and stops in its tracks after 4,000 requests.", "parked", "memory", false,
	     AFTER_THE_PARK SOON_MISSED),

	{ .kind = SCENE_UNDO, .title = "undo: v3 -> v2",
	  .story = "No crash here: v3's state goes down through its migrations into v2.",
	  .service = "cached", .verb = "undo", .status = 0, .outcome = "done", .serves = "v2" },

	TALK(SCENE_ROLL, "chatd v1 -> v2", "A thread for each client, blocked in read(); users and rooms that point to each other.",
	     "roll", "v2", "v2"),
	TALK(SCENE_UNDO, "chatd undo: v2 -> v1", "And back, in the middle of another sentence.", "undo", NULL, "v1"),
};
const size_t n_scenes = sizeof(scenes) / sizeof(scenes[0]);
_Static_assert(sizeof(scenes) / sizeof(scenes[0]) <= SCENES_MAX, "results have room for all scenes");
