/* SPDX-License-Identifier: MIT */
#include "tests/statefmt/stream.h"

TestSuite(statefmt_path, .timeout = 30);

#define STEP(a, b) { .type = "t", .from = (a), .to = (b) }

/* The way as text: "1>2>4", "none", "ambiguous". */
static const char *walk(const struct sf_migration *steps, size_t n, uint32_t from, uint32_t to, struct why *why)
{
	static char text[256];
	size_t path[16], length = 0, at;

	switch (sf_path_find(steps, n, "t", from, to, path, 16, &length, why)) {
	case SF_PATH_NONE:
		return "none";
	case SF_PATH_AMBIGUOUS:
		return "ambiguous";
	case SF_PATH_FOUND:
		break;
	default:
		return "failed";
	}
	at = (size_t)snprintf(text, sizeof(text), "%u", from);
	for (size_t i = 0; i < length; i++) {
		cr_assert_eq(steps[path[i]].from, i ? steps[path[i - 1]].to : from);
		at += (size_t)snprintf(text + at, sizeof(text) - at, ">%u", steps[path[i]].to);
	}
	return text;
}

#define WALK(steps, from, to) walk((steps), sizeof(steps) / sizeof((steps)[0]), (from), (to), &why)

Test(statefmt_path, goes_up_and_down_in_several_steps)
{
	static const struct sf_migration steps[] = { STEP(3, 4), STEP(1, 2), STEP(4, 3), STEP(2, 3), STEP(3, 2), STEP(2, 1) };
	struct why why = { "" };

	cr_assert_str_eq(WALK(steps, 1, 2), "1>2");
	cr_assert_str_eq(WALK(steps, 1, 4), "1>2>3>4");
	cr_assert_str_eq(WALK(steps, 4, 1), "4>3>2>1");
	cr_assert_str_eq(WALK(steps, 3, 2), "3>2");
	cr_assert_str_eq(WALK(steps, 4, 4), "4");
	cr_assert_str_eq(WALK(steps, 9, 9), "9", "no step is needed where nothing changes");
}

Test(statefmt_path, a_gap_names_where_the_walk_gets_stuck)
{
	static const struct sf_migration steps[] = { STEP(1, 2), STEP(2, 3), STEP(4, 5), STEP(5, 4) };
	struct why why = { "" };

	cr_assert_str_eq(WALK(steps, 1, 5), "none");
	cr_assert(strstr(why.text, "\"t\"") && strstr(why.text, "from version 1 to 5") &&
		  strstr(why.text, "stuck at version 3"), "%s", why.text);
	cr_assert_str_eq(WALK(steps, 5, 1), "none");
	cr_assert(strstr(why.text, "stuck at version 4"), "%s", why.text);
	cr_assert_str_eq(WALK(steps, 7, 9), "none");
	cr_assert(strstr(why.text, "stuck at version 7"), "%s", why.text);
	cr_assert_eq(sf_path_find(NULL, 0, "t", 1, 2, NULL, 0, &(size_t){ 0 }, &why), SF_PATH_NONE);
}

Test(statefmt_path, never_turns_around_and_never_overshoots)
{
	static const struct sf_migration steps[] = { STEP(1, 5), STEP(5, 3), STEP(2, 1), STEP(2, 3) };
	struct why why = { "" };

	cr_assert_str_eq(WALK(steps, 1, 3), "none");
	cr_assert_str_eq(WALK(steps, 2, 5), "none", "not by way of 1");
}

Test(statefmt_path, takes_the_fewest_steps)
{
	static const struct sf_migration steps[] = { STEP(1, 2), STEP(2, 3), STEP(3, 4), STEP(4, 5), STEP(2, 5), STEP(1, 4),
						     STEP(5, 1), STEP(5, 4), STEP(4, 1) };
	struct why why = { "" };

	cr_assert_str_eq(WALK(steps, 1, 3), "1>2>3");
	cr_assert_str_eq(WALK(steps, 1, 5), "1>4>5", "of two ways of two steps, the one with the longer first");
	cr_assert_str_eq(WALK(steps, 5, 1), "5>1");
}

/* Longest first would lead into a dead end. */
Test(statefmt_path, leaves_long_steps_that_lead_nowhere)
{
	static const struct sf_migration steps[] = { STEP(1, 4), STEP(1, 2), STEP(2, 3), STEP(3, 5) };
	struct why why = { "" };

	cr_assert_str_eq(WALK(steps, 1, 5), "1>2>3>5");
}

Test(statefmt_path, two_migrations_for_one_step_are_ambiguous)
{
	static const struct sf_migration steps[] = { STEP(1, 2), STEP(2, 3), STEP(1, 2), STEP(2, 1) };
	struct why why = { "" };

	cr_assert_str_eq(WALK(steps, 1, 3), "ambiguous");
	cr_assert(strstr(why.text, "from version 1 to 2"), "%s", why.text);
	cr_assert_str_eq(WALK(steps, 2, 3), "2>3", "of no matter to who does not come by");
	cr_assert_str_eq(WALK(steps, 2, 1), "2>1");
}

Test(statefmt_path, steps_of_other_types_do_not_count)
{
	static const struct sf_migration steps[] = { { .type = "u", .from = 1, .to = 2 }, STEP(2, 3),
						     { .type = "t", .from = 1, .to = 2 } };
	struct why why = { "" };

	cr_assert_str_eq(WALK(steps, 1, 3), "1>2>3");
	cr_assert_eq(sf_path_find(steps, 2, "t", 1, 3, &(size_t){ 0 }, 1, &(size_t){ 0 }, &why), SF_PATH_NONE);
}

Test(statefmt_path, more_steps_than_the_caller_can_take_are_refused)
{
	static const struct sf_migration steps[] = { STEP(1, 2), STEP(2, 3) };
	size_t path[1], n = 7;
	struct why why = { "" };

	cr_assert_eq(sf_path_find(steps, 2, "t", 1, 3, path, 1, &n, &why), SF_PATH_NONE);
	cr_assert(strstr(why.text, "takes 2 migrations"), "%s", why.text);
	cr_assert_eq(n, 7, "written only on success");
}

/* Against a search that tries everything. */
static size_t fewest(const struct sf_migration *steps, size_t n, uint32_t from, uint32_t to)
{
	size_t best = SIZE_MAX;

	if (from == to)
		return 0;
	for (size_t i = 0; i < n; i++) {
		bool toward = from < to ? steps[i].to > from && steps[i].to <= to : steps[i].to < from && steps[i].to >= to;
		size_t rest;

		if (steps[i].from != from || !toward)
			continue;
		rest = fewest(steps, n, steps[i].to, to);
		if (rest != SIZE_MAX && rest + 1 < best)
			best = rest + 1;
	}
	return best;
}

Test(statefmt_path, agrees_with_trying_everything)
{
	uint32_t seed = 12345;

	for (int round = 0; round < 2000; round++) {
		struct sf_migration steps[12] = { { .type = NULL } };
		size_t path[16], length = 0, n = 0;
		uint32_t from, to;
		int r;

		while (n < 12) {
			uint32_t a, b;
			bool taken = false;

			seed = seed * 1664525u + 1013904223u;
			a = 1 + (seed >> 8) % 7;
			b = 1 + (seed >> 20) % 7;
			for (size_t i = 0; i < n; i++)
				taken |= steps[i].from == a && steps[i].to == b;
			if (!taken)
				steps[n++] = (struct sf_migration)STEP(a, b);
		}
		from = 1 + (seed >> 4) % 7;
		to = 1 + (seed >> 14) % 7;
		r = sf_path_find(steps, n, "t", from, to, path, 16, &length, NULL);
		cr_assert_eq(r == SF_PATH_FOUND ? length : SIZE_MAX, fewest(steps, n, from, to), "round %d", round);
	}
}
