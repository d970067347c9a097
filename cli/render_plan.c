/* SPDX-License-Identifier: MIT */
#include "cli/render_plan.h"

#include "cli/fields.h"
#include "cli/format.h"

#include <inttypes.h>
#include <string.h>


/* "ok ", "no ", "-- ": with or without colours. */
static void verdict(const struct term *term, enum term_style style, const char *word)
{
	term_style(term, style);
	fputs(word, term->out);
	term_plain(term);
	fputs("  ", term->out);
}

/* ---- schemas ---- */

static void paths(const struct term *term, const char *name, size_t n, Upgraded__Wire__PlanPath *const *list,
		  const char *unknown)
{
	size_t n_bad = 0;

	for (size_t i = 0; i < n; i++) {
		if (list[i]->ok)
			continue;
		field_label(term, n_bad++ ? "" : name);
		verdict(term, STYLE_RED, "no");
		term_text(term, list[i]->cause, TERM_WHOLE);
		fputc('\n', term->out);
	}
	if (n_bad)
		return;
	field_label(term, name);
	if (unknown) {
		verdict(term, STYLE_YELLOW, "??");
		term_text(term, unknown, TERM_WHOLE);
	} else {
		verdict(term, STYLE_GREEN, "ok");
		for (size_t i = 0; i < n; i++) {
			fputs(i ? ", " : "", term->out);
			term_text(term, list[i]->type, TERM_WHOLE);
			if (list[i]->from != list[i]->to)
				fprintf(term->out, " %" PRIu32 " to %" PRIu32, list[i]->from, list[i]->to);
		}
		fputs(n ? "" : "no state", term->out);
	}
	fputc('\n', term->out);
}

static void loss_field(const struct term *term, const struct compat_type *type, const struct compat_finding *finding)
{
	enum term_style style = finding->verdict >= COMPAT_LOSES ? STYLE_RED : STYLE_YELLOW;

	verdict(term, style, compat_verdict_name(finding->verdict));
	term_text(term, type->name, TERM_WHOLE);
	if (*finding->field) {
		fputc(' ', term->out);
		term_text(term, finding->field, TERM_WHOLE);
	}
	fputs(": ", term->out);
	term_text(term, finding->change, TERM_WHOLE);
	if (*finding->loss) {
		fputs("; ", term->out);
		term_text(term, finding->loss, TERM_WHOLE);
	}
	fputc('\n', term->out);
}

static void losses(const struct term *term, const struct plan_loss *loss)
{
	const char *name = loss->forward ? "rolling" : "going back";
	size_t n = 0;

	for (size_t i = 0; loss->known && i < loss->compat->n_types; i++) {
		const struct compat_type *type = &loss->compat->types[i];

		for (size_t j = 0; j < type->n_findings; j++) {
			if (!plan_loss_tells(&type->findings[j]))
				continue;
			field_label(term, n++ ? "" : name);
			loss_field(term, type, &type->findings[j]);
		}
	}
	if (n)
		return;
	field_label(term, name);
	if (loss->known) {
		verdict(term, STYLE_GREEN, "ok");
		fputs("loses no field, by the schemas that both programs carry\n", term->out);
	} else {
		verdict(term, STYLE_YELLOW, "??");
		fputs("whether fields would be lost is not known (", term->out);
		term_text(term, loss->cause.text, TERM_WHOLE);
		fputs("); roll with --verify=roundtrip to prove that none is\n", term->out);
	}
}

/* ---- the process ---- */

static void obstacles(const struct term *term, const Upgraded__Wire__Plan *plan)
{
	field_label(term, "process");
	if (plan->inventory)
		fprintf(term->out, "pid %" PRId32 ", %" PRIu32 " registered descriptors\n", plan->pid,
			plan->registered);
	else
		fprintf(term->out,
			"pid %" PRId32 ", did not tell its registered descriptors: some that are may be listed here\n",
			plan->pid);
	for (size_t i = 0; i < plan->n_obstacles; i++) {
		const Upgraded__Wire__PlanObstacle *obstacle = plan->obstacles[i];

		field_label(term, i ? "" : "image");
		verdict(term, obstacle->fatal ? STYLE_RED : STYLE_YELLOW, obstacle->fatal ? "no" : "!!");
		term_text(term, obstacle->kind, TERM_WHOLE);
		fputs(": ", term->out);
		term_text(term, obstacle->text, TERM_WHOLE);
		fputc('\n', term->out);
	}
	if (plan->fatal + plan->warnings > plan->n_obstacles) {
		field_label(term, "");
		fprintf(term->out, "... and %zu more\n", plan->fatal + plan->warnings - plan->n_obstacles);
	}
}

/* On the way back to a version that served before. */
static void closed(const struct term *term, const Upgraded__Wire__Plan *plan)
{
	for (size_t i = 0; i < plan->n_closed; i++) {
		field_label(term, i ? "" : "closed");
		verdict(term, STYLE_YELLOW, "!!");
		term_text(term, plan->closed[i], TERM_WHOLE);
		fputs(": version ", term->out);
		term_text(term, plan->to, TERM_WHOLE);
		fputs(" never had it, and it is closed when that takes over\n", term->out);
	}
}

static void children(const struct term *term, const Upgraded__Wire__Plan *plan)
{
	for (size_t i = 0; i < plan->n_children; i++) {
		field_label(term, i ? "" : "children");
		fprintf(term->out, "pid %" PRId32 " (", plan->children[i]->pid);
		term_text(term, plan->children[i]->name, TERM_WHOLE);
		fputs(") ", term->out);
		term_text(term, plan->children[i]->fate, TERM_WHOLE);
		fputc('\n', term->out);
	}
}

/* ---- space, memory, time ---- */

static void room(const struct term *term, const char *name, const char *what, uint64_t needed, uint64_t there)
{
	char a[FORMAT_MAX], b[FORMAT_MAX];

	field_label(term, name);
	verdict(term, needed > there ? STYLE_RED : STYLE_GREEN, needed > there ? "no" : "ok");
	fprintf(term->out, "%s about %s, %s available\n", what, format_bytes(a, sizeof(a), needed),
		format_bytes(b, sizeof(b), there));
}

/* What a roll would move now. */
static void state_now(const struct term *term, const Upgraded__Wire__Plan *plan)
{
	char count[FORMAT_MAX], bytes[FORMAT_MAX];

	if (!plan->counted)
		return;
	field_label(term, "state");
	fprintf(term->out, "%s records", format_count(count, sizeof(count), plan->records));
	if (plan->state_bytes)
		fprintf(term->out, " (about %s)", format_bytes(bytes, sizeof(bytes), plan->state_bytes));
	fprintf(term->out, " and %s descriptors now\n", format_count(count, sizeof(count), plan->registered));
}

static void pause_expected(const struct term *term, const Upgraded__Wire__Plan *plan)
{
	char a[FORMAT_MAX], b[FORMAT_MAX], c[FORMAT_MAX], d[FORMAT_MAX];
	const char *plural = plan->rolls == 1 ? "" : "s";

	state_now(term, plan);
	field_label(term, "pause");
	if (!plan->rolls) {
		fputs("not known yet: no roll of this service has committed since upgraded began\n", term->out);
		return;
	}
	fprintf(term->out, "about %s (%s to %s in the last %" PRIu32 " roll%s; %s records in the last)\n",
		format_time(a, sizeof(a), plan->counted ? plan->pause_expected_us : plan->pause_median_us),
		format_time(b, sizeof(b), plan->pause_min_us),
		format_time(c, sizeof(c), plan->pause_max_us), plan->rolls, plural,
		format_count(d, sizeof(d), plan->pause_records));
}

static void ways(const struct term *term, const Upgraded__Wire__Plan *plan)
{
	for (size_t i = 0; i < plan->n_ways; i++) {
		const Upgraded__Wire__PlanWay *way = plan->ways[i];

		field_label(term, i ? "" : "ways back");
		if (way->there)
			verdict(term, STYLE_GREEN, "ok");
		else
			verdict(term, way->wanted ? STYLE_RED : STYLE_DIM, way->wanted ? "no" : "--");
		term_padded(term, way->name, 8);
		term_text(term, way->there ? way->cost : way->cause, TERM_WHOLE);
		fputc('\n', term->out);
	}
}

void render_plan(const struct term *term, const Upgraded__Wire__Plan *plan, const struct plan_loss *loss)
{
	term_style(term, plan->possible ? STYLE_GREEN : STYLE_RED);
	term_mark(term, plan->possible ? MARK_OK : MARK_FAIL);
	term_plain(term);
	fputc(' ', term->out);
	term_style(term, STYLE_BOLD);
	term_text(term, plan->from, TERM_WHOLE);
	fputs(" -> ", term->out);
	term_text(term, plan->to, TERM_WHOLE);
	term_plain(term);
	fputs(plan->possible ? ", can be rolled; nothing was touched\n" : ", would be refused; nothing was touched\n",
	      term->out);
	paths(term, "forward", plan->n_up, plan->up, plan->n_up || plan->possible ? NULL : plan->cause);
	paths(term, "backward", plan->n_down, plan->down, plan->n_up || plan->possible ? NULL : "not known either");
	losses(term, loss);
	field_list(term, "changed", plan->n_changed, plan->changed,
		   " in the service file; going back starts the version before as it was started");
	obstacles(term, plan);
	for (size_t i = 0; i < plan->n_loose; i++) {
		field_label(term, i ? "" : "besides");
		verdict(term, STYLE_YELLOW, "!!");
		term_text(term, plan->loose[i], TERM_WHOLE);
		fputc('\n', term->out);
	}
	closed(term, plan);
	children(term, plan);
	field_label(term, "images");
	term_text(term, plan->images, TERM_WHOLE);
	fputc('\n', term->out);
	room(term, "space", "an image takes", plan->image_bytes, plan->image_free_bytes);
	room(term, "memory", "both versions hold the state, the new one", plan->memory_bytes, plan->memory_free_bytes);
	if (*plan->memory_group) {
		field_label(term, "");
		fputs("by the limit of the control group ", term->out);
		term_text(term, plan->memory_group, TERM_WHOLE);
		fputc('\n', term->out);
	}
	pause_expected(term, plan);
	ways(term, plan);
	field_text(term, "a crash costs", plan->crash);
}
