/* SPDX-License-Identifier: MIT */
#include "base/base.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(closer, .timeout = 40);

#define LINGER_S 20

static void teardown(void)
{
	cr_assert_eq(closer_stop(clock_now_us() + 5 * USEC_PER_SEC), 0);
}

/* A connection whose other end does not read, with as much on its way as fits: closing @ret_ends[0] waits for LINGER_S. */
static void lingering_open(int ret_ends[2])
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct linger linger = { 1, LINGER_S };
	socklen_t size = sizeof(address);
	static const char data[65536];

	cr_assert_eq(bind(listener, (struct sockaddr *)&address, size), 0);
	cr_assert_eq(listen(listener, 1), 0);
	cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	ret_ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(connect(ret_ends[0], (struct sockaddr *)&address, sizeof(address)), 0);
	ret_ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	cr_assert_eq(setsockopt(ret_ends[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	while (send(ret_ends[0], data, sizeof(data), MSG_DONTWAIT) > 0)
		;
	close(listener);
}

static void await_closed(void)
{
	uint64_t until_us = clock_now_us() + 10 * USEC_PER_SEC;

	while (closer_waiting()) {
		cr_assert_lt(clock_now_us(), until_us, "%zu are not closed", closer_waiting());
		poll(NULL, 0, 1);
	}
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

Test(closer, closes_at_once_where_it_was_not_started)
{
	int fd = memfd_create("x", MFD_CLOEXEC);

	cr_assert_eq(fd_give_up(fd), -1);
	cr_assert_not(is_open(fd));
	cr_assert_eq(fd_give_up(-1), -1);
}

Test(closer, closes_what_it_is_given, .fini = teardown)
{
	int fds[300], numbers[300];
	uint64_t before;

	cr_assert_eq(closer_start(), 0);
	before = closer_given();
	for (unsigned i = 0; i < 300; i++)
		fds[i] = numbers[i] = i % 7 ? memfd_create("x", MFD_CLOEXEC) : -1;
	fd_give_up_all(fds, 300);
	cr_assert_eq(closer_given() - before, 300 - 43);
	await_closed();
	for (unsigned i = 0; i < 300; i++) {
		cr_assert_eq(fds[i], -1);
		cr_assert(numbers[i] < 0 || !is_open(numbers[i]));
	}
}

Test(closer, does_not_wait_for_a_socket_that_lingers, .fini = teardown)
{
	uint64_t began_us;
	int ends[2];

	cr_assert_eq(closer_start(), 0);
	lingering_open(ends);
	began_us = clock_now_us();
	fd_give_up(ends[0]);
	await_closed();
	cr_assert_lt(clock_now_us() - began_us, LINGER_S / 2 * USEC_PER_SEC);
	close(ends[1]);
}

Test(closer, goes_on_while_one_close_takes_its_time)
{
	struct linger linger = { 1, LINGER_S };
	int pair[2], ends[2], fd;
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .space = "" };
	char byte = 0;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };

	/* It lies in a message that nobody takes: nobody can take its time away either. */
	lingering_open(ends);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	control.head = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.head), &ends[0], sizeof(int));
	cr_assert_eq(setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	cr_assert_eq(sendmsg(pair[0], &message, 0), 1);
	close(ends[0]);
	cr_assert_eq(closer_start(), 0);
	fd_give_up(pair[1]);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t until_us = clock_now_us() + 5 * USEC_PER_SEC;

		fd = memfd_create("x", MFD_CLOEXEC);
		fd_give_up(fd);
		while (is_open(fd) && clock_now_us() < until_us)
			poll(NULL, 0, 1);
		cr_assert_not(is_open(fd));
	}
	cr_assert_eq(closer_waiting(), 1);
	/* Its end is not waited for longer than the caller likes. */
	cr_assert_eq(closer_stop(clock_now_us() + 10 * USEC_PER_MSEC), 1);
	close(ends[1]); /* the peer resets it, and the close comes back */
	await_closed();
}

Test(closer, rests_while_it_is_held, .fini = teardown)
{
	int fd;

	cr_assert_eq(closer_start(), 0);
	closer_hold();
	closer_hold();
	fd = memfd_create("x", MFD_CLOEXEC);
	fd_give_up(fd);
	closer_release();
	poll(NULL, 0, 20);
	cr_assert(is_open(fd));
	closer_release();
	await_closed();
	cr_assert_not(is_open(fd));
}
