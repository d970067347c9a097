/* SPDX-License-Identifier: MIT */
#include "cli/state.h"

#include "cli/json.h"
#include "cli/state_input.h"
#include "cli/state_json.h"
#include "cli/state_text.h"
#include "wire/wire.h"

#include <inttypes.h>

static void text_record(const struct term *out, const struct state_input *input, const struct sf_record *record, bool sound)
{
	const struct sf_schema *schema = &input->header->schemas[record->type];

	term_style(out, STYLE_DIM);
	fputs("# ", out->out);
	term_text(out, schema->name, TERM_WHOLE);
	fprintf(out->out, " version %u at byte %" PRIu64 ", %zu bytes", record->version, record->offset, record->size_bytes);
	term_plain(out);
	fputc('\n', out->out);
	if (sound) {
		text_message(out, input->messages[record->type], record->data, record->size_bytes, 0);
	} else {
		fputs("# damaged: ", out->out);
		term_quoted(out, record->data, record->size_bytes, false);
		fputc('\n', out->out);
	}
	fputc('\n', out->out);
}

static void json_record(FILE *out, const struct state_input *input, const struct sf_record *record, bool sound)
{
	fputs("{\"type\":", out);
	json_name(out, input->header->schemas[record->type].name);
	fprintf(out, ",\"version\":%u,\"offset\":%" PRIu64 ",\"size\":%zu,\"%s\":", record->version, record->offset,
		record->size_bytes, sound ? "value" : "damaged");
	if (sound)
		json_message(out, input->messages[record->type], record->data, record->size_bytes);
	else
		json_base64(out, record->data, record->size_bytes);
	fputs("}\n", out);
}

/* A record that cannot be decoded is shown as bytes. The records behind it are shown all the same. */
static int record_show(const struct state_call *call, const struct term *out, const struct term *err,
		       const struct state_input *input, const struct sf_record *record)
{
	struct why why = { "" };
	bool sound = dyn_check(input->messages[record->type], record->data, record->size_bytes, &why) == 0;

	if (!call->quiet && call->json)
		json_record(out->out, input, record, sound);
	else if (!call->quiet)
		text_record(out, input, record, sound);
	if (sound)
		return WIRE_EXIT_DONE;
	why_prefix(&why, 0, "record at byte %" PRIu64, record->offset);
	state_input_complain(err, input->path, &why);
	return WIRE_EXIT_ERROR;
}

static int input_show(const struct state_call *call, const struct term *out, const struct term *err,
		      struct state_input *input)
{
	struct why why = { "" };
	struct sf_record record;
	int status = WIRE_EXIT_DONE, r = SF_END;

	/* Stop when nobody reads the output any more. */
	for (uint64_t n = 0; n < call->limit && !ferror(out->out); n++) {
		r = state_input_next(input, call->type, &record, &why);
		if (r <= 0)
			break;
		if (record_show(call, out, err, input, &record) != WIRE_EXIT_DONE)
			status = WIRE_EXIT_ERROR;
	}
	if (r < 0) {
		fflush(out->out);
		state_input_complain(err, input->path, &why);
		return WIRE_EXIT_ERROR;
	}
	return status;
}

static int file_show(const struct state_call *call, const struct term *out, const struct term *err, const char *path)
{
	struct state_input input;
	struct why why = { "" };
	int status, r = state_input_open(path, &input, &why);

	if (r == STATE_OPEN && call->type && !state_input_has_type(&input, call->type)) {
		r = -1;
		why_set(&why, r, "it has no type \"%.80s\": see \"upgradectl state stats\"", call->type);
	}
	if (r != STATE_OPEN) {
		state_input_complain(err, path, &why);
		status = r == STATE_DAMAGED ? WIRE_EXIT_ERROR : WIRE_EXIT_USAGE;
	} else {
		status = input_show(call, out, err, &input);
	}
	state_input_close(&input);
	return status;
}

int state_show(const struct state_call *call, const struct term *out, const struct term *err)
{
	int status = WIRE_EXIT_DONE;

	for (size_t i = 0; i < call->n_files; i++) {
		int one = file_show(call, out, err, call->files[i]);

		if (one > status)
			status = one;
	}
	return status;
}
