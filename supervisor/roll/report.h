/* SPDX-License-Identifier: MIT */
/* What came of a roll, for people and programs. */
#pragma once

#include "base/log.h"
#include "base/why.h"
#include "supervisor/events/who.h"
#include "supervisor/process/lines.h"
#include "supervisor/roll/record.h"
#include "wire/wire.h"

#include <stdbool.h>
#include <stdint.h>

#define ROLL_NAMES_MAX 8u
#define ROLL_NAME_BYTES 112u

/* Descriptors by name, for people: "listener 0 (127.0.0.1:80)". */
struct roll_names {
	char text[ROLL_NAMES_MAX][ROLL_NAME_BYTES];
	unsigned n;
};

#define SKIPPED_BYTES 224u

/* Types of which records were not taken, for people: "3 of app.Note: expired". */
struct roll_skipped {
	char text[8][SKIPPED_BYTES];
	unsigned n;
};

/* Plain: it can be copied, and outlives its roll. */
struct roll_report {
	/* Numbers and flags stand here and nowhere else. Texts stand below, and are put in by roll_report_tell(). */
	Upgraded__Wire__RollReport wire;
	enum roll_outcome outcome;
	char from[WIRE_NAME_MAX + 1], to[WIRE_NAME_MAX + 1];
	unsigned rungs;          /* of enum roll_rung: there were while new served */
	struct why cause;
	struct why waited_for;   /* why the old version was not ready, as it said last; "": it did not say */
	struct why image_missed; /* why there is none, although one was required */
	struct why journal_note; /* why no journal is kept although it was asked for, or why it ended */
	struct why way_note;     /* why a way back was lost that was there */
	struct roll_names missed; /* doors of the old version that did not come back with it */
	struct roll_names left;  /* what was handed over, and the version that takes over did not want */
	struct roll_skipped skipped;
	struct lines lines;      /* the failed version's last */
	int64_t started_s;       /* CLOCK_REALTIME */
	uint64_t id;             /* the roll's generation */
	struct who asked_by;
};

void roll_report_init(struct roll_report *report, const char *from, const char *to);

/* What the texts of a told report point to, besides the report itself. */
struct roll_report_texts {
	char started[32];
	Upgraded__Wire__Who asked_by;
	char *lines[LINES_MAX], *missed[ROLL_NAMES_MAX], *left[ROLL_NAMES_MAX], *skipped[8];
};

/** roll_report_tell() - The report as a message. @ret: points into @report and @texts, which outlive it. */
void roll_report_tell(const struct roll_report *report, struct roll_report_texts *texts, Upgraded__Wire__RollReport *ret);

/** roll_names_want() - Would roll_names_add() add this one? */
bool roll_names_want(const struct roll_names *names, const char *name, uint64_t tag);

/** roll_names_add() - One more, unless it is there already; what does not fit is left out. @address: NULL or "": not known. */
void roll_names_add(struct roll_names *names, const char *name, uint64_t tag, const char *address);

/** roll_names_text() - All of them in one line. Return: @buf. */
const char *roll_names_text(const struct roll_names *names, char *buf, size_t size);

/** roll_skipped_text() - What a new version did not take of a type: "3 of app.Note: expired". @buf: of SKIPPED_BYTES.
 * Return: @buf. */
const char *roll_skipped_text(const Upgraded__Wire__Skipped *skipped, char *buf);

const char *roll_outcome_name(enum roll_outcome outcome);

/** roll_report_outcome() - The same of one roll: of programs that know nothing of us none was parked, as the one before has served
 * all the time ("rolled-back-running"). */
const char *roll_report_outcome(const struct roll_report *report);

/* ---- outcome.c ---- */

#define ROLL_OUTCOME_BYTES 1536u

/** roll_outcome_level() - At which level what came of a roll is logged: who looks for warnings finds each outage. */
enum log_level roll_outcome_level(enum roll_outcome outcome);

/** roll_outcome_text() - All of it in one line: cause, loss, who serves now (@serves) and who asked. @buf: ROLL_OUTCOME_BYTES.
 * Return: @buf. */
const char *roll_outcome_text(const struct roll_report *report, const char *serves, char *buf);
