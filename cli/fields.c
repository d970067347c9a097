/* SPDX-License-Identifier: MIT */
#include "cli/fields.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

#define GAP_COLUMNS 2

void field_label(const struct term *term, const char *name)
{
	term_style(term, STYLE_DIM);
	fprintf(term->out, "%*s", FIELD_LABEL_COLUMNS, name);
	term_plain(term);
	fputs("  ", term->out);
}

void field_print(const struct term *term, const char *name, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	field_text(term, name, text);
}

void field_text(const struct term *term, const char *name, const char *text)
{
	if (!*text)
		return;
	field_label(term, name);
	term_wrapped(term, text, FIELD_LABEL_COLUMNS + 2, FIELD_LABEL_COLUMNS + 2);
	fputc('\n', term->out);
}

void field_list(const struct term *term, const char *name, size_t n, char *const *texts, const char *after)
{
	if (!n)
		return;
	field_label(term, name);
	for (size_t i = 0; i < n; i++) {
		fputs(i ? ", " : "", term->out);
		term_text(term, texts[i], TERM_WHOLE);
	}
	fprintf(term->out, "%s\n", after);
}

const char *or_dash(const char *text)
{
	return *text ? text : "-";
}

/* ---- tables ---- */

struct table table_begin(const char *const *heads, size_t n)
{
	struct table table = { .heads = heads, .n = n };

	assert(n <= TABLE_COLUMNS_MAX);
	for (size_t i = 0; i < n; i++)
		table.widths[i] = strlen(heads[i]);
	return table;
}

void table_fit(struct table *table, const struct term *term, const char *const *cells)
{
	for (size_t i = 0; i < table->n; i++) {
		size_t columns = term_columns(term, cells[i]);

		if (columns > table->widths[i])
			table->widths[i] = columns;
	}
}

void table_cell(const struct table *table, const struct term *term, size_t i, const char *cell)
{
	term_padded(term, cell, i + 1 == table->n ? 0 : table->widths[i] + GAP_COLUMNS);
}

void table_heads(const struct table *table, const struct term *term)
{
	term_style(term, STYLE_BOLD);
	for (size_t i = 0; i < table->n; i++)
		table_cell(table, term, i, table->heads[i]);
	term_plain(term);
	fputc('\n', term->out);
}
