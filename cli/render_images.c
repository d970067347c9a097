/* SPDX-License-Identifier: MIT */
#include "cli/render_images.h"

#include "cli/fields.h"
#include "cli/format.h"

#include <inttypes.h>
#include <string.h>

#define COLUMNS 7u

static enum term_style state_style(const char *state)
{
	if (!strcmp(state, "whole"))
		return STYLE_GREEN;
	if (!strcmp(state, "damaged"))
		return STYLE_RED;
	return STYLE_YELLOW; /* in use, kept, removed */
}

/* ---- list, gc ---- */

struct row {
	const char *cells[COLUMNS];
	char generation[FORMAT_MAX], pid[FORMAT_MAX], size[FORMAT_MAX];
};

static void row_fill(struct row *row, const Upgraded__Wire__ImageInfo *image)
{
	snprintf(row->generation, sizeof(row->generation), "%" PRIu64, image->generation);
	snprintf(row->pid, sizeof(row->pid), "%" PRId32, image->pid);
	row->cells[0] = image->service;
	row->cells[1] = row->generation;
	row->cells[2] = or_dash(image->version);
	row->cells[3] = image->pid > 0 ? row->pid : "-";
	row->cells[4] = format_bytes(row->size, sizeof(row->size), image->size_bytes);
	row->cells[5] = or_dash(image->taken);
	row->cells[6] = or_dash(image->state);
}

static void row_print(const struct term *term, const struct row *row, const char *detail, const struct table *table)
{
	for (size_t i = 0; i + 1 < COLUMNS; i++)
		table_cell(table, term, i, row->cells[i]);
	term_style(term, state_style(row->cells[COLUMNS - 1]));
	table_cell(table, term, COLUMNS - 1, row->cells[COLUMNS - 1]);
	term_plain(term);
	if (*detail) {
		fputs(": ", term->out);
		term_text(term, detail, TERM_WHOLE);
	}
	fputc('\n', term->out);
}

static void list(const struct term *term, const Upgraded__Wire__Result *result)
{
	static const char *const heads[COLUMNS] = { "SERVICE", "GENERATION", "VERSION", "PID", "SIZE", "TAKEN", "STATE" };
	struct table table = table_begin(heads, COLUMNS);
	struct row row;

	for (size_t n = 0; n < result->n_images; n++) {
		row_fill(&row, result->images[n]);
		table_fit(&table, term, row.cells);
	}
	table_heads(&table, term);
	for (size_t n = 0; n < result->n_images; n++) {
		row_fill(&row, result->images[n]);
		row_print(term, &row, result->images[n]->detail, &table);
	}
}

/* ---- show, verify ---- */

static void head(const struct term *term, const Upgraded__Wire__ImageInfo *image)
{
	term_style(term, STYLE_BOLD);
	term_text(term, image->service, TERM_WHOLE);
	fprintf(term->out, " %" PRIu64, image->generation);
	term_plain(term);
	if (*image->version) {
		fputs(" - version ", term->out);
		term_text(term, image->version, TERM_WHOLE);
	}
	fputs(", ", term->out);
	term_style(term, state_style(image->state));
	term_text(term, image->state, TERM_WHOLE);
	term_plain(term);
	if (*image->detail) {
		fputs(": ", term->out);
		term_text(term, image->detail, TERM_WHOLE);
	}
	fputc('\n', term->out);
}

static void pins(const struct term *term, const Upgraded__Wire__ImageInfo *image)
{
	char size[FORMAT_MAX];

	for (size_t i = 0; i < image->n_pins; i++) {
		const Upgraded__Wire__ImagePin *pin = image->pins[i];

		field_label(term, i ? "" : "needs");
		term_padded(term, pin->kind, 8);
		term_text(term, pin->path, TERM_WHOLE);
		fprintf(term->out, " (%s%s)\n", format_bytes(size, sizeof(size), pin->size_bytes),
			pin->size_matters ? pin->time_matters ? ", unchanged" : ", of that size" : ", may grow");
	}
	if (image->n_pins < image->pin_count) {
		field_label(term, "");
		fprintf(term->out, "... and %" PRIu32 " more\n", image->pin_count - (uint32_t)image->n_pins);
	}
}

static void show(const struct term *term, const Upgraded__Wire__ImageInfo *image)
{
	char size[FORMAT_MAX], took[FORMAT_MAX];

	head(term, image);
	field_label(term, "folder");
	term_text(term, image->path, TERM_WHOLE);
	fputc('\n', term->out);
	field_label(term, "taken");
	term_text(term, or_dash(image->taken), TERM_WHOLE);
	fprintf(term->out, ", in %s\n", format_time(took, sizeof(took), image->taken_us));
	field_label(term, "size");
	fprintf(term->out, "%s in %" PRIu32 " files\n", format_bytes(size, sizeof(size), image->size_bytes), image->file_count);
	if (image->pid > 0) {
		field_label(term, "pid");
		fprintf(term->out, "%" PRId32 "\n", image->pid);
	}
	pins(term, image);
}

static void verify(const struct term *term, const Upgraded__Wire__ImageInfo *image)
{
	head(term, image);
	for (size_t i = 0; i < image->n_checks; i++) {
		const Upgraded__Wire__Check *check = image->checks[i];

		term_style(term, check->ok ? STYLE_GREEN : STYLE_RED);
		fputs(check->ok ? "  ok  " : "  no  ", term->out);
		term_plain(term);
		term_padded(term, check->name, 14);
		term_text(term, check->detail, TERM_WHOLE);
		fputc('\n', term->out);
	}
}

void render_images(const struct term *term, const struct args *args, const Upgraded__Wire__Result *result)
{
	bool tells = args->verb == UPGRADED__WIRE__VERB__VERB_IMAGES_SHOW || args->verb == UPGRADED__WIRE__VERB__VERB_IMAGES_VERIFY;

	for (size_t i = 0; tells && i < result->n_images; i++) {
		if (i)
			fputc('\n', term->out);
		if (args->verb == UPGRADED__WIRE__VERB__VERB_IMAGES_SHOW)
			show(term, result->images[i]);
		else
			verify(term, result->images[i]);
	}
	if (!tells && (result->n_images || args->verb == UPGRADED__WIRE__VERB__VERB_IMAGES_LIST))
		list(term, result);
	if (*result->text && result->code == 0) {
		term_text(term, result->text, TERM_WHOLE);
		fputc('\n', term->out);
	}
}
