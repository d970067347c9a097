/* SPDX-License-Identifier: MIT */
#include "cli/state_diff.h"

#include "cli/format.h"
#include "cli/json.h"
#include "cli/state_json.h"
#include "cli/state_text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

uint64_t diff_key_number(const struct diff *diff, const struct schema_message *message)
{
	const struct schema_field *field = NULL;
	const char *key = diff->call->key;
	char *end;
	uint64_t number = key ? strtoull(key, &end, 10) : 0;

	if (key && *key >= '0' && *key <= '9' && !*end)
		return number;
	if (key && message)
		field = schema_field_by_name(message, key);
	if (!field && message && message->n_fields)
		field = &message->fields[0];
	return field ? field->number : 1;
}

/* ---- changes ---- */

static void key_print(struct diff *diff, struct side *side)
{
	const struct state_record *record = &side->record;
	const struct schema_message *message = record->message;
	struct dyn_field field;

	if (!record->data || !state_record_field(message, record->data, record->size_bytes, diff_key_number(diff, message),
						 &field)) {
		if (diff->call->json)
			fputs("null", diff->out->out);
		return;
	}
	if (diff->call->json) {
		json_field(diff->out->out, &field);
	} else {
		fputc(' ', diff->out->out);
		text_field(diff->out, &field);
	}
}

static void fields_print(struct diff *diff)
{
	struct state_changes changes;
	const char *separator = "";

	state_record_compare(&diff->a.record, &diff->b.record, &changes);
	if (!diff->call->json && changes.n)
		fputs(" in ", diff->out->out);
	for (size_t i = 0; i < changes.n; i++) {
		fputs(separator, diff->out->out);
		if (!changes.names[i])
			fprintf(diff->out->out, diff->call->json ? "\"%u\"" : "field %u", changes.numbers[i]);
		else
			fprintf(diff->out->out, diff->call->json ? "\"%s\"" : "%s", changes.names[i]);
		separator = diff->call->json ? "," : ", ";
	}
}

static void change_text(struct diff *diff, const struct sort_entry *a, const struct sort_entry *b)
{
	const struct term *out = diff->out;

	term_style(out, a && b ? STYLE_YELLOW : a ? STYLE_RED : STYLE_GREEN);
	fputs(a && b ? "~ " : a ? "- " : "+ ", out->out);
	term_plain(out);
	term_text(out, diff->types[diff_entry_type(a ? a : b)].name, TERM_WHOLE);
	key_print(diff, a ? &diff->a : &diff->b);
	if (a && b)
		fields_print(diff);
	term_style(out, STYLE_DIM);
	if (a && b)
		fprintf(out->out, " (bytes %" PRIu64 ", %" PRIu64 ")", a->place, b->place);
	else
		fprintf(out->out, " (byte %" PRIu64 ")", a ? a->place : b->place);
	term_plain(out);
	fputc('\n', out->out);
}

static void change_json(struct diff *diff, const struct sort_entry *a, const struct sort_entry *b)
{
	FILE *out = diff->out->out;

	fprintf(out, "{\"change\":\"%s\",\"type\":", a && b ? "changed" : a ? "removed" : "added");
	json_name(out, diff->types[diff_entry_type(a ? a : b)].name);
	fputs(",\"key\":", out);
	key_print(diff, a ? &diff->a : &diff->b);
	if (a)
		fprintf(out, ",\"a_offset\":%" PRIu64, a->place);
	if (b)
		fprintf(out, ",\"b_offset\":%" PRIu64, b->place);
	if (a && b) {
		fputs(",\"fields\":[", out);
		fields_print(diff);
		fputc(']', out);
	}
	fputs("}\n", out);
}

/* NULL: that side has none. */
void diff_tell_change(struct diff *diff, const struct sort_entry *a, const struct sort_entry *b)
{
	if (diff->call->quiet || diff->printed >= diff->call->limit)
		return;
	diff->printed++;
	if (a)
		state_record_load(&diff->a.record, &diff->a.input, a->place);
	if (b)
		state_record_load(&diff->b.record, &diff->b.input, b->place);
	if (diff->call->json)
		change_json(diff, a, b);
	else
		change_text(diff, a, b);
}

/* ---- sums ---- */

bool diff_tell_summary(struct diff *diff)
{
	FILE *out = diff->out->out;
	bool differs = false, quiet = diff->call->quiet;
	const char *separator = "";
	char added[FORMAT_MAX], removed[FORMAT_MAX], changed[FORMAT_MAX], same[FORMAT_MAX];

	if (!quiet && diff->call->json)
		fputs("{\"summary\":[", out);
	for (size_t i = 0; i < diff->n_types; i++) {
		const struct tally *tally = &diff->types[i].tally;

		differs = differs || tally->added || tally->removed || tally->changed;
		if (quiet || (diff->call->type && strcmp(diff->call->type, diff->types[i].name) != 0))
			continue;
		if (diff->call->json) {
			fprintf(out, "%s{\"type\":", separator);
			json_name(out, diff->types[i].name);
			fprintf(out, ",\"added\":%" PRIu64 ",\"removed\":%" PRIu64 ",\"changed\":%" PRIu64 ",\"same\":%" PRIu64
				"}", tally->added, tally->removed, tally->changed, tally->same);
			separator = ",";
			continue;
		}
		term_text(diff->out, diff->types[i].name, TERM_WHOLE);
		fprintf(out, ": %s added, %s removed, %s changed, %s the same\n",
			format_count(added, sizeof(added), tally->added), format_count(removed, sizeof(removed), tally->removed),
			format_count(changed, sizeof(changed), tally->changed), format_count(same, sizeof(same), tally->same));
	}
	if (!quiet && diff->call->json)
		fputs("]}\n", out);
	return differs;
}
