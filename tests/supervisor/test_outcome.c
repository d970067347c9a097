/* SPDX-License-Identifier: MIT */
/* What came of a roll, in one line of the log; and who asked for it. */
#include "supervisor/roll/report.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(outcome, .timeout = 20);

static char text[ROLL_OUTCOME_BYTES];

static struct roll_report report_of(enum roll_outcome outcome)
{
	struct roll_report report;

	roll_report_init(&report, "v1", "v2");
	report.outcome = outcome;
	report.asked_by = (struct who){ .asked = true, .uid = 0, .pid = 12, .logged_in = true, .login = 1000 };
	return report;
}

Test(outcome, is_a_warning_when_the_version_before_serves_and_an_error_when_something_is_gone)
{
	static const enum log_level levels[] = {
		[ROLL_IS_DONE] = LOG_LEVEL_INFO,
		[ROLL_IS_REFUSED] = LOG_LEVEL_WARNING,
		[ROLL_IS_ABORTED] = LOG_LEVEL_WARNING,
		[ROLL_IS_UNANSWERED] = LOG_LEVEL_ERROR,
		[ROLL_IS_BACK_LIVE] = LOG_LEVEL_WARNING,
		[ROLL_IS_BACK_PARKED] = LOG_LEVEL_WARNING,
		[ROLL_IS_BACK_IMAGE] = LOG_LEVEL_WARNING,
		[ROLL_IS_BACK_PART] = LOG_LEVEL_ERROR,
		[ROLL_IS_COLD] = LOG_LEVEL_ERROR,
		[ROLL_IS_FAILED] = LOG_LEVEL_ERROR,
	};

	for (enum roll_outcome outcome = ROLL_IS_DONE; outcome <= ROLL_IS_FAILED; outcome++)
		cr_assert_eq(roll_outcome_level(outcome), levels[outcome], "%s", roll_outcome_name(outcome));
}

Test(outcome, says_cause_loss_connections_who_serves_and_who_asked)
{
	struct roll_report report = report_of(ROLL_IS_BACK_PARKED);

	snprintf(report.cause.text, sizeof(report.cause.text), "version v2 (pid 7) was killed by SIGABRT");
	report.wire.lost_us = 1172000;
	report.wire.kept = 3;
	report.wire.reset = 37;
	report.wire.pause_us = 34100;
	cr_assert_str_eq(roll_outcome_text(&report, "version v1 (pid 5)", text),
			 "roll v1 -> v2: rolled-back-parked: version v2 (pid 7) was killed by SIGABRT; lost: what was written in "
			 "the 1.172 s since the commit; connections: 3 kept, 37 reset; pause 34.100 ms; serves: version v1 "
			 "(pid 5); asked for by uid 0 (pid 12, logged in as uid 1000)");
}

Test(outcome, says_that_a_journal_made_up_for_it)
{
	struct roll_report report = report_of(ROLL_IS_BACK_PARKED);

	report.wire.journal = true;
	report.wire.replayed = 12;
	roll_outcome_text(&report, "version v1 (pid 5)", text);
	cr_assert(strstr(text, "nothing is lost: 12 changes came from the journal"));
}

Test(outcome, says_what_an_aborted_roll_cost)
{
	struct roll_report report = report_of(ROLL_IS_ABORTED);

	report.wire.pause_us = 2000;
	report.asked_by = (struct who){ .asked = false };
	cr_assert_str_eq(roll_outcome_text(&report, "version v1 (pid 5)", text),
			 "roll v1 -> v2: aborted; nothing is lost; pause 2.000 ms; serves: version v1 (pid 5); asked for by "
			 "upgraded itself");
}

Test(outcome, says_that_all_is_lost_after_a_cold_start_and_a_failure)
{
	struct roll_report cold = report_of(ROLL_IS_COLD), failed = report_of(ROLL_IS_FAILED);

	roll_outcome_text(&cold, "version v1 (pid 5)", text);
	cr_assert(strstr(text, "lost: all state and connections; serves: version v1"));
	roll_outcome_text(&failed, "nothing", text);
	cr_assert(strstr(text, "lost: all state and connections; serves: nothing"));
}

Test(outcome, names_what_did_not_come_back)
{
	struct roll_report report = report_of(ROLL_IS_BACK_PART);

	roll_names_add(&report.missed, "listener", 0, "127.0.0.1:80");
	cr_assert(strstr(roll_outcome_text(&report, "version v1 (pid 5)", text), "; not back: listener 0 (127.0.0.1:80)"));
}

Test(outcome, finds_room_for_whatever_the_texts_are)
{
	struct roll_report report = report_of(ROLL_IS_BACK_PART);

	memset(report.cause.text, 'x', sizeof(report.cause.text) - 1);
	for (unsigned i = 0; i < ROLL_NAMES_MAX; i++) {
		char name[64];

		snprintf(name, sizeof(name), "%u%060u", i, 0);
		roll_names_add(&report.missed, name, i, "an address of some length, thirty");
	}
	cr_assert_lt(strlen(roll_outcome_text(&report, "version v1 (pid 5)", text)), ROLL_OUTCOME_BYTES);
}

Test(outcome, knows_who_has_connected)
{
	struct who who, again;
	Upgraded__Wire__Who told;
	char words[WHO_BYTES], other[WHO_BYTES];
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	cr_assert_eq(who_of_socket(pair[0], &who), 0);
	cr_assert(who.asked);
	cr_assert_eq(who.uid, geteuid());
	cr_assert_eq(who.pid, getpid());
	who_tell(&who, &told);
	who_take(&told, &again);
	cr_assert_str_eq(who_text(&who, words), who_text(&again, other));
	who_take(NULL, &again);
	cr_assert_str_eq(who_text(&again, other), "upgraded itself");
	close(pair[0]);
	close(pair[1]);
}
