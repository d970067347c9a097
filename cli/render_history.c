/* SPDX-License-Identifier: MIT */
#include "cli/render_history.h"

#include "cli/fields.h"
#include "cli/format.h"
#include "cli/render_text.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *user_name(uint32_t uid, char *buf, size_t size)
{
	const struct passwd *user = getpwuid(uid);

	if (user)
		snprintf(buf, size, "%s", user->pw_name);
	else
		snprintf(buf, size, "uid %" PRIu32, uid);
	return buf;
}

const char *who_name(const Upgraded__Wire__Who *who, char *buf, size_t size)
{
	char user[64], login[64];

	if (!who)
		snprintf(buf, size, "upgraded itself");
	else if (who->logged_in && who->login_uid != who->uid)
		snprintf(buf, size, "%s as %s (pid %" PRId32 ")", user_name(who->login_uid, login, sizeof(login)),
			 user_name(who->uid, user, sizeof(user)), who->pid);
	else
		snprintf(buf, size, "%s (pid %" PRId32 ")", user_name(who->uid, user, sizeof(user)), who->pid);
	return buf;
}

static enum term_style outcome_style(const char *outcome)
{
	if (!strcmp(outcome, "done"))
		return STYLE_GREEN;
	if (!strcmp(outcome, "failed") || !strcmp(outcome, "cold-start") || !strcmp(outcome, "unanswered") ||
	    !strcmp(outcome, "rolled-back-incomplete"))
		return STYLE_RED;
	return STYLE_YELLOW;
}

static const char *number_of(const Upgraded__Wire__RollReport *roll, char *buf, size_t size)
{
	snprintf(buf, size, "%" PRIu64, roll->number ? roll->number : roll->id);
	return buf;
}

/* ---- the list ---- */

#define HISTORY_COLUMNS 7u

struct row {
	const char *cells[HISTORY_COLUMNS];
	char number[24], pause[FORMAT_MAX], who[160];
};

static void row_fill(struct row *row, const Upgraded__Wire__RollReport *roll)
{
	row->cells[0] = number_of(roll, row->number, sizeof(row->number));
	row->cells[1] = or_dash(roll->started);
	row->cells[2] = or_dash(roll->from);
	row->cells[3] = or_dash(roll->to);
	row->cells[4] = or_dash(roll->outcome);
	row->cells[5] = roll->pause_us ? format_time(row->pause, sizeof(row->pause), roll->pause_us) : "-";
	row->cells[6] = who_name(roll->asked_by, row->who, sizeof(row->who));
}

static void row_print(const struct term *term, const struct table *table, const struct row *row)
{
	for (size_t i = 0; i < HISTORY_COLUMNS; i++) {
		if (i == 4)
			term_style(term, outcome_style(row->cells[i]));
		table_cell(table, term, i, row->cells[i]);
		if (i == 4)
			term_plain(term);
	}
	fputc('\n', term->out);
}

void render_history(const struct term *term, const Upgraded__Wire__Result *result)
{
	static const char *const heads[HISTORY_COLUMNS] = { "ROLL", "STARTED", "FROM", "TO", "OUTCOME", "PAUSE", "ASKED BY" };
	struct table table = table_begin(heads, HISTORY_COLUMNS);
	struct row row;

	if (!result->n_history) {
		term_text(term, result->text, TERM_WHOLE);
		fputc('\n', term->out);
		return;
	}
	for (size_t i = 0; i < result->n_history; i++) {
		row_fill(&row, result->history[i]);
		table_fit(&table, term, row.cells);
	}
	table_heads(&table, term);
	for (size_t i = 0; i < result->n_history; i++) {
		row_fill(&row, result->history[i]);
		row_print(term, &table, &row);
	}
}

/* ---- one ---- */

static void phases(const struct term *term, const Upgraded__Wire__RollReport *roll)
{
	char took[FORMAT_MAX];

	for (size_t i = 0; i < roll->n_phases; i++) {
		const Upgraded__Wire__Phase *phase = roll->phases[i];

		field_label(term, i ? "" : "phases");
		term_padded(term, phase->name, 10);
		fprintf(term->out, "%9s  ", phase->over ? format_time(took, sizeof(took), phase->took_us) : "-");
		term_text(term, phase->text, TERM_WHOLE);
		fputc('\n', term->out);
	}
}

void render_history_one(const struct term *term, const char *service, const Upgraded__Wire__RollReport *roll)
{
	char number[24], who[160];

	term_style(term, STYLE_BOLD);
	term_text(term, service, TERM_WHOLE);
	term_plain(term);
	fprintf(term->out, ": roll %s, ", number_of(roll, number, sizeof(number)));
	term_text(term, roll->from, TERM_WHOLE);
	fputs(" -> ", term->out);
	term_text(term, roll->to, TERM_WHOLE);
	fputs(", ", term->out);
	term_style(term, outcome_style(roll->outcome));
	term_text(term, roll->outcome, TERM_WHOLE);
	term_plain(term);
	fputc('\n', term->out);
	field_text(term, "why", roll->purpose);
	field_text(term, "asked by", who_name(roll->asked_by, who, sizeof(who)));
	field_text(term, "started", roll->started);
	field_text(term, "ended", roll->ended);
	field_text(term, "cause", roll->cause);
	phases(term, roll);
	render_roll(term, roll);
	render_log_lines(term, roll->n_log_lines, roll->log_lines);
	field_text(term, "then served", roll->serves);
}

/* ---- events ---- */

static void event_time(const struct term *term, const Upgraded__Wire__Event *event)
{
	time_t then = (time_t)(event->wall_us / 1000000);
	char text[40];
	struct tm tm;

	if (localtime_r(&then, &tm) && strftime(text, sizeof(text), "%F %T", &tm))
		fprintf(term->out, "%s.%03d  ", text, (int)(event->wall_us % 1000000 / 1000));
}

void render_event(const struct term *term, const Upgraded__Wire__Event *event)
{
	bool is_error = !strcmp(event->level, "error"), is_warning = !strcmp(event->level, "warning");
	char text[FORMAT_MAX], who[160];

	event_time(term, event);
	term_padded(term, or_dash(event->service), 12);
	fputs("  ", term->out);
	if (is_error || is_warning)
		term_style(term, is_error ? STYLE_RED : STYLE_YELLOW);
	term_padded(term, event->kind, 12);
	if (is_error || is_warning)
		term_plain(term);
	if (event->number)
		fprintf(term->out, "  roll %" PRIu64, event->number);
	if (*event->phase) {
		fputs("  ", term->out);
		term_text(term, event->phase, TERM_WHOLE);
	}
	if (event->took_us)
		fprintf(term->out, "  %s", format_time(text, sizeof(text), event->took_us));
	if (*event->text) {
		fputs("  ", term->out);
		term_text(term, event->text, TERM_WHOLE);
	}
	if (event->asked_by)
		fprintf(term->out, "  by %s", who_name(event->asked_by, who, sizeof(who)));
	fputc('\n', term->out);
	for (size_t i = 0; i < event->n_details; i++) {
		fputs("    ", term->out);
		term_text(term, event->details[i], TERM_WHOLE);
		fputc('\n', term->out);
	}
}
