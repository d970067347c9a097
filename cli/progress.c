/* SPDX-License-Identifier: MIT */
/*
 * The block that is drawn in place is one line, and in a bake a line of hints below it. After each drawing the cursor stands at the
 * end of the first of them, so that whatever else is printed (the echo of ^C above all) stays on the block.
 */
#include "cli/progress.h"

#include "cli/format.h"
#include "cli/phases.h"

#include <stdio.h>
#include <string.h>

#define PHASE_COLUMNS 10u
#define TIME_COLUMNS 9u
#define PLAIN_TIME_COLUMNS 9

void progress_init(struct progress *progress, const struct term *term)
{
	*progress = (struct progress){ .term = term };
}

static enum term_style mark_style(enum term_mark mark)
{
	switch (mark) {
	case MARK_OK:
		return STYLE_GREEN;
	case MARK_FAIL:
		return STYLE_RED;
	case MARK_BACK:
	case MARK_NOW:
		return STYLE_YELLOW;
	case MARK_OPEN:
	case MARK_BULLET:
	default:
		return STYLE_DIM;
	}
}

/* Copy as many whole characters as fit: half a character would be shown as an escape. */
static void copy_text(char *to, size_t size, const char *from)
{
	size_t length = strnlen(from, size);

	if (length == size)
		for (length--; length && ((unsigned char)from[length] & 0xc0) == 0x80; length--)
			;
	memcpy(to, from, length);
	to[length] = '\0';
}

/* ---- drawing ---- */

/* At most @room columns. */
static void draw_text(const struct progress *progress, enum term_mark mark, size_t room)
{
	const struct term *term = progress->term;

	if (mark == MARK_FAIL)
		term_style(term, STYLE_RED);
	term_words(term, *progress->figures ? progress->figures : progress->text, room);
	if (mark == MARK_FAIL)
		term_plain(term);
}

static void draw_hint(struct progress *progress, enum term_mark mark)
{
	const struct term *term = progress->term;
	char hint[160];
	size_t width = term_width(term);

	progress->below = 0;
	if (mark != MARK_NOW || strcmp(progress->phase, "bake") != 0 || !*progress->service || width < 20)
		return;
	snprintf(hint, sizeof(hint), "Back: upgradectl undo %s   Ctrl-C only stops watching.", progress->service);
	fputs("\r\n    ", term->out);
	term_style(term, STYLE_DIM);
	term_words(term, hint, width - 5);
	term_plain(term);
	fputs("\033[K\033[A", term->out);
	progress->below = 1;
}

/* Draw the block over the one that stands there. No line of it may wrap: \r would lead to the wrong place. */
static void draw(struct progress *progress, enum term_mark mark, const char *head)
{
	const struct term *term = progress->term;
	size_t width = term_width(term);
	size_t used = 4;

	fputs("\r", term->out);
	if (mark != MARK_NOW && progress->below)
		fputs("\033[J", term->out);
	fputs("  ", term->out);
	term_style(term, mark_style(mark));
	term_mark(term, mark);
	term_plain(term);
	fputc(' ', term->out);
	if (width > used + PHASE_COLUMNS + 2) {
		term_padded(term, progress->phase, PHASE_COLUMNS);
		fputs("  ", term->out);
		used += 2;
		used += term_columns(term, progress->phase) > PHASE_COLUMNS ? term_columns(term, progress->phase) : PHASE_COLUMNS;
	}
	if (width > used + TIME_COLUMNS + 2) {
		size_t columns = term_columns(term, head);

		term_style(term, STYLE_DIM);
		if (columns < width - used - 1)
			term_padded(term, head, TIME_COLUMNS);
		term_plain(term);
		used += columns > TIME_COLUMNS ? columns : TIME_COLUMNS;
		if (columns >= TIME_COLUMNS) {
			fputs("  ", term->out);
			used += 2;
		}
	}
	/* One column stays free: a terminal wraps when the last one is filled. */
	if (width > used + 1)
		draw_text(progress, mark, width - used - 1);
	fputs("\033[K", term->out);
	draw_hint(progress, mark);
	fflush(term->out);
}

/* The time that stands in the line: of the phase, or since the roll began where nobody says when the phase did. */
static const char *time_text(const struct progress *progress, uint64_t elapsed_us, uint64_t at_us, char *buf, size_t size)
{
	if (!progress->begun_us)
		return format_time(buf, size, elapsed_us);
	return format_time(buf, size, at_us > progress->begun_us ? at_us - progress->begun_us : 0);
}

static void draw_now(struct progress *progress)
{
	char buf[FORMAT_MAX];

	draw(progress, MARK_NOW,
	     *progress->head ? progress->head :
			       time_text(progress, progress->elapsed_us, progress->at_us, buf, sizeof(buf)));
}

static void complete(struct progress *progress, enum term_mark mark, const char *time)
{
	draw(progress, mark, time);
	fputc('\n', progress->term->out);
	fflush(progress->term->out);
	progress->open = false;
	progress->below = 0;
}

void progress_end(struct progress *progress, enum term_mark mark, uint64_t elapsed_us, const char *cause)
{
	uint64_t since_us = elapsed_us > progress->elapsed_us ? elapsed_us - progress->elapsed_us : 0;
	char buf[FORMAT_MAX];

	if (!progress->open)
		return;
	if (mark == MARK_OK && progress->back)
		mark = MARK_BACK;
	if (mark == MARK_FAIL && *cause) {
		copy_text(progress->text, sizeof(progress->text), cause);
		*progress->figures = '\0';
	} else if (mark == MARK_OK && !strcmp(progress->phase, "bake") && *progress->to) {
		snprintf(progress->figures, sizeof(progress->figures), "%s is accepted", progress->to);
	}
	complete(progress, mark,
		 time_text(progress, progress->elapsed_us + since_us, progress->at_us + since_us, buf, sizeof(buf)));
}

/* ---- messages ---- */

static void show_plain(const struct term *term, const Upgraded__Wire__Progress *message)
{
	char elapsed[FORMAT_MAX];

	fprintf(term->out, "%*s  ", PLAIN_TIME_COLUMNS, format_elapsed(elapsed, sizeof(elapsed), message->elapsed_us));
	term_padded(term, message->phase, *message->text ? PHASE_COLUMNS + 2 : 0);
	term_text(term, message->text, TERM_WHOLE);
	fputc('\n', term->out);
	fflush(term->out);
}

/* A line of its own, above the block. */
static void show_line(struct progress *progress, enum term_style style, const char *text)
{
	const struct term *term = progress->term;
	size_t width = term_width(term);

	fputs(progress->below ? "\r\033[J    " : "\r    ", term->out);
	term_style(term, style);
	if (width > 6)
		term_words(term, text, width - 5);
	term_plain(term);
	fputs("\033[K\n", term->out);
	if (progress->open)
		draw_now(progress);
	fflush(term->out);
}

static void show_head(struct progress *progress, const Upgraded__Wire__Progress *message)
{
	const struct term *term = progress->term;

	progress->turned = progress->turned || (progress->roll_id && progress->back);
	progress->roll_id = message->roll_id;
	copy_text(progress->service, sizeof(progress->service), message->service);
	copy_text(progress->from, sizeof(progress->from), message->from);
	copy_text(progress->to, sizeof(progress->to), message->to);
	fputs("\r", term->out);
	term_style(term, STYLE_BOLD);
	term_text(term, message->service, TERM_WHOLE);
	term_plain(term);
	fputs("  ", term->out);
	term_text(term, message->from, TERM_WHOLE);
	fputs(" -> ", term->out);
	term_text(term, message->to, TERM_WHOLE);
	if (term_width(term) >= term_columns(term, message->service) + term_columns(term, message->from) +
				       term_columns(term, message->to) + 32) {
		term_style(term, STYLE_DIM);
		fprintf(term->out, "   roll %llu", (unsigned long long)message->roll_id);
		term_plain(term);
	}
	fputs("\033[K\n", term->out);
}

/* The phase that stands open is over as another one begins. */
static void pass(struct progress *progress, const Upgraded__Wire__Progress *message)
{
	bool back = phase_is_way_back(message->phase);
	bool failed = back && !progress->back && *message->cause;
	uint64_t at_us = message->at_us - message->phase_us;
	char buf[FORMAT_MAX];
	const char *time = time_text(progress, message->elapsed_us, at_us, buf, sizeof(buf));

	if (failed) {
		copy_text(progress->text, sizeof(progress->text), message->cause);
		*progress->figures = '\0';
	} else {
		phase_figures(progress->phase, true, message, progress->figures, sizeof(progress->figures));
	}
	if (!strcmp(progress->phase, "quiesce") && message->quiesce_us && !failed)
		time = format_time(buf, sizeof(buf), message->quiesce_us);
	if (!strcmp(progress->phase, "commit") && message->pause_us && !failed)
		time = format_time(buf, sizeof(buf), message->pause_us);
	complete(progress, failed ? MARK_FAIL : progress->back || back ? MARK_BACK : MARK_OK, time);
}

static void show_phase(struct progress *progress, const Upgraded__Wire__Progress *message)
{
	bool other = !progress->open || strcmp(progress->phase, message->phase) != 0 || progress->roll_id != message->roll_id;

	progress->phased = true;
	if (other && progress->open)
		pass(progress, message);
	if (progress->roll_id != message->roll_id)
		show_head(progress, message);
	if (other) {
		copy_text(progress->phase, sizeof(progress->phase), message->phase);
		progress->begun_us = message->at_us - message->phase_us;
		progress->back = phase_is_way_back(message->phase);
		copy_text(progress->cause, sizeof(progress->cause), message->cause);
		*progress->text = '\0';
	}
	progress->elapsed_us = message->elapsed_us;
	progress->at_us = message->at_us;
	phase_head(message, progress->head, sizeof(progress->head));
	phase_figures(progress->phase, false, message, progress->figures, sizeof(progress->figures));
	progress->open = true;
	draw_now(progress);
}

/* "CAUSE; what is done about it": the cause stands in the line before. */
static const char *without_cause(const struct progress *progress, const char *text)
{
	size_t n = strlen(progress->cause);

	return n && strncmp(text, progress->cause, n) == 0 && strncmp(text + n, "; ", 2) == 0 ? text + n + 2 : text;
}

/* News of a roll whose phases are told. */
static void show_news(struct progress *progress, const Upgraded__Wire__Progress *message)
{
	if (progress->verbose || message->note)
		show_line(progress, message->note ? STYLE_YELLOW : STYLE_DIM, message->text);
	/* In these it is figures that count, or nothing is left to be waited for. */
	if (!progress->open || strcmp(progress->phase, message->phase) != 0 || message->note || progress->verbose ||
	    !strcmp(message->phase, "transfer") || !strcmp(message->phase, "bake"))
		return;
	copy_text(progress->text, sizeof(progress->text), without_cause(progress, message->text));
	draw_now(progress);
}

/* Of a supervisor that does not tell when a phase begins, or of what has none: a start. */
static void show_unphased(struct progress *progress, const Upgraded__Wire__Progress *message)
{
	bool back = phase_is_way_back(message->phase);

	if (progress->open && strcmp(progress->phase, message->phase) != 0)
		progress_end(progress, back && !progress->back ? MARK_FAIL : MARK_OK, message->elapsed_us, "");
	copy_text(progress->phase, sizeof(progress->phase), message->phase);
	copy_text(progress->text, sizeof(progress->text), message->text);
	progress->elapsed_us = message->elapsed_us;
	progress->back = back;
	progress->open = true;
	draw_now(progress);
}

void progress_show(struct progress *progress, const Upgraded__Wire__Progress *message)
{
	bool is_news = message->kind == UPGRADED__WIRE__PROGRESS_KIND__PROGRESS_NEWS;

	if (progress->term->live && !is_news) {
		show_phase(progress, message);
	} else if (progress->term->live && progress->phased) {
		show_news(progress, message);
	} else if (progress->term->live) {
		show_unphased(progress, message);
	} else {
		if (is_news)
			show_plain(progress->term, message);
		progress->elapsed_us = message->elapsed_us;
	}
}
