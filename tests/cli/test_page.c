/* SPDX-License-Identifier: MIT */
/* A roll as a page: what a service printed is text, whatever it looks like. */
#include "cli/page.h"

#include "wire/wire.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(page, .timeout = 10);

static char *shown(const char *text)
{
	char *page = NULL;
	size_t size;
	FILE *out = open_memstream(&page, &size);

	page_text(out, text);
	fclose(out);
	return page;
}

static void shows(const char *text, const char *as)
{
	char *page = shown(text);

	cr_assert_str_eq(page, as);
	free(page);
}

Test(page, escapes_what_is_markup_and_what_hides)
{
	shows("plain, gr\xc3\xbc\xc3\x9f", "plain, gr\xc3\xbc\xc3\x9f");
	shows("<script>\"&'", "&#60;script&#62;&#34;&#38;&#39;");
	shows("a\x1b[2J", "a\\u{1b}[2J");
	shows("\xff", "&#xfffd;");
	shows("\xe2\x80\xae" "evil", "\\u{202e}evil");
}

Test(page, holds_a_hostile_roll_as_text)
{
	Upgraded__Wire__RollReport roll = UPGRADED__WIRE__ROLL_REPORT__INIT;
	Upgraded__Wire__Phase phase = UPGRADED__WIRE__PHASE__INIT, *phases[] = { &phase };
	char line[] = "</pre><script>alert(1)</script>", *lines[] = { line };
	char *page = NULL;
	size_t size;
	FILE *out = open_memstream(&page, &size);

	phase.name = line;
	phase.text = line;
	phase.begun_us = 10;
	phase.took_us = 90;
	phase.over = true;
	roll.from = roll.to = roll.cause = roll.purpose = roll.serves = roll.outcome = line;
	roll.n_log_lines = roll.n_phases = 1;
	roll.log_lines = lines;
	roll.phases = phases;
	roll.pause_us = 50;
	roll.commit_us = 80;
	page_write(out, line, &roll);
	fclose(out);
	cr_assert(!strstr(page, "<script"));
	cr_assert(strstr(page, "<svg"));
	cr_assert(strstr(page, "prefers-color-scheme:dark"));
	free(page);
}
