/* SPDX-License-Identifier: MIT */
/* How answers are laid out for people: blocks of "label  value" lines, and tables. */
#pragma once

#include "cli/term.h"

#include <stddef.h>

#define FIELD_LABEL_COLUMNS 12
#define TABLE_COLUMNS_MAX 9u

/** field_label() - Print "        pause  ": the name right-aligned, so that the values stand in a column. */
void field_label(const struct term *term, const char *name);

/** field_print() - Print a whole line. @fmt: printf-like; for what this program wrote itself. A peer's text goes through
 * field_text(). */
void field_print(const struct term *term, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** field_text() - Print a whole line with a text that came from somewhere else; nothing if it is empty. */
void field_text(const struct term *term, const char *name, const char *text);

/** field_list() - Print a whole line: the @n texts, which came from somewhere else, with commas, and @after; nothing if @n is 0. */
void field_list(const struct term *term, const char *name, size_t n, char *const *texts, const char *after);

/** or_dash() - Return: @text, or "-" if it is empty. */
const char *or_dash(const char *text);

/* A table whose columns are as wide as their widest cell. */
struct table {
	const char *const *heads;
	size_t n; /* columns */
	size_t widths[TABLE_COLUMNS_MAX];
};

/** table_begin() - @heads: borrowed; @n of them, at most TABLE_COLUMNS_MAX. */
struct table table_begin(const char *const *heads, size_t n);

/** table_fit() - Make room for a row's cells; call this for each row before the first line is printed. */
void table_fit(struct table *table, const struct term *term, const char *const *cells);

/** table_heads() - Print the line with the heads. */
void table_heads(const struct table *table, const struct term *term);

/** table_cell() - Print the cell of column @i, padded unless it is the last one. */
void table_cell(const struct table *table, const struct term *term, size_t i, const char *cell);
