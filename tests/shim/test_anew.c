/* SPDX-License-Identifier: MIT */
/* A supervisor that ends while the application holds its end of the channel, and another one that takes that end. */
#include "tests/shim/fake.h"

#include "base/clock.h"
#include "base/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(shim_anew, .timeout = 60);

static struct app *app;
static struct fake fake;
static struct fake_roll roll;
static pid_t supervisor; /* whose end the application is to notice */

static void setup(void)
{
	supervisor = fork();
	if (supervisor == 0)
		for (;;)
			pause();
	app = app_new();
	app_fill(app, 10, 10);
	fake_roll_open(&roll, 1); /* behind the fork, which would hold the pipe open */
}

static void end_supervisor(void)
{
	if (supervisor <= 0)
		return;
	kill(supervisor, SIGKILL);
	waitpid(supervisor, NULL, 0);
	supervisor = 0;
}

static void teardown(void)
{
	fake_done(&fake);
	fake_roll_done(&roll);
	end_supervisor();
}

/* @stored: -1: nothing. */
static void say_keep_with(int stored)
{
	Upgraded__Wire__Keep keep = UPGRADED__WIRE__KEEP__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_KEEP, .keep = &keep);
	int fds[3] = { fake.fd, pidfd_open(supervisor, 0), stored };

	cr_assert_geq(fds[1], 0);
	fake_say(&fake, &message, fds, stored < 0 ? 2 : 3);
	fd_close(fds[1]);
}

static void say_keep(void)
{
	say_keep_with(-1);
}

/* @log: where it is to print from now on, in the place of the pipe @output. */
static void say_anew(int log, unsigned long long output)
{
	Upgraded__Wire__Anew anew = UPGRADED__WIRE__ANEW__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_ANEW, .anew = &anew);
	int fds[2] = { pidfd_open(getpid(), 0), log };

	anew.output = output;
	fake_say(&fake, &message, fds, log < 0 ? 1 : 2);
	fd_close(fds[0]);
}

static void expect_hello(bool serves)
{
	const Upgraded__Wire__Hello *hello = FAKE_TAKE(&fake, HELLO)->hello;

	cr_assert(hello->anew);
	cr_assert_eq(hello->serves, serves);
	cr_assert_eq(hello->pid, fake.pid);
	cr_assert_gt(hello->n_schemas, 0);
}

/* By the next roll, to its end. */
static void expect_can_be_rolled(void)
{
	fake_roll_done(&roll);
	fake_roll_open(&roll, 1);
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
}

static void serve_and_keep(void)
{
	fake_start_serving(&fake, app);
	say_keep();
}

Test(shim_anew, says_that_it_keeps, .init = setup, .fini = teardown)
{
	const Upgraded__Wire__Hello *hello;

	fake_start(&fake, app);
	hello = FAKE_TAKE(&fake, HELLO)->hello;
	cr_assert(hello->keeps && !hello->anew && !hello->serves);
}

Test(shim_anew, is_greeted_by_one_that_serves, .init = setup, .fini = teardown)
{
	serve_and_keep();
	end_supervisor();
	say_anew(-1, 0);
	expect_hello(true);
	fake_say_ping(&fake, 5);
	cr_assert_eq(FAKE_TAKE(&fake, PONG)->pong->nonce, 5);
	expect_can_be_rolled();
}

/* Our own end is closed, too; what is left of the channel is in the application, as after a kill of the supervisor. */
Test(shim_anew, takes_its_end_from_the_application, .init = setup, .fini = teardown)
{
	unsigned long long inode;
	int pidfd, taken = -1;

	serve_and_keep();
	fake_say_ping(&fake, 1);
	FAKE_TAKE(&fake, PONG); /* so Keep has come */
	cr_assert_eq(fd_inode(fake.fd, &inode), 0);
	end_supervisor();
	fake_vanish(&fake);
	pidfd = pidfd_open(fake.pid, 0);
	cr_assert_geq(pidfd, 0);
	for (int number = 0; number < 64 && taken < 0; number++) {
		unsigned long long found;
		int fd = pidfd_getfd(pidfd, number, 0);

		if (fd >= 0 && fd_inode(fd, &found) == 0 && found == inode)
			taken = fd;
		else
			fd_close(fd);
	}
	fd_close(pidfd);
	cr_assert_geq(taken, 0);
	fake.fd = taken;
	say_anew(-1, 0);
	expect_hello(true);
	expect_can_be_rolled();
}

/* ---- what it holds for the next supervisor ---- */

static int pipe_ends[2];

/* The process has read what was said before. */
static bool holds_it(void)
{
	static uint64_t nonce = 100;
	struct pollfd end = { .fd = pipe_ends[0], .events = POLLIN };

	fake_say_ping(&fake, ++nonce);
	cr_assert_eq(FAKE_TAKE(&fake, PONG)->pong->nonce, nonce);
	return poll(&end, 1, 0) == 0;
}

static void serve_and_store(void)
{
	fake_start_serving(&fake, app);
	cr_assert_eq(pipe2(pipe_ends, O_CLOEXEC), 0);
	say_keep_with(pipe_ends[1]);
	pipe_ends[1] = fd_close(pipe_ends[1]);
	cr_assert(holds_it());
}

Test(shim_anew, holds_what_is_stored_until_the_bake_is_over, .init = setup, .fini = teardown)
{
	serve_and_store();
	fake_say_baked(&fake);
	cr_assert_not(holds_it());
	fd_close(pipe_ends[0]);
}

Test(shim_anew, holds_what_is_stored_until_something_else_is_kept, .init = setup, .fini = teardown)
{
	serve_and_store();
	say_keep();
	cr_assert_not(holds_it());
	fd_close(pipe_ends[0]);
}

Test(shim_anew, lets_go_of_what_is_stored_when_it_is_parked, .init = setup, .fini = teardown)
{
	struct pollfd end;

	serve_and_store();
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
	end = (struct pollfd){ .fd = pipe_ends[0], .events = POLLIN };
	cr_assert_eq(poll(&end, 1, 5000), 1, "an image could not have it");
	fd_close(pipe_ends[0]);
}

/* ---- in a roll ---- */

static void await_called_off(void)
{
	uint64_t until_us = clock_now_us() + 20 * USEC_PER_SEC;

	while (atomic_load(&app->n_aborted) == 0) {
		cr_assert_lt(clock_now_us(), until_us, "it still waits for its outcome");
		usleep(1000);
	}
}

static void expect_called_off(void)
{
	await_called_off();
	cr_assert_eq(commit_owner(&roll.word), COMMIT_ABORTED);
	say_anew(-1, 0);
	expect_hello(true);
	expect_can_be_rolled();
}

static void go_to_saved(void)
{
	serve_and_keep();
	fake_prepare(&fake, &roll);
	FAKE_TAKE(&fake, QUIESCED);
	fake_take_fds(&fake, &roll);
	fake_drain(roll.state_in);
	FAKE_TAKE(&fake, SAVED);
}

/* What is said after that is said to nobody, and costs no time. */
Test(shim_anew, whose_end_calls_off_a_roll_that_waits_for_its_outcome, .init = setup, .fini = teardown)
{
	uint64_t began_us;

	go_to_saved();
	began_us = clock_now_us();
	end_supervisor();
	await_called_off();
	cr_assert_lt(clock_now_us() - began_us, USEC_PER_SEC);
	FAKE_TAKE(&fake, RESUMED); /* lies in the channel for whoever takes it */
	expect_called_off();
}

/* It is there before the end of the first one was noticed. */
Test(shim_anew, calls_off_a_roll_of_the_one_before, .init = setup, .fini = teardown)
{
	go_to_saved();
	say_anew(-1, 0);
	await_called_off();
	cr_assert_eq(commit_owner(&roll.word), COMMIT_ABORTED);
	FAKE_TAKE(&fake, RESUMED);
	expect_hello(true);
	expect_can_be_rolled();
}

Test(shim_anew, finds_nobody_who_only_stood_by, .init = setup, .fini = teardown)
{
	fake_start_standby(&fake, app);
	say_keep();
	end_supervisor();
	cr_assert_eq(fake_wait(&fake), APP_LEFT);
}

Test(shim_anew, ends_who_stands_by_for_the_one_before, .init = setup, .fini = teardown)
{
	fake_start_standby(&fake, app);
	say_keep();
	say_anew(-1, 0);
	cr_assert_eq(fake_wait(&fake), APP_LEFT);
}

/* It would come back from an image without it. */
Test(shim_anew, finds_nothing_kept_by_one_that_is_parked, .init = setup, .fini = teardown)
{
	serve_and_keep();
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
	fake_vanish(&fake);
	cr_assert_eq(fake_wait(&fake), APP_LEFT);
}

/* ---- what is printed ---- */

static void print_on_step(struct app *here)
{
	(void)here;
	if (write(STDOUT_FILENO, "out", 3) < 0 || write(STDERR_FILENO, "err", 3) < 0)
		_exit(APP_BROKEN);
}

/* As a supervisor starts it, but with its errors elsewhere. */
static void start_printing_to(int output, int elsewhere)
{
	int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 64), err = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 64);

	dup2(output, STDOUT_FILENO);
	dup2(elsewhere, STDERR_FILENO);
	serve_and_keep();
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	fd_close(out);
	fd_close(err);
}

Test(shim_anew, hears_what_is_printed_to_the_pipe_of_the_one_before_and_to_no_other, .init = setup, .fini = teardown)
{
	unsigned long long inode;
	int before[2], elsewhere[2], log[2];
	char text[16];

	cr_assert_eq(pipe2(before, O_CLOEXEC), 0);
	cr_assert_eq(pipe2(elsewhere, O_CLOEXEC), 0);
	cr_assert_eq(pipe2(log, O_CLOEXEC), 0);
	cr_assert_eq(fd_inode(before[1], &inode), 0);
	start_printing_to(before[1], elsewhere[1]);
	end_supervisor();
	say_anew(log[1], inode);
	expect_hello(true);
	app->step = print_on_step;
	fake_say_ping(&fake, 2);
	cr_assert_eq(read(log[0], text, sizeof(text)), 3);
	cr_assert_eq(memcmp(text, "out", 3), 0);
	cr_assert_eq(read(elsewhere[0], text, sizeof(text)), 3);
	cr_assert_eq(memcmp(text, "err", 3), 0);
}

/* A supervisor that does not do as it says costs nothing. */
Test(shim_anew, keep_without_descriptors_is_as_without_keep, .init = setup, .fini = teardown)
{
	Upgraded__Wire__Keep keep = UPGRADED__WIRE__KEEP__INIT;

	fake_start_serving(&fake, app);
	FAKE_SAY(&fake, KEEP, keep, &keep);
	fake_say_ping(&fake, 3);
	FAKE_TAKE(&fake, PONG);
	fake_vanish(&fake);
	cr_assert_eq(fake_wait(&fake), APP_ORPHANED);
}
