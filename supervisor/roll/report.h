/* SPDX-License-Identifier: MIT */
/* What came of a roll, for people and programs. */
#pragma once

#include "base/why.h"
#include "supervisor/process/lines.h"
#include "supervisor/roll/record.h"
#include "wire/wire.h"

#include <stdbool.h>
#include <stdint.h>

/* Plain: it can be copied, and outlives its roll. */
struct roll_report {
	/* Numbers and flags stand here and nowhere else. Texts stand below, and are put in by roll_report_tell(). */
	Upgraded__Wire__RollReport wire;
	enum roll_outcome outcome;
	char from[WIRE_NAME_MAX + 1], to[WIRE_NAME_MAX + 1];
	unsigned rungs;          /* of enum roll_rung: there were while new served */
	struct why cause;
	struct why image_missed; /* why there is none, although one was required */
	struct why journal_note; /* why no journal is kept although it was asked for, or why it ended */
	struct why way_note;     /* why a way back was lost that was there */
	struct lines lines;      /* the failed version's last */
	int64_t started_s;       /* CLOCK_REALTIME */
};

void roll_report_init(struct roll_report *report, const char *from, const char *to);

/* What the texts of a told report point to, besides the report itself. */
struct roll_report_texts {
	char started[32];
	char *lines[LINES_MAX];
};

/** roll_report_tell() - The report as a message. @ret: points into @report and @texts, which outlive it. */
void roll_report_tell(const struct roll_report *report, struct roll_report_texts *texts, Upgraded__Wire__RollReport *ret);

const char *roll_outcome_name(enum roll_outcome outcome);
