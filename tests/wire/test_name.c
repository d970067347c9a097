/* SPDX-License-Identifier: MIT */
#include "wire/name.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <string.h>

TestSuite(name, .timeout = 20);

static enum wire_name check(const char *name)
{
	size_t at = 0;

	return wire_name_check(name, &at);
}

Test(name, may_hold_letters_digits_and_four_marks)
{
	for (int c = 1; c < 256; c++) {
		char name[] = { 'a', (char)c, 0 };
		bool good = c < 128 && (isalnum(c) || strchr("._@-", c));

		cr_expect_eq(check(name), good ? WIRE_NAME_FITS : WIRE_NAME_CHARACTER, "byte %d", c);
	}
}

Test(name, has_up_to_64_characters)
{
	char name[WIRE_NAME_MAX + 2];

	memset(name, 'x', sizeof(name));
	name[WIRE_NAME_MAX + 1] = 0;
	cr_expect_eq(check(name), WIRE_NAME_LONG);
	name[WIRE_NAME_MAX] = 0;
	cr_expect_eq(check(name), WIRE_NAME_FITS);
	cr_expect_eq(check(""), WIRE_NAME_EMPTY);
}

Test(name, begins_with_no_dot)
{
	cr_expect_eq(check("."), WIRE_NAME_DOTTED);
	cr_expect_eq(check(".."), WIRE_NAME_DOTTED);
	cr_expect_eq(check(".hidden"), WIRE_NAME_DOTTED);
	cr_expect_eq(check("v1.2"), WIRE_NAME_FITS);
}

Test(name, with_a_wrong_character_says_where)
{
	size_t at = 99;

	cr_expect_eq(wire_name_check("fine", &at), WIRE_NAME_FITS);
	cr_expect_eq(at, 99);
	cr_expect_eq(wire_name_check("a/../b", &at), WIRE_NAME_CHARACTER);
	cr_expect_eq(at, 1);
}
