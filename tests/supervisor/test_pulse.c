/* SPDX-License-Identifier: MIT */
/* A version that serves and does not answer: after a roll that was called off without a word of it, and with Heartbeat=. */
#include "tests/supervisor/hosted.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#define S USEC_PER_SEC

static void setup(void)
{
	hosted_set(NULL);
}

TestSuite(pulse, .init = setup, .fini = hosted_clear, .timeout = 20);

/* v1 says nothing of the roll to v2 that ann asks for, up to its end. */
static struct fake *wedge(void)
{
	struct fake *old = hosted_serve("v1"), *new = hosted_roll("v2");

	hosted_lead(old, new, ROLL_QUIESCE);
	hosted.silent = true;
	hosted_pass(3 * S);
	hosted_reap();
	hosted_pass(7 * S);
	return old;
}

Test(pulse, says_so_when_a_version_confirms_no_abort)
{
	struct fake *old = wedge();

	assert_answer(&ann, WIRE_EXIT_UNANSWERED,
		      "web: the roll to v2 was aborted, but version v1 has not said that it serves");
	cr_assert_str_eq(ann.result->roll->outcome, "unanswered");
	assert_status("not answering", "v1");
	cr_assert_str_eq(hosted_processes(), "not answering v1");
	hosted_pass(600 * S);
	assert_status("not answering", "v1");
	cr_assert_eq(old->signal, 0, "Unanswered=keep");
}

Test(pulse, says_since_when)
{
	struct fake *old = wedge();
	struct status status;

	service_status(hosted.web, &status);
	cr_assert_eq(status.message.instances[0]->since_us, ann.result->roll->unanswered_us);
	cr_assert(strstr(status.message.description, "did not answer for"), "%s", status.message.description);
	cr_assert_eq(status.message.instances[0]->pid, old->instance.pid);
	status_done(&status);
}

Test(pulse, takes_it_back_when_the_version_answers)
{
	wedge();
	assert_status("not answering", "v1");
	hosted.silent = false;
	hosted_pass(2 * S);
	assert_status("running", "v1");
	cr_assert_str_eq(hosted_processes(), "serving v1");
}

Test(pulse, with_restart_starts_a_version_again_that_does_not_answer)
{
	struct fake *old;

	hosted_write("Unanswered=restart\n");
	old = wedge();
	cr_assert_eq(old->signal, SIGKILL);
	hosted_reap();
	assert_status("waiting to restart", "v1");
	hosted.silent = false;
	hosted_pass(1 * S);
	hosted_start_up(started(2));
	assert_status("running", "v1");
}

Test(pulse, asks_nobody_without_a_heartbeat)
{
	struct fake *serves = hosted_serve("v1");

	hosted_pass(60 * S);
	cr_assert(!fake_heard(serves, UPGRADED__WIRE__APP_MESSAGE__BODY_PING));
}

Test(pulse, with_a_heartbeat_finds_a_version_that_falls_silent)
{
	struct fake *serves;

	hosted_write("Heartbeat=10s\n");
	serves = hosted_serve("v1");
	hosted_pass(35 * S);
	cr_assert_eq(fake_heard_times(serves, UPGRADED__WIRE__APP_MESSAGE__BODY_PING), 3);
	assert_status("running", "v1");
	hosted.silent = true;
	hosted_pass(9 * S);
	assert_status("running", "v1");
	hosted_pass(2 * S); /* HealthTimeout= after the ping */
	assert_status("not answering", "v1");
	cr_assert_eq(serves->signal, 0);
	hosted.silent = false;
	hosted_pass(11 * S);
	assert_status("running", "v1");
}

Test(pulse, does_not_call_a_version_silent_whose_answer_lies_unread)
{
	struct fake *serves;

	hosted_write("Heartbeat=10s\n");
	serves = hosted_serve("v1");
	hosted.silent = true;
	serves->has_unread = true;
	hosted_pass(15 * S + 200 * USEC_PER_MSEC);
	assert_status("running", "v1");
	serves->has_unread = false;
	hosted_pass(1 * S);
	assert_status("not answering", "v1");
}

Test(pulse, leaves_a_version_alone_that_a_roll_has)
{
	struct fake *old, *new;

	hosted_write("Heartbeat=10s\n");
	old = hosted_serve("v1");
	new = hosted_roll("v2");
	hosted_pass(9 * S);
	hosted_lead(old, new, ROLL_BAKE);
	hosted_pass(61 * S);
	assert_answer(&ann, WIRE_EXIT_DONE, "web: version v2 serves");
	assert_status("running", "v2");
	hosted.silent = true;
	hosted_pass(16 * S);
	assert_status("not answering", "v2");
}
