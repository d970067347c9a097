/* SPDX-License-Identifier: MIT */
#include "cli/suggest.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(suggest, .timeout = 20);

static const char *const words[] = { "start", "stop", "roll", "undo", "status", "list", "accept", "abort" };

static void meant(const char *word, const char *expected)
{
	const char *found = suggest_word(word, words, sizeof(words) / sizeof(words[0]));

	if (expected)
		cr_assert_str_eq(found ? found : "(nothing)", expected, "%s: %s", word, found ? found : "(nothing)");
	else
		cr_assert_null(found, "%s: %s", word, found);
}

Test(suggest, finds_a_word_with_one_slip)
{
	meant("rol", "roll");
	meant("rolll", "roll");
	meant("rlol", "roll");
	meant("satrt", "start");
	meant("statsu", "status");
	meant("abrot", "abort");
	meant("lsit", "list");
}

Test(suggest, finds_nothing_where_nothing_is_like_it)
{
	meant("kubernetes", NULL);
	meant("x", NULL);
	meant("", NULL);
}

Test(suggest, bears_words_of_any_length)
{
	char word[5000];

	memset(word, 'a', sizeof(word));
	word[sizeof(word) - 1] = '\0';
	meant(word, NULL);
}
