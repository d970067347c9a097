/* SPDX-License-Identifier: MIT */
/* What `plan` says of the state that a roll would move, and of the pause that it would make. */
#include "cli/render_plan.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static Upgraded__Wire__Plan plan;

static void setup(void)
{
	static char from[] = "1.0", to[] = "2.0", images[] = "criu";

	upgraded__wire__plan__init(&plan);
	plan.from = from;
	plan.to = to;
	plan.images = images;
	plan.possible = true;
	plan.counted = true;
	plan.records = 200000;
	plan.state_bytes = 242221056;
	plan.registered = 1001;
	plan.rolls = 3;
	plan.pause_min_us = 20000;
	plan.pause_median_us = 30000;
	plan.pause_max_us = 40000;
	plan.pause_records = 1000;
	plan.pause_expected_us = 512000;
}

TestSuite(render_plan, .timeout = 20, .init = setup);

static void says(const char *expected, bool there)
{
	struct plan_loss loss = { 0 };
	struct term term = { .utf8 = true };
	char *output;
	size_t size;

	term.out = open_memstream(&output, &size);
	cr_assert(term.out);
	render_plan(&term, &plan, &loss);
	fclose(term.out);
	cr_expect_eq(strstr(output, expected) != NULL, there, "%s\n%s say \"%s\"", output, there ? "should" : "should not",
		     expected);
	free(output);
}

Test(render_plan, says_what_there_is_to_move_and_how_long_that_takes)
{
	says("\n       state  200,000 records (about 231 MiB) and 1,001 descriptors now\n", true);
	says("\n       pause  about 512 ms (20.0 ms to 40.0 ms in the last 3 rolls; 1,000 records in the last)\n", true);
}

Test(render_plan, says_no_size_where_nobody_knows_it)
{
	plan.state_bytes = 0;
	says("\n       state  200,000 records and 1,001 descriptors now\n", true);
}

Test(render_plan, of_a_version_that_does_not_count_tells_the_pauses_there_were)
{
	plan.counted = false;
	says(" state  ", false);
	says("\n       pause  about 30.0 ms (20.0 ms to 40.0 ms in the last 3 rolls; 1,000 records in the last)\n", true);
	plan.rolls = 1;
	says(" in the last 1 roll; ", true);
}

Test(render_plan, says_that_the_pause_is_not_known_yet)
{
	plan.rolls = 0;
	says("\n       state  200,000 records (about 231 MiB) and 1,001 descriptors now\n", true);
	says("\n       pause  not known yet: no roll of this service has committed since upgraded began\n", true);
}
