/* SPDX-License-Identifier: MIT */
#include "base/text_out.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(text_out, .timeout = 10);

Test(text_out, holds_what_was_written_in_its_order)
{
	struct text_out out = { 0 };
	size_t size;
	char *text;

	text_out_put(&out, "a=");
	text_out_print(&out, "%d and %s", 7, "more");
	text_out_char(&out, '\n');
	cr_assert_eq(text_out_take(&out, &text, &size), 0);
	cr_assert_str_eq(text, "a=7 and more\n");
	cr_assert_eq(size, strlen(text));
	free(text);
	cr_assert_null(out.text);
}

Test(text_out, may_hold_nothing)
{
	struct text_out out = { 0 };
	char *text;

	cr_assert_eq(text_out_take(&out, &text, NULL), 0);
	cr_assert_str_eq(text, "");
	free(text);
}

Test(text_out, grows)
{
	struct text_out out = { 0 };
	size_t size;
	char *text;

	for (int i = 0; i < 5000; i++)
		text_out_print(&out, "%04d,", i);
	cr_assert_eq(text_out_take(&out, &text, &size), 0);
	cr_assert_eq(size, (size_t)25000);
	cr_assert_eq(strncmp(text + 24995, "4999,", 6), 0);
	free(text);
}

Test(text_out, of_which_some_found_no_memory_is_not_there)
{
	struct text_out out = { 0 };
	char *text = NULL;

	text_out_put(&out, "half");
	out.failed = true; /* as when realloc() fails */
	text_out_put(&out, " of it");
	cr_assert_lt(text_out_take(&out, &text, NULL), 0);
	cr_assert_null(text);
	cr_assert_null(out.text);
}
