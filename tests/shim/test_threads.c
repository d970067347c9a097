/* SPDX-License-Identifier: MIT */
/* Update points: everyone stands still, or nobody does and it is said who would not. */
#include "tests/shim/fake.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

TestSuite(shim_threads, .timeout = 60);

static struct app *app;
static struct fake fake;
static struct fake_roll roll;

static void setup(void)
{
	app = app_new();
	app_fill(app, 3, 5);
	fake_roll_open(&roll, 1);
}

static void teardown(void)
{
	fake_done(&fake);
	fake_roll_done(&roll);
}

static unsigned long turns_of(const struct app_worker *worker)
{
	return atomic_load(&worker->turns);
}

/* After Quiesced: what follows of a roll that is then called off. */
static void call_off(void)
{
	fake_take_fds(&fake, &roll);
	fake_drain(roll.state_in);
	FAKE_TAKE(&fake, SAVED);
	cr_assert(commit_take(&roll.word, COMMIT_ABORTED));
	fake_say_abort(&fake);
	FAKE_TAKE(&fake, RESUMED);
}

static void await_all_turn(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		fake_await(&app->workers[i].turns, turns_of(&app->workers[i]));
}

Test(shim_threads, stops_them_wherever_they_are_and_lets_them_go_again, .init = setup, .fini = teardown)
{
	unsigned long stood[6];

	app_worker_add(app, "turns-1", worker_turns);
	app_worker_add(app, "turns-2", worker_turns);
	app_worker_add(app, "reads-1", worker_reads);
	app_worker_add(app, "reads-2", worker_reads);
	app_worker_add(app, "waits-1", worker_waits);
	app_worker_add(app, "waits-2", worker_waits);
	fake_start_serving(&fake, app);
	for (unsigned i = 0; i < 6; i++)
		fake_await(&app->workers[i].turns, 0);
	for (unsigned round = 0; round < 10; round++) {
		if (round) {
			fake_roll_done(&roll);
			fake_roll_open(&roll, 1);
		}
		fake_prepare(&fake, &roll);
		FAKE_TAKE(&fake, QUIESCED);
		for (unsigned i = 0; i < 6; i++)
			stood[i] = turns_of(&app->workers[i]);
		cr_assert_eq(atomic_load(&app->n_prepared), round + 1);
		fake_take_fds(&fake, &roll);
		fake_drain(roll.state_in);
		FAKE_TAKE(&fake, SAVED);
		for (unsigned i = 0; i < 6; i++)
			cr_assert_eq(turns_of(&app->workers[i]), stood[i], "%s moved while all stood",
				     app->workers[i].name);
		fake_say_abort(&fake);
		FAKE_TAKE(&fake, RESUMED);
		/* Those that were nudged out of a call pass one point, and block again. */
		for (unsigned i = 0; i < 6; i++)
			fake_await(&app->workers[i].turns, stood[i]);
	}
}

Test(shim_threads, says_how_long_it_took, .init = setup, .fini = teardown)
{
	uint64_t before_us = clock_now_us(), ns;

	app_worker_add(app, "reads", worker_reads);
	fake_start_serving(&fake, app);
	fake_prepare(&fake, &roll);
	ns = FAKE_TAKE(&fake, QUIESCED)->quiesced->nanoseconds;
	cr_assert_leq(ns, (clock_now_us() - before_us) * 1000);
	call_off();
}

Test(shim_threads, does_not_wait_for_the_thread_that_asks, .init = setup, .fini = teardown)
{
	app->registers_main = true;
	app_worker_add(app, "turns", worker_turns);
	fake_start_serving(&fake, app);
	fake_prepare(&fake, &roll);
	FAKE_TAKE(&fake, QUIESCED);
	call_off();
}

Test(shim_threads, names_who_missed_the_deadline_and_releases_the_others, .init = setup, .fini = teardown)
{
	struct app_worker *slow, *quick;
	const char *reason;

	quick = app_worker_add(app, "quick", worker_turns);
	slow = app_worker_add(app, "slow", worker_held_up);
	fake_start_serving(&fake, app);
	fake_await(&quick->turns, 0);
	fake_await_set(&slow->entered);
	roll.quiesce_us = 100 * USEC_PER_MSEC;
	fake_prepare(&fake, &roll);
	reason = FAKE_TAKE(&fake, REFUSED)->refused->reason;
	cr_assert(strstr(reason, "slow (tid "), "%s", reason);
	cr_assert_not(strstr(reason, "quick"), "%s", reason);
	cr_assert_eq(atomic_load(&app->n_prepared), 0);
	await_all_turn(1);
	/* Late news of the end of that roll changes nothing. */
	fake_say_abort(&fake);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_OLD);
	fake_roll_done(&roll);

	/* Once it turns up, the next roll gets through. */
	atomic_store(&slow->go, true);
	fake_roll_open(&roll, 1);
	fake_prepare(&fake, &roll);
	FAKE_TAKE(&fake, QUIESCED);
	call_off();
	cr_assert_eq(atomic_load(&app->n_aborted), 1);
	await_all_turn(2);
}

Test(shim_threads, cannot_wake_who_blocks_without_a_signal_to_nudge_with, .init = setup, .fini = teardown)
{
	const char *reason;

	app->config.nudge_signal = 0;
	app_worker_add(app, "blocked", worker_reads);
	fake_start_serving(&fake, app);
	fake_await(&app->workers[0].turns, 0);
	roll.quiesce_us = 100 * USEC_PER_MSEC;
	fake_prepare(&fake, &roll);
	reason = FAKE_TAKE(&fake, REFUSED)->refused->reason;
	cr_assert(strstr(reason, "blocked (tid "), "%s", reason);
}

Test(shim_threads, has_the_application_wake_who_no_signal_gets_to_a_point, .init = setup, .fini = teardown)
{
	struct app_worker *deaf = app_worker_add(app, "deaf", worker_deaf), *idle = app_worker_add(app, "idle", worker_idle);

	app_wakes(app);
	fake_start_serving(&fake, app);
	fake_await(&deaf->turns, 0);
	fake_await(&idle->turns, 0);
	fake_prepare(&fake, &roll);
	FAKE_TAKE(&fake, QUIESCED);
	cr_assert(atomic_load(&deaf->n_wakes) > 0 && atomic_load(&idle->n_wakes) > 0);
	call_off();
	/* And for a sign of life. */
	for (uint64_t nonce = 1; nonce < 20; nonce++) {
		fake_say_ping(&fake, nonce);
		cr_assert_eq(FAKE_TAKE(&fake, PONG)->pong->nonce, nonce);
	}
}

Test(shim_threads, wakes_nobody_who_stands_or_who_dispatches, .init = setup, .fini = teardown)
{
	struct app_worker *slow = app_worker_add(app, "slow", worker_held_up), *deaf = app_worker_add(app, "deaf", worker_deaf);
	unsigned wakes;

	app_wakes(app);
	app->registers_main = true; /* without data: a wake() of it would not survive */
	fake_start_serving(&fake, app);
	fake_await(&deaf->turns, 0);
	fake_await_set(&slow->entered);
	roll.quiesce_us = 300 * USEC_PER_MSEC;
	fake_prepare(&fake, &roll);
	FAKE_TAKE(&fake, REFUSED);
	wakes = atomic_load(&slow->n_wakes);
	cr_assert_gt(wakes, 10, "it was woken %u times", wakes);
	cr_assert_lt(atomic_load(&deaf->n_wakes), wakes);
}

Test(shim_threads, lets_no_thread_leave_while_it_is_being_woken, .init = setup, .fini = teardown)
{
	struct app_worker *leaver = app_worker_add(app, "leaver", worker_leaves_woken);

	app_wakes(app);
	fake_start_serving(&fake, app);
	fake_await_set(&leaver->entered);
	fake_prepare(&fake, &roll);
	FAKE_TAKE(&fake, QUIESCED);
	fake_await_set(&leaver->left);
	call_off();
}

Test(shim_threads, holds_back_a_thread_that_comes_during_a_roll, .init = setup, .fini = teardown)
{
	struct app_worker *late = app_worker_add(app, "late", worker_comes_late);

	fake_start_serving(&fake, app);
	fake_prepare(&fake, &roll);
	FAKE_TAKE(&fake, QUIESCED);
	atomic_store(&late->go, true);
	fake_await_set(&late->entering);
	fake_take_fds(&fake, &roll);
	fake_drain(roll.state_in);
	FAKE_TAKE(&fake, SAVED);
	cr_assert_eq(turns_of(late), 0);
	fake_say_abort(&fake);
	FAKE_TAKE(&fake, RESUMED);
	fake_await(&late->turns, 0);
}

Test(shim_threads, does_not_wait_for_a_thread_that_left, .init = setup, .fini = teardown)
{
	struct app_worker *leaver = app_worker_add(app, "leaver", worker_leaves);
	struct app_worker *other = app_worker_add(app, "other", worker_turns);

	fake_start_serving(&fake, app);
	fake_await(&other->turns, 0);
	fake_await_set(&leaver->entered);
	fake_prepare(&fake, &roll);
	/* Whether it leaves before the roll looks at it, while it waits for it, or is only then seen. */
	atomic_store(&leaver->go, true);
	FAKE_TAKE(&fake, QUIESCED);
	call_off();
}

/* ---- what the application says to it ---- */

Test(shim_threads, asks_the_application_at_the_level_of_the_roll, .init = setup, .fini = teardown)
{
	fake_start_serving(&fake, app);
	fake_prepare(&fake, &roll);
	FAKE_TAKE(&fake, QUIESCED);
	cr_assert_eq(app->level, UPG_REQUEST_FREE);
	call_off();
}

Test(shim_threads, says_not_yet_and_serves_until_it_is_asked_again, .init = setup, .fini = teardown)
{
	uint64_t asked_us, begun_us;

	app_worker_add(app, "turns", worker_turns);
	app->prepare_says[0] = app->prepare_says[1] = UPG_NOT_YET;
	fake_start_serving(&fake, app);
	for (unsigned i = 0; i < 2; i++) {
		struct fake_roll again;

		fake_roll_open(&again, 1);
		again.generation = again.word.generation;
		fake_prepare(&fake, &again);
		FAKE_TAKE(&fake, NOT_YET);
		await_all_turn(1);
		cr_assert_eq(commit_owner(&again.word), COMMIT_OLD);
		fake_roll_done(&again);
	}
	asked_us = clock_now_us();
	fake_prepare(&fake, &roll);
	begun_us = FAKE_TAKE(&fake, QUIESCED)->quiesced->begun_us;
	cr_assert(begun_us >= asked_us && begun_us <= clock_now_us());
	call_off();
	cr_assert_eq(atomic_load(&app->n_prepared), 3);
	cr_assert_eq(atomic_load(&app->n_aborted), 1);
}

Test(shim_threads, refuses_when_the_application_does, .init = setup, .fini = teardown)
{
	const char *reason;

	app_worker_add(app, "turns", worker_turns);
	app->prepare_says[0] = UPG_REFUSE;
	fake_start_serving(&fake, app);
	fake_prepare(&fake, &roll);
	reason = FAKE_TAKE(&fake, REFUSED)->refused->reason;
	cr_assert_str_eq(reason, "the application refused to be rolled now");
	await_all_turn(1);
	cr_assert_eq(atomic_load(&app->n_aborted), 0);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_OLD);
}

Test(shim_threads, passes_on_why_the_application_is_not_at_rest, .init = setup, .fini = teardown)
{
	struct fake_roll again;

	snprintf(app->prepare_reason, sizeof(app->prepare_reason), "connection 17 uploads");
	app->prepare_says[0] = UPG_NOT_YET;
	app->prepare_says[1] = UPG_REFUSE;
	fake_start_serving(&fake, app);
	fake_roll_open(&again, 1);
	fake_prepare(&fake, &again);
	cr_assert_str_eq(FAKE_TAKE(&fake, NOT_YET)->not_yet->reason, "connection 17 uploads");
	fake_roll_done(&again);
	fake_roll_open(&again, 1);
	fake_prepare(&fake, &again);
	cr_assert_str_eq(FAKE_TAKE(&fake, REFUSED)->refused->reason,
			 "the application refused to be rolled now: connection 17 uploads");
	fake_roll_done(&again);
	cr_assert_eq(atomic_load(&app->n_aborted), 0, "it was not at rest, so it does not go on from it");
	/* It was no refusal to serve. */
	fake_prepare(&fake, &roll);
	FAKE_TAKE(&fake, QUIESCED);
	call_off();
	cr_assert_eq(atomic_load(&app->n_aborted), 1);
}

Test(shim_threads, passes_on_that_the_application_waits_for_a_child, .init = setup, .fini = teardown)
{
	static const struct {
		pid_t child;
		int told;
	} all[] = { { 4711, 4711 }, { 0, 0 }, { -1, 0 } };

	app_worker_add(app, "turns", worker_turns);
	snprintf(app->prepare_reason, sizeof(app->prepare_reason), "writes dump.rdb");
	fake_start_serving(&fake, app);
	for (unsigned i = 0; i < 3; i++) {
		const Upgraded__Wire__NotYet *not_yet;
		struct fake_roll again;

		app->prepare_says[i] = UPG_AWAIT_CHILD;
		app->prepare_child = all[i].child;
		fake_roll_open(&again, 1);
		fake_prepare(&fake, &again);
		not_yet = FAKE_TAKE(&fake, NOT_YET)->not_yet;
		cr_assert_str_eq(not_yet->reason, "child: writes dump.rdb");
		cr_assert(not_yet->awaits_child && not_yet->child == all[i].told);
		await_all_turn(1);
		fake_roll_done(&again);
	}
	app->prepare_says[3] = UPG_NOT_YET;
	fake_prepare(&fake, &roll);
	cr_assert_not(FAKE_TAKE(&fake, NOT_YET)->not_yet->awaits_child);
	cr_assert_eq(atomic_load(&app->n_aborted), 0);
}

static void await_child_unasked(struct app *app_)
{
	APP_MUST(upg_await_child(app_->upg, 4711, "nobody asks") == UPG_AWAIT_CHILD);
}

Test(shim_threads, waits_for_a_child_in_on_prepare_only, .init = setup, .fini = teardown)
{
	app->step = await_child_unasked;
	fake_start_serving(&fake, app);
	fake_prepare(&fake, &roll);
	FAKE_TAKE(&fake, QUIESCED);
	call_off();
}

Test(shim_threads, tells_the_application_until_when_it_is_waited_for, .init = setup, .fini = teardown)
{
	uint64_t before_us = clock_now_us();

	app_stops_threads(app);
	fake_start_serving(&fake, app);
	roll.quiesce_us = 7 * USEC_PER_SEC;
	fake_prepare(&fake, &roll);
	FAKE_TAKE(&fake, QUIESCED);
	cr_assert(app->prepare_deadline_us >= before_us + 7 * USEC_PER_SEC &&
		  app->prepare_deadline_us <= clock_now_us() + 7 * USEC_PER_SEC);
	cr_assert_eq(app->stop_deadline_us, app->prepare_deadline_us);
	call_off();
}

/* ---- threads that the application stops by itself ---- */

Test(shim_threads, starts_again_what_the_application_stopped_whatever_comes_of_the_roll, .init = setup, .fini = teardown)
{
	static const enum upg_rest says[] = { UPG_NOT_YET, UPG_REFUSE, UPG_AT_REST };

	app_stops_threads(app);
	app->prepare_says[0] = UPG_NOT_YET;
	app->prepare_says[1] = UPG_REFUSE;
	app_worker_add(app, "turns", worker_turns);
	fake_start_serving(&fake, app);
	for (unsigned i = 0; i < 3; i++) {
		fake_roll_done(&roll);
		fake_roll_open(&roll, 1);
		fake_prepare(&fake, &roll);
		if (says[i] == UPG_NOT_YET) {
			FAKE_TAKE(&fake, NOT_YET);
		} else if (says[i] == UPG_REFUSE) {
			FAKE_TAKE(&fake, REFUSED);
		} else {
			FAKE_TAKE(&fake, QUIESCED);
			cr_assert(app->own_stopped);
			call_off();
		}
		await_all_turn(1);
		cr_assert(!app->own_stopped && atomic_load(&app->n_started) == i + 1);
	}
}

Test(shim_threads, calls_the_roll_off_when_the_application_does_not_stop_its_threads, .init = setup, .fini = teardown)
{
	app_stops_threads(app);
	app->stop_says = -ETIMEDOUT;
	app_worker_add(app, "turns", worker_turns);
	fake_start_serving(&fake, app);
	fake_prepare(&fake, &roll);
	cr_assert_str_eq(FAKE_TAKE(&fake, REFUSED)->refused->reason,
			 "the application did not stop its threads: Connection timed out");
	await_all_turn(1);
	cr_assert(atomic_load(&app->n_started) == 0 && atomic_load(&app->n_prepared) == 0);
}

Test(shim_threads, starts_nobody_when_another_process_serves, .init = setup, .fini = teardown)
{
	app_stops_threads(app);
	fake_start_serving(&fake, app);
	fake_park(&fake, &roll);
	fake_vanish(&fake);
	cr_assert_eq(fake_wait(&fake), APP_LEFT);
	cr_assert(app->own_stopped && atomic_load(&app->n_started) == 0);
}

/* ---- signs of life ---- */

TestSuite(shim_health, .timeout = 60);

Test(shim_health, answers_at_once_when_no_thread_is_registered, .init = setup, .fini = teardown)
{
	fake_start_serving(&fake, app);
	for (uint64_t nonce = 1; nonce < 5; nonce++) {
		fake_say_ping(&fake, nonce);
		cr_assert_eq(FAKE_TAKE(&fake, PONG)->pong->nonce, nonce);
	}
}

Test(shim_health, counts_the_dispatching_thread_as_alive, .init = setup, .fini = teardown)
{
	app->registers_main = true;
	fake_start_serving(&fake, app);
	fake_say_ping(&fake, 5);
	cr_assert_eq(FAKE_TAKE(&fake, PONG)->pong->nonce, 5);
}

Test(shim_health, answers_only_when_every_thread_passed_a_point, .init = setup, .fini = teardown)
{
	struct app_worker *quick = app_worker_add(app, "quick", worker_turns);
	struct app_worker *stuck = app_worker_add(app, "stuck", worker_held_up);

	fake_start_serving(&fake, app);
	fake_await(&quick->turns, 0);
	fake_await_set(&stuck->entered);
	fake_say_ping(&fake, 1);
	fake_say_ping(&fake, 1000);
	fake_await(&quick->turns, turns_of(quick) + 200);
	cr_assert(fake_hears_nothing(&fake), "answered for a thread that hangs");
	atomic_store(&stuck->go, true);
	/* The ping that was under way is the one that is answered; the next is as any. */
	cr_assert_eq(FAKE_TAKE(&fake, PONG)->pong->nonce, 1);
	fake_say_ping(&fake, 1001);
	cr_assert_eq(FAKE_TAKE(&fake, PONG)->pong->nonce, 1001);
}

Test(shim_health, nudges_threads_that_wait_for_work, .init = setup, .fini = teardown)
{
	app_worker_add(app, "reads", worker_reads);
	app_worker_add(app, "waits", worker_waits);
	fake_start_serving(&fake, app);
	fake_await(&app->workers[0].turns, 0);
	fake_await(&app->workers[1].turns, 0);
	/* One nudge may come between a thread's look and its system call; the next ping brings another. */
	for (uint64_t nonce = 1; fake_hears_nothing(&fake); nonce++) {
		uint64_t until = clock_now_us() + 50 * USEC_PER_MSEC;

		cr_assert_lt(nonce, 200);
		fake_say_ping(&fake, nonce);
		while (clock_now_us() < until && fake_hears_nothing(&fake))
			;
	}
	FAKE_TAKE(&fake, PONG);
}

Test(shim_health, does_not_ask_a_thread_that_left, .init = setup, .fini = teardown)
{
	struct app_worker *quick = app_worker_add(app, "quick", worker_turns);
	struct app_worker *leaver = app_worker_add(app, "leaver", worker_leaves);

	fake_start_serving(&fake, app);
	fake_await(&quick->turns, 0);
	fake_await_set(&leaver->entered);
	fake_say_ping(&fake, 1);
	fake_await(&quick->turns, turns_of(quick) + 100);
	cr_assert(fake_hears_nothing(&fake));
	atomic_store(&leaver->go, true);
	cr_assert_eq(FAKE_TAKE(&fake, PONG)->pong->nonce, 1);
}
