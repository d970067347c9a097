/* SPDX-License-Identifier: MIT */
#include "base/text.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(text, .timeout = 10);

static const char *tamed(const char *text)
{
	static char copy[256];

	snprintf(copy, sizeof(copy), "%s", text);
	text_tame(copy, strlen(copy));
	return copy;
}

Test(text, keeps_what_people_write)
{
	static const char *const texts[] = { "", "plain\twith a tab",
					     "Grüß Gott, 日本", "Ж ﷼ \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf", "\xc2\xa0" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		cr_assert_str_eq(tamed(texts[i]), texts[i]);
		cr_assert(text_is_tame(texts[i]), "%s", texts[i]);
	}
}

Test(text, takes_from_a_terminal_what_drives_it)
{
	static const struct {
		const char *text, *tame;
	} cases[] = {
		{ "\033[2J", "?[2J" },
		{ "a\rb\nc\x7f", "a?b?c?" },
		{ "C1 \xc2\x9b""31m", "C1 ??31m" },      /* CSI in UTF-8 */
		{ "raw \x9b""31m", "raw ?31m" },         /* and as one byte */
		{ "\xe2\x80\xae""txet", "???txet" },     /* right-to-left override */
		{ "\xe2\x81\xa6x\xe2\x81\xa9", "???x???" }, /* isolates */
		{ "\xe2\x80\xa8""line", "???line" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_assert_str_eq(tamed(cases[i].text), cases[i].tame);
		cr_assert_not(text_is_tame(cases[i].text));
	}
}

Test(text, keeps_no_byte_that_is_not_utf_8)
{
	static const struct {
		const char *text, *tame;
	} cases[] = {
		{ "\xff\xfe", "??" },
		{ "\xc0\xaf", "??" },                 /* a slash, overlong */
		{ "\xe0\x80\xaf", "???" },
		{ "\xed\xa0\x80", "???" },            /* half a surrogate pair */
		{ "\xf4\x90\x80\x80", "????" },       /* beyond the last character */
		{ "\xe6\x97 x", "?? x" },             /* cut off within */
		{ "end \xe6\x97", "end ??" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_assert_str_eq(tamed(cases[i].text), cases[i].tame);
}

Test(text, is_cut_between_characters)
{
	const char *text = "ab\xe6\x97\xa5\xf0\x9f\x98\x80";
	static const size_t whole[] = { 0, 1, 2, 2, 2, 5, 5, 5, 5, 9 };

	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
		cr_assert_eq(text_whole(text, i), whole[i], "%zu of %zu", text_whole(text, i), i);
	/* What is no character at all is nothing that could be completed. */
	cr_assert_eq(text_whole("\x80\x80\x80\x80\x80", 5), 5);
}

Test(text, counts_are_written_with_commas)
{
	char buf[28];

	cr_assert_str_eq(text_count(buf, sizeof(buf), 0), "0");
	cr_assert_str_eq(text_count(buf, sizeof(buf), 1025), "1,025");
	cr_assert_str_eq(text_count(buf, sizeof(buf), UINT64_MAX), "18,446,744,073,709,551,615");
}
