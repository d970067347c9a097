/* SPDX-License-Identifier: MIT */
#include "cli/term.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

TestSuite(term, .timeout = 20);

static char shown[2048];
static size_t took;

static const char *show(const char *text, bool utf8, size_t columns)
{
	struct term term = { .utf8 = utf8 };

	memset(shown, 0, sizeof(shown));
	term.out = fmemopen(shown, sizeof(shown), "w");
	cr_assert(term.out);
	took = term_text(&term, text, columns);
	fclose(term.out);
	return shown;
}

Test(term, plain_text_passes_as_it_is)
{
	cr_expect_str_eq(show("one: [two] \\three\\ 100%s", true, TERM_WHOLE), "one: [two] \\three\\ 100%s");
	cr_expect_str_eq(show("naïve – 日本 ✓ 😀", true, TERM_WHOLE), "naïve – 日本 ✓ 😀");
	cr_expect_str_eq(show("", true, TERM_WHOLE), "");
}

Test(term, controls_become_escapes)
{
	cr_expect_str_eq(show("\033[2J\033]0;own\a", true, TERM_WHOLE), "\\x1b[2J\\x1b]0;own\\x07");
	cr_expect_str_eq(show("a\nb\rc\td\x7f", true, TERM_WHOLE), "a\\nb\\rc\\td\\x7f");
	cr_expect_str_eq(show("\xc2\x9b" "31m", true, TERM_WHOLE), "\\u{9b}31m");
}

Test(term, no_byte_sequence_lets_a_control_through)
{
	for (unsigned a = 1; a < 256; a++)
		for (unsigned b = 1; b < 256; b++) {
			char text[] = { (char)a, (char)b, '\0' };

			show(text, true, TERM_WHOLE);
			for (const char *p = shown; *p; p++)
				cr_assert((unsigned char)*p >= 0x20 && *p != 0x7f, "%02x %02x", a, b);
			cr_assert_null(strstr(shown, "\xc2\x9b"), "%02x %02x", a, b);
		}
}

Test(term, broken_utf8_becomes_escapes)
{
	cr_expect_str_eq(show("\xff\xfe", true, TERM_WHOLE), "\\xff\\xfe");
	cr_expect_str_eq(show("\xc0\x9b", true, TERM_WHOLE), "\\xc0\\x9b");          /* overlong ESC */
	cr_expect_str_eq(show("\xe0\x80\x9b", true, TERM_WHOLE), "\\xe0\\x80\\x9b"); /* the same, longer */
	cr_expect_str_eq(show("\xed\xa0\x80", true, TERM_WHOLE), "\\xed\\xa0\\x80"); /* a surrogate */
	cr_expect_str_eq(show("\xf4\x90\x80\x80", true, TERM_WHOLE), "\\xf4\\x90\\x80\\x80");
	cr_expect_str_eq(show("end \xe2\x9c", true, TERM_WHOLE), "end \\xe2\\x9c"); /* cut short */
}

Test(term, what_reorders_or_hides_text_becomes_an_escape)
{
	cr_expect_str_eq(show("a\u202eb", true, TERM_WHOLE), "a\\u{202e}b");
	cr_expect_str_eq(show("a\u200bb\u2066c\ufeff", true, TERM_WHOLE), "a\\u{200b}b\\u{2066}c\\u{feff}");
	cr_expect_str_eq(show("a\u2028b", true, TERM_WHOLE), "a\\u{2028}b");
}

Test(term, ascii_terminals_get_ascii)
{
	cr_expect_str_eq(show("caf\u00e9 \u2713", false, TERM_WHOLE), "caf\\u{e9} \\u{2713}");
}

Test(term, cuts_to_the_columns_there_are_and_says_so)
{
	cr_expect_str_eq(show("abcdef", true, 6), "abcdef");
	cr_expect_eq(took, 6u);
	cr_expect_str_eq(show("abcdef", true, 5), "abcd…");
	cr_expect_eq(took, 5u);
	cr_expect_str_eq(show("abcdef", false, 5), "abcd~");
	cr_expect_str_eq(show("abcdef", true, 1), "…");
	cr_expect_str_eq(show("abcdef", true, 0), "");
	cr_expect_eq(took, 0u);
	cr_expect_str_eq(show("日本語", true, 4), "日…"); /* two columns each */
	cr_expect_str_eq(show("ab\033cd", true, 5), "ab…");   /* an escape is whole or not there */
	cr_expect_str_eq(show("ééé", true, 3), "ééé");
}

Test(term, is_plain_where_nobody_watches)
{
	struct term term;

	unsetenv("NO_COLOR");
	setenv("TERM", "xterm", 1);
	term.out = tmpfile();
	cr_assert(term.out);
	term_init(&term, term.out, COLOR_AUTO);
	cr_expect_not(term.color);
	cr_expect_not(term.live);
	cr_expect_eq(term_width(&term), 80u);
	term_init(&term, term.out, COLOR_ALWAYS);
	cr_expect(term.color);
	cr_expect_not(term.live);
	fclose(term.out);
}

/* A terminal of our own, as a user has one. */
static FILE *open_terminal(int *ret_master)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	FILE *out;

	cr_assert_geq(master, 0);
	cr_assert_eq(grantpt(master), 0);
	cr_assert_eq(unlockpt(master), 0);
	out = fopen(ptsname(master), "w");
	cr_assert(out);
	*ret_master = master;
	return out;
}

Test(term, colours_a_terminal_unless_told_not_to)
{
	struct term term;
	int master;
	FILE *out = open_terminal(&master);

	unsetenv("NO_COLOR");
	setenv("TERM", "xterm", 1);
	term_init(&term, out, COLOR_AUTO);
	cr_expect(term.color && term.live);
	term_init(&term, out, COLOR_NEVER);
	cr_expect(!term.color && term.live);
	setenv("NO_COLOR", "1", 1);
	term_init(&term, out, COLOR_AUTO);
	cr_expect(!term.color && term.live);
	term_init(&term, out, COLOR_ALWAYS);
	cr_expect(term.color);
	unsetenv("NO_COLOR");
	setenv("TERM", "dumb", 1);
	term_init(&term, out, COLOR_AUTO);
	cr_expect(!term.color && !term.live);
	fclose(out);
	fclose(fdopen(master, "r"));
}
