/* SPDX-License-Identifier: MIT */
#include "cli/state.h"

#include "cli/format.h"
#include "cli/json.h"
#include "cli/state_input.h"
#include "statefmt/dynamic.h"
#include "wire/wire.h"

#include <inttypes.h>

/* What became of one file. */
struct verdict {
	bool whole;
	uint64_t frames, bytes;  /* intact: before the frame that is damaged */
	uint64_t records, payload_bytes;
	bool in_record;          /* the damage is in the record at @record_offset, not in its frame */
	uint64_t record_offset;
	bool described;
	struct why why;
};

static int records_verify(struct state_input *input, struct verdict *verdict)
{
	struct sf_record record;
	int r = state_input_check(input, &verdict->why);

	while (r == 0) {
		const struct sf_totals *totals = sf_reader_totals(input->reader);

		verdict->records = totals->records;
		verdict->payload_bytes = totals->payload_bytes;
		r = sf_reader_next(input->reader, &record, &verdict->why);
		if (r != SF_RECORD)
			break;
		r = dyn_check(input->messages[record.type], record.data, record.size_bytes, &verdict->why);
		if (r < 0) {
			verdict->in_record = true;
			verdict->record_offset = record.offset;
			why_prefix(&verdict->why, r, "record at byte %" PRIu64, record.offset);
		}
	}
	return r;
}

static void verdict_find(struct state_input *input, struct verdict *verdict)
{
	struct sf_position position;

	verdict->described = input->schemas != NULL;
	verdict->whole = records_verify(input, verdict) == 0;
	position = sf_reader_position(input->reader);
	verdict->frames = position.whole_frames;
	verdict->bytes = position.whole_bytes;
}

static void verdict_text(const struct term *out, const char *path, const struct verdict *verdict)
{
	char records[FORMAT_MAX], bytes[FORMAT_MAX], frames[FORMAT_MAX], offset[FORMAT_MAX];

	format_count(records, sizeof(records), verdict->records);
	format_bytes(bytes, sizeof(bytes), verdict->payload_bytes);
	format_count(frames, sizeof(frames), verdict->frames);
	format_count(offset, sizeof(offset), verdict->bytes);
	term_style(out, verdict->whole ? STYLE_GREEN : STYLE_RED);
	term_mark(out, verdict->whole ? MARK_OK : MARK_FAIL);
	term_plain(out);
	fputc(' ', out->out);
	term_text(out, path, TERM_WHOLE);
	if (verdict->whole) {
		fprintf(out->out, ": whole: %s records (%s) in %s frames%s\n", records, bytes, frames,
			verdict->described ? "" : "; it does not describe its types");
		return;
	}
	fputs(": damaged: ", out->out);
	term_text(out, verdict->why.text, TERM_WHOLE);
	fprintf(out->out, "\n  intact before it: %s records (%s); %s frames, %s bytes of the file\n", records, bytes, frames,
		offset);
}

static void verdict_json(FILE *out, const char *path, const struct verdict *verdict)
{
	fputs("{\"file\":", out);
	json_name(out, path);
	fprintf(out, ",\"whole\":%s,\"described\":%s,\"records\":%" PRIu64 ",\"record_bytes\":%" PRIu64 ",\"frames\":%" PRIu64
		",\"bytes\":%" PRIu64, verdict->whole ? "true" : "false", verdict->described ? "true" : "false",
		verdict->records, verdict->payload_bytes, verdict->frames, verdict->bytes);
	if (!verdict->whole) {
		fprintf(out, ",\"damaged_frame\":%" PRIu64 ",\"damaged_at\":%" PRIu64 ",\"reason\":", verdict->frames + 1,
			verdict->in_record ? verdict->record_offset : verdict->bytes);
		json_name(out, verdict->why.text);
	}
	fputs("}\n", out);
}

static int file_verify(const struct state_call *call, const struct term *out, const struct term *err, const char *path)
{
	struct verdict verdict = { .whole = false };
	struct state_input input;
	int r = state_input_open(path, &input, &verdict.why);

	if (r < 0) {
		state_input_complain(err, path, &verdict.why);
		state_input_close(&input);
		return WIRE_EXIT_USAGE;
	}
	if (r == STATE_OPEN)
		verdict_find(&input, &verdict);
	state_input_close(&input);
	if (!call->quiet && call->json)
		verdict_json(out->out, path, &verdict);
	else if (!call->quiet)
		verdict_text(out, path, &verdict);
	return verdict.whole ? WIRE_EXIT_DONE : WIRE_EXIT_ERROR;
}

int state_verify(const struct state_call *call, const struct term *out, const struct term *err)
{
	int status = WIRE_EXIT_DONE;

	for (size_t i = 0; i < call->n_files; i++) {
		int one = file_verify(call, out, err, call->files[i]);

		if (one > status)
			status = one;
	}
	return status;
}
