/* SPDX-License-Identifier: MIT */
/* The demonstration: rolls of the example service under load that never stops, shown as they happen and then judged.
 *
 *   main.c    builds the set, runs the scenes, leaves nothing
 *   scenes.c  what is shown, and what must come of it
 *   scene.c   one scene: the roll, what it came to, what the clients saw
 *   talk.c    the two who talk in chatd
 *   sum.c     the table and the last line
 *   show.c    how it looks
 */
#pragma once

#include "tests/rig/rig.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- what is shown ---- */

enum scene_kind { SCENE_ROLL, SCENE_ABORT, SCENE_BACK, SCENE_UNDO };

struct scene {
	enum scene_kind kind;
	const char *title;
	const char *story;      /* what is about to happen, in one line */
	const char *service;
	const char *verb;
	const char *version;    /* to roll to; NULL for undo */
	const char *rollback;   /* --rollback=...; NULL: auto */
	const char *lines;      /* more of the service file */
	bool crash;             /* counts to the crash_ figures: the others of SCENE_BACK have theirs in the table alone */
	int status;             /* must be upgradectl's exit status */
	const char *outcome;    /* must be the roll's */
	const char *serves;     /* must serve afterwards */
};

extern const struct scene scenes[];
extern const size_t n_scenes;

/* ---- what came of it ---- */

/* What a crash after the commit cost, as the clients know it. */
struct cost {
	int64_t kept, reset, interrupted, reverted;
};

struct result {
	const struct scene *scene;
	bool as_expected;
	int status;
	char outcome[32];
	int64_t pause_us;      /* 0: nothing was committed */
	int64_t worst_us;      /* the clients' worst latency in this scene; -1: not known */
	struct cost cost;
};

/* A load client, and what it had seen by its last report. */
struct clients {
	const char *service;
	uint16_t port;
	unsigned connections;
	struct rig_load *load; /* NULL: does not run */
	int64_t requests, wrong, failed, lost;
};

/* One of those who talk in chatd. */
struct person {
	int fd;      /* owned by @lines once that is open */
	FILE *lines;
	char line[512];
};

struct talk {
	const char *service;
	uint16_t port;
	struct person ann, bob;
	unsigned said; /* sentences of ann's */
};

#define SCENES_MAX 32

struct demo {
	struct rig *rig;
	struct clients main, side; /* of service cached, and of the one beside it */
	struct talk talk;
	uint64_t begun_us;
	struct result results[SCENES_MAX];
	size_t n_results;
	unsigned broken;        /* promises that did not hold */
};

/** demo_broken() - A promise that did not hold: said now, and the run fails. */
void demo_broken(struct demo *demo, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** scene_run() - Return: 0, whatever came of it; -errno: the demonstration itself cannot go on. */
int scene_run(struct demo *demo, const struct scene *scene);

/** demo_unit_write() - The service file of @service, with @lines added. */
int demo_unit_write(struct demo *demo, const char *service, const char *lines);

/** talk_start() - Two people come into a room of chatd. Return: 0 or -errno. */
int talk_start(struct demo *demo);
/** talk_before() - One begins a sentence. */
void talk_before(struct demo *demo);
/** talk_after() - It is finished, and heard, and remembered with all before it. */
void talk_after(struct demo *demo);
void talk_stop(struct demo *demo);

/** clients_hear() - Take note of a report of theirs. */
void clients_hear(struct clients *clients, const json_t *report);

/** sum_show() - The table of all scenes. */
void sum_show(const struct demo *demo);
/** sum_judge() - Look whether all held that must. Return: true if so. Prints the last line. */
bool sum_judge(struct demo *demo);

/* ---- how it looks ---- */

enum style { STYLE_PLAIN, STYLE_TITLE, STYLE_DIM, STYLE_GOOD, STYLE_BAD };

void show_init(void);
/** show() - Print in a style; no newline is added. */
void show(enum style style, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void show_title(size_t number, const char *title);
/** show_count() - "1,234,567". Return: @buffer. */
const char *show_count(char buffer[static 32], int64_t n);
/** show_ms() - "12.3 ms", "-" for less than 1. Return: @buffer. */
const char *show_ms(char buffer[static 32], int64_t us);
