/* SPDX-License-Identifier: MIT */
#include "cli/progress.h"

#include "cli/format.h"

#include <string.h>

#define PHASE_COLUMNS 10u
#define TIME_COLUMNS 9

void progress_init(struct progress *progress, const struct term *term)
{
	*progress = (struct progress){ .term = term };
}

/* Phases that come only because an earlier one failed. */
static bool is_way_back(const char *phase)
{
	return !strcmp(phase, "abort") || !strcmp(phase, "resume") || !strcmp(phase, "restore");
}

static enum term_style mark_style(enum term_mark mark)
{
	switch (mark) {
	case MARK_OK:
		return STYLE_GREEN;
	case MARK_FAIL:
		return STYLE_RED;
	case MARK_BACK:
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

/* Draw one line over the one that stands there. It must not wrap: \r would lead to the wrong place. */
static void draw(const struct progress *progress, enum term_mark mark, uint64_t elapsed_us)
{
	const struct term *term = progress->term;
	char elapsed[FORMAT_MAX];
	size_t width = term_width(term);
	size_t used = 4 + TIME_COLUMNS + 2;

	fputs("\r  ", term->out);
	term_style(term, mark_style(mark));
	term_mark(term, mark);
	term_plain(term);
	fputc(' ', term->out);
	term_style(term, STYLE_DIM);
	fprintf(term->out, "%*s  ", TIME_COLUMNS, format_elapsed(elapsed, sizeof(elapsed), elapsed_us));
	term_plain(term);
	if (mark == MARK_FAIL)
		term_style(term, STYLE_RED);
	if (width > used + PHASE_COLUMNS + 2) {
		term_padded(term, progress->phase, PHASE_COLUMNS);
		fputs("  ", term->out);
		used = 4 + TIME_COLUMNS + 2 + 2;
		used += term_columns(term, progress->phase) > PHASE_COLUMNS ? term_columns(term, progress->phase) : PHASE_COLUMNS;
		/* One column stays free: a terminal wraps when the last one is filled. */
		if (width > used + 1)
			term_text(term, progress->text, width - used - 1);
	}
	if (mark == MARK_FAIL)
		term_plain(term);
	fputs("\033[K", term->out);
	fflush(term->out);
}

void progress_end(struct progress *progress, enum term_mark mark, uint64_t elapsed_us)
{
	if (!progress->open)
		return;
	if (elapsed_us < progress->elapsed_us)
		elapsed_us = progress->elapsed_us;
	draw(progress, mark == MARK_OK && progress->back ? MARK_BACK : mark, elapsed_us);
	fputc('\n', progress->term->out);
	fflush(progress->term->out);
	progress->open = false;
}

static void show_plain(const struct term *term, const Upgraded__Wire__Progress *message)
{
	char elapsed[FORMAT_MAX];

	fprintf(term->out, "%*s  ", TIME_COLUMNS, format_elapsed(elapsed, sizeof(elapsed), message->elapsed_us));
	term_padded(term, message->phase, *message->text ? PHASE_COLUMNS + 2 : 0);
	term_text(term, message->text, TERM_WHOLE);
	fputc('\n', term->out);
	fflush(term->out);
}

void progress_show(struct progress *progress, const Upgraded__Wire__Progress *message)
{
	bool back = is_way_back(message->phase);

	if (!progress->term->live) {
		show_plain(progress->term, message);
		progress->elapsed_us = message->elapsed_us;
		return;
	}
	if (progress->open && strcmp(progress->phase, message->phase) != 0)
		progress_end(progress, back && !progress->back ? MARK_FAIL : MARK_OK, message->elapsed_us);
	copy_text(progress->phase, sizeof(progress->phase), message->phase);
	copy_text(progress->text, sizeof(progress->text), message->text);
	progress->elapsed_us = message->elapsed_us;
	progress->back = back;
	progress->open = true;
	draw(progress, MARK_OPEN, message->elapsed_us);
}
