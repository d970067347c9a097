/* SPDX-License-Identifier: MIT */
/* Back to a version before: outside of a bake, within it, by a rung, and by itself. And what else is asked of a bake.
 *
 * The processes of most tests: 0 is v1, which serves first; 1 is v2, which bakes; 2 is the fresh v1 of the roll backward. ann asked
 * for the roll, bob asks for the way back. */
#include "tests/supervisor/hosted.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

#define HEARD(what) UPGRADED__WIRE__APP_MESSAGE__BODY_##what
#define LEFT "web: version v2 was undone: v1 serves, with all state from v2"
#define BACK_FROM_MEMORY "web: version v2 failed after it had taken over; v1 is back from memory and serves"

static struct caller carl;

static void set_up(void)
{
	hosted_set(NULL);
}

static void tear_down(void)
{
	ask(&carl);
	hosted_clear();
}

TestSuite(undo, .timeout = 20, .init = set_up, .fini = tear_down);

static void undo_to(struct caller *caller, const char *version)
{
	struct roll_request back = request(version);

	service_undo(hosted.web, &back, ask(caller));
}

static void undo(struct caller *caller)
{
	undo_to(caller, "");
}

static void undo_by(struct caller *caller, enum undo_way way)
{
	struct roll_request back = { .way = way };

	service_undo(hosted.web, &back, ask(caller));
}

static void pack(struct caller *caller)
{
	service_pack(hosted.web, ask(caller));
}

/* The roll that was begun last goes well, and its bake is over. */
static void succeed(struct fake *from, struct fake *to)
{
	hosted_lead(from, to, ROLL_BAKE);
	hosted_pass(60 * USEC_PER_SEC);
	hosted_reap();
	assert_status("running", to->instance.version);
}

/* ann rolls from the process that serves. Return: who serves then. */
static struct fake *roll_on(struct fake *from, const char *version)
{
	struct fake *to = hosted_roll(version);

	succeed(from, to);
	return to;
}

static const char *history(void)
{
	static char list[256];
	struct status status;
	size_t used = 0;

	*list = 0;
	service_status(hosted.web, &status);
	for (size_t i = 0; i < status.message.n_history; i++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? " " : "", status.message.history[i]);
	status_done(&status);
	return list;
}

/* ---- outside of a bake ---- */

Test(undo, rolls_to_the_version_before)
{
	struct fake *v2 = roll_on(hosted_serve("v1"), "v2");

	undo(&bob);
	cr_assert_str_eq(started(2)->instance.version, "v1");
	succeed(v2, started(2));
	assert_answer(&bob, WIRE_EXIT_DONE, "web: version v1 serves");
	assert_serving(&bob, started(2));
	cr_assert_str_eq(history(), "v2");
	/* An undo can be undone. */
	undo(&bob);
	cr_assert_str_eq(started(3)->instance.version, "v2");
	succeed(started(2), started(3));
	assert_answer(&bob, WIRE_EXIT_DONE, "web: version v2 serves");
	cr_assert_str_eq(history(), "v1");
}

Test(undo, rolls_to_any_version_that_served_before)
{
	struct fake *v3 = roll_on(roll_on(hosted_serve("v1"), "v2"), "v3");

	cr_assert_str_eq(history(), "v1 v2");
	undo_to(&bob, "v4");
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: version v4 did not serve before v3");
	cr_assert(strstr(bob.asked.next, "upgradectl status lists the versions before"), "%s", bob.asked.next);
	undo_to(&bob, "v3");
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: version v3 did not serve before v3");
	assert_serving(&bob, v3);
	undo_to(&bob, "v1");
	succeed(v3, started(3));
	assert_answer(&bob, WIRE_EXIT_DONE, "web: version v1 serves");
	cr_assert_str_eq(history(), "v2 v3");
}

Test(undo, is_refused_where_there_is_nothing_to_undo)
{
	struct fake *old;

	undo(&bob);
	assert_answer(&bob, WIRE_EXIT_NOT_RUNNING, "web is not running");
	old = hosted_serve("v1");
	undo(&bob);
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: there is nothing to undo: version v1 was not rolled to");
	cr_assert_str_eq(bob.asked.next, "to go to a certain version use upgradectl roll");
	assert_serving(&bob, old);
	undo_to(&bob, "v2");
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: version v2 did not serve before v1");
	undo_by(&bob, UNDO_LIVE);
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: there is nothing to undo: version v1 was not rolled to");
	undo_by(&bob, UNDO_PARKED);
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: a version is parked or an image within the bake of its roll only");
	cr_assert_str_eq(bob.asked.next, "nothing was touched; upgradectl undo without --way goes back with all state");
	/* A version that served keeps its own service file: what became of the one on disk does not matter. */
	hosted_write("Bake=long\n");
	undo(&bob);
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: there is nothing to undo: version v1 was not rolled to");
}

Test(undo, does_not_go_back_to_a_version_that_was_left_in_its_bake)
{
	struct fake *v2 = hosted_bake();

	fake_exit(v2, SIGSEGV);
	fake_resumed(started(0));
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK, BACK_FROM_MEMORY);
	cr_assert_str_eq(history(), "");
	undo_to(&bob, "v2");
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: version v2 did not serve before v1");
}

/* ---- the same version again ---- */

static struct fake *roll_again(struct fake *from, unsigned n)
{
	struct roll_request to = request(from->instance.version);

	to.again = true;
	service_roll(hosted.web, &to, ask(&ann));
	succeed(from, started(n));
	assert_answer(&ann, WIRE_EXIT_DONE, "web: version %s serves", to.version);
	assert_serving(&ann, started(n));
	return started(n);
}

Test(undo, of_the_same_version_goes_back_to_it_as_it_was)
{
	struct fake *second = roll_again(roll_on(hosted_serve("v1"), "v2"), 2);

	cr_assert_str_eq(history(), "v1 v2");
	undo(&bob);
	cr_assert_str_eq(started(3)->instance.version, "v2");
	succeed(second, started(3));
	assert_answer(&bob, WIRE_EXIT_DONE, "web: version v2 serves");
	cr_assert_str_eq(history(), "v1 v2");
	undo_to(&bob, "v1");
	succeed(started(3), started(4));
	cr_assert_str_eq(history(), "v2", "each version once");
}

Test(undo, of_the_same_version_comes_back_from_memory)
{
	struct roll_request to = request("v1");
	struct fake *first = hosted_serve("v1");

	to.again = true;
	service_roll(hosted.web, &to, ask(&ann));
	hosted_lead(first, started(1), ROLL_BAKE);
	cr_assert_str_eq(hosted_processes(), "serving v1, parked v1");
	fake_exit(started(1), SIGSEGV);
	fake_resumed(first);
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK,
		      "web: version v1 failed after it had taken over; v1 is back from memory and serves");
	assert_serving(&ann, first);
	cr_assert_str_eq(history(), "");
}

/* Its bake leads on to it once more. */
Test(undo, of_the_same_version_within_a_bake)
{
	struct fake *second = hosted_bake();
	struct roll_request to = request("v2");

	to.again = true;
	service_roll(hosted.web, &to, ask(&bob));
	succeed(second, started(2));
	assert_answer(&bob, WIRE_EXIT_DONE, "web: version v2 serves");
	assert_serving(&bob, started(2));
	cr_assert_str_eq(history(), "v1 v2");
}

/* ---- within a bake: by a roll beside the one that bakes ---- */

/* v2 bakes, and bob undoes it. Return: the fresh v1. */
static struct fake *bake_and_undo(void)
{
	hosted_bake();
	undo(&bob);
	assert_waits(&bob);
	cr_assert_str_eq(started(2)->instance.version, "v1");
	return started(2);
}

Test(undo, leaves_a_version_that_bakes_with_all_its_state)
{
	struct fake *back = bake_and_undo(), *new = started(1);

	assert_status("rolling", "v2");
	cr_assert_str_eq(hosted_processes(), "standby v1, serving v2, parked v1");
	cr_assert_str_eq(hosted_doing(), "backward");
	hosted_lead(new, back, ROLL_COMMIT);
	assert_waits(&ann);
	hosted_lead_on(new, back, ROLL_COMMIT, ROLL_PARK);
	/* The first roll is over. Who waited for it is told, and bob waits for the second one. */
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK, LEFT);
	assert_serving(&ann, back);
	cr_assert_str_eq(ann.result->roll->outcome, "rolled-back-live");
	assert_waits(&bob);
	cr_assert_eq(started(0)->signal, SIGKILL, "the parked version is of no use any more");
	hosted_lead_on(new, back, ROLL_PARK, ROLL_BAKE);
	hosted_reap();
	cr_assert_str_eq(hosted_processes(), "serving v1, parked v2");
	assert_status("baking", "v1");
	hosted_pass(60 * USEC_PER_SEC);
	assert_answer(&bob, WIRE_EXIT_DONE, "web: version v1 serves");
	assert_serving(&bob, back);
	assert_status("running", "v1");
	cr_assert_str_eq(history(), "v2");
}

Test(undo, tells_its_progress_to_who_asked_for_it)
{
	struct fake *back = bake_and_undo();

	cr_assert(strstr(ann.said, "undo: by order; rolling back to version v1 with all state\n"), "%s", ann.said);
	cr_assert(strstr(bob.said, "standby: version v1 started as pid "), "%s", bob.said);
	cr_assert_null(strstr(ann.said, "version v1 started"), "%s", ann.said);
	/* Where nobody asked, or has left, who waits for the first roll is told. */
	caller_leave(&bob);
	hosted_lead(started(1), back, ROLL_QUIESCE);
	cr_assert(strstr(ann.said, "quiesce: version v2 was asked to quiesce\n"), "%s", ann.said);
}

Test(undo, answers_at_its_commit_whoever_wants_that)
{
	struct fake *back = bake_and_undo();

	bob.asked.asker.wait_commit = true;
	hosted_lead(started(1), back, ROLL_PARK);
	assert_answer(&bob, WIRE_EXIT_DONE, "web: version v1 serves");
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK, LEFT);
}

Test(undo, goes_to_the_version_before_and_no_other_within_a_bake)
{
	hosted_bake();
	undo_to(&bob, "v3");
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: within the bake undo goes to version v1, not to v3");
	assert_serving(&bob, started(1));
	assert_status("baking", "v2");
	undo_to(&bob, "v1");
	assert_waits(&bob);
	cr_assert_str_eq(hosted_doing(), "backward");
}

Test(undo, bakes_as_long_as_it_was_asked_to)
{
	struct roll_request back = { .bake_us = 5 * USEC_PER_SEC };

	hosted_bake();
	service_undo(hosted.web, &back, ask(&bob));
	hosted_lead(started(1), started(2), ROLL_BAKE);
	hosted_pass(5 * USEC_PER_SEC - 1);
	assert_waits(&bob);
	hosted_pass(1);
	assert_answer(&bob, WIRE_EXIT_DONE, "web: version v1 serves");
}

Test(undo, waits_until_the_version_before_is_parked)
{
	struct fake *old = hosted_serve("v1"), *new = hosted_roll("v2");

	hosted_lead(old, new, ROLL_PARK);
	undo(&bob);
	undo(&carl);
	assert_answer(&carl, WIRE_EXIT_BUSY, "web: something else was asked of this roll");
	cr_assert_str_eq(carl.asked.next, "wait for it, or watch it with upgradectl status");
	hosted_lead_on(old, new, ROLL_PARK, ROLL_IMAGE);
	cr_assert_eq(hosted.origin.n_started, 2);
	hosted_lead_on(old, new, ROLL_IMAGE, ROLL_BAKE);
	cr_assert_str_eq(hosted_doing(), "backward");
	hosted_lead(new, started(2), ROLL_PARK);
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK, LEFT);
}

Test(undo, is_refused_if_the_version_before_cannot_be_started)
{
	struct fake *new = hosted_bake();

	hosted.origin.refuses = true;
	undo(&bob);
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: the roll back to v1 was refused");
	cr_assert_str_eq(bob.asked.cause, "version v1: no such file");
	cr_assert_str_eq(bob.asked.next, "nothing was touched");
	assert_serving(&bob, new);
	cr_assert_str_eq(hosted_processes(), "serving v2, parked v1");
	/* The bake goes on, and who waits for it waits on. */
	assert_status("baking", "v2");
	assert_waits(&ann);
	hosted_pass(60 * USEC_PER_SEC);
	assert_answer(&ann, WIRE_EXIT_DONE, "web: version v2 serves");
}

Test(undo, is_refused_by_the_version_before_and_the_bake_goes_on)
{
	struct fake *back = bake_and_undo();
	pid_t pid = back->instance.pid;

	fake_refused(back, "not again");
	assert_waits(&bob);
	hosted_reap();
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: the roll to v1 was refused; nothing was touched");
	assert_text(bob.asked.cause, "version v1 (pid %d) spoke before it said hello", pid);
	assert_serving(&bob, started(1));
	assert_status("baking", "v2");
	/* It may be asked for again, and the other ways are still there. */
	undo(&bob);
	fake_hello(started(3), 1, false);
	fake_exit(started(3), 1 << 8);
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: the roll to v1 was refused; nothing was touched");
	fake_exit(started(1), SIGSEGV);
	fake_resumed(started(0));
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK, BACK_FROM_MEMORY);
	assert_serving(&ann, started(0));
}

Test(undo, is_called_off_by_the_version_that_bakes_and_the_bake_goes_on)
{
	struct fake *back = bake_and_undo(), *new = started(1);

	hosted_lead(new, back, ROLL_TRANSFER);
	assert_status("rolling", "v2");
	cr_assert_str_eq(hosted_processes(), "standby v1, quiesced v2, parked v1");
	fake_refused(new, "the state does not fit");
	fake_resumed(new);
	hosted_reap();
	assert_answer(&bob, WIRE_EXIT_ROLLED_BACK, "web: the roll to v1 was aborted before it committed; nothing was lost");
	cr_assert(strstr(bob.asked.cause, "the state does not fit"), "%s", bob.asked.cause);
	assert_serving(&bob, new);
	assert_status("baking", "v2");
	hosted_pass(60 * USEC_PER_SEC);
	assert_answer(&ann, WIRE_EXIT_DONE, "web: version v2 serves");
	cr_assert_str_eq(history(), "v1");
}

/* v2 dies in @state of the roll backward. Then the parked v1 comes back. */
static void dies_in(enum roll_state state)
{
	struct fake *back = bake_and_undo();

	hosted_lead(started(1), back, state);
	hosted_pass(1500 * USEC_PER_MSEC);
	fake_exit(started(1), SIGSEGV);
	hosted_reap();
	assert_waits(&ann);
	assert_waits(&bob);
	cr_assert_eq(fake_heard_last(started(0)), HEARD(FDS)); /* after Resume */
	fake_resumed(started(0));
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK, BACK_FROM_MEMORY);
	cr_assert(strstr(ann.asked.cause, "killed by SIGSEGV"), "%s", ann.asked.cause);
	assert_answer(&bob, WIRE_EXIT_DONE,
		      "web: version v1 serves again; what was written in the 1.5 s since the commit is gone");
	assert_serving(&bob, started(0));
	assert_status("running", "v1");
	cr_assert_str_eq(hosted_processes(), "serving v1");
}

Test(undo, goes_back_to_memory_if_the_version_dies_before_it_is_asked_to_leave)
{
	dies_in(ROLL_STANDBY);
}

Test(undo, goes_back_to_memory_if_the_version_dies_while_it_hands_over)
{
	dies_in(ROLL_TRANSFER);
}

Test(undo, goes_on_if_the_version_dies_when_it_has_handed_over)
{
	struct fake *back = bake_and_undo();

	hosted_lead(started(1), back, ROLL_COMMIT);
	fake_exit(started(1), SIGSEGV);
	cr_assert(fake_commit(back));
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK, LEFT);
	hosted_pass(60 * USEC_PER_SEC);
	assert_answer(&bob, WIRE_EXIT_DONE, "web: version v1 serves");
	assert_serving(&bob, back);
}

/* Both processes of the roll backward are lost at its commit. The parked v1 has the state of the commit before. */
Test(undo, goes_back_to_memory_if_both_versions_are_lost_at_its_commit)
{
	struct fake *back = bake_and_undo(), *new = started(1);

	hosted_lead(new, back, ROLL_COMMIT);
	fake_exit(new, SIGKILL);
	fake_begin_exit(back, SIGSEGV);
	cr_assert(fake_commit(back), "the commit word is not to be had");
	fake_end_exit(back);
	cr_assert_eq(hosted.origin.n_started, 3, "nothing starts empty while there is a way back");
	cr_assert_eq(fake_heard_last(started(0)), HEARD(FDS)); /* after Resume */
	fake_resumed(started(0));
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK, BACK_FROM_MEMORY);
	cr_assert_eq(bob.asked.answers, 1);
	cr_assert_eq(bob.asked.code, WIRE_EXIT_DONE, "%s", bob.asked.text);
	assert_serving(&bob, started(0));
	assert_status("running", "v1");
}

Test(undo, goes_on_even_if_nobody_waits_for_it_any_more)
{
	static const enum roll_state states[] = { ROLL_STANDBY, ROLL_TRANSFER, ROLL_COMMIT, ROLL_BAKE };
	struct fake *serves = hosted_serve("v1"), *new, *back;

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		new = hosted_roll("v2");
		hosted_lead(serves, new, ROLL_BAKE);
		undo(&bob);
		back = started(hosted.origin.n_started - 1);
		hosted_lead(new, back, states[i]);
		caller_leave(&bob);
		if (i % 2 && !ann.asked.answers)
			caller_leave(&ann);
		hosted_lead_on(new, back, states[i], ROLL_BAKE);
		hosted_pass(60 * USEC_PER_SEC);
		hosted_reap();
		assert_status("running", "v1");
		serves = back;
	}
}

Test(undo, can_be_undone_within_its_own_bake)
{
	struct fake *back = bake_and_undo();

	hosted_lead(started(1), back, ROLL_BAKE);
	undo(&carl);
	assert_waits(&bob);
	cr_assert_str_eq(started(3)->instance.version, "v2");
	hosted_reap();
	cr_assert_str_eq(hosted_processes(), "standby v2, serving v1, parked v2");
	hosted_lead(back, started(3), ROLL_PARK);
	assert_answer(&bob, WIRE_EXIT_ROLLED_BACK, "web: version v1 was undone: v2 serves, with all state from v1");
	hosted_lead_on(back, started(3), ROLL_PARK, ROLL_BAKE);
	hosted_pass(60 * USEC_PER_SEC);
	assert_answer(&carl, WIRE_EXIT_DONE, "web: version v2 serves");
	cr_assert_eq(ann.asked.answers, 1);
}

Test(undo, ends_with_the_daemon_and_leaves_the_version_that_served)
{
	struct fake *back = bake_and_undo();

	hosted_lead(started(1), back, ROLL_TRANSFER);
	hosted_end_all();
	assert_answer(&bob, WIRE_EXIT_ROLLED_BACK, "web: the roll to v1 was aborted before it committed; nothing was lost");
	cr_assert_str_eq(bob.asked.cause, "aborted by the operator");
	assert_answer(&ann, WIRE_EXIT_DONE, "web: version v2 serves");
	assert_status("stopped", "v2");
}

Test(undo, is_accepted_when_the_service_is_stopped)
{
	struct fake *back = bake_and_undo();

	hosted_lead(started(1), back, ROLL_BAKE);
	service_stop(hosted.web, ask(&carl));
	assert_answer(&bob, WIRE_EXIT_DONE, "web: version v1 serves");
	assert_serving(&bob, back);
	fake_exit(back, 0);
	assert_answer(&carl, WIRE_EXIT_DONE, "web is stopped");
	assert_status("stopped", "v1");
}

/* ---- by order, to what lies parked ---- */

Test(undo, ends_the_version_that_bakes_for_the_parked_one)
{
	struct fake *new = hosted_bake();

	hosted_pass(2 * USEC_PER_SEC);
	undo_by(&bob, UNDO_PARKED);
	cr_assert_eq(new->signal, SIGKILL);
	assert_waits(&bob);
	hosted_reap();
	fake_resumed(started(0));
	assert_answer(&bob, WIRE_EXIT_DONE,
		      "web: version v1 serves again; what was written in the 2.0 s since the commit is gone");
	assert_serving(&bob, started(0));
	cr_assert_eq(hosted.origin.n_started, 2, "no fresh process is needed");
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK, BACK_FROM_MEMORY);
	cr_assert_str_eq(ann.asked.cause, "version v2 was given up by order");
	assert_status("running", "v1");
}

Test(undo, ends_both_versions_for_the_image)
{
	hosted_bake();
	undo_by(&bob, UNDO_IMAGE);
	hosted_reap();
	cr_assert(fake_imaging.restores);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	fake_resumed(started(0));
	assert_answer(&bob, WIRE_EXIT_DONE, "web: version v1 serves again");
	assert_serving(&bob, started(0));
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK,
		      "web: version v2 failed after it had taken over; v1 is back from its image and serves");
}

Test(undo, is_refused_by_a_rung_that_is_not_there)
{
	struct fake *new;

	hosted_write("Rollback=parked\n");
	new = hosted_bake();
	undo_by(&bob, UNDO_IMAGE);
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: there is no version before that is an image that can be used");
	cr_assert_str_eq(bob.asked.cause, "no version is an image");
	cr_assert_str_eq(bob.asked.next, "nothing was touched; upgradectl status shows which way back there is");
	assert_serving(&bob, new);
	fake_exit(started(0), SIGKILL);
	undo_by(&bob, UNDO_PARKED);
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: there is no version before that is parked in memory");
	cr_assert_str_eq(bob.asked.cause, "no version lies parked in memory");
	cr_assert_eq(new->signal, 0);
	assert_status("baking", "v2");
	assert_waits(&ann);
}

Test(undo, is_refused_by_an_image_that_cannot_be_used)
{
	struct fake *new = hosted_bake();

	fake_imaging.rung_is_bad = true;
	undo_by(&bob, UNDO_IMAGE);
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: there is no version before that is an image that can be used");
	cr_assert_str_eq(bob.asked.cause, "a library that the image needs is gone");
	cr_assert_eq(new->signal, 0);
	undo_by(&bob, UNDO_PARKED);
	cr_assert_eq(new->signal, SIGKILL);
}

Test(undo, says_that_the_way_back_failed)
{
	hosted_bake();
	undo_by(&bob, UNDO_PARKED);
	hosted_reap();
	fake_exit(started(0), SIGSEGV); /* while it resumes */
	fake_imaging_done(-5, CRIU_TARGET_RUNNING);
	cr_assert_str_eq(started(2)->instance.version, "v1");
	hosted_start_up(started(2));
	assert_answer(&bob, WIRE_EXIT_WAY_BACK_FAILED, "web: version v1: its way back failed");
	assert_serving(&bob, started(2));
	assert_answer(&ann, WIRE_EXIT_WAY_BACK_FAILED,
		      "web: the roll to v2 failed and no way back was left; v1 was started empty");
}

Test(undo, by_a_rung_goes_on_even_if_nobody_waits_for_it_any_more)
{
	hosted_bake();
	undo_by(&bob, UNDO_PARKED);
	caller_leave(&bob);
	undo_by(&carl, UNDO_PARKED);
	assert_answer(&carl, WIRE_EXIT_REFUSED, "web: a version is parked or an image within the bake of its roll only");
	hosted_reap();
	fake_resumed(started(0));
	assert_status("running", "v1");
}

/* ---- pack ---- */

Test(undo, packs_a_parked_version_that_has_an_image)
{
	struct fake *new = hosted_bake();

	pack(&bob);
	assert_answer(&bob, WIRE_EXIT_DONE, "web: version v1 has left memory; its image is the way back");
	assert_serving(&bob, new);
	cr_assert_eq(fake_imaging.taken, 1, "it has one already");
	hosted_reap();
	cr_assert_str_eq(hosted_processes(), "serving v2, imaged v1");
	assert_status("baking", "v2");
	pack(&bob);
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: there is no parked version that could become an image");
	cr_assert_str_eq(bob.asked.cause, "no version lies parked in memory");
	hosted_pass(60 * USEC_PER_SEC);
	assert_answer(&ann, WIRE_EXIT_DONE, "web: version v2 serves");
}

Test(undo, packs_a_parked_version_by_taking_its_image)
{
	hosted_write("Rollback=parked\n");
	hosted_bake();
	pack(&bob);
	assert_waits(&bob);
	cr_assert_not(fake_imaging.leave_running);
	undo(&carl);
	assert_answer(&carl, WIRE_EXIT_BUSY, "web: something else was asked of this roll");
	pack(&carl);
	assert_answer(&carl, WIRE_EXIT_BUSY, "web: something else was asked of this roll");
	fake_imaging_done(0, CRIU_TARGET_GONE);
	assert_answer(&bob, WIRE_EXIT_DONE, "web: version v1 has left memory; its image is the way back");
	assert_waits(&ann);
}

Test(undo, says_why_a_parked_version_was_not_packed)
{
	hosted_write("Rollback=parked\n");
	hosted_bake();
	fake_imaging.refuses = true;
	pack(&bob);
	assert_answer(&bob, WIRE_EXIT_ERROR, "web: version v1 did not become an image");
	cr_assert_str_eq(bob.asked.cause, "the disk is full");
	cr_assert_str_eq(bob.asked.next, "upgradectl status shows which way back is left");
	fake_imaging.refuses = false;
	pack(&bob);
	fake_imaging_done(-5, CRIU_TARGET_RUNNING);
	assert_answer(&bob, WIRE_EXIT_ERROR, "web: version v1 did not become an image");
	cr_assert_str_eq(bob.asked.cause, "CRIU failed");
	hosted.site->criu_path = NULL;
	pack(&bob);
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: there is no parked version that could become an image");
	cr_assert_str_eq(bob.asked.cause, "no usable CRIU, see upgradectl check");
	cr_assert_str_eq(hosted_processes(), "serving v2, parked v1");
}

Test(undo, packs_nothing_outside_of_a_bake)
{
	struct fake *old = hosted_serve("v1"), *new;

	pack(&bob);
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: there is no parked version that could become an image");
	cr_assert_str_eq(bob.asked.cause, "no roll is under way");
	new = hosted_roll("v2");
	pack(&bob);
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: there is no parked version that could become an image");
	cr_assert_str_eq(bob.asked.cause, "no bake is on (standby)");
	hosted_lead(old, new, ROLL_BAKE);
	undo(&bob);
	caller_leave(&bob);
	pack(&bob);
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: there is no parked version that could become an image");
}

Test(undo, says_that_a_pack_was_overtaken_by_the_way_back)
{
	hosted_write("Rollback=parked\n");
	hosted_bake();
	pack(&bob);
	fake_exit(started(1), SIGSEGV);
	assert_waits(&bob);
	fake_imaging_done(-5, CRIU_TARGET_RUNNING);
	fake_resumed(started(0));
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK, BACK_FROM_MEMORY);
	assert_answer(&bob, WIRE_EXIT_ERROR, "web: version v1 did not become an image: it serves again");
	cr_assert(strstr(bob.asked.cause, "killed by SIGSEGV"), "%s", bob.asked.cause);
	assert_serving(&bob, started(0));
}

Test(undo, packs_by_itself_when_memory_is_short_and_undo_waits_for_that)
{
	hosted_write("Rollback=parked\nMemoryLow=1024T\n");
	hosted_bake();
	hosted_turn();
	cr_assert_str_eq(hosted_doing(), "pack");
	undo(&bob);
	assert_waits(&bob);
	fake_imaging_done(0, CRIU_TARGET_GONE);
	assert_waits(&bob);
	cr_assert_str_eq(hosted_doing(), "backward");
	hosted_lead(started(1), started(2), ROLL_PARK);
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK, LEFT);
}

Test(undo, packs_even_if_nobody_waits_for_it_any_more)
{
	hosted_write("Rollback=parked\n");
	hosted_bake();
	pack(&bob);
	caller_leave(&bob);
	hosted_pass(60 * USEC_PER_SEC); /* the bake is over */
	assert_waits(&ann);
	fake_imaging_done(0, CRIU_TARGET_GONE);
	hosted_pass(1); /* the version gives the sign of life that a bake ends with */
	assert_answer(&ann, WIRE_EXIT_DONE, "web: version v2 serves");
	assert_status("running", "v2");
}

/* ---- a version that is not well ---- */

/* A port of this machine at which nobody answers, as long as the descriptor is open. */
static int dead_port(int *ret_fd)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);

	*ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_geq(*ret_fd, 0);
	cr_assert_eq(bind(*ret_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(getsockname(*ret_fd, (struct sockaddr *)&address, &size), 0);
	return ntohs(address.sin_port);
}

/* A check of each version from v2 on fails. Return: what keeps the port. */
static int fail_checks(void)
{
	char lines[128];
	int fd;

	snprintf(lines, sizeof(lines), "HealthTCP=127.0.0.1:%d\nHealthFailures=1\n", dead_port(&fd));
	hosted_write(lines);
	return fd;
}

/* v2 bakes, and is not well. Return: what keeps the port. */
static int bake_sick(void)
{
	int fd = fail_checks();

	hosted_bake();
	hosted_pass(2 * USEC_PER_SEC);
	cr_assert_str_eq(hosted_doing(), "backward");
	return fd;
}

Test(undo, leaves_a_version_that_is_not_well_by_itself)
{
	int fd = bake_sick();
	struct fake *back = started(2);

	cr_assert(strstr(ann.said, "; rolling back to version v1 with all state\n"), "%s", ann.said);
	hosted_lead(started(1), back, ROLL_PARK);
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK, LEFT);
	cr_assert(strstr(ann.asked.cause, "HealthTCP=127.0.0.1:"), "%s", ann.asked.cause);
	assert_serving(&ann, back);
	hosted_lead_on(started(1), back, ROLL_PARK, ROLL_BAKE);
	/* The check fails of this version, too. It is the last that there is. */
	hosted_pass(70 * USEC_PER_SEC);
	assert_status("running", "v1");
	hosted_reap();
	cr_assert_str_eq(hosted_processes(), "serving v1");
	cr_assert_str_eq(history(), "", "nobody goes back to a version that was not well");
	undo(&bob);
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: there is nothing to undo: version v1 was not rolled to");
	fd_close(fd);
}

Test(undo, ends_a_version_that_is_not_well_and_cannot_leave)
{
	int fd = bake_sick();

	fake_exit(started(2), 1 << 8);
	cr_assert_eq(started(1)->signal, SIGKILL);
	assert_waits(&ann);
	hosted_reap();
	fake_resumed(started(0));
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK, BACK_FROM_MEMORY);
	cr_assert(strstr(ann.asked.cause, "HealthTCP=127.0.0.1:"), "%s", ann.asked.cause);
	assert_serving(&ann, started(0));
	fd_close(fd);
}

Test(undo, keeps_a_version_that_is_not_well_if_there_is_nothing_better)
{
	int fd = bake_sick();

	fake_exit(started(0), SIGKILL);
	fake_imaging.rung_is_bad = true;
	fake_exit(started(2), 1 << 8);
	assert_status("baking", "v2");
	cr_assert(strstr(ann.said, "version v2 is kept all the same: no way back is left, and it answers\n"), "%s", ann.said);
	hosted_pass(70 * USEC_PER_SEC);
	assert_answer(&ann, WIRE_EXIT_DONE, "web: version v2 serves");
	assert_serving(&ann, started(1));
	fd_close(fd);
}

Test(undo, of_a_version_that_is_not_well_is_under_way_already)
{
	int fd = bake_sick();

	undo(&bob);
	assert_answer(&bob, WIRE_EXIT_BUSY, "web: another roll is under way (backward)");
	assert_serving(&bob, started(1));
	fd_close(fd);
}

/* v2 is not well, and bob wants it undone, before v1 is parked. Return: what keeps the port. */
static int undo_sick(void)
{
	int fd = fail_checks();
	struct fake *old = hosted_serve("v1"), *new = hosted_roll("v2");

	hosted_lead(old, new, ROLL_IMAGE);
	undo(&bob);
	hosted_pass(2 * USEC_PER_SEC);
	cr_assert_str_eq(hosted_doing(), "image");
	return fd;
}

/* The roll backward has failed, and v2 is ended for the parked v1: this is what bob waits for. */
static void comes_back_from_memory(void)
{
	assert_waits(&bob);
	cr_assert_eq(started(1)->signal, SIGKILL);
	hosted_reap();
	fake_resumed(started(0));
	assert_answer(&bob, WIRE_EXIT_DONE,
		      "web: version v1 serves again; what was written in the 2.0 s since the commit is gone");
	assert_serving(&bob, started(0));
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK, BACK_FROM_MEMORY);
}

Test(undo, of_a_version_that_is_not_well_ends_with_the_way_back_that_was_left)
{
	int fd = undo_sick();

	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	cr_assert_str_eq(hosted_doing(), "backward");
	fake_exit(started(2), 1 << 8);
	comes_back_from_memory();
	fd_close(fd);
}

Test(undo, of_a_version_that_is_not_well_ends_with_the_way_back_if_no_process_can_be_made)
{
	int fd = undo_sick();

	hosted.origin.refuses = true;
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	comes_back_from_memory();
	fd_close(fd);
}

Test(undo, of_a_version_that_is_not_well_is_refused_if_that_one_has_to_be_kept)
{
	int fd = undo_sick();

	fake_imaging_done(-5, CRIU_TARGET_GONE);
	fake_exit(started(0), SIGKILL);
	fake_exit(started(2), 1 << 8);
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: the roll to v1 was refused; nothing was touched");
	assert_serving(&bob, started(1));
	assert_waits(&ann);
	fd_close(fd);
}

Test(undo, of_a_version_that_is_not_well_ends_with_the_bake_if_nothing_can_be_done)
{
	int fd = undo_sick();

	hosted.origin.refuses = true;
	fake_imaging_done(-5, CRIU_TARGET_GONE);
	fake_exit(started(0), SIGKILL);
	assert_status("baking", "v2");
	hosted_pass(70 * USEC_PER_SEC);
	assert_answer(&ann, WIRE_EXIT_DONE, "web: version v2 serves");
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: version v2 serves on: there was no way back from it");
	fd_close(fd);
}

/* ---- what the version that is left says besides ---- */

Test(undo, hears_what_is_meant_for_the_roll_that_bakes)
{
	Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT, *list[] = { &info };
	Upgraded__Wire__Closed closed = UPGRADED__WIRE__CLOSED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(HEARD(CLOSED), .closed = &closed);
	struct status status;

	bake_and_undo();
	info.name = wire_text("socket");
	info.tag = 2;
	closed.n_fds = 1;
	closed.fds = list;
	service_status(hosted.web, &status);
	cr_assert_eq(status.message.descriptors, 2);
	status_done(&status);
	fake_say(started(1), &message);
	service_status(hosted.web, &status);
	cr_assert_eq(status.message.descriptors, 1);
	status_done(&status);
}
