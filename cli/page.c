/* SPDX-License-Identifier: MIT */
#include "cli/page.h"

#include "cli/format.h"
#include "cli/render_history.h"
#include "cli/term.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

/* Drawn in units of a thousandth of the width, however wide that is. */
#define UNITS 1000.0
#define LEAST 4.0 /* so that the shortest phase is seen */

static const char head[] =
	"<meta charset=\"utf-8\">\n"
	"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
	"<meta name=\"color-scheme\" content=\"light dark\">\n"
	"<style>\n"
	":root{--bg:#fff;--fg:#1b1f24;--dim:#5b6570;--line:#d8dee4;--card:#f6f8fa;--bar:#3b7dd8;--back:#c77700;--bad:#c62828;"
	"--good:#1a7f37;--pause:#f3c9c9}\n"
	"@media (prefers-color-scheme:dark){:root{--bg:#0f1318;--fg:#e3e8ee;--dim:#97a3b0;--line:#2b333c;--card:#171d24;"
	"--bar:#5b9bf0;--back:#e5a03c;--bad:#ff7b72;--good:#57c26b;--pause:#4a2427}}\n"
	"*{box-sizing:border-box}\n"
	"body{margin:0 auto;max-width:64rem;padding:1.5rem 1rem 3rem;background:var(--bg);color:var(--fg);"
	"font:16px/1.5 system-ui,sans-serif}\n"
	"h1{font-size:1.5rem;line-height:1.25;margin:0 0 .25rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:2rem 0 .6rem}\n"
	".dim{color:var(--dim)}.badge{display:inline-block;padding:.1rem .6rem;border-radius:1rem;font-size:.95rem;"
	"border:1px solid;white-space:nowrap}\n"
	".good{color:var(--good)}.warn{color:var(--back)}.bad{color:var(--bad)}\n"
	".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.6rem;margin:1.2rem 0 0}\n"
	".card{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.55rem .8rem;min-width:0}\n"
	".card b{display:block;font-size:1.2rem;font-weight:600;overflow-wrap:anywhere}"
	".card span{color:var(--dim);font-size:.85rem}\n"
	"table{border-collapse:collapse;width:100%}td,th{padding:.3rem .5rem .3rem 0;text-align:left;vertical-align:middle}\n"
	"tr+tr td{border-top:1px solid var(--line)}\n"
	".name{width:6.5rem;font-weight:600}.took{width:6rem;text-align:right;padding-right:1rem;white-space:nowrap;"
	"font-variant-numeric:tabular-nums}\n"
	"svg{display:block;width:100%;height:1.1rem;border-radius:.2rem;background:var(--card)}\n"
	".bar{fill:var(--bar)}.barback{fill:var(--back)}.barbad{fill:var(--bad)}.pause{fill:var(--pause)}\n"
	".said{color:var(--dim);font-size:.88rem;overflow-wrap:anywhere}\n"
	"pre{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.7rem .9rem;overflow-x:auto;"
	"font:13px/1.45 ui-monospace,monospace}\n"
	"ol{padding-left:1.4rem}li{margin:.3rem 0;overflow-wrap:anywhere}.key{display:inline-block;width:.9rem;height:.7rem;"
	"border-radius:.15rem;background:var(--pause);margin-right:.35rem}\n"
	"@media (max-width:36rem){body{padding:1rem .8rem 2rem}.name{width:4.6rem}.took{width:4.6rem;padding-right:.5rem}"
	"td,th{font-size:.92rem}}\n"
	"@media print{body{max-width:none}}\n"
	"</style>\n";

/* ---- text ---- */

/* Would it hide, or turn the order of what stands around it? */
static bool is_sly(uint32_t point)
{
	return (point >= 0x200b && point <= 0x200f) || (point >= 0x202a && point <= 0x202e) ||
	       (point >= 0x2060 && point <= 0x206f) || point == 0x061c || point == 0xfeff || point == 0x2028 || point == 0x2029;
}

void page_text(FILE *out, const char *text)
{
	size_t size = strlen(text), n;
	uint32_t point;

	for (; size; text += n, size -= n) {
		n = term_point((const uint8_t *)text, size, &point);
		if (n == 0) {
			fputs("&#xfffd;", out);
			n = 1;
		} else if (point == '\t') {
			fputc(' ', out);
		} else if (point < ' ' || (point >= 0x7f && point < 0xa0) || is_sly(point)) {
			fprintf(out, "\\u{%" PRIx32 "}", point);
		} else if (strchr("&<>\"'`", (int)point) && point < 0x80) {
			fprintf(out, "&#%" PRIu32 ";", point);
		} else {
			fwrite(text, 1, n, out);
		}
	}
}

static void put(FILE *out, const char *before, const char *text, const char *after)
{
	fputs(before, out);
	page_text(out, text);
	fputs(after, out);
}

/* ---- times ---- */

static uint64_t end_of(const Upgraded__Wire__Phase *phase)
{
	return phase->begun_us + phase->took_us;
}

static uint64_t begin_of_all(const Upgraded__Wire__RollReport *roll)
{
	return roll->n_phases ? roll->phases[0]->begun_us : 0;
}

static uint64_t end_of_all(const Upgraded__Wire__RollReport *roll)
{
	uint64_t end = begin_of_all(roll);

	for (size_t i = 0; i < roll->n_phases; i++)
		if (end_of(roll->phases[i]) > end)
			end = end_of(roll->phases[i]);
	return end;
}

/* In which clients waited. Return: false: they did not, or nobody knows when. */
static bool pause_of(const Upgraded__Wire__RollReport *roll, uint64_t *ret_begin, uint64_t *ret_end)
{
	uint64_t end = roll->commit_us ? roll->commit_us : roll->resume_us;

	if (!roll->pause_us || end < roll->pause_us)
		return false;
	*ret_begin = end - roll->pause_us;
	*ret_end = end;
	return true;
}

/* ---- the time line ---- */

struct scale {
	uint64_t begin_us, end_us;
};

static double place(struct scale scale, uint64_t at_us)
{
	if (at_us <= scale.begin_us || scale.end_us <= scale.begin_us)
		return 0;
	if (at_us >= scale.end_us)
		return UNITS;
	return (double)(at_us - scale.begin_us) / (double)(scale.end_us - scale.begin_us) * UNITS;
}

static void rectangle(FILE *out, struct scale scale, const char *class, uint64_t begin_us, uint64_t end_us, double least)
{
	double from = place(scale, begin_us), to = place(scale, end_us);

	if (end_us < scale.begin_us || begin_us > scale.end_us)
		return;
	if (to - from < least)
		to = from + least;
	if (to > UNITS) {
		from -= to - UNITS;
		to = UNITS;
	}
	fprintf(out, "<rect class=\"%s\" x=\"%.1f\" y=\"0\" width=\"%.1f\" height=\"10\"/>", class, from > 0 ? from : 0.0,
		to - from);
}

static const char *class_of(const char *phase)
{
	static const char *const back[] = { "abort", "resume", "restore", "undo" };

	if (strcmp(phase, "cold") == 0)
		return "barbad";
	for (size_t i = 0; i < sizeof(back) / sizeof(back[0]); i++)
		if (strcmp(phase, back[i]) == 0)
			return "barback";
	return "bar";
}

static void phase_row(FILE *out, const Upgraded__Wire__RollReport *roll, const Upgraded__Wire__Phase *phase, struct scale scale,
		      bool says)
{
	uint64_t begin, end;
	char took[FORMAT_MAX];

	put(out, "<tr><td class=\"name\">", phase->name, "</td><td class=\"took\">");
	fprintf(out, "%s</td><td><svg viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"",
		phase->over ? format_time(took, sizeof(took), phase->took_us) : "&#8211;");
	put(out, "", phase->name, "\">");
	if (pause_of(roll, &begin, &end))
		rectangle(out, scale, "pause", begin, end, LEAST);
	rectangle(out, scale, class_of(phase->name), phase->begun_us, end_of(phase), LEAST);
	fputs("</svg>", out);
	if (says && *phase->text)
		put(out, "<div class=\"said\">", phase->text, "</div>");
	fputs("</td></tr>\n", out);
}

static void whole(FILE *out, const Upgraded__Wire__RollReport *roll)
{
	struct scale scale = { begin_of_all(roll), end_of_all(roll) };
	char took[FORMAT_MAX];

	fprintf(out, "<h2>Phases <span class=\"dim\">(%s in all)</span></h2>\n<table>\n",
		format_time(took, sizeof(took), scale.end_us - scale.begin_us));
	for (size_t i = 0; i < roll->n_phases; i++)
		phase_row(out, roll, roll->phases[i], scale, true);
	fputs("</table>\n", out);
}

/* Beside minutes of a bake a pause of milliseconds is a line: here it is the width. */
static void around_the_pause(FILE *out, const Upgraded__Wire__RollReport *roll)
{
	struct scale scale;
	char took[FORMAT_MAX];
	uint64_t margin;

	if (!pause_of(roll, &scale.begin_us, &scale.end_us))
		return;
	fprintf(out,
		"<h2>The pause <span class=\"dim\">(%s)</span></h2>\n<p class=\"dim\"><span class=\"key\"></span>No version "
		"answered clients; they waited.</p>\n<table>\n",
		format_time(took, sizeof(took), roll->pause_us));
	margin = roll->pause_us / 10;
	scale.begin_us -= margin < scale.begin_us ? margin : scale.begin_us;
	scale.end_us += margin;
	for (size_t i = 0; i < roll->n_phases; i++)
		if (end_of(roll->phases[i]) >= scale.begin_us && roll->phases[i]->begun_us <= scale.end_us)
			phase_row(out, roll, roll->phases[i], scale, false);
	fputs("</table>\n", out);
}

/* ---- figures ---- */

static void card(FILE *out, const char *label, const char *value)
{
	put(out, "<div class=\"card\"><b>", value, "</b>");
	put(out, "<span>", label, "</span></div>\n");
}

static void cards(FILE *out, const Upgraded__Wire__RollReport *roll)
{
	char text[160], bytes[FORMAT_MAX];

	fputs("<div class=\"cards\">\n", out);
	if (roll->pause_us || roll->commit_us)
		card(out, "pause", format_time(text, sizeof(text), roll->pause_us));
	if (roll->records || roll->state_bytes) {
		card(out, "records moved", format_count(text, sizeof(text), roll->records));
		card(out, "of state", format_bytes(bytes, sizeof(bytes), roll->state_bytes));
	}
	if (roll->fds) {
		snprintf(text, sizeof(text), "%" PRIu32, roll->fds);
		card(out, "descriptors moved", text);
	}
	if (roll->kept || roll->reset || roll->lost_us) {
		snprintf(text, sizeof(text), "%" PRIu32 " / %" PRIu32, roll->kept, roll->reset);
		card(out, "connections kept / reset", text);
	}
	if (roll->lost_us)
		card(out, "of writes lost", format_time(text, sizeof(text), roll->lost_us));
	if (roll->image_bytes)
		card(out, "image", format_bytes(bytes, sizeof(bytes), roll->image_bytes));
	if (*roll->way_back && roll->commit_us)
		card(out, "way back in the bake", roll->way_back);
	fputs("</div>\n", out);
}

/* ---- what went wrong ---- */

static void item(FILE *out, const char *before, const char *text)
{
	if (!*text)
		return;
	put(out, "<li>", before, "");
	put(out, "", text, "</li>\n");
}

static void story(FILE *out, const Upgraded__Wire__RollReport *roll)
{
	char text[160], took[FORMAT_MAX];
	bool failed = strcmp(roll->outcome, "done") != 0;

	if (!failed && !*roll->way_note && !*roll->journal_note && !roll->n_missed && !roll->n_left && !roll->n_skipped)
		return;
	fputs(failed ? "<h2>What went wrong</h2>\n<ol>\n" : "<h2>Notes</h2>\n<ol>\n", out);
	item(out, "", roll->cause);
	item(out, "A way back was lost: ", roll->way_note);
	item(out, "Journal: ", roll->journal_note);
	for (size_t i = 0; i < roll->n_skipped; i++)
		item(out, "Records that the new version did not take: ", roll->skipped[i]);
	for (size_t i = 0; i < roll->n_left; i++)
		item(out, "Closed, as the new version does not use it: ", roll->left[i]);
	if (roll->journal && failed && roll->commit_us) {
		snprintf(text, sizeof(text), "%" PRIu64 " changes were taken over from the journal.", roll->replayed);
		item(out, "", text);
	}
	if (roll->lost_us) {
		snprintf(text, sizeof(text), "What was written in the %s since the commit is lost.",
			 format_time(took, sizeof(took), roll->lost_us));
		item(out, "", text);
	}
	for (size_t i = 0; i < roll->n_missed; i++)
		item(out, "Did not come back: ", roll->missed[i]);
	item(out, "Then served: ", failed ? roll->serves : "");
	fputs("</ol>\n", out);
}

static void log_lines(FILE *out, const Upgraded__Wire__RollReport *roll)
{
	if (!roll->n_log_lines)
		return;
	put(out, "<h2>Last lines of version ", roll->to, "</h2>\n<pre>");
	for (size_t i = 0; i < roll->n_log_lines; i++)
		put(out, "", roll->log_lines[i], "\n");
	fputs("</pre>\n", out);
}

/* ---- the page ---- */

static const char *outcome_class(const char *outcome)
{
	if (strcmp(outcome, "done") == 0)
		return "good";
	return strcmp(outcome, "failed") == 0 || strcmp(outcome, "cold-start") == 0 || strcmp(outcome, "unanswered") == 0 ||
			       strcmp(outcome, "rolled-back-incomplete") == 0 ?
		       "bad" :
		       "warn";
}

void page_write(FILE *out, const char *service, const Upgraded__Wire__RollReport *roll)
{
	char who[160], number[32];

	snprintf(number, sizeof(number), "roll %" PRIu64, roll->number ? roll->number : roll->id);
	fputs("<!doctype html>\n<html lang=\"en\">\n<head>\n", out);
	fputs(head, out);
	put(out, "<title>", service, ", ");
	put(out, "", number, ": ");
	put(out, "", roll->from, " &#8594; ");
	put(out, "", roll->to, "</title>\n</head>\n<body>\n");
	put(out, "<h1>", service, ": ");
	put(out, "", roll->from, " &#8594; ");
	put(out, "", roll->to, " ");
	fprintf(out, "<span class=\"badge %s\">", outcome_class(roll->outcome));
	put(out, "", roll->outcome, "</span></h1>\n");
	put(out, "<div class=\"dim\">", number, "");
	if (*roll->purpose && strcmp(roll->purpose, "roll") != 0)
		put(out, " (", roll->purpose, ")");
	put(out, " &#183; asked for by ", who_name(roll->asked_by, who, sizeof(who)), "");
	if (*roll->started)
		put(out, " &#183; ", roll->started, "");
	if (*roll->ended)
		put(out, " to ", roll->ended, "");
	fputs("</div>\n", out);
	cards(out, roll);
	story(out, roll);
	log_lines(out, roll);
	if (roll->n_phases)
		whole(out, roll);
	around_the_pause(out, roll);
	fputs("</body>\n</html>\n", out);
}
