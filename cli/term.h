/* SPDX-License-Identifier: MIT */
/* A stream for people, and what may be done to it. A text that came from a peer is printed by term_text() and nothing else. */
#pragma once

#include "cli/args.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct term {
	FILE *out;       /* borrowed */
	bool live;       /* a terminal: a line may be rewritten in place */
	bool color;
	bool utf8;       /* false: everything beyond ASCII is escaped, and marks are ASCII */
	size_t width;    /* columns, asked anew of a real terminal by term_width(); 0: not known */
};

enum term_style { STYLE_BOLD, STYLE_DIM, STYLE_RED, STYLE_GREEN, STYLE_YELLOW };
enum term_mark { MARK_OPEN, MARK_OK, MARK_FAIL, MARK_BACK, MARK_BULLET, MARK_NOW };

#define TERM_WHOLE ((size_t)-1)

/** term_init() - Find out what @out is. Colours also obey $NO_COLOR; expects setlocale(3) to have been called. */
void term_init(struct term *term, FILE *out, enum color_choice color);

/** term_width() - Return: the columns that the terminal has now; 80 if that cannot be known. */
size_t term_width(const struct term *term);

/**
 * term_text() - Print a text that came from somewhere else, in at most @columns.
 *
 * Control characters, broken UTF-8 and the code points that reorder or hide text are printed as escapes: the log of a hostile
 * service must not drive the terminal, nor make one line look like another. A text that does not fit is cut, with a mark.
 *
 * Return: the columns it took.
 */
size_t term_text(const struct term *term, const char *text, size_t columns);

/** term_words() - term_text(), but cut between words. Return: the columns it took. */
size_t term_words(const struct term *term, const char *text, size_t columns);

/** term_wrapped() - term_text(), of the whole, which begins in column @at. On a terminal it goes on below, from column @indent, and
 * no word is cut. */
void term_wrapped(const struct term *term, const char *text, size_t at, size_t indent);

/**
 * term_point() - Decode the code point that @size_bytes at @data begin with.
 * Return: the bytes it takes; 0: it is not UTF-8, or cut short.
 */
size_t term_point(const uint8_t *data, size_t size_bytes, uint32_t *ret_point);

/** term_quoted() - Print bytes in double quotes, as protobuf's text format does. Escapes what term_text() does, quotes,
 * backslashes, and with @is_text false everything beyond ASCII. */
void term_quoted(const struct term *term, const uint8_t *data, size_t size_bytes, bool is_text);

/** term_columns() - Return: the columns that term_text() would take for the whole of @text. */
size_t term_columns(const struct term *term, const char *text);

/** term_padded() - Print the whole of @text, as term_text() does, then spaces up to @columns. */
void term_padded(const struct term *term, const char *text, size_t columns);

/** term_style() - Switch a style on; term_plain() switches all off. Both print nothing where there is no colour. */
void term_style(const struct term *term, enum term_style style);
void term_plain(const struct term *term);

/** term_mark() - Print a mark of one column. */
void term_mark(const struct term *term, enum term_mark mark);
