/* SPDX-License-Identifier: MIT */
#include "cli/render_text.h"

#include "cli/fields.h"
#include "cli/format.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define LIST_COLUMNS 6u
#define WIDE_COLUMNS 9u

static void styled(const struct term *term, enum term_style style, const char *text)
{
	term_style(term, style);
	term_text(term, text, TERM_WHOLE);
	term_plain(term);
}

static bool went_back(const Upgraded__Wire__RollReport *roll)
{
	/* A roll that was called off before the commit did not go back: the old version never stopped serving. */
	return roll->commit_us && (roll->resume_us || !strncmp(roll->outcome, "rolled-back", strlen("rolled-back")));
}

static void way_back(const struct term *term, const Upgraded__Wire__RollReport *roll)
{
	char bytes[FORMAT_MAX];
	char took[FORMAT_MAX];

	/* What was kept during the bake is gone after it. */
	if (!*roll->way_back || !strcmp(roll->outcome, "done"))
		return;
	field_label(term, "way back");
	term_text(term, roll->way_back, TERM_WHOLE);
	if (roll->image_bytes)
		fprintf(term->out, " (image of %s, taken in %s)", format_bytes(bytes, sizeof(bytes), roll->image_bytes),
			format_time(took, sizeof(took), roll->image_us));
	if (roll->restore_us)
		fprintf(term->out, " (restored in %s)", format_time(took, sizeof(took), roll->restore_us));
	fputc('\n', term->out);
}

static void state_lost(const struct term *term, const Upgraded__Wire__RollReport *roll)
{
	char lost[FORMAT_MAX];

	if (roll->lost_us)
		field_print(term, "lost", "what was written in the %s since the commit",
			    format_time(lost, sizeof(lost), roll->lost_us));
}

static void journal(const struct term *term, const Upgraded__Wire__RollReport *roll)
{
	char count[FORMAT_MAX];

	field_text(term, "journal", roll->journal_note);
	if (!roll->journal)
		return;
	if (went_back(roll))
		field_print(term, "journal", "%s changes were taken over, and %" PRIu64 " connections of the failed version",
			    format_count(count, sizeof(count), roll->replayed), roll->adopted);
	else if (strcmp(roll->outcome, "committed") == 0)
		field_print(term, "journal", roll->uncovered ? "kept: a failure now would lose nothing but these connections" :
							       "kept: a failure now would lose nothing");
}

static void names(const struct term *term, const char *label, size_t n, char *const *list)
{
	for (size_t i = 0; i < n; i++)
		field_text(term, label, list[i]);
}

/* What only one of the two versions has. */
static void descriptors(const struct term *term, const Upgraded__Wire__RollReport *roll)
{
	names(term, "not back", roll->n_missed, roll->missed);
	names(term, "closed", roll->n_left, roll->left);
	names(term, "skipped", roll->n_skipped, roll->skipped);
	if (roll->clients)
		field_print(term, "clients", "read or written on %" PRIu32 " of %" PRIu32, roll->clients_moved, roll->clients);
}

static void waiting(const struct term *term, uint64_t waited_us, uint32_t asked, const char *reason)
{
	char waited[FORMAT_MAX];

	if (asked > 1)
		field_print(term, "waited", "%s to be ready, asked %" PRIu32 " times",
			    format_time(waited, sizeof(waited), waited_us), asked);
	field_text(term, "waited for", reason);
}

/* A supervisor that does not say whether it knows how much there was, knows it after the commit. */
static bool is_counted(const Upgraded__Wire__RollReport *roll)
{
	return roll->counted || (!roll->id && roll->commit_us);
}

void render_roll(const struct term *term, const Upgraded__Wire__RollReport *roll)
{
	char count[FORMAT_MAX];
	char bytes[FORMAT_MAX];

	if (roll->plain) {
		field_text(term, "moved", "nothing: no state and no connections (Kind=plain)");
		way_back(term, roll);
		return;
	}
	if (roll->commit_us || roll->pause_us)
		field_print(term, "pause", "%s", format_time(count, sizeof(count), roll->pause_us));
	waiting(term, roll->waited_us, roll->asked, roll->child_since_us ? "" : roll->waited_for);
	if (is_counted(roll)) {
		if (roll->state_bytes) /* a record may be empty */
			field_print(term, "records", "%s (%s)", format_count(count, sizeof(count), roll->records),
				    format_bytes(bytes, sizeof(bytes), roll->state_bytes));
		else
			field_print(term, "records", "%s", format_count(count, sizeof(count), roll->records));
		field_print(term, "fds", "%" PRIu32, roll->fds);
	}
	if (roll->verified)
		field_print(term, "round trip", "going back would lose nothing");
	way_back(term, roll);
	journal(term, roll);
	if (went_back(roll) || roll->kept || roll->reset)
		field_print(term, "connections", "%" PRIu32 " kept, %" PRIu32 " reset", roll->kept, roll->reset);
	state_lost(term, roll);
	descriptors(term, roll);
}

static void save_numbers(const struct term *term, const struct args *args, const Upgraded__Wire__SaveReport *save)
{
	char count[FORMAT_MAX];
	char bytes[FORMAT_MAX];

	field_text(term, "file", args->file);
	field_print(term, "records", "%s (%s)", format_count(count, sizeof(count), save->records),
		    format_bytes(bytes, sizeof(bytes), save->state_bytes));
	field_print(term, "pause", "%s", format_time(count, sizeof(count), save->pause_us));
	waiting(term, save->waited_us, save->asked, save->waited_for);
}

static void from_to(const struct term *term, const Upgraded__Wire__RollReport *roll)
{
	term_text(term, *roll->from ? roll->from : "?", TERM_WHOLE);
	fputs(" -> ", term->out);
	term_text(term, *roll->to ? roll->to : "?", TERM_WHOLE);
}

void render_summary(const struct term *term, const struct args *args, const Upgraded__Wire__Result *result)
{
	const Upgraded__Wire__RollReport *roll = result->roll;

	term_style(term, STYLE_GREEN);
	term_mark(term, MARK_OK);
	term_plain(term);
	fputc(' ', term->out);
	styled(term, STYLE_BOLD, args->service ? args->service : args->verb_name);
	if (result->unchanged)
		fputs(": unchanged", term->out);
	if (roll) {
		fputs(": ", term->out);
		from_to(term, roll);
		if (*roll->outcome)
			fputs(", ", term->out);
		term_text(term, roll->outcome, TERM_WHOLE);
	}
	fputc('\n', term->out);
	field_text(term, "result", result->text);
	if (roll)
		render_roll(term, roll);
	if (result->save)
		save_numbers(term, args, result->save);
	field_text(term, "serving", result->serving);
	field_text(term, "next", result->next);
}

void render_log_lines(const struct term *term, size_t n, char *const *lines)
{
	if (!n)
		return;
	field_label(term, "last log");
	for (size_t i = 0; i < n; i++) {
		if (i)
			fprintf(term->out, "%*s", FIELD_LABEL_COLUMNS + 2, "");
		fputs("| ", term->out);
		term_wrapped(term, lines[i], FIELD_LABEL_COLUMNS + 4, FIELD_LABEL_COLUMNS + 4);
		fputc('\n', term->out);
	}
}

/* The line begins with the service's name already. */
static const char *without_name(const struct args *args, const char *text)
{
	size_t n = args->service ? strlen(args->service) : 0;

	return n && strncmp(text, args->service, n) == 0 && strncmp(text + n, ": ", 2) == 0 ? text + n + 2 : text;
}

void render_failure(const struct term *term, const struct args *args, const Upgraded__Wire__Result *result)
{
	const Upgraded__Wire__RollReport *roll = result->roll;
	const char *cause = *result->cause || !roll ? result->cause : roll->cause;
	bool own_lines = result->n_log_lines || !roll;
	char head[256];

	snprintf(head, sizeof(head), "%s%s%s%s%s: ", args->verb_name, args->service ? " " : "", args->service ? args->service : "",
		 args->version ? " " : "", args->version ? args->version : "");
	fputs("upgradectl: ", term->out);
	term_style(term, STYLE_RED);
	term_text(term, head, TERM_WHOLE);
	term_wrapped(term, *result->text ? without_name(args, result->text) : "failed",
		     strlen("upgradectl: ") + term_columns(term, head), FIELD_LABEL_COLUMNS + 2);
	term_plain(term);
	fputc('\n', term->out);
	if (strcmp(cause, result->text) != 0)
		field_text(term, "cause", cause);
	if (own_lines)
		render_log_lines(term, result->n_log_lines, result->log_lines);
	else
		render_log_lines(term, roll->n_log_lines, roll->log_lines);
	if (roll && *roll->outcome) {
		field_label(term, "roll");
		from_to(term, roll);
		fputs(", ", term->out);
		term_text(term, roll->outcome, TERM_WHOLE);
		fputc('\n', term->out);
	}
	if (roll)
		journal(term, roll);
	if (roll && went_back(roll)) {
		field_print(term, "connections", "%" PRIu32 " kept, %" PRIu32 " reset", roll->kept, roll->reset);
		state_lost(term, roll);
	}
	if (roll)
		descriptors(term, roll);
	field_text(term, "serving now", result->serving);
	field_text(term, "next", result->next);
}

static enum term_style state_style(const char *state)
{
	if (!strcmp(state, "running"))
		return STYLE_GREEN;
	if (!strcmp(state, "failed"))
		return STYLE_RED;
	if (!strcmp(state, "stopped"))
		return STYLE_DIM;
	return STYLE_YELLOW; /* starting, rolling, baking: under way */
}

/* " since Fri 2025-11-21 02:02:11 UTC, 5min 3s ago"; nothing when the peer's time makes no sense here. */
static void since(const struct term *term, uint64_t at_us, struct moment now)
{
	char age[FORMAT_MAX];
	char date[64];
	struct tm tm;
	time_t then;

	if (!at_us || at_us > now.monotonic_us)
		return;
	then = now.wall - (time_t)((now.monotonic_us - at_us) / 1000000u);
	if (!localtime_r(&then, &tm) || !strftime(date, sizeof(date), "%a %Y-%m-%d %H:%M:%S %Z", &tm))
		return;
	fprintf(term->out, " since %s, %s ago", date, format_age(age, sizeof(age), now.monotonic_us - at_us));
}

static void status_instance(const struct term *term, const Upgraded__Wire__Instance *instance, struct moment now)
{
	/* The pid of an image is the one that it would come back under: nothing runs there. */
	bool runs = instance->pid > 0 && strcmp(instance->state, "imaged") != 0;

	field_label(term, runs ? "process" : "image");
	if (runs)
		fprintf(term->out, "%" PRId32 ", ", instance->pid);
	term_text(term, instance->version, TERM_WHOLE);
	fputc(' ', term->out);
	term_text(term, instance->state, TERM_WHOLE);
	since(term, instance->since_us, now);
	if (*instance->says) {
		fputs("; it says: ", term->out);
		term_text(term, instance->says, TERM_WHOLE);
	}
	fputc('\n', term->out);
}

static void status_health(const struct term *term, const Upgraded__Wire__HealthCheck *check)
{
	bool well = !strcmp(check->state, "ok");

	field_label(term, "health");
	styled(term, well ? STYLE_GREEN : check->failures || !strcmp(check->state, "silent") ? STYLE_RED : STYLE_YELLOW,
	       check->state);
	fputs("  ", term->out);
	term_text(term, check->check, TERM_WHOLE);
	if (check->failures)
		fprintf(term->out, ", %" PRIu32 " in a row", check->failures);
	if (*check->detail) {
		fputs(": ", term->out);
		term_text(term, check->detail, TERM_WHOLE);
	}
	fputc('\n', term->out);
}

/* A child process of the version's own, such as one that writes a dump. */
static void status_child(const struct term *term, const Upgraded__Wire__RollReport *roll, struct moment now)
{
	if (!roll->child_since_us)
		return;
	field_label(term, "waits for");
	term_text(term, roll->waited_for, TERM_WHOLE);
	fputc(',', term->out);
	since(term, roll->child_since_us, now);
	fputc('\n', term->out);
}

static void status_roll(const struct term *term, const Upgraded__Wire__RollReport *roll, struct moment now)
{
	field_label(term, "last roll");
	from_to(term, roll);
	fputs(", ", term->out);
	term_text(term, *roll->outcome ? roll->outcome : "under way", TERM_WHOLE);
	if (*roll->started) {
		fputs(", started ", term->out);
		term_text(term, roll->started, TERM_WHOLE);
	}
	fputc('\n', term->out);
	field_text(term, "cause", roll->cause);
	field_text(term, "way lost", roll->way_note);
	status_child(term, roll, now);
	render_roll(term, roll);
	render_log_lines(term, roll->n_log_lines, roll->log_lines);
}

/* What is held needs no words: that is what Listen= is for. */
static void status_listeners(const struct term *term, const Upgraded__Wire__ServiceStatus *service)
{
	for (size_t i = 0; i < service->n_listeners; i++) {
		const Upgraded__Wire__Listener *listener = service->listeners[i];

		field_label(term, "listens");
		term_text(term, listener->address, TERM_WHOLE);
		if (strcmp(listener->state, "held") != 0) {
			fputs(", ", term->out);
			term_text(term, listener->state, TERM_WHOLE);
		}
		if (*listener->detail) {
			fputs(": ", term->out);
			term_text(term, listener->detail, TERM_WHOLE);
		}
		fputc('\n', term->out);
	}
}

static void status_service(const struct term *term, const Upgraded__Wire__ServiceStatus *service, struct moment now)
{
	term_style(term, state_style(service->state));
	term_mark(term, MARK_BULLET);
	term_plain(term);
	fputc(' ', term->out);
	styled(term, STYLE_BOLD, service->name);
	fputs(" - ", term->out);
	styled(term, state_style(service->state), service->state);
	fputc('\n', term->out);
	field_text(term, "why", service->description);
	field_text(term, "unit", service->unit_file);
	field_list(term, "changed", service->n_changed, service->changed,
		   " in the service file since it was started; the next roll or start takes that, going back does not");
	field_text(term, "bad file", service->file_error);
	field_text(term, "version", service->version);
	for (size_t i = 0; i < service->n_instances; i++)
		status_instance(term, service->instances[i], now);
	for (size_t i = 0; i < service->n_health; i++)
		status_health(term, service->health[i]);
	if (service->descriptors_told)
		field_print(term, "descriptors", "%" PRIu32, service->descriptors);
	status_listeners(term, service);
	field_text(term, "a crash costs", service->crash);
	field_print(term, "restarts", "%" PRIu32, service->restarts);
	if (*service->previous) {
		field_label(term, "previous");
		term_text(term, service->previous, TERM_WHOLE);
		fputs(" (upgradectl undo ", term->out);
		term_text(term, service->name, TERM_WHOLE);
		fputs(")\n", term->out);
	}
	if (service->n_history > 1) {
		field_label(term, "before that");
		for (size_t i = service->n_history - 1; i-- > 0;) {
			term_text(term, service->history[i], TERM_WHOLE);
			fputs(i ? ", " : " (undo --to)\n", term->out);
		}
	}
	if (service->last_roll)
		status_roll(term, service->last_roll, now);
}

void render_status(const struct term *term, const Upgraded__Wire__Result *result, struct moment now)
{
	for (size_t i = 0; i < result->n_services; i++) {
		if (i)
			fputc('\n', term->out);
		status_service(term, result->services[i], now);
	}
}

/* The process that serves, or else the first there is: a row has room for one. */
static int32_t serving_pid(const Upgraded__Wire__ServiceStatus *service)
{
	for (size_t i = 0; i < service->n_instances; i++)
		if (!strcmp(service->instances[i]->state, "serving"))
			return service->instances[i]->pid;
	return service->n_instances ? service->instances[0]->pid : 0;
}

struct row {
	const char *cells[WIDE_COLUMNS];
	char pid[FORMAT_MAX];
	char descriptors[FORMAT_MAX];
	char restarts[FORMAT_MAX];
	char last[96];
};

/* "done, 5min 3s ago" */
static const char *last_roll(const Upgraded__Wire__ServiceStatus *service, uint64_t realtime_us, char *buf, size_t size)
{
	const Upgraded__Wire__RollReport *roll = service->last_roll;
	char age[FORMAT_MAX];
	struct tm tm = { .tm_isdst = 0 };
	time_t started, now = realtime_us ? (time_t)(realtime_us / 1000000) : time(NULL);

	if (!roll)
		return "-";
	started = strptime(roll->started, "%Y-%m-%dT%H:%M:%SZ", &tm) ? timegm(&tm) : (time_t)-1;
	if (started < 0 || started > now)
		snprintf(buf, size, "%s", roll->outcome);
	else
		snprintf(buf, size, "%s, %s ago", roll->outcome,
			 format_age(age, sizeof(age), (uint64_t)(now - started) * 1000000));
	return buf;
}

static void row_fill(struct row *row, const Upgraded__Wire__ServiceStatus *service, uint64_t realtime_us)
{
	int32_t pid = serving_pid(service);

	snprintf(row->pid, sizeof(row->pid), "%" PRId32, pid);
	snprintf(row->descriptors, sizeof(row->descriptors), "%" PRIu32, service->descriptors);
	snprintf(row->restarts, sizeof(row->restarts), "%" PRIu32, service->restarts);
	row->cells[0] = service->name;
	row->cells[1] = or_dash(service->state);
	row->cells[2] = or_dash(service->version);
	row->cells[3] = pid > 0 ? row->pid : "-";
	row->cells[4] = or_dash(service->previous);
	row->cells[5] = last_roll(service, realtime_us, row->last, sizeof(row->last));
	row->cells[6] = row->restarts;
	row->cells[7] = service->descriptors_told ? row->descriptors : "-";
	row->cells[8] = or_dash(service->unit_file);
}

static void row_print(const struct term *term, const struct row *row, const struct table *table)
{
	for (size_t i = 0; i < table->n; i++) {
		if (i == 1)
			term_style(term, state_style(row->cells[i]));
		table_cell(table, term, i, row->cells[i]);
		if (i == 1)
			term_plain(term);
	}
	fputc('\n', term->out);
}

void render_list(const struct term *term, const Upgraded__Wire__Result *result, bool wide)
{
	static const char *const heads[WIDE_COLUMNS] = {
		"SERVICE", "STATE", "VERSION", "PID", "PREVIOUS", "LAST ROLL", "RESTARTS", "DESCRIPTORS", "FILE",
	};
	struct table table = table_begin(heads, wide ? WIDE_COLUMNS : LIST_COLUMNS);
	struct row row;

	for (size_t s = 0; s < result->n_services; s++) {
		row_fill(&row, result->services[s], result->realtime_us);
		table_fit(&table, term, row.cells);
	}
	table_heads(&table, term);
	for (size_t s = 0; s < result->n_services; s++) {
		row_fill(&row, result->services[s], result->realtime_us);
		row_print(term, &row, &table);
	}
}

void render_line(const struct term *term, const char *text)
{
	term_text(term, text, TERM_WHOLE);
	fputc('\n', term->out);
}

void render_names(const struct term *term, const struct args *args, const Upgraded__Wire__Result *result)
{
	for (size_t i = 0; i < result->n_services; i++) {
		term_text(term, result->services[i]->name, TERM_WHOLE);
		fputc('\n', term->out);
	}
	for (size_t i = 0; i < result->n_images; i++) {
		term_text(term, result->images[i]->service, TERM_WHOLE);
		fprintf(term->out, " %" PRIu64 "\n", result->images[i]->generation);
	}
	for (size_t i = 0; i < result->n_checks; i++) {
		term_text(term, result->checks[i]->name, TERM_WHOLE);
		fputc('\n', term->out);
	}
	if (result->n_services || result->n_images || result->n_checks || !args->service)
		return;
	term_text(term, args->service, TERM_WHOLE);
	fputc('\n', term->out);
}

void render_checks(const struct term *term, const Upgraded__Wire__Result *result)
{
	size_t width = 0;

	for (size_t i = 0; i < result->n_checks; i++) {
		size_t columns = term_columns(term, result->checks[i]->name);

		if (columns > width)
			width = columns;
	}
	for (size_t i = 0; i < result->n_checks; i++) {
		const Upgraded__Wire__Check *check = result->checks[i];

		term_style(term, check->ok ? STYLE_GREEN : STYLE_RED);
		fputs(check->ok ? "ok" : "no", term->out);
		term_plain(term);
		fputs("  ", term->out);
		term_padded(term, check->name, *check->detail ? width + 2 : 0);
		term_text(term, check->detail, TERM_WHOLE);
		fputc('\n', term->out);
	}
}
