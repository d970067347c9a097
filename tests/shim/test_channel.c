/* SPDX-License-Identifier: MIT */
/* The application's end of its channel: who may wait, who may not, and what a close means for the others. */
#include "shim/core/channel.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/why.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(shim_channel, .timeout = 60);

static struct channel channel;
static int supervisor;
static unsigned n_answered;

static bool answer_pings(void *arg, const Upgraded__Wire__AppMessage *message)
{
	if (message->body_case != UPGRADED__WIRE__APP_MESSAGE__BODY_PING)
		return false;
	++*(unsigned *)arg;
	return true;
}

static void open_pair(int *ret_ours, int *ret_other)
{
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	*ret_ours = pair[0];
	*ret_other = pair[1];
	cr_assert_eq(fd_nonblock(*ret_other, 1), 0);
}

static void setup(void)
{
	int ours;

	cr_assert_eq(channel_init(&channel, answer_pings, &n_answered), 0);
	open_pair(&ours, &supervisor);
	cr_assert_eq(channel_open(&channel, ours, NULL), 0);
}

static void teardown(void)
{
	channel_done(&channel);
	supervisor = fd_close(supervisor);
}

static int post_pong(void)
{
	Upgraded__Wire__Pong pong = UPGRADED__WIRE__PONG__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PONG, .pong = &pong);

	return channel_post(&channel, &message, NULL, 0);
}

static void say(const Upgraded__Wire__AppMessage *message, const int *fds, size_t n)
{
	cr_assert_eq(wire_send(supervisor, &message->base, fds, n, NULL), WIRE_OK);
}

static void say_ping(const int *fds, size_t n)
{
	Upgraded__Wire__Ping ping = UPGRADED__WIRE__PING__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PING, .ping = &ping);

	say(&message, fds, n);
}

static void say_baked(const int *fds, size_t n)
{
	Upgraded__Wire__Baked baked = UPGRADED__WIRE__BAKED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_BAKED, .baked = &baked);

	say(&message, fds, n);
}

static void fill(void)
{
	unsigned n = 0;

	while (post_pong() == WIRE_OK)
		cr_assert_lt(++n, 1000000);
}

static bool is_empty(int fd)
{
	char data[64];

	return recv(fd, data, sizeof(data), 0) < 0 && errno == EAGAIN;
}

static void drain(void)
{
	char data[64];

	while (recv(supervisor, data, sizeof(data), 0) > 0)
		;
}

/* ---- out ---- */

Test(shim_channel, a_post_goes_out_where_there_is_room, .init = setup, .fini = teardown)
{
	char data[64];

	cr_assert_eq(post_pong(), WIRE_OK);
	cr_assert_gt(recv(supervisor, data, sizeof(data), 0), 0);
}

Test(shim_channel, a_post_that_finds_no_room_does_not_wait, .init = setup, .fini = teardown)
{
	fill();
	cr_assert_eq(post_pong(), WIRE_AGAIN);
	drain();
	cr_assert_eq(post_pong(), WIRE_OK);
}

Test(shim_channel, a_post_to_nobody_says_so, .init = setup, .fini = teardown)
{
	supervisor = fd_close(supervisor);
	cr_assert_eq(post_pong(), WIRE_CLOSED);
	channel_close(&channel);
	cr_assert_not(channel_is_open(&channel));
	cr_assert_eq(post_pong(), WIRE_CLOSED);
	channel_close(&channel);
}

/* An event loop may have kept the number. */
static bool is_silent(int number)
{
	struct pollfd fd = { .fd = number, .events = POLLIN };

	return fcntl(number, F_GETFD) == FD_CLOEXEC && poll(&fd, 1, 0) == 0;
}

Test(shim_channel, keeps_its_number_and_is_never_readable_when_nobody_is_there, .init = setup, .fini = teardown)
{
	int number = channel.fd, ours;

	supervisor = fd_close(supervisor);
	channel_close(&channel);
	cr_assert_eq(channel.fd, number);
	cr_assert(is_silent(number));
	open_pair(&ours, &supervisor);
	cr_assert_eq(channel_open(&channel, ours, NULL), 0);
	cr_assert_eq(channel.fd, number, "and another supervisor comes in at the same number");
	cr_assert_eq(post_pong(), WIRE_OK);
	channel_done(&channel);
	cr_assert(fcntl(number, F_GETFD) < 0 && errno == EBADF);
	cr_assert_eq(channel_init(&channel, answer_pings, &n_answered), 0);
}

Test(shim_channel, keeps_its_number_even_if_there_is_no_other, .init = setup, .fini = teardown)
{
	struct rlimit limit;
	int number = channel.fd, first = fcntl(number, F_DUPFD_CLOEXEC, 0), last = first;

	/* Another thread was faster than we with the spare ones. */
	for (size_t i = 0; i < CHANNEL_SPARE; i++)
		channel.spare[i] = fd_close(channel.spare[i]);
	/* All below are taken. */
	while (last <= first || last < number + 2)
		last = fcntl(number, F_DUPFD_CLOEXEC, 0);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = (rlim_t)last + 1;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_lt(fcntl(number, F_DUPFD_CLOEXEC, 0), 0);
	channel_close(&channel);
	cr_assert_eq(channel.fd, number);
	cr_assert(is_silent(number));
}

Test(shim_channel, a_send_waits_until_its_deadline, .init = setup, .fini = teardown)
{
	Upgraded__Wire__Ready ready = UPGRADED__WIRE__READY__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_READY, .ready = &ready);
	uint64_t deadline_us = clock_now_us() + 20 * USEC_PER_MSEC;
	struct why why = { 0 };

	fill();
	cr_assert_eq(channel_send(&channel, &message, NULL, 0, deadline_us, &why), -ETIMEDOUT);
	cr_assert_geq(clock_now_us(), deadline_us);
	cr_assert(strstr(why.text, "ready"), "%s", why.text);
	supervisor = fd_close(supervisor);
	cr_assert_eq(channel_say(&channel, &message, &why), -EPIPE);
}

Test(shim_channel, waiting_for_room_ends_when_there_is_some, .init = setup, .fini = teardown)
{
	fill();
	channel_await_room(&channel, 1);
	cr_assert_eq(post_pong(), WIRE_AGAIN);
	drain();
	channel_await_room(&channel, -1);
	cr_assert_eq(post_pong(), WIRE_OK);
	channel_close(&channel);
	channel_await_room(&channel, -1);
}

static atomic_bool is_over;

static void *post_all_the_time(void *arg)
{
	(void)arg;
	while (!atomic_load(&is_over))
		post_pong();
	return NULL;
}

Test(shim_channel, no_post_goes_to_who_gets_the_number_next, .init = setup, .fini = teardown)
{
	pthread_t threads[2];

	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, post_all_the_time, NULL), 0);
	for (unsigned i = 0; i < 500; i++) {
		int number = channel.fd, stranger[2], ours;

		channel_close(&channel);
		cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, stranger), 0);
		cr_assert_eq(dup2(stranger[0], number), number);
		cr_assert(is_empty(stranger[0]) && is_empty(stranger[1]));
		fd_close_all(stranger, 2);
		fd_close(number);
		fd_close(supervisor);
		open_pair(&ours, &supervisor);
		cr_assert_eq(channel_open(&channel, ours, NULL), 0);
	}
	atomic_store(&is_over, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

/* ---- in ---- */

static Upgraded__Wire__AppMessage *receive(int expected)
{
	Upgraded__Wire__AppMessage *message = NULL;

	cr_assert_eq(channel_receive(&channel, 0, &message, NULL), expected);
	return message;
}

Test(shim_channel, what_may_come_at_any_time_is_answered_on_the_way, .init = setup, .fini = teardown)
{
	Upgraded__Wire__AppMessage *message;

	say_ping(NULL, 0);
	say_ping(NULL, 0);
	say_baked(NULL, 0);
	message = receive(CHANNEL_MESSAGE);
	cr_assert_eq(message->body_case, UPGRADED__WIRE__APP_MESSAGE__BODY_BAKED);
	cr_assert_eq(n_answered, 2);
	channel_free(&channel, message);
	say_ping(NULL, 0);
	receive(CHANNEL_TIMEOUT);
	cr_assert_eq(n_answered, 3);
	supervisor = fd_close(supervisor);
	receive(CHANNEL_CLOSED);
}

/* A message with two pipes' ends for writing. The other ends tell whether they were closed. */
static void open_pipes(int ends[2], int sent[2])
{
	for (unsigned i = 0; i < 2; i++) {
		int pair[2];

		cr_assert_eq(pipe2(pair, O_CLOEXEC | O_NONBLOCK), 0);
		ends[i] = pair[0];
		sent[i] = pair[1];
	}
}

static bool has_ended(int fd)
{
	char byte;

	return read(fd, &byte, 1) == 0;
}

Test(shim_channel, descriptors_that_nobody_claims_are_closed_with_their_message, .init = setup, .fini = teardown)
{
	int ends[2], sent[2], claimed;
	Upgraded__Wire__AppMessage *message;

	open_pipes(ends, sent);
	say_baked(sent, 2);
	fd_close_all(sent, 2);
	message = receive(CHANNEL_MESSAGE);
	claimed = channel_claim(&channel, 1);
	cr_assert_geq(claimed, 0);
	cr_assert_eq(channel_claim(&channel, 1), -1);
	cr_assert_eq(channel_claim(&channel, 2), -1);
	channel_free(&channel, message);
	cr_assert(has_ended(ends[0]));
	cr_assert_not(has_ended(ends[1]));
	fd_close(claimed);
	cr_assert(has_ended(ends[1]));
	fd_close_all(ends, 2);
}

Test(shim_channel, descriptors_of_what_was_answered_are_closed, .init = setup, .fini = teardown)
{
	int ends[2], sent[2];

	open_pipes(ends, sent);
	say_ping(sent, 2);
	fd_close_all(sent, 2);
	receive(CHANNEL_TIMEOUT);
	cr_assert(has_ended(ends[0]) && has_ended(ends[1]));
	fd_close_all(ends, 2);
}

/* ---- where it comes from ---- */

Test(shim_channel, is_found_in_the_environment_once)
{
	char number[16];
	int fd, event = eventfd(0, 0);

	snprintf(number, sizeof(number), "%d", event);
	setenv(WIRE_FD_ENV, number, 1);
	cr_assert_eq(channel_inherited(&fd, NULL), 0);
	cr_assert_eq(fd, event);
	cr_assert_eq(fcntl(event, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(channel_inherited(&fd, NULL), 0);
	cr_assert_eq(fd, -1);
	setenv(WIRE_FD_ENV, "12x", 1);
	cr_assert_eq(channel_inherited(&fd, NULL), -EBADF);
	cr_assert_eq(fd, -1);
	fd_close(event);
}

Test(shim_channel, of_zeros_can_be_released)
{
	struct channel zeros = { 0 };

	channel_done(&zeros);
	/* Number 0 is somebody else's. */
	cr_assert_neq(fcntl(0, F_GETFD), -1);
}
