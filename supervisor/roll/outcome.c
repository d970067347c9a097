/* SPDX-License-Identifier: MIT */
/* What came of a roll, in one line of the log, at the level that it has. */
#include "supervisor/roll/report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum log_level roll_outcome_level(enum roll_outcome outcome)
{
	static const enum log_level levels[] = {
		[ROLL_IS_UNDER_WAY] = LOG_LEVEL_INFO,
		[ROLL_IS_DONE] = LOG_LEVEL_INFO,
		[ROLL_IS_REFUSED] = LOG_LEVEL_WARNING,
		[ROLL_IS_ABORTED] = LOG_LEVEL_WARNING,
		[ROLL_IS_UNANSWERED] = LOG_LEVEL_ERROR,
		[ROLL_IS_BACK_LIVE] = LOG_LEVEL_WARNING,
		[ROLL_IS_BACK_PARKED] = LOG_LEVEL_WARNING,
		[ROLL_IS_BACK_IMAGE] = LOG_LEVEL_WARNING,
		[ROLL_IS_BACK_PART] = LOG_LEVEL_ERROR,
		[ROLL_IS_COLD] = LOG_LEVEL_ERROR,
		[ROLL_IS_FAILED] = LOG_LEVEL_ERROR,
	};

	return levels[outcome];
}

struct line {
	char *text;
	size_t used;
};

static void add(struct line *line, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct line *line, const char *fmt, ...)
{
	size_t room = ROLL_OUTCOME_BYTES - line->used;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(line->text + line->used, room, fmt, args);
	va_end(args);
	if (n > 0)
		line->used += (size_t)n < room ? (size_t)n : room - 1;
}

static void add_lost(struct line *line, const struct roll_report *report)
{
	const Upgraded__Wire__RollReport *wire = &report->wire;

	if (wire->plain && report->outcome == ROLL_IS_BACK_PARKED) {
		if (wire->died_us)
			add(line, "; lost: the connections that version %s had", report->to);
		else
			add(line, "; nothing is lost: version %s drains", report->to);
		return;
	}
	switch (report->outcome) {
	case ROLL_IS_REFUSED:
	case ROLL_IS_ABORTED:
	case ROLL_IS_BACK_LIVE:
		add(line, "; nothing is lost");
		return;
	case ROLL_IS_COLD:
	case ROLL_IS_FAILED:
		add(line, "; lost: all state and connections");
		return;
	case ROLL_IS_BACK_PARKED:
	case ROLL_IS_BACK_IMAGE:
	case ROLL_IS_BACK_PART:
		break;
	case ROLL_IS_UNDER_WAY:
	case ROLL_IS_DONE:
	case ROLL_IS_UNANSWERED:
		return;
	}
	if (wire->lost_us)
		add(line, "; lost: what was written in the %" PRIu64 ".%03" PRIu64 " s since the commit", wire->lost_us / 1000000,
		    wire->lost_us % 1000000 / 1000);
	else if (wire->journal)
		add(line, "; nothing is lost: %" PRIu64 " changes came from the journal", wire->replayed);
	add(line, "; connections: %" PRIu32 " kept, %" PRIu32 " reset", wire->kept, wire->reset);
}

const char *roll_outcome_text(const struct roll_report *report, const char *serves, char *buf)
{
	struct line line = { .text = buf };
	char names[480], who[WHO_BYTES];

	*buf = 0;
	add(&line, "roll %s -> %s: %s", report->from, report->to, roll_report_outcome(report));
	if (*report->cause.text && report->outcome != ROLL_IS_DONE)
		add(&line, ": %s", report->cause.text);
	add_lost(&line, report);
	if (report->missed.n)
		add(&line, "; not back: %s", roll_names_text(&report->missed, names, sizeof(names)));
	if (report->wire.pause_us)
		add(&line, "; pause %" PRIu64 ".%03" PRIu64 " ms", report->wire.pause_us / 1000, report->wire.pause_us % 1000);
	add(&line, "; serves: %s; asked for by %s", serves, who_text(&report->asked_by, who));
	return buf;
}
