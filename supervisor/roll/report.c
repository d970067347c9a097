/* SPDX-License-Identifier: MIT */
#include "supervisor/roll/report.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

const char *roll_outcome_name(enum roll_outcome outcome)
{
	static const char *const names[] = {
		[ROLL_IS_UNDER_WAY] = "under way",
		[ROLL_IS_DONE] = "done",
		[ROLL_IS_REFUSED] = "refused",
		[ROLL_IS_ABORTED] = "aborted",
		[ROLL_IS_UNANSWERED] = "unanswered",
		[ROLL_IS_BACK_LIVE] = "rolled-back-live",
		[ROLL_IS_BACK_PARKED] = "rolled-back-parked",
		[ROLL_IS_BACK_IMAGE] = "rolled-back-image",
		[ROLL_IS_BACK_PART] = "rolled-back-incomplete",
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

/* "NAME TAG". Return: its length. */
static size_t name_text(char text[static ROLL_NAME_BYTES], const char *name, uint64_t tag)
{
	snprintf(text, ROLL_NAME_BYTES, "%.60s %" PRIu64, name, tag);
	text_tame(text, strlen(text));
	return strlen(text);
}

bool roll_names_want(const struct roll_names *names, const char *name, uint64_t tag)
{
	char text[ROLL_NAME_BYTES];
	size_t n = name_text(text, name, tag);

	for (unsigned i = 0; i < names->n; i++)
		if (strncmp(names->text[i], text, n) == 0 && (!names->text[i][n] || names->text[i][n] == ' '))
			return false;
	return names->n < ROLL_NAMES_MAX;
}

void roll_names_add(struct roll_names *names, const char *name, uint64_t tag, const char *address)
{
	char *text;
	size_t n;

	if (!roll_names_want(names, name, tag))
		return;
	text = names->text[names->n++];
	n = name_text(text, name, tag);
	if (address && *address)
		snprintf(text + n, ROLL_NAME_BYTES - n, " (%.30s)", address);
	text_tame(text, strlen(text));
}

const char *roll_names_text(const struct roll_names *names, char *buf, size_t size)
{
	size_t used = 0;

	*buf = 0;
	for (unsigned i = 0; i < names->n && used < size; i++)
		used += (size_t)snprintf(buf + used, size - used, "%s%s", i ? ", " : "", names->text[i]);
	return buf;
}

const char *roll_skipped_text(const Upgraded__Wire__Skipped *skipped, char *buf)
{
	snprintf(buf, SKIPPED_BYTES, "%" PRIu64 " of %.60s: %s", skipped->records, skipped->type,
		 *skipped->reason ? skipped->reason : "no reason given");
	text_tame(buf, strlen(buf));
	return buf;
}

static size_t list_names(const struct roll_names *names, char **ret_list)
{
	for (unsigned i = 0; i < names->n; i++)
		ret_list[i] = wire_text(names->text[i]);
	return names->n;
}

bool roll_report_span(struct roll_report *report, const char *name, uint64_t now_us)
{
	struct roll_span *last = report->n_spans ? &report->spans[report->n_spans - 1] : NULL;

	if (last && !last->ended_us && name && strcmp(last->name, name) == 0)
		return false;
	if (last && !last->ended_us && (!name || report->n_spans < ROLL_SPANS_MAX))
		last->ended_us = now_us;
	if (!name || report->n_spans == ROLL_SPANS_MAX)
		return true;
	last = &report->spans[report->n_spans++];
	*last = (struct roll_span){ .begun_us = now_us };
	snprintf(last->name, sizeof(last->name), "%s", name);
	return true;
}

void roll_report_say(struct roll_report *report, const char *name, const char *text)
{
	unsigned at = report->n_spans;

	while (at > 0 && strcmp(report->spans[at - 1].name, name) != 0)
		at--;
	if (at == 0)
		at = report->n_spans;
	if (at == 0)
		return;
	snprintf(report->spans[at - 1].text, sizeof(report->spans[at - 1].text), "%s", text);
	report->spans[at - 1].text[text_whole(report->spans[at - 1].text, strlen(report->spans[at - 1].text))] = 0;
}

static void tell_phases(const struct roll_report *report, struct roll_report_texts *texts, Upgraded__Wire__RollReport *ret)
{
	for (unsigned i = 0; i < report->n_spans; i++) {
		const struct roll_span *phase = &report->spans[i];
		Upgraded__Wire__Phase *told = &texts->phases[i];

		upgraded__wire__phase__init(told);
		told->name = wire_text(phase->name);
		told->begun_us = phase->begun_us;
		told->over = phase->ended_us != 0;
		told->took_us = told->over ? phase->ended_us - phase->begun_us : 0;
		told->text = wire_text(phase->text);
		texts->phase_list[i] = told;
	}
	ret->n_phases = report->n_spans;
	ret->phases = texts->phase_list;
}

static const char *purpose_name(enum roll_purpose purpose)
{
	static const char *const names[] = {
		[PURPOSE_FORWARD] = "roll", [PURPOSE_UNDO] = "undo", [PURPOSE_LEAVE_SICK] = "leave", [PURPOSE_ONWARD] = "onward",
	};

	return names[purpose];
}

/* RFC 3339. @text: 32 bytes. Return: false: there is no such time. */
static bool tell_time(int64_t at_s, char *text)
{
	time_t at = (time_t)at_s;
	struct tm tm;

	return at_s && gmtime_r(&at, &tm) && strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

const char *roll_report_outcome(const struct roll_report *report)
{
	return report->wire.plain && report->outcome == ROLL_IS_BACK_PARKED ? "rolled-back-running" :
									      roll_outcome_name(report->outcome);
}

void roll_report_tell(const struct roll_report *report, struct roll_report_texts *texts, Upgraded__Wire__RollReport *ret)
{
	bool bakes = report->outcome == ROLL_IS_UNDER_WAY && report->wire.commit_us;

	*ret = report->wire;
	ret->from = wire_text(report->from);
	ret->to = wire_text(report->to);
	ret->outcome = wire_text(bakes ? "committed" : roll_report_outcome(report));
	ret->id = report->id;
	/* Which ways back there are shows when the new version serves. */
	ret->way_back = wire_text(!report->wire.commit_us ? "" :
				  report->wire.plain && report->rungs ? "running" : rungs_text(report->rungs));
	ret->cause = wire_text(report->cause.text);
	ret->waited_for = wire_text(report->waited_for.text);
	ret->way_note = wire_text(report->way_note.text);
	ret->journal_note = wire_text(report->journal_note.text);
	ret->n_log_lines = lines_list(&report->lines, texts->lines);
	ret->log_lines = texts->lines;
	ret->n_missed = list_names(&report->missed, texts->missed);
	ret->missed = texts->missed;
	ret->n_left = list_names(&report->left, texts->left);
	ret->left = texts->left;
	for (unsigned i = 0; i < report->skipped.n; i++)
		texts->skipped[i] = wire_text(report->skipped.text[i]);
	ret->n_skipped = report->skipped.n;
	ret->skipped = texts->skipped;
	if (report->asked_by.asked) {
		who_tell(&report->asked_by, &texts->asked_by);
		ret->asked_by = &texts->asked_by;
	}
	ret->number = report->number;
	ret->purpose = wire_text(purpose_name(report->purpose));
	ret->serves = wire_text(report->serves);
	tell_phases(report, texts, ret);
	if (tell_time(report->started_s, texts->started))
		ret->started = texts->started;
	if (tell_time(report->ended_s, texts->ended))
		ret->ended = texts->ended;
}
