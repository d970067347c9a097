/* SPDX-License-Identifier: MIT */
/* Descriptors that move: their names, and what closing one means while the supervisor holds a duplicate. */
#include "tests/shim/fake.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(shim_fds, .timeout = 60);

/* ---- names, without a supervisor ---- */

static struct upg *upg;

static void setup_alone(void)
{
	struct app *app = app_new();

	unsetenv(WIRE_FD_ENV);
	fd_raise_limit();
	cr_assert_eq(upg_open(&app->config, &upg), 0);
}

static void teardown_alone(void)
{
	upg = upg_free(upg);
}

static int event_open(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	return fd;
}

Test(shim_fds, are_known_by_name_and_tag_together, .init = setup_alone, .fini = teardown_alone)
{
	int fds[] = { event_open(), event_open(), event_open() };

	cr_assert_eq(upg_fd_register(upg, fds[0], "client", 1), 0);
	cr_assert_eq(upg_fd_register(upg, fds[1], "client", 2), 0);
	cr_assert_eq(upg_fd_register(upg, fds[2], "listener", 1), 0);
	for (unsigned i = 0; i < 3; i++)
		upg_close(upg, fds[i], -1);
}

Test(shim_fds, take_each_name_and_each_number_once, .init = setup_alone, .fini = teardown_alone)
{
	int a = event_open(), b = event_open();

	cr_assert_eq(upg_fd_register(upg, a, "client", 1), 0);
	cr_assert_eq(upg_fd_register(upg, b, "client", 1), -EEXIST);
	cr_assert_eq(upg_fd_register(upg, a, "client", 2), -EEXIST);
	/* After a close both are free again. */
	upg_close(upg, a, -1);
	cr_assert_eq(fcntl(a, F_GETFD), -1);
	cr_assert_eq(upg_fd_register(upg, b, "client", 1), 0);
	upg_close(upg, b, -1);
}

Test(shim_fds, refuse_bad_numbers_and_names, .init = setup_alone, .fini = teardown_alone)
{
	int fd = event_open();
	char name[66];

	memset(name, 'n', 65);
	name[65] = 0;
	cr_assert_eq(upg_fd_register(upg, -1, "client", 1), -EBADF);
	cr_assert_eq(upg_fd_register(upg, fd, "", 1), -EINVAL);
	cr_assert_eq(upg_fd_register(upg, fd, name, 1), -EINVAL);
	name[64] = 0;
	cr_assert_eq(upg_fd_register(upg, fd, name, 1), 0);
	upg_close(upg, fd, -1);
}

Test(shim_fds, may_be_thousands, .init = setup_alone, .fini = teardown_alone)
{
	static int fds[3000];
	size_t n = sizeof(fds) / sizeof(fds[0]);

	if (fd_raise_limit() < n + 100)
		cr_skip_test("this machine allows too few descriptors");
	for (size_t i = 0; i < n; i++) {
		fds[i] = event_open();
		cr_assert_eq(upg_fd_register(upg, fds[i], "client", i), 0);
	}
	for (size_t i = 0; i < n; i += 2)
		upg_close(upg, fds[i], -1);
	for (size_t i = 0; i < n; i++) {
		cr_assert_eq(upg_fd_register(upg, i % 2 ? fds[i - 1] : fds[i], "client", i), i % 2 ? -EEXIST : 0);
		upg_close(upg, fds[i], -1);
	}
}

static void *open_and_close(void *arg)
{
	uint64_t first = (uint64_t)(uintptr_t)arg;

	for (uint64_t i = 0; i < 2000; i++) {
		int fd = eventfd(0, EFD_CLOEXEC);

		/* Numbers are taken and freed by the other threads all the time, and must never be found taken here. */
		if (fd < 0 || upg_fd_register(upg, fd, "client", first + i) != 0)
			return (void *)1;
		upg_close(upg, fd, -1);
	}
	return NULL;
}

Test(shim_fds, may_come_and_go_in_several_threads, .init = setup_alone, .fini = teardown_alone)
{
	pthread_t threads[4];
	void *failed;

	for (uintptr_t i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, open_and_close, (void *)(i * 1000000)), 0);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], &failed);
		cr_assert_null(failed);
	}
}

Test(shim_fds, are_closed_even_if_nobody_knows_them, .init = setup_alone, .fini = teardown_alone)
{
	int fd = event_open();

	upg_close(upg, fd, -1);
	cr_assert_eq(fcntl(fd, F_GETFD), -1);
	upg_close(upg, fd, -1);
	upg_close(upg, -1, -1);
}

Test(shim_fds, leave_an_epoll_set_when_they_are_closed, .init = setup_alone, .fini = teardown_alone)
{
	FD_CLEANUP int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLOUT };
	int fd = event_open();
	FD_CLEANUP int duplicate = dup(fd);

	cr_assert_eq(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event), 0);
	cr_assert_eq(epoll_wait(epoll_fd, &event, 1, 0), 1);
	upg_close(upg, fd, epoll_fd);
	/* close() alone would not have done it. */
	cr_assert_eq(epoll_wait(epoll_fd, &event, 1, 0), 0);
	(void)duplicate;
}

/* ---- in custody ---- */

/* Some client connections and a listener, of which the test holds duplicates as the supervisor would. */
#define CLIENTS 300u
#define LISTENER CLIENTS

static struct app *app;
static struct fake fake;
static struct fake_roll roll;
static int client[CLIENTS]; /* the clients' ends */

static void hold_connections(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(bind(listener, (struct sockaddr *)&address, size), 0);
	cr_assert_eq(listen(listener, 10), 0);
	cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	for (uint64_t i = 0; i < CLIENTS; i++) {
		client[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		cr_assert_eq(connect(client[i], (struct sockaddr *)&address, sizeof(address)), 0);
		fake_hold(&roll, "client", i, accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	}
	fake_hold(&roll, "listener", 0, listener);
}

static void claim_connections(struct app *self)
{
	for (uint64_t i = 0; i < CLIENTS; i++)
		APP_MUST((self->fds[i] = upg_fd_claim(self->upg, "client", i)) >= 0);
	APP_MUST((self->fds[LISTENER] = upg_fd_claim(self->upg, "listener", 0)) >= 0);
}

static void setup_custody(void)
{
	fd_raise_limit();
	app = app_new();
	app->claim = claim_connections;
	fake_roll_open(&roll, 1);
	hold_connections();
}

static void teardown_custody(void)
{
	fake_done(&fake);
	fake_roll_done(&roll);
	for (unsigned i = 0; i < CLIENTS; i++)
		fd_close(client[i]);
}

/* What a client sees now: 0 the end, -EAGAIN nothing. */
static ssize_t client_sees(unsigned i)
{
	char byte;
	ssize_t n = recv(client[i], &byte, 1, MSG_DONTWAIT);

	return n < 0 ? -errno : n;
}

static void ping(uint64_t nonce)
{
	fake_say_ping(&fake, nonce);
	cr_assert_eq(FAKE_TAKE(&fake, PONG)->pong->nonce, nonce);
}

/* Hooks run after the answer to the ping that they follow. */
static void close_client_7(struct app *self)
{
	upg_close(self->upg, self->fds[7], -1);
	self->step = NULL;
}

static void close_listener(struct app *self)
{
	upg_close(self->upg, self->fds[LISTENER], -1);
	self->step = NULL;
}

Test(shim_fds, in_custody_are_shut_down_and_told_of_when_closed, .init = setup_custody, .fini = teardown_custody)
{
	const Upgraded__Wire__Closed *closed;

	app->step = close_client_7;
	fake_take_over(&fake, app, &roll);
	ping(1);
	closed = FAKE_TAKE(&fake, CLOSED)->closed;
	cr_assert_eq(closed->n_fds, 1);
	cr_assert_str_eq(closed->fds[0]->name, "client");
	cr_assert_eq(closed->fds[0]->tag, 7);
	/* Although a duplicate is open here, its client knows. */
	cr_assert_eq(client_sees(7), 0);
	cr_assert_eq(client_sees(8), -EAGAIN);
}

Test(shim_fds, in_custody_are_not_shut_down_if_they_listen, .init = setup_custody, .fini = teardown_custody)
{
	int listening = 0;
	socklen_t size = sizeof(listening);

	app->step = close_listener;
	fake_take_over(&fake, app, &roll);
	ping(1);
	cr_assert_str_eq(FAKE_TAKE(&fake, CLOSED)->closed->fds[0]->name, "listener");
	/* It may be what an earlier version needs again. */
	cr_assert_eq(getsockopt(roll.held[LISTENER].fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size), 0);
	cr_assert(listening);
}

/* A session of its own, such as an ssh server has for each client, which goes on without an exec. */
static void be_child(const struct app *self)
{
	struct pollfd channel = { .fd = upg_fd(self->upg), .events = POLLIN };
	int own = eventfd(0, EFD_CLOEXEC);

	APP_MUST(upg_fd_register(self->upg, own, "own", 1) == 0);
	upg_close(self->upg, own, -1);
	upg_close(self->upg, self->fds[7], -1);
	APP_MUST(fcntl(self->fds[7], F_GETFD) < 0);
	/* What is said is said to the process that forked. */
	APP_MUST(poll(&channel, 1, FAKE_PATIENCE_MS) == 1);
	APP_MUST(upg_dispatch(self->upg) == UPG_GO_ON && strstr(upg_why(self->upg), "upg_free()"));
	APP_MUST(poll(&channel, 1, 0) == 1);
	upg_free(self->upg);
	APP_MUST(fcntl(channel.fd, F_GETFD) < 0);
	_exit(0);
}

static void fork_child(struct app *self)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		be_child(self);
	atomic_store(&self->forked, true);
	APP_MUST(waitpid(pid, &status, 0) == pid && status == 0);
	self->step = NULL;
}

Test(shim_fds, of_a_forked_child_are_nobody_elses, .init = setup_custody, .fini = teardown_custody)
{
	app->step = fork_child;
	fake_take_over(&fake, app, &roll);
	ping(1);
	fake_await_set(&app->forked); /* else one dispatch may answer both, and the child waits for the third */
	ping(2);
	cr_assert(fake_hears_nothing(&fake), "a child has closed or opened something in the service's name");
	cr_assert_eq(client_sees(7), -EAGAIN);
	app->step = close_client_7;
	ping(3);
	cr_assert_eq(FAKE_TAKE(&fake, CLOSED)->closed->fds[0]->tag, 7);
	cr_assert_eq(client_sees(7), 0);
}

Test(shim_fds, out_of_custody_are_closed_as_any, .init = setup_custody, .fini = teardown_custody)
{
	app->step = NULL;
	fake_take_over(&fake, app, &roll);
	app->step = close_client_7;
	fake_say_baked(&fake);
	fake_await(&app->n_steps, 0);
	ping(1);
	cr_assert(fake_hears_nothing(&fake), "told of what nobody holds");
	/* A duplicate that should not be there any more: without it the connection ends, and with it it does not. */
	cr_assert_eq(client_sees(7), -EAGAIN);
	roll.held[7].fd = fd_close(roll.held[7].fd);
	cr_assert_eq(client_sees(7), 0);
}

static void close_own(struct app *self)
{
	upg_close(self->upg, self->epolls[0], -1);
	self->step = NULL;
}

static void open_own(struct app *self)
{
	self->epolls[0] = eventfd(0, EFD_CLOEXEC);
	APP_MUST(upg_fd_register(self->upg, self->epolls[0], "own", 1) == 0);
}

Test(shim_fds, never_in_custody_are_closed_as_any, .init = setup_custody, .fini = teardown_custody)
{
	app->begin = open_own;
	app->step = close_own;
	fake_take_over(&fake, app, &roll);
	ping(1);
	fake_await(&app->n_steps, 0);
	ping(2);
	cr_assert(fake_hears_nothing(&fake));
}

/* Fill the channel towards the supervisor, so that nothing more goes in. */
static void close_all_over_a_full_channel(struct app *self)
{
	uint8_t data[] = { 0x62, 0x02, 0x08, 0x07 }; /* a pong */

	while (send(upg_fd(self->upg), data, sizeof(data), MSG_DONTWAIT) > 0)
		;
	APP_MUST(errno == EAGAIN);
	for (unsigned i = 0; i < CLIENTS; i++)
		upg_close(self->upg, self->fds[i], -1);
	self->step = NULL;
}

Test(shim_fds, are_told_of_later_when_the_channel_is_full, .init = setup_custody, .fini = teardown_custody)
{
	static bool told[CLIENTS];
	unsigned n_told = 0, n_messages = 0;
	char data[1024];

	app->step = close_all_over_a_full_channel;
	fake_take_over(&fake, app, &roll);
	fake_say_ping(&fake, 1);
	/* Taking anything before it is done would make room. */
	fake_await(&app->n_steps, 0);
	while (recv(fake.fd, data, sizeof(data), 0) > 0)
		;
	cr_assert_eq(errno, EAGAIN);
	/* The next time it looks at its channel, it says what it has to. */
	fake_say_ping(&fake, 2);
	while (n_told < CLIENTS) {
		const Upgraded__Wire__Closed *closed = FAKE_TAKE(&fake, CLOSED)->closed;

		n_messages++;
		for (size_t i = 0; i < closed->n_fds; i++) {
			cr_assert_lt(closed->fds[i]->tag, CLIENTS);
			cr_assert_not(told[closed->fds[i]->tag]);
			told[closed->fds[i]->tag] = true;
			n_told++;
		}
	}
	cr_assert_gt(n_messages, 1);
	cr_assert_eq(FAKE_TAKE(&fake, PONG)->pong->nonce, 2);
	cr_assert(fake_hears_nothing(&fake));
	for (unsigned i = 0; i < CLIENTS; i++)
		cr_assert_eq(client_sees(i), 0);
	fake_vanish(&fake);
	cr_assert_eq(fake_wait(&fake), APP_ORPHANED);
}

Test(shim_fds, are_shut_down_when_the_supervisor_is_gone, .init = setup_custody, .fini = teardown_custody)
{
	fake_take_over(&fake, app, &roll);
	app->step = close_client_7;
	/* One turn of its loop with the channel open still, or closed already. */
	fake_vanish(&fake);
	cr_assert_eq(fake_wait(&fake), APP_ORPHANED);
	cr_assert_eq(client_sees(7), 0);
}
