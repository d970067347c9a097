/* SPDX-License-Identifier: MIT */
#include "supervisor/service/history.h"

#include <criterion/criterion.h>
#include <stdio.h>

TestSuite(history, .timeout = 20);

Test(history, is_empty_at_first)
{
	struct history history = { 0 };

	cr_assert_str_eq(history_latest(&history), "");
	cr_assert_not(history_has(&history, ""));
	history_forget(&history, "v1");
}

Test(history, lets_an_undo_be_undone)
{
	struct history history = { 0 };

	history_move(&history, "v1", NULL, "v2");
	cr_assert_str_eq(history_latest(&history), "v1");
	history_move(&history, "v2", NULL, "v1");
	cr_assert_str_eq(history_latest(&history), "v2");
	cr_assert_not(history_has(&history, "v1"));
	cr_assert_eq(history.n, 1);
}

Test(history, names_each_version_once_the_latest_last)
{
	struct history history = { 0 };

	history_move(&history, "v1", NULL, "v2");
	history_move(&history, "v2", NULL, "v3");
	history_move(&history, "v3", NULL, "v1");
	cr_assert_eq(history.n, 2);
	cr_assert_str_eq(history.versions[0], "v2");
	cr_assert_str_eq(history_latest(&history), "v3");
	history_forget(&history, "v3");
	cr_assert_str_eq(history_latest(&history), "v2");
	history_clear(&history);
	cr_assert_str_eq(history_latest(&history), "");
}

Test(history, forgets_the_oldest)
{
	struct history history = { 0 };
	char from[16], to[16];

	for (unsigned i = 0; i < HISTORY_MAX + 3; i++) {
		snprintf(from, sizeof(from), "v%u", i);
		snprintf(to, sizeof(to), "v%u", i + 1);
		history_move(&history, from, NULL, to);
	}
	cr_assert_eq(history.n, HISTORY_MAX);
	cr_assert_not(history_has(&history, "v2"));
	cr_assert(history_has(&history, "v3"));
}

static struct unit *unit_of(const char *name)
{
	struct unit *unit;

	cr_assert_eq(unit_parse(name, name, "[Service]\nExec=/srv/%v/x\n", &unit, NULL), 0);
	return unit;
}

Test(history, keeps_what_each_version_was_started_with_until_it_is_forgotten)
{
	struct unit *first = unit_of("first"), *second = unit_of("second");
	struct history history = { 0 };

	history_move(&history, "v1", first, "v2");
	history_move(&history, "v2", second, "v3");
	cr_assert_eq(first->references, 2);
	cr_assert_eq(history_unit(&history, "v1"), first);
	cr_assert_eq(history_unit(&history, "v2"), second);
	cr_assert_null(history_unit(&history, "v3"));
	history_move(&history, "v3", second, "v1");
	cr_assert_eq(first->references, 1);
	cr_assert_eq(history_unit(&history, "v2"), second);
	cr_assert_eq(history_unit(&history, "v3"), second);
	history_clear(&history);
	cr_assert_eq(second->references, 1);
	unit_free(first);
	unit_free(second);
}
