/* SPDX-License-Identifier: MIT */
/* `upgradectl save`: what the process is asked, what it may say to that, and what whoever asked is told. */
#include "tests/supervisor/hosted.h"

#include <errno.h>
#include <signal.h>

#define HEARD(what) UPGRADED__WIRE__APP_MESSAGE__BODY_##what
#define NOT_SAVED "web was not saved; it serves on"

static struct fake *serves;

static void set_up(void)
{
	hosted_set(NULL);
	serves = hosted_serve("v1");
}

static void tear_down(void)
{
	hosted_clear();
}

TestSuite(save, .timeout = 20, .init = set_up, .fini = tear_down);

/* Return: the descriptor that was given along. */
static int save(struct caller *caller)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	service_save(hosted.web, fd, ask(caller));
	return fd;
}

static bool is_closed(int fd)
{
	return fcntl(fd, F_GETFD) < 0 && errno == EBADF;
}

static unsigned prepares(void)
{
	return fake_heard_times(serves, HEARD(PREPARE));
}

Test(save, tells_what_was_written_and_how_long_the_service_stood_still)
{
	int fd = save(&ann);

	cr_assert_eq(prepares(), 1);
	cr_assert_eq(serves->quiesce_deadline_us, hosted.now_us + 2 * USEC_PER_SEC);
	cr_assert_eq(serves->commit_deadline_us, hosted.now_us + 22 * USEC_PER_SEC);
	cr_assert_str_eq(hosted_doing(), "saving");
	fake_quiesced(serves);
	hosted_pass(3 * USEC_PER_MSEC);
	fake_saved(serves, 10, 0);
	assert_waits(&ann);
	cr_assert_not(is_closed(fd));
	fake_resumed(serves);
	assert_answer(&ann, WIRE_EXIT_DONE, "web is saved");
	assert_serving(&ann, serves);
	cr_assert_eq(ann.result->save->records, 10);
	cr_assert_eq(ann.result->save->pause_us, 3 * USEC_PER_MSEC);
	cr_assert(is_closed(fd));
	/* No deadline is left. */
	hosted_pass(60 * USEC_PER_SEC);
	assert_status("running", "v1");
}

Test(save, is_not_done_before_the_process_says_what_it_wrote)
{
	Upgraded__Wire__Saved empty = UPGRADED__WIRE__SAVED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(HEARD(SAVED), .saved = &empty);

	save(&ann);
	fake_quiesced(serves);
	fake_resumed(serves);
	fake_say(serves, &message);
	fake_resumed(serves);
	assert_waits(&ann);
	hosted_pass(23 * USEC_PER_SEC);
	assert_answer(&ann, WIRE_EXIT_ERROR, NOT_SAVED);
}

Test(save, tells_why_the_process_refuses)
{
	int fd = save(&ann);

	fake_refused(serves, "the application refused to be rolled now");
	assert_answer(&ann, WIRE_EXIT_ERROR, NOT_SAVED);
	cr_assert_str_eq(ann.asked.cause, "the application refused to be rolled now");
	cr_assert_str_eq(ann.asked.next, "the file holds nothing of use");
	assert_serving(&ann, serves);
	cr_assert(is_closed(fd));
	/* It may be asked for again. */
	save(&ann);
	fake_quiesced(serves);
	fake_saved(serves, 10, 0);
	fake_resumed(serves);
	assert_answer(&ann, WIRE_EXIT_DONE, "web is saved");
}

Test(save, asks_again_after_a_moment)
{
	uint64_t deadline_us;

	save(&ann);
	deadline_us = serves->commit_deadline_us;
	fake_not_yet(serves);
	cr_assert_eq(prepares(), 1);
	hosted_pass(10 * USEC_PER_MSEC - 1);
	cr_assert_eq(prepares(), 1);
	hosted_pass(1);
	cr_assert_eq(prepares(), 2);
	cr_assert_eq(serves->commit_deadline_us, deadline_us, "the time does not begin anew");
	fake_not_yet_as(serves, "client 3 uploads");
	hosted_pass(10 * USEC_PER_MSEC);
	cr_assert_eq(prepares(), 3);
	hosted_pass(4 * USEC_PER_MSEC);
	fake_saved(serves, 10, 0);
	fake_resumed(serves);
	assert_answer(&ann, WIRE_EXIT_DONE, "web is saved");
	cr_assert_eq(ann.result->save->pause_us, 4 * USEC_PER_MSEC);
	cr_assert(ann.result->save->waited_us == 20 * USEC_PER_MSEC && ann.result->save->asked == 3);
	cr_assert_str_eq(ann.result->save->waited_for, "client 3 uploads");
}

Test(save, gives_up_a_process_that_does_not_come_to_rest)
{
	int fd = save(&ann);

	fake_not_yet_as(serves, "client 3 uploads");
	hosted_pass(23 * USEC_PER_SEC - 1);
	assert_waits(&ann);
	hosted_pass(1);
	assert_answer(&ann, WIRE_EXIT_ERROR, NOT_SAVED);
	cr_assert_str_eq(ann.asked.cause, "it did not quiesce in time (QuiesceTimeout=): client 3 uploads");
	cr_assert(is_closed(fd));
	cr_assert_eq(serves->signal, 0);
	assert_status("running", "v1");
}

Test(save, gives_up_a_process_that_does_not_write)
{
	save(&ann);
	fake_quiesced(serves);
	hosted_pass(23 * USEC_PER_SEC);
	assert_answer(&ann, WIRE_EXIT_ERROR, NOT_SAVED);
	cr_assert_str_eq(ann.asked.cause, "the state was not written in time (TransferTimeout=)");
	/* What comes too late is of no use to anybody. */
	fake_saved(serves, 10, 0);
	fake_resumed(serves);
	cr_assert_eq(ann.asked.answers, 1);
	assert_status("running", "v1");
}

Test(save, does_not_take_the_answer_to_an_earlier_save_for_its_own)
{
	uint64_t first, second;
	int fd;

	save(&ann);
	first = serves->question;
	hosted_pass(23 * USEC_PER_SEC);
	assert_answer(&ann, WIRE_EXIT_ERROR, NOT_SAVED);
	fd = save(&bob);
	second = serves->question;
	cr_assert_neq(first, second);
	/* Only now does the process read what it was asked first. */
	serves->question = first;
	fake_quiesced(serves);
	fake_saved(serves, 7, 0);
	fake_resumed(serves);
	fake_refused(serves, "too late");
	assert_waits(&bob);
	cr_assert_not(is_closed(fd));
	serves->question = second;
	fake_quiesced(serves);
	fake_saved(serves, 10, 0);
	fake_resumed(serves);
	assert_answer(&bob, WIRE_EXIT_DONE, "web is saved");
	cr_assert_eq(bob.result->save->records, 10);
}

Test(save, does_not_wait_for_the_answer_to_an_earlier_save_of_another_process)
{
	save(&ann);
	hosted_pass(23 * USEC_PER_SEC);
	save(&ann);
	hosted_pass(23 * USEC_PER_SEC);
	fake_refused(serves, "too late");
	fake_exit(serves, SIGSEGV);
	hosted_pass(100 * USEC_PER_MSEC);
	serves = started(1);
	hosted_start_up(serves);
	save(&ann);
	fake_saved(serves, 10, 0);
	fake_resumed(serves);
	assert_answer(&ann, WIRE_EXIT_DONE, "web is saved");
	save(&ann);
	hosted_pass(23 * USEC_PER_SEC);
	/* A roll asks the process, too, and hears what it says to that. */
	hosted_lead(serves, hosted_roll("v2"), ROLL_BAKE);
	hosted_pass(60 * USEC_PER_SEC);
	save(&ann);
	fake_saved(started(2), 10, 0);
	fake_resumed(started(2));
	assert_answer(&ann, WIRE_EXIT_DONE, "web is saved");
}

Test(save, ends_with_the_process)
{
	int fd = save(&ann);

	fake_quiesced(serves);
	fake_exit(serves, SIGSEGV);
	assert_answer(&ann, WIRE_EXIT_ERROR, "web was not saved");
	cr_assert_str_eq(ann.asked.cause, "it ended meanwhile");
	cr_assert_str_eq(ann.asked.serving, "nothing");
	cr_assert(is_closed(fd));
	assert_status("waiting to restart", "v1");
}

Test(save, goes_on_even_if_nobody_waits_for_it_any_more)
{
	int fd = save(&ann);

	caller_leave(&ann);
	fake_quiesced(serves);
	cr_assert_not(is_closed(fd));
	fake_saved(serves, 10, 0);
	fake_resumed(serves);
	cr_assert(is_closed(fd));
	fd = save(&ann);
	caller_leave(&ann);
	hosted_pass(23 * USEC_PER_SEC);
	cr_assert(is_closed(fd));
	assert_status("running", "v1");
}

Test(save, is_not_heard_of_where_nobody_asked)
{
	fake_quiesced(serves);
	fake_saved(serves, 10, 0);
	fake_resumed(serves);
	fake_not_yet(serves);
	hosted_pass(USEC_PER_SEC);
	cr_assert_eq(prepares(), 0);
	assert_status("running", "v1");
}

Test(save, is_called_off_when_the_daemon_ends)
{
	int fd = save(&ann);

	service_end(hosted.web);
	assert_answer(&ann, WIRE_EXIT_ERROR, NOT_SAVED);
	cr_assert_str_eq(ann.asked.cause, "the service is being stopped");
	cr_assert(is_closed(fd));
	cr_assert_eq(serves->signal, SIGTERM);
	hosted_end_all();
	assert_status("stopped", "v1");
}

/* ---- a child process of its own ---- */

Test(save, waits_for_a_child_of_the_process_as_long_as_child_timeout_says)
{
	uint64_t first;

	save(&ann);
	first = serves->question;
	for (unsigned i = 0; i < 1000; i++) {
		fake_awaits_child(serves, 4711, "writes dump.rdb");
		hosted_pass(600 * USEC_PER_MSEC);
		cr_assert_eq(serves->question, first + i + 1);
		cr_assert_eq(serves->quiesce_deadline_us, hosted.now_us + 2 * USEC_PER_SEC);
		cr_assert_eq(serves->commit_deadline_us, hosted.now_us + 22 * USEC_PER_SEC);
	}
	assert_waits(&ann);
	assert_text(ann.said, "quiesce: version v1 waits for its child process 4711: writes dump.rdb\n");
	fake_awaits_child(serves, 4711, "writes dump.rdb");
	assert_answer(&ann, WIRE_EXIT_ERROR, NOT_SAVED);
	cr_assert_str_eq(ann.asked.cause,
			 "it still waits after 600 s (ChildTimeout=) for its child process 4711: writes dump.rdb");
}

Test(save, is_done_when_the_child_has_ended)
{
	save(&ann);
	fake_awaits_child(serves, 4711, "writes dump.rdb");
	hosted_pass(600 * USEC_PER_MSEC);
	fake_quiesced(serves);
	hosted_pass(20 * USEC_PER_SEC);
	fake_saved(serves, 10, 0);
	fake_resumed(serves);
	assert_answer(&ann, WIRE_EXIT_DONE, "web is saved");
	cr_assert_str_eq(ann.result->save->waited_for, "its child process 4711: writes dump.rdb");
}

Test(save, is_called_off_while_a_child_is_waited_for)
{
	save(&ann);
	fake_awaits_child(serves, 4711, "writes dump.rdb");
	service_abort(hosted.web, ask(&bob));
	cr_assert_eq(ann.asked.answers, 1);
	cr_assert_eq(bob.asked.code, WIRE_EXIT_DONE, "%s", bob.asked.text);
	hosted_pass(60 * USEC_PER_SEC);
	cr_assert_eq(prepares(), 1);
}
