/* SPDX-License-Identifier: MIT */
#include "supervisor/roll/report.h"

#include <stdio.h>
#include <time.h>

const char *roll_outcome_name(enum roll_outcome outcome)
{
	static const char *const names[] = {
		[ROLL_IS_UNDER_WAY] = "under way",
		[ROLL_IS_DONE] = "done",
		[ROLL_IS_REFUSED] = "refused",
		[ROLL_IS_ABORTED] = "aborted",
		[ROLL_IS_BACK_LIVE] = "rolled-back-live",
		[ROLL_IS_BACK_PARKED] = "rolled-back-parked",
		[ROLL_IS_BACK_IMAGE] = "rolled-back-image",
		[ROLL_IS_COLD] = "cold-start",
		[ROLL_IS_FAILED] = "failed",
	};

	return names[outcome];
}

void roll_report_init(struct roll_report *report, const char *from, const char *to)
{
	*report = (struct roll_report){ .started_s = time(NULL) };
	upgraded__wire__roll_report__init(&report->wire);
	snprintf(report->from, sizeof(report->from), "%s", from);
	snprintf(report->to, sizeof(report->to), "%s", to);
}

void roll_report_tell(const struct roll_report *report, struct roll_report_texts *texts, Upgraded__Wire__RollReport *ret)
{
	bool bakes = report->outcome == ROLL_IS_UNDER_WAY && report->wire.commit_us;
	struct tm tm;

	*ret = report->wire;
	ret->from = wire_text(report->from);
	ret->to = wire_text(report->to);
	ret->outcome = wire_text(bakes ? "committed" : roll_outcome_name(report->outcome));
	ret->way_back = wire_text(rungs_text(report->rungs));
	ret->cause = wire_text(report->cause.text);
	ret->way_note = wire_text(report->way_note.text);
	ret->journal_note = wire_text(report->journal_note.text);
	ret->n_log_lines = lines_list(&report->lines, texts->lines);
	ret->log_lines = texts->lines;
	if (gmtime_r(&report->started_s, &tm) && strftime(texts->started, sizeof(texts->started), "%Y-%m-%dT%H:%M:%SZ", &tm))
		ret->started = texts->started;
}
