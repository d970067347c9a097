/* SPDX-License-Identifier: MIT */
/* The one answer to whoever asked, and what it says of a roll. */
#include "tests/supervisor/asked.h"

TestSuite(answer, .timeout = 20);

static struct answer of(struct roll_report *roll, enum roll_outcome outcome, struct answer_words *words)
{
	roll->outcome = outcome;
	roll->rungs = ROLL_RUNG_PARKED;
	snprintf(roll->from, sizeof(roll->from), "v1");
	snprintf(roll->to, sizeof(roll->to), "v2");
	return answer_of_roll("web", roll, words);
}

static void says(enum roll_outcome outcome, enum wire_exit code, const char *said, const char *next)
{
	struct roll_report roll = { .cause = { .text = "the cause" } };
	struct answer_words words;
	struct answer answer = of(&roll, outcome, &words);

	cr_assert_eq(answer.code, code, "%s", roll_outcome_name(outcome));
	cr_assert_str_eq(answer.text, said);
	cr_assert_str_eq(answer.next, next);
	cr_assert_str_eq(answer.cause, "the cause");
	cr_assert_eq(answer.roll, &roll);
}

Test(answer, says_what_came_of_a_roll)
{
	says(ROLL_IS_DONE, WIRE_EXIT_DONE, "web: version v2 serves", "to go back: upgradectl undo web");
	says(ROLL_IS_REFUSED, WIRE_EXIT_REFUSED, "web: the roll to v2 was refused; nothing was touched",
	     "fix the cause, then run: upgradectl roll web v2");
	says(ROLL_IS_ABORTED, WIRE_EXIT_ROLLED_BACK, "web: the roll to v2 was aborted before it committed; nothing was lost",
	     "fix the cause, then run: upgradectl roll web v2");
	says(ROLL_IS_UNANSWERED, WIRE_EXIT_UNANSWERED,
	     "web: the roll to v2 was aborted, but version v1 has not said that it serves",
	     "check whether v1 serves: upgradectl status web says when it answers. Unanswered=restart in the service file would "
	     "end it");
	says(ROLL_IS_BACK_LIVE, WIRE_EXIT_ROLLED_BACK, "web: version v2 was undone: v1 serves, with all state from v2",
	     "fix the cause, then run: upgradectl roll web v2");
	says(ROLL_IS_BACK_PARKED, WIRE_EXIT_ROLLED_BACK,
	     "web: version v2 failed after it had taken over; v1 is back from memory and serves",
	     "changes since the commit are lost. Fix the cause, then run: upgradectl roll web v2");
	says(ROLL_IS_BACK_IMAGE, WIRE_EXIT_ROLLED_BACK,
	     "web: version v2 failed after it had taken over; v1 is back from its image and serves",
	     "changes since the commit are lost. Fix the cause, then run: upgradectl roll web v2");
	says(ROLL_IS_COLD, WIRE_EXIT_WAY_BACK_FAILED,
	     "web: the roll to v2 failed and no way back was left; v1 was started empty",
	     "the state and connections of web are lost; the log says why the way back failed");
	says(ROLL_IS_FAILED, WIRE_EXIT_WAY_BACK_FAILED,
	     "web: the roll to v2 failed, no way back was left, and version v1 does not start",
	     "start it by hand: upgradectl start web v1");
}

Test(answer, says_at_the_commit_that_the_new_version_serves)
{
	struct roll_report roll = { .to = "v2", .outcome = ROLL_IS_UNDER_WAY, .rungs = ROLL_RUNG_PARKED };
	struct answer_words words;

	cr_assert_eq(answer_of_roll("web", &roll, &words).code, WIRE_EXIT_DONE);
	cr_assert_str_eq(words.text, "web: version v2 serves");
}

Test(answer, says_that_nothing_is_lost_with_a_journal)
{
	struct roll_report roll = { .wire.journal = true };
	struct answer_words words;

	cr_assert(strstr(of(&roll, ROLL_IS_BACK_PARKED, &words).next, "nothing was lost"));
	cr_assert(strstr(of(&roll, ROLL_IS_BACK_IMAGE, &words).next, "nothing was lost"));
	roll.wire.reset = 3;
	cr_assert(strstr(of(&roll, ROLL_IS_BACK_PARKED, &words).next, "but not the connections that were reset"));
	cr_assert(strstr(of(&roll, ROLL_IS_COLD, &words).next, "are lost"), "a cold start has no use for a journal");
}

Test(answer, says_why_a_required_image_is_not_there)
{
	struct roll_report roll = { .image_missed = { .text = "the disk is full" } };
	struct answer_words words;
	struct answer answer = of(&roll, ROLL_IS_DONE, &words);

	cr_assert_eq(answer.code, WIRE_EXIT_DONE);
	cr_assert_str_eq(answer.cause, "the disk is full");
	cr_assert_str_eq(words.text,
			 "web: version v2 serves, but the required image could not be taken; the way back is parked");
	answer = of(&roll, ROLL_IS_BACK_PARKED, &words);
	cr_assert_eq(answer.code, WIRE_EXIT_ROLLED_BACK);
}

Test(answer, leaves_out_what_there_is_not)
{
	struct answer answer = { .code = WIRE_EXIT_BUSY, .text = "busy" };
	struct answer_message message;

	answer_pack(&answer, &message);
	cr_assert_eq(message.result.code, WIRE_EXIT_BUSY);
	cr_assert_str_eq(message.result.text, "busy");
	cr_assert_str_eq(message.result.cause, "");
	cr_assert_str_eq(message.result.next, "");
	cr_assert_str_eq(message.result.serving, "");
	cr_assert(!message.result.roll && !message.result.n_log_lines && !message.result.n_services);
}

Test(answer, lists_the_last_lines_the_oldest_first)
{
	struct lines lines = { .text = { "third", "first", "second" }, .first = 1, .n = 2 };
	struct answer answer = { .lines = &lines };
	struct answer_message message;

	answer_pack(&answer, &message);
	cr_assert_eq(message.result.n_log_lines, 2);
	cr_assert_str_eq(message.result.log_lines[0], "first");
	cr_assert_str_eq(message.result.log_lines[1], "second");
	lines = (struct lines){ .first = LINES_MAX - 1, .n = LINES_MAX };
	snprintf(lines.text[LINES_MAX - 1], sizeof(lines.text[0]), "oldest");
	snprintf(lines.text[LINES_MAX - 2], sizeof(lines.text[0]), "newest");
	answer_pack(&answer, &message);
	cr_assert_eq(message.result.n_log_lines, LINES_MAX);
	cr_assert_str_eq(message.result.log_lines[0], "oldest");
	cr_assert_str_eq(message.result.log_lines[LINES_MAX - 1], "newest");
}

Test(answer, reports_a_roll_with_its_own_lines)
{
	struct lines lines = { .text = { "of the process" }, .n = 1 };
	struct roll_report roll = { .lines = { .text = { "of the roll" }, .n = 1 }, .wire.records = 7,
				    .outcome = ROLL_IS_ABORTED, .started_s = 86400 };
	struct answer answer = { .lines = &lines, .roll = &roll };
	struct answer_message message;

	answer_pack(&answer, &message);
	cr_assert(message.result.roll == &message.report && message.report.records == 7);
	cr_assert_str_eq(message.report.outcome, "aborted");
	cr_assert_str_eq(message.report.started, "1970-01-02T00:00:00Z");
	cr_assert_eq(message.result.n_log_lines, 1);
	cr_assert_str_eq(message.result.log_lines[0], "of the roll");
	cr_assert_str_eq(message.report.log_lines[0], "of the roll");
}

Test(answer, says_how_far_a_roll_is_that_is_not_over)
{
	struct roll_report roll = { .rungs = ROLL_RUNG_NONE };
	struct answer answer = { .roll = &roll };
	struct answer_message message;

	answer_pack(&answer, &message);
	cr_assert_str_eq(message.report.outcome, "under way");
	roll.wire.commit_us = 1;
	answer_pack(&answer, &message);
	cr_assert_str_eq(message.report.outcome, "committed");
}

Test(answer, carries_lists_along)
{
	Upgraded__Wire__SaveReport save = UPGRADED__WIRE__SAVE_REPORT__INIT;
	Upgraded__Wire__Result with = UPGRADED__WIRE__RESULT__INIT;
	struct answer answer = { .code = WIRE_EXIT_DONE, .text = "saved", .with = &with };
	struct answer_message message;

	with.save = &save;
	with.code = 99;
	answer_pack(&answer, &message);
	cr_assert(message.result.save == &save && message.result.code == WIRE_EXIT_DONE);
}

Test(answer, tells_progress_with_the_time_since_it_began)
{
	uint64_t now = 5000;
	struct asked asked;

	clock_fake(&now);
	asked_init(&asked);
	asker_progress(&asked.asker, "start", 7, "warming up", 2000);
	asker_progress(NULL, "start", 7, "warming up", 2000);
	cr_assert_eq(asked.progresses, 1);
	clock_fake(NULL);
}
