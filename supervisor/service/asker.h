/* SPDX-License-Identifier: MIT */
/* Whoever waits for something that was asked of a service: told how it gets on, and answered once. */
#pragma once

#include "supervisor/events/events.h"
#include "supervisor/process/instance.h"
#include "supervisor/roll/roll.h"
#include "wire/name.h"
#include "wire/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct service;

/* What somebody waits for who has not asked for it. */
enum asker_follows {
	FOLLOWS_NOTHING,
	FOLLOWS_ROLL,    /* the roll that is under way, or the next one: seen, and answered at its end */
	FOLLOWS_DONE,    /* nothing is under way */
	FOLLOWS_COMMIT,  /* nothing is under way but a bake */
	FOLLOWS_SERVING, /* a version serves, and answers */
};

/* Embedded in a client. */
struct asker {
	struct service *service; /* which it waits for; NULL: none */
	struct who who;
	char order[192];         /* what it asks for changes something: "roll v2", for the log. "": it only wants to know */
	char order_of[WIRE_NAME_MAX + 1]; /* the service; "": none */
	struct events *events;   /* are told what comes of an order; NULL: nobody is */
	bool phases;             /* wants to see phases begin, and figures */
	enum asker_follows follows;
	struct asker *next_follower; /* of @service */
	bool detach;             /* wants its answer when it has begun */
	bool wait_commit;        /* wants its answer at the commit, not at the end of the bake */
	void (*on_progress)(struct asker *asker, const Upgraded__Wire__Progress *progress);
	void (*on_result)(struct asker *asker, const Upgraded__Wire__Result *result);
	void (*on_event)(struct asker *asker, const Upgraded__Wire__Event *event); /* NULL: it never wants any */
};

#define ANSWER_TEXT_BYTES 512u

/* What was made for one answer. */
struct answer_words {
	char text[ANSWER_TEXT_BYTES], next[ANSWER_TEXT_BYTES];
};

/* The one answer to what was asked. Everything is borrowed until it was sent. */
struct answer {
	enum wire_exit code;
	const char *text;                  /* one sentence: what happened */
	const char *cause;                 /* why; NULL: there is nothing to say */
	const char *next;                  /* what to do now; NULL: nothing */
	bool unchanged;                    /* it was so already */
	const struct instance *serves;     /* who, if @serving says that; NULL: nobody */
	const char *serving;               /* what serves now; NULL: it does not matter here */
	const struct lines *lines;         /* the last that the process printed; NULL: none */
	const struct roll_report *roll;    /* a roll to report on, whose lines count instead of @lines; NULL: none */
	const Upgraded__Wire__Result *with; /* lists and reports that go along: services, checks, images, ...; NULL: none */
};

/* An answer as it travels. */
struct answer_message {
	Upgraded__Wire__Result result;
	Upgraded__Wire__RollReport report;
	struct roll_report_texts texts;
	Upgraded__Wire__Serving serves;
	char *lines[LINES_MAX];
};

/** answer_pack() - Fill @ret, which borrows from @answer and from itself: it must not be moved. */
void answer_pack(const struct answer *answer, struct answer_message *ret);

/**
 * answer_of_roll() - What is to be said of a roll: at its commit, or at its end.
 * @service: its name.
 * @words:   gets the sentences, which the answer borrows.
 */
struct answer answer_of_roll(const char *service, const struct roll_report *roll, struct answer_words *words);

/** asker_answer() - Send @answer to an asker that no service knows. */
void asker_answer(struct asker *asker, const struct answer *answer);

/** asker_progress() - Tell @asker how what it waits for gets on. @asker: NULL: nobody. @since_us: when that began. */
void asker_progress(struct asker *asker, const char *phase, pid_t pid, const char *text, uint64_t since_us);
/** asker_note() - The same; it matters beside the figures of the phase. */
void asker_note(struct asker *asker, const char *phase, pid_t pid, const char *text, uint64_t since_us);
