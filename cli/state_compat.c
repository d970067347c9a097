/* SPDX-License-Identifier: MIT */
/* `upgradectl state compat OLD NEW`: for a build that wants to fail before a roll would. */
#include "base/why.h"
#include "cli/render_json.h"
#include "cli/schema_source.h"
#include "cli/state.h"
#include "statefmt/compat.h"
#include "wire/wire.h"

#include <inttypes.h>
#include <string.h>

/* ---- text ---- */

static enum term_style verdict_style(enum compat_verdict verdict)
{
	if (verdict >= COMPAT_LOSES)
		return STYLE_RED;
	if (verdict >= COMPAT_BY_HAND)
		return STYLE_YELLOW;
	return verdict == COMPAT_SAME ? STYLE_DIM : STYLE_GREEN;
}

static void verdict_text(const struct term *out, enum compat_verdict verdict)
{
	term_style(out, verdict_style(verdict));
	fprintf(out->out, "%-8s", compat_verdict_name(verdict));
	term_plain(out);
}

static void versions_text(const struct term *out, const struct compat_type *type)
{
	if (type->from && type->to && type->from != type->to)
		fprintf(out->out, "  version %" PRIu32 " to %" PRIu32, type->from, type->to);
	else if (type->from || type->to)
		fprintf(out->out, "  version %" PRIu32, type->to ? type->to : type->from);
}

static void finding_text(const struct term *out, const struct compat_type *type, const struct compat_finding *finding,
			 size_t width)
{
	fputs("  ", out->out);
	verdict_text(out, finding->verdict);
	fputs("  ", out->out);
	if (type->to > type->from + 1 && finding->from)
		fprintf(out->out, "%" PRIu32 "-%" PRIu32 "  ", finding->from, finding->to);
	term_padded(out, *finding->field ? finding->field : "(the type)", width);
	fputs("  ", out->out);
	term_text(out, finding->change, TERM_WHOLE);
	if (*finding->loss) {
		fputs("; ", out->out);
		term_text(out, finding->loss, TERM_WHOLE);
	}
	fputc('\n', out->out);
}

static void type_text(const struct term *out, const struct compat_type *type)
{
	size_t width = 0;

	verdict_text(out, type->verdict);
	fputs("  ", out->out);
	term_style(out, STYLE_BOLD);
	term_text(out, type->name, TERM_WHOLE);
	term_plain(out);
	versions_text(out, type);
	if (type->n_same && type->n_findings)
		fprintf(out->out, ", %zu field%s as before", type->n_same, type->n_same == 1 ? "" : "s");
	fputc('\n', out->out);
	for (size_t i = 0; i < type->n_findings; i++) {
		size_t columns = term_columns(out, *type->findings[i].field ? type->findings[i].field : "(the type)");

		width = columns > width ? columns : width;
	}
	for (size_t i = 0; i < type->n_findings; i++)
		finding_text(out, type, &type->findings[i], width);
}

static size_t count_verdict(const struct compat *compat, enum compat_verdict verdict)
{
	size_t n = 0;

	for (size_t i = 0; i < compat->n_types; i++)
		for (size_t j = 0; j < compat->types[i].n_findings; j++)
			n += compat->types[i].findings[j].verdict == verdict;
	return n;
}

static void summary_text(const struct term *out, const struct compat *compat)
{
	size_t missing = count_verdict(compat, COMPAT_MISSING), loses = count_verdict(compat, COMPAT_LOSES);
	size_t hands = count_verdict(compat, COMPAT_BY_HAND);

	term_style(out, compat_passes(compat) ? STYLE_GREEN : STYLE_RED);
	fputs(compat_passes(compat) ? "compatible" : "not compatible", out->out);
	term_plain(out);
	fprintf(out->out, ": %zu missing, %zu lost on the way down, %zu losses accepted, %zu by hand\n", missing, loses,
		count_verdict(compat, COMPAT_ACCEPTED), hands);
}

static void compat_text(const struct term *out, const struct compat *compat)
{
	for (size_t i = 0; i < compat->n_types; i++)
		type_text(out, &compat->types[i]);
	summary_text(out, compat);
}

/* ---- JSON ---- */

static json_t *finding_json(const struct compat_finding *finding)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:s, s:s}", "field", finding->field, "verdict",
			 compat_verdict_name(finding->verdict),
			 "from", (json_int_t)finding->from, "to", (json_int_t)finding->to, "change", finding->change, "loss",
			 finding->loss);
}

static json_t *type_json(const struct compat_type *type)
{
	json_t *changes = json_array();

	for (size_t i = 0; i < type->n_findings; i++)
		json_array_append_new(changes, finding_json(&type->findings[i]));
	return json_pack("{s:s, s:s, s:I, s:I, s:b, s:b, s:I, s:o}", "type", type->name, "verdict",
			 compat_verdict_name(type->verdict), "from", (json_int_t)type->from, "to", (json_int_t)type->to, "added",
			 type->added, "removed", type->removed, "same", (json_int_t)type->n_same, "changes", changes);
}

static int compat_json(FILE *out, const struct compat *compat)
{
	json_t *types = json_array(), *json;
	int rc;

	for (size_t i = 0; i < compat->n_types; i++)
		json_array_append_new(types, type_json(&compat->types[i]));
	json = json_pack("{s:b, s:s, s:o}", "compatible", compat_passes(compat), "verdict",
			 compat_verdict_name(compat->verdict),
			 "types", types);
	rc = json ? json_print(out, json) : -1;
	json_decref(json);
	return rc;
}

/* ---- all of it ---- */

static int complain(const struct term *err, const struct why *why)
{
	fputs("upgradectl: ", err->out);
	term_text(err, why->text, TERM_WHOLE);
	fputc('\n', err->out);
	return WIRE_EXIT_USAGE;
}

static int show(const struct state_call *call, const struct compat *compat, const struct term *out)
{
	if (call->json && compat_json(out->out, compat) < 0)
		return WIRE_EXIT_ERROR;
	if (!call->json && !call->quiet)
		compat_text(out, compat);
	fflush(out->out);
	return compat_passes(compat) ? WIRE_EXIT_DONE : WIRE_EXIT_ERROR;
}

int state_compat(const struct state_call *call, const struct term *out, const struct term *err)
{
	struct schema_source sources[2] = { { 0 }, { 0 } };
	struct compat *compat = NULL;
	struct why why = { "" };
	int rc = 0;

	for (size_t i = 0; i < 2 && rc == 0; i++)
		rc = schema_source_open(call->files[i], call->imports, call->n_imports, &sources[i], &why);
	if (rc == 0) {
		const struct compat_side older = { sources[0].set, sources[0].file }, newer = { sources[1].set,
		sources[1].file };

		rc = compat_new(&older, &newer, &compat, &why);
	}
	rc = rc < 0 ? complain(err, &why) : show(call, compat, out);
	compat_free(compat);
	schema_source_close(&sources[0]);
	schema_source_close(&sources[1]);
	return rc;
}
