/* SPDX-License-Identifier: MIT */
#include "base/why.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

TestSuite(why, .timeout = 10);

Test(why, returns_the_status_and_keeps_errno)
{
	struct why why;

	errno = EXDEV;
	cr_assert_eq(why_set(&why, -EINVAL, "field %d", 3), -EINVAL);
	cr_assert_eq(why_set(&why, 7, "field %d", 3), 7);
	cr_assert_eq(why_errno(&why, -ENOENT, "open %s", "/x"), -ENOENT);
	cr_assert_eq(why_prefix(&why, -ENOENT, "service a"), -ENOENT);
	cr_assert_eq(errno, EXDEV);
}

Test(why, appends_the_text_of_the_error)
{
	struct why why;

	why_errno(&why, -ENOENT, "open %s", "/x");
	cr_assert_str_eq(why.text, "open /x: No such file or directory");
}

Test(why, puts_a_prefix_before_the_deeper_reason)
{
	struct why why;

	why_set(&why, -EINVAL, "record 4 is cut");
	why_prefix(&why, -EINVAL, "state of %s", "a");
	cr_assert_str_eq(why.text, "state of a: record 4 is cut");
}

Test(why, prefixes_an_empty_reason_without_a_dangling_colon)
{
	struct why why = { .text = "" };

	why_prefix(&why, -EINVAL, "state of a");
	cr_assert_str_eq(why.text, "state of a");
}

Test(why, accepts_its_own_text_as_argument)
{
	struct why why;

	why_set(&why, -EINVAL, "inner");
	why_set(&why, -EINVAL, "outer (%s)", why.text);
	cr_assert_str_eq(why.text, "outer (inner)");
}

Test(why, accepts_null)
{
	cr_assert_eq(why_set(NULL, -EINVAL, "x"), -EINVAL);
	cr_assert_eq(why_errno(NULL, -EINVAL, "x"), -EINVAL);
	cr_assert_eq(why_prefix(NULL, -EINVAL, "x"), -EINVAL);
}

Test(why, cuts_what_does_not_fit_at_its_end)
{
	char big[4000];
	struct why why;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	why_set(&why, -EINVAL, "start %s", big);
	cr_assert_eq(strlen(why.text), sizeof(why.text) - 1);
	cr_assert_eq(strncmp(why.text, "start xxx", 9), 0);

	why_prefix(&why, -EINVAL, "before");
	cr_assert_eq(strlen(why.text), sizeof(why.text) - 1);
	cr_assert_eq(strncmp(why.text, "before: start xxx", 17), 0);

	why_errno(&why, -ENOENT, "%s", big);
	cr_assert_eq(strlen(why.text), sizeof(why.text) - 1);
}

Test(why, never_cuts_inside_a_character)
{
	char big[sizeof(struct why) + 64];
	struct why why;

	/* 478 bytes, so that of the two bytes of the next character only one would fit. */
	memset(big, 'x', sizeof(why.text) - 2);
	strcpy(big + sizeof(why.text) - 2, "\xc3\xa9\xc3\xa9");
	why_set(&why, -EINVAL, "%s", big);
	cr_assert_eq(strlen(why.text), sizeof(why.text) - 2);
	cr_assert_eq(why.text[sizeof(why.text) - 3], 'x');
}
