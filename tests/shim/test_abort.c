/* SPDX-License-Identifier: MIT */
/* A roll that ends before its commit, at each point and for each reason: old serves on, and the word says so. */
#include "tests/shim/fake.h"

#include "base/clock.h"
#include "base/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

TestSuite(shim_abort, .timeout = 60);

static struct app *app;
static struct fake fake;
static struct fake_roll roll;

static void setup(void)
{
	app = app_new();
	app_fill(app, 10, 10);
	fake_roll_open(&roll, 1);
}

/* With more state than a pipe holds: while nobody reads it, old is in the middle of its transfer. */
static void setup_large(void)
{
	setup();
	app_fill(app, 1000, 1000);
}

static void teardown(void)
{
	fake_done(&fake);
	fake_roll_done(&roll);
}

/* The application serves as ever: it answers, and the next roll gets through to the end. */
static void expect_serves(void)
{
	cr_assert_eq(commit_owner(&roll.word), COMMIT_ABORTED);
	cr_assert_eq(atomic_load(&app->n_aborted), 1);
	cr_assert_eq(atomic_load(&app->n_resumed), 0);
	fake_say_ping(&fake, 77);
	cr_assert_eq(FAKE_TAKE(&fake, PONG)->pong->nonce, 77);
	fake_roll_done(&roll);
	fake_roll_open(&roll, 1);
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
}

/* It saw its supervisor vanish, called the roll off by itself, and serves on without one. */
static void expect_orphan(void)
{
	cr_assert_eq(fake_wait(&fake), APP_ORPHANED);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_ABORTED);
	cr_assert_eq(atomic_load(&app->n_aborted), 1);
}

static void go_to_transfer(void)
{
	fake_start_serving(&fake, app);
	fake_prepare(&fake, &roll);
	FAKE_TAKE(&fake, QUIESCED);
	fake_take_fds(&fake, &roll);
}

static void go_to_saved(void)
{
	go_to_transfer();
	fake_drain(roll.state_in);
	FAKE_TAKE(&fake, SAVED);
}

/* The pipe is full when a write of another byte would wait. */
static void await_full_pipe(void)
{
	uint64_t until = clock_now_us() + 10 * USEC_PER_SEC;
	int capacity = fcntl(roll.state_in, F_GETPIPE_SZ), now = 0;

	while (now < capacity / 2) {
		cr_assert_eq(ioctl(roll.state_in, FIONREAD, &now), 0);
		cr_assert_lt(clock_now_us(), until);
	}
}

/* ---- the supervisor calls it off ---- */

Test(shim_abort, before_the_threads_stood, .init = setup, .fini = teardown)
{
	struct app_worker *slow = app_worker_add(app, "slow", worker_held_up);

	fake_start_serving(&fake, app);
	fake_await_set(&slow->entered);
	fake_prepare(&fake, &roll);
	cr_assert(commit_take(&roll.word, COMMIT_ABORTED));
	fake_say_abort(&fake);
	atomic_store(&slow->go, true);
	/* It is heard of only after old has done its part. */
	FAKE_TAKE(&fake, QUIESCED);
	fake_take_fds(&fake, &roll);
	FAKE_TAKE(&fake, SAVED);
	FAKE_TAKE(&fake, RESUMED);
	expect_serves();
}

Test(shim_abort, while_the_transfer_waits_for_a_reader, .init = setup_large, .fini = teardown)
{
	const char *reason;

	go_to_transfer();
	await_full_pipe();
	cr_assert(commit_take(&roll.word, COMMIT_ABORTED));
	fake_say_abort(&fake);
	reason = FAKE_TAKE(&fake, REFUSED)->refused->reason;
	cr_assert(strstr(reason, "called off during the transfer"), "%s", reason);
	FAKE_TAKE(&fake, RESUMED);
	expect_serves();
}

Test(shim_abort, after_all_was_saved, .init = setup, .fini = teardown)
{
	go_to_saved();
	cr_assert(commit_take(&roll.word, COMMIT_ABORTED));
	fake_say_abort(&fake);
	FAKE_TAKE(&fake, RESUMED);
	expect_serves();
}

Test(shim_abort, by_a_supervisor_that_did_not_take_the_word_itself, .init = setup, .fini = teardown)
{
	go_to_saved();
	fake_say_abort(&fake);
	FAKE_TAKE(&fake, RESUMED);
	expect_serves();
}

Test(shim_abort, not_once_new_has_won, .init = setup, .fini = teardown)
{
	go_to_saved();
	cr_assert(commit_take(&roll.word, COMMIT_NEW));
	/* Whoever says so is wrong: the word is the truth. */
	fake_say_abort(&fake);
	fake_say_park(&fake);
	FAKE_TAKE(&fake, PARKED);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_NEW);
	cr_assert_eq(atomic_load(&app->n_aborted), 0);
}

Test(shim_abort, without_minding_messages_that_belong_nowhere, .init = setup, .fini = teardown)
{
	go_to_saved();
	fake_say_ping(&fake, 1);
	fake_say_baked(&fake);
	fake_say_commit(&fake);
	fake_say_abort(&fake);
	FAKE_TAKE(&fake, RESUMED);
	expect_serves();
}

/* ---- nobody reads the state any more ---- */

static void take_back_sigpipe(struct app *self)
{
	(void)self;
	APP_MUST(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
}

Test(shim_abort, when_new_closes_its_end_of_the_pipe, .init = setup_large, .fini = teardown)
{
	const Upgraded__Wire__Refused *refused;

	/* A program may well have SIGPIPE as it finds it. */
	app->begin = take_back_sigpipe;
	go_to_transfer();
	await_full_pipe();
	roll.state_in = fd_close(roll.state_in);
	refused = FAKE_TAKE(&fake, REFUSED)->refused;
	cr_assert(refused->reader_gone);
	cr_assert(strstr(refused->reason, "nobody reads the state any more"), "%s", refused->reason);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_OLD);
	fake_say_abort(&fake);
	FAKE_TAKE(&fake, RESUMED);
	expect_serves();
}

Test(shim_abort, when_new_never_read_at_all, .init = setup, .fini = teardown)
{
	app->begin = take_back_sigpipe;
	fake_start_serving(&fake, app);
	roll.state_in = fd_close(roll.state_in);
	fake_prepare(&fake, &roll);
	FAKE_TAKE(&fake, QUIESCED);
	fake_take_fds(&fake, &roll);
	cr_assert(FAKE_TAKE(&fake, REFUSED)->refused->reader_gone);
	fake_say_abort(&fake);
	FAKE_TAKE(&fake, RESUMED);
	expect_serves();
}

/* ---- the supervisor vanishes ---- */

Test(shim_abort, when_the_supervisor_vanishes_before_the_threads_stood, .init = setup, .fini = teardown)
{
	struct app_worker *slow = app_worker_add(app, "slow", worker_held_up);

	fake_start_serving(&fake, app);
	fake_await_set(&slow->entered);
	fake_prepare(&fake, &roll);
	fake_vanish(&fake);
	atomic_store(&slow->go, true);
	expect_orphan();
}

Test(shim_abort, when_the_supervisor_vanishes_before_it_took_the_descriptors, .init = setup, .fini = teardown)
{
	fake_start_serving(&fake, app);
	fake_prepare(&fake, &roll);
	FAKE_TAKE(&fake, QUIESCED);
	fake_vanish(&fake);
	expect_orphan();
}

Test(shim_abort, when_the_supervisor_vanishes_during_the_transfer, .init = setup_large, .fini = teardown)
{
	go_to_transfer();
	await_full_pipe();
	fake_vanish(&fake);
	expect_orphan();
}

Test(shim_abort, when_the_supervisor_vanishes_after_all_was_saved, .init = setup, .fini = teardown)
{
	go_to_saved();
	fake_vanish(&fake);
	expect_orphan();
}

Test(shim_abort, not_when_the_supervisor_vanishes_and_new_has_won, .init = setup, .fini = teardown)
{
	go_to_saved();
	cr_assert(commit_take(&roll.word, COMMIT_NEW));
	fake_vanish(&fake);
	cr_assert_eq(fake_wait(&fake), APP_LEFT);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_NEW);
	cr_assert_eq(atomic_load(&app->n_aborted), 0);
}

/* ---- it takes too long ---- */

Test(shim_abort, when_the_deadline_passes_after_all_was_saved, .init = setup, .fini = teardown)
{
	roll.commit_us = 300 * USEC_PER_MSEC;
	go_to_saved();
	FAKE_TAKE(&fake, RESUMED);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_ABORTED);
	/* New is too late. */
	cr_assert_not(commit_take(&roll.word, COMMIT_NEW));
	/* And so is whoever thinks otherwise. */
	fake_say_park(&fake);
	fake_say_abort(&fake);
	expect_serves();
}

Test(shim_abort, when_the_deadline_passes_during_the_transfer, .init = setup_large, .fini = teardown)
{
	const char *reason;

	roll.commit_us = 300 * USEC_PER_MSEC;
	go_to_transfer();
	reason = FAKE_TAKE(&fake, REFUSED)->refused->reason;
	cr_assert(strstr(reason, "not taken over in time"), "%s", reason);
	FAKE_TAKE(&fake, RESUMED);
	expect_serves();
}

Test(shim_abort, not_when_the_deadline_passes_and_new_has_won, .init = setup, .fini = teardown)
{
	uint64_t deadline_us;

	roll.commit_us = 300 * USEC_PER_MSEC;
	go_to_saved();
	deadline_us = clock_now_us() + roll.commit_us;
	cr_assert(commit_take(&roll.word, COMMIT_NEW));
	/* Past the deadline it still waits to be parked. */
	while (clock_now_us() < deadline_us + 20 * USEC_PER_MSEC)
		cr_assert(fake_hears_nothing(&fake));
	fake_say_park(&fake);
	FAKE_TAKE(&fake, PARKED);
	cr_assert_eq(atomic_load(&app->n_aborted), 0);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_NEW);
}

/* ---- a Prepare that is none ---- */

static void expect_refused(const char *words)
{
	const char *reason = FAKE_TAKE(&fake, REFUSED)->refused->reason;

	cr_assert(strstr(reason, words), "%s", reason);
	cr_assert_eq(atomic_load(&app->n_prepared), 0);
	cr_assert_eq(atomic_load(&app->n_aborted), 0);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_OLD);
	fake_say_ping(&fake, 3);
	FAKE_TAKE(&fake, PONG);
}

Test(shim_abort, of_a_roll_that_came_without_descriptors, .init = setup, .fini = teardown)
{
	Upgraded__Wire__Prepare prepare = UPGRADED__WIRE__PREPARE__INIT;

	fake_start_serving(&fake, app);
	FAKE_SAY(&fake, PREPARE, prepare, &prepare);
	expect_refused("without its descriptors");
}

Test(shim_abort, of_a_roll_whose_word_belongs_to_another, .init = setup, .fini = teardown)
{
	fake_start_serving(&fake, app);
	roll.generation++;
	fake_prepare(&fake, &roll);
	expect_refused("another roll");
}

static void use_up_descriptors(struct app *self)
{
	struct rlimit limit;

	APP_MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = (rlim_t)upg_fd(self->upg) + 1;
	APP_MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

Test(shim_abort, of_a_roll_whose_descriptors_found_no_room, .init = setup, .fini = teardown)
{
	app->begin = use_up_descriptors;
	fake_start_serving(&fake, app);
	fake_prepare(&fake, &roll);
	expect_refused("as it has set itself (LimitNOFILE= gave it ");
}

/* A server at its limit, which goes on accepting whatever number is free. */
static void take_all_numbers(struct app *self)
{
	struct rlimit limit;

	APP_MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = (rlim_t)upg_fd(self->upg) + 40;
	APP_MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	while (fcntl(upg_fd(self->upg), F_DUPFD_CLOEXEC, 0) >= 0)
		continue;
	APP_MUST(errno == EMFILE);
}

Test(shim_abort, is_not_what_comes_of_a_roll_at_the_limit_of_descriptors, .init = setup, .fini = teardown)
{
	app->begin = take_all_numbers;
	app->step = take_all_numbers;
	fake_start_serving(&fake, app);
	for (unsigned i = 0; i < 3; i++) {
		fake_prepare(&fake, &roll);
		FAKE_TAKE(&fake, QUIESCED);
		fake_take_fds(&fake, &roll);
		fake_drain(roll.state_in);
		FAKE_TAKE(&fake, SAVED);
		fake_say_abort(&fake);
		FAKE_TAKE(&fake, RESUMED);
		fake_roll_done(&roll);
		fake_roll_open(&roll, 1);
	}
}
