/* SPDX-License-Identifier: MIT */
#include "cli/state.h"

#include "cli/format.h"
#include "cli/json.h"
#include "cli/state_input.h"
#include "wire/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

struct tally {
	uint64_t records, bytes, min, max;
};

static int records_count(struct state_input *input, struct tally *tallies, struct why *why)
{
	struct sf_record record;
	int r;

	while ((r = sf_reader_next(input->reader, &record, why)) == SF_RECORD) {
		struct tally *tally = &tallies[record.type];

		if (!tally->records || record.size_bytes < tally->min)
			tally->min = record.size_bytes;
		if (record.size_bytes > tally->max)
			tally->max = record.size_bytes;
		tally->records++;
		tally->bytes += record.size_bytes;
	}
	return r;
}

static double share(const struct tally *tally, const struct sf_totals *totals)
{
	return totals->payload_bytes ? 100.0 * (double)tally->bytes / (double)totals->payload_bytes : 0;
}

static uint64_t average(const struct tally *tally)
{
	return tally->records ? tally->bytes / tally->records : 0;
}

/* ---- text ---- */

static void header_text(const struct term *out, const struct state_input *input)
{
	const struct sf_totals *totals = sf_reader_totals(input->reader);
	struct sf_position position = sf_reader_position(input->reader);
	char records[FORMAT_MAX], bytes[FORMAT_MAX], frames[FORMAT_MAX], whole[FORMAT_MAX];

	term_style(out, STYLE_BOLD);
	term_text(out, input->path, TERM_WHOLE);
	term_plain(out);
	fputs("\n  service   ", out->out);
	term_text(out, input->header->service, TERM_WHOLE);
	fputs(", version ", out->out);
	term_text(out, input->header->app_version, TERM_WHOLE);
	fprintf(out->out, "\n  format    %u, types %s\n  records   %s (%s)\n  file      %s in %s frames\n"
		"  digest    %016" PRIx64 "%016" PRIx64 "\n",
		SF_FORMAT_VERSION, input->schemas ? "described" : "not described",
		format_count(records, sizeof(records), totals->records),
		format_bytes(bytes, sizeof(bytes), totals->payload_bytes),
		format_bytes(whole, sizeof(whole), position.read_bytes),
		format_count(frames, sizeof(frames), position.whole_frames), totals->digest[1], totals->digest[0]);
}

static void number_right(const struct term *out, const char *text, int columns)
{
	fprintf(out->out, " %*s", columns, text);
}

static void tally_text(const struct term *out, const struct sf_schema *schema, const struct tally *tally,
		       const struct sf_totals *totals, size_t width)
{
	char buffer[FORMAT_MAX];

	fputs("  ", out->out);
	term_padded(out, schema->name, width);
	fprintf(out->out, " %7u", schema->version);
	number_right(out, format_count(buffer, sizeof(buffer), tally->records), 14);
	number_right(out, format_bytes(buffer, sizeof(buffer), tally->bytes), 9);
	number_right(out, format_count(buffer, sizeof(buffer), tally->min), 10);
	number_right(out, format_count(buffer, sizeof(buffer), average(tally)), 10);
	number_right(out, format_count(buffer, sizeof(buffer), tally->max), 10);
	fprintf(out->out, " %5.1f%%\n", share(tally, totals));
}

static void stats_text(const struct term *out, const struct state_input *input, const struct tally *tallies)
{
	size_t width = 4;

	header_text(out, input);
	for (size_t i = 0; i < input->header->n_schemas; i++) {
		size_t columns = term_columns(out, input->header->schemas[i].name);

		width = columns > width ? columns : width;
	}
	term_style(out, STYLE_DIM);
	fprintf(out->out, "  %-*s %7s %14s %9s %10s %10s %10s %6s", (int)width, "TYPE", "VERSION", "RECORDS", "SIZE", "MIN", "AVG",
		"MAX", "SHARE");
	term_plain(out);
	fputc('\n', out->out);
	for (size_t i = 0; i < input->header->n_schemas; i++)
		tally_text(out, &input->header->schemas[i], &tallies[i], sf_reader_totals(input->reader), width);
}

/* ---- JSON ---- */

static void tally_json(FILE *out, const struct state_input *input, size_t i, const struct tally *tally)
{
	const struct sf_schema *schema = &input->header->schemas[i];

	fputs("{\"type\":", out);
	json_name(out, schema->name);
	fprintf(out, ",\"version\":%u,\"message\":", schema->version);
	json_name(out, input->header->messages[i]);
	fprintf(out, ",\"fingerprint\":\"%016" PRIx64 "\",\"records\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"min\":%" PRIu64
		",\"avg\":%" PRIu64 ",\"max\":%" PRIu64 ",\"share\":%.4f}", schema->fingerprint, tally->records, tally->bytes,
		tally->min, average(tally), tally->max, share(tally, sf_reader_totals(input->reader)) / 100);
}

static void stats_json(FILE *out, const struct state_input *input, const struct tally *tallies)
{
	const struct sf_totals *totals = sf_reader_totals(input->reader);
	struct sf_position position = sf_reader_position(input->reader);

	fputs("{\"file\":", out);
	json_name(out, input->path);
	fputs(",\"service\":", out);
	json_name(out, input->header->service);
	fputs(",\"app_version\":", out);
	json_name(out, input->header->app_version);
	fprintf(out, ",\"format\":%u,\"described\":%s,\"records\":%" PRIu64 ",\"record_bytes\":%" PRIu64 ",\"bytes\":%" PRIu64
		",\"frames\":%" PRIu64 ",\"digest\":\"%016" PRIx64 "%016" PRIx64 "\",\"types\":[", SF_FORMAT_VERSION,
		input->schemas ? "true" : "false", totals->records, totals->payload_bytes, position.read_bytes,
		position.whole_frames, totals->digest[1], totals->digest[0]);
	for (size_t i = 0; i < input->header->n_schemas; i++) {
		fputs(i ? "," : "", out);
		tally_json(out, input, i, &tallies[i]);
	}
	fputs("]}\n", out);
}

/* ---- files ---- */

static int input_stats(const struct state_call *call, const struct term *out, struct state_input *input, struct why *why)
{
	struct tally *tallies = calloc(input->header->n_schemas + 1, sizeof(*tallies));
	int r = tallies ? records_count(input, tallies, why) : why_errno(why, -ENOMEM, "counting");

	/* Of a damaged file, tell what it holds up to the damage. */
	if (tallies && !call->quiet && call->json)
		stats_json(out->out, input, tallies);
	else if (tallies && !call->quiet)
		stats_text(out, input, tallies);
	free(tallies);
	return r;
}

static int file_stats(const struct state_call *call, const struct term *out, const struct term *err, const char *path)
{
	struct state_input input;
	struct why why = { "" };
	int r = state_input_open(path, &input, &why);
	int status = r < 0 ? WIRE_EXIT_USAGE : r == STATE_DAMAGED ? WIRE_EXIT_ERROR : WIRE_EXIT_DONE;

	if (r == STATE_OPEN && input_stats(call, out, &input, &why) < 0)
		status = WIRE_EXIT_ERROR;
	if (status != WIRE_EXIT_DONE) {
		fflush(out->out);
		state_input_complain(err, path, &why);
	}
	state_input_close(&input);
	return status;
}

int state_stats(const struct state_call *call, const struct term *out, const struct term *err)
{
	int status = WIRE_EXIT_DONE;

	for (size_t i = 0; i < call->n_files; i++) {
		int one = file_stats(call, out, err, call->files[i]);

		if (one > status)
			status = one;
	}
	return status;
}
