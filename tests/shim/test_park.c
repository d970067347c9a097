/* SPDX-License-Identifier: MIT */
/* Parked: the heap stays, the sockets go; and on a resume everything is as it was, down to the last epoll registration. */
#include "tests/shim/fake.h"

#include "base/clock.h"
#include "base/fd.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(shim_park, .timeout = 120);

#define CONNECTIONS 280u
#define PEERS 280u            /* the other ends, in fds[] behind the connections */
#define LISTENER 560u
#define UNREGISTERED 561u     /* a socket of its own business */
#define PIPE 562u             /* registered, and no socket */
#define FILE_FD 563u
#define N_FDS 564u

static struct app *app;
static struct fake fake;
static struct fake_roll roll;

/* ---- the application ---- */

static void watch(struct app *self, unsigned epoll, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = { .events = events, .data.u64 = data };

	APP_MUST(epoll_ctl(self->epolls[epoll], EPOLL_CTL_ADD, fd, &event) == 0);
}

static void open_connections(struct app *self)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	APP_MUST(bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 10) == 0);
	APP_MUST(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		APP_MUST(connect(peer, (struct sockaddr *)&address, sizeof(address)) == 0);
		/* Some are left open on exec, which is to stay so. */
		self->fds[i] = accept4(listener, NULL, NULL, i % 3 ? SOCK_CLOEXEC : 0);
		self->fds[PEERS + i] = peer;
		APP_MUST(self->fds[i] >= 0);
	}
	self->fds[LISTENER] = listener;
}

static void open_others(struct app *self)
{
	int pair[2];

	self->fds[UNREGISTERED] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	APP_MUST(pipe2(pair, O_CLOEXEC) == 0);
	self->fds[PIPE] = pair[0];
	self->fds[FILE_FD] = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	APP_MUST(self->fds[UNREGISTERED] >= 0 && self->fds[FILE_FD] >= 0);
}

/* Three sets: everything in the first, every other connection in the second, and the third has what is not registered as well. */
static void watch_all(struct app *self)
{
	static const uint32_t kinds[] = { EPOLLIN, EPOLLIN | EPOLLET, EPOLLIN | EPOLLOUT | EPOLLET, EPOLLOUT | EPOLLONESHOT,
					  EPOLLIN | EPOLLRDHUP | EPOLLPRI, EPOLLIN | EPOLLET | EPOLLONESHOT };

	for (unsigned i = 0; i < 3; i++)
		APP_MUST((self->epolls[i] = epoll_create1(EPOLL_CLOEXEC)) >= 0);
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		uint64_t data = UINT64_C(0xfedcba9800000000) + i;

		watch(self, 0, self->fds[i], kinds[i % 6], data);
		if (i % 2)
			watch(self, 1, self->fds[i], EPOLLRDHUP, (uint64_t)(uintptr_t)&self->fds[i]);
		if (i % 5 == 0)
			watch(self, 2, self->fds[i], EPOLLIN | EPOLLET, UINT64_MAX - i);
		watch(self, 2, self->fds[PEERS + i], EPOLLIN, i);
	}
	watch(self, 0, self->fds[LISTENER], EPOLLIN | EPOLLEXCLUSIVE, 1);
	watch(self, 2, self->fds[UNREGISTERED], EPOLLIN, 2);
	watch(self, 2, self->fds[PIPE], EPOLLIN, 3);
}

static void register_all(struct app *self)
{
	for (unsigned i = 0; i < CONNECTIONS; i++)
		APP_MUST(upg_fd_register(self->upg, self->fds[i], "client", i) == 0);
	APP_MUST(upg_fd_register(self->upg, self->fds[LISTENER], "listener", 0) == 0);
	APP_MUST(upg_fd_register(self->upg, self->fds[PIPE], "pipe", 0) == 0);
	APP_MUST(upg_fd_register(self->upg, self->fds[FILE_FD], "file", 0) == 0);
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The registrations of a set, sorted, as their kernel tells them. */
static void print_epoll(FILE *out, int epoll_fd)
{
	char *lines[2 * N_FDS], path[64], line[256];
	FILE *info;
	size_t n = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", epoll_fd);
	info = fopen(path, "re");
	APP_MUST(info);
	while (fgets(line, sizeof(line), info))
		if (strncmp(line, "tfd:", 4) == 0)
			APP_MUST(n < 2 * N_FDS && (lines[n++] = strdup(line)));
	fclose(info);
	qsort(lines, n, sizeof(char *), compare_lines);
	for (size_t i = 0; i < n; i++) {
		fprintf(out, "%d: %s", epoll_fd, lines[i]);
		free(lines[i]);
	}
}

/* All that matters of its descriptors, as text. */
static void take_snapshot(struct app *self, char *text, size_t size)
{
	FILE *out = fmemopen(text, size, "w");

	APP_MUST(out);
	for (unsigned i = 0; i < N_FDS; i++) {
		struct stat st;

		APP_MUST(fstat(self->fds[i], &st) == 0);
		fprintf(out, "%u: fd %d inode %llu flags %#x %#x\n", i, self->fds[i], (unsigned long long)st.st_ino,
			(unsigned)fcntl(self->fds[i], F_GETFD), (unsigned)fcntl(self->fds[i], F_GETFL));
	}
	for (unsigned i = 0; i < 3; i++)
		print_epoll(out, self->epolls[i]);
	fputc(0, out);
	APP_MUST(!ferror(out) && fclose(out) == 0);
}

static void begin(struct app *self)
{
	fd_raise_limit();
	open_connections(self);
	open_others(self);
	watch_all(self);
	register_all(self);
	self->n_fds = N_FDS;
	take_snapshot(self, self->snapshot[0], sizeof(self->snapshot[0]));
}

/* After the dispatch that ended with a resume. */
static void snapshot_again(struct app *self)
{
	take_snapshot(self, self->snapshot[1], sizeof(self->snapshot[1]));
}

/* ---- the test ---- */

static void setup(void)
{
	fd_raise_limit();
	app = app_new();
	app_fill(app, 3, 3);
	app->begin = begin;
	app->step = snapshot_again;
	fake_roll_open(&roll, 1);
}

static void teardown(void)
{
	fake_done(&fake);
	fake_roll_done(&roll);
}

static void resume(bool (*but)(const struct fake_fd *fd))
{
	Upgraded__Wire__Resume resume = UPGRADED__WIRE__RESUME__INIT;

	FAKE_SAY(&fake, RESUME, resume, &resume);
	fake_give_fds(&fake, &roll, but);
	FAKE_TAKE(&fake, RESUMED);
}

/* The application took its second snapshot @n turns of its loop ago or more. */
static void await_step(unsigned long n)
{
	fake_await(&app->n_steps, n - 1);
}

static void expect_as_before(void)
{
	const char *a = app->snapshot[0], *b = app->snapshot[1];

	for (size_t i = 0, line = 0; a[i] || b[i]; i++) {
		cr_assert_eq(a[i], b[i], "was: %.160s\nis:  %.160s", a + line, b + line);
		if (a[i] == '\n')
			line = i + 1;
	}
	cr_assert_gt(strlen(a), 10000);
}

static void target_of(int fd, char *ret, size_t size)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", fake.pid, fd);
	n = readlink(path, ret, size - 1);
	cr_assert_geq(n, 0, "descriptor %d is not there", fd);
	ret[n] = 0;
}

static bool is_registered_socket(unsigned i)
{
	return i < CONNECTIONS || i == LISTENER;
}

static void expect_shed(void)
{
	char target[256];

	for (unsigned i = 0; i < N_FDS; i++) {
		target_of(app->fds[i], target, sizeof(target));
		cr_assert_eq(strcmp(target, "/dev/null") == 0, is_registered_socket(i), "%u is %s", i, target);
	}
}

/* No set of the parked process has anything of what was shed. */
static void expect_no_registrations(void)
{
	for (unsigned i = 0; i < 3; i++) {
		char path[64], line[256];
		unsigned n = 0;
		FILE *info;

		snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", fake.pid, app->epolls[i]);
		info = fopen(path, "re");
		cr_assert_not_null(info);
		while (fgets(line, sizeof(line), info)) {
			int fd;

			if (sscanf(line, "tfd: %d", &fd) != 1)
				continue;
			n++;
			for (unsigned k = 0; k < CONNECTIONS; k++)
				cr_assert_neq(fd, app->fds[k]);
			cr_assert_neq(fd, app->fds[LISTENER]);
		}
		fclose(info);
		cr_assert_eq(n, i == 2 ? PEERS + 2 : 0);
	}
}

Test(shim_park, gives_up_the_registered_sockets_and_nothing_else, .init = setup, .fini = teardown)
{
	fake_start_serving(&fake, app);
	fake_park(&fake, &roll);
	cr_assert_eq(roll.n_held, CONNECTIONS + 3);
	cr_assert_eq(FAKE_TAKE(&fake, PARKED)->parked->fds, CONNECTIONS + 1);
	expect_shed();
	expect_no_registrations();
}

Test(shim_park, has_its_sockets_and_registrations_back_on_a_resume, .init = setup, .fini = teardown)
{
	fake_start_serving(&fake, app);
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
	resume(NULL);
	await_step(1);
	cr_assert_eq(atomic_load(&app->n_resumed), 1);
	cr_assert_eq(atomic_load(&app->n_aborted), 0);
	cr_assert_eq(app->n_lost, 0);
	expect_as_before();
	fake_say_ping(&fake, 4);
	cr_assert_eq(FAKE_TAKE(&fake, PONG)->pong->nonce, 4);
}

Test(shim_park, can_be_parked_again_and_again, .init = setup, .fini = teardown)
{
	fake_start_serving(&fake, app);
	for (unsigned long round = 1; round <= 3; round++) {
		if (round > 1) {
			fake_roll_done(&roll);
			fake_roll_open(&roll, 1);
		}
		fake_park(&fake, &roll);
		cr_assert_eq(FAKE_TAKE(&fake, PARKED)->parked->fds, CONNECTIONS + 1);
		expect_shed();
		resume(NULL);
		await_step(round);
		cr_assert_eq(atomic_load(&app->n_resumed), round);
		expect_as_before();
	}
	fake_vanish(&fake);
	cr_assert_eq(fake_wait(&fake), APP_ORPHANED);
}

/* ---- what does not come back ---- */

static bool every_tenth_client(const struct fake_fd *fd)
{
	return strcmp(fd->name, "client") == 0 && fd->tag % 10 == 3;
}

static bool is_lost(int fd)
{
	for (int i = 0; i < app->n_lost; i++)
		if (app->lost[i] == fd)
			return true;
	return false;
}

Test(shim_park, names_what_did_not_come_back, .init = setup, .fini = teardown)
{
	char target[256];

	fake_start_serving(&fake, app);
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
	resume(every_tenth_client);
	await_step(1);
	cr_assert_eq(app->n_lost, CONNECTIONS / 10);
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		bool lost = i % 10 == 3;

		cr_assert_eq(is_lost(app->fds[i]), lost, "client %u", i);
		target_of(app->fds[i], target, sizeof(target));
		cr_assert_eq(strcmp(target, "/dev/null") == 0, lost, "client %u is %s", i, target);
	}
}

static void close_lost(struct app *self)
{
	if (self->n_lost == 0)
		return;
	for (int i = 0; i < self->n_lost; i++)
		upg_close(self->upg, self->lost[i], self->epolls[0]);
	/* Names and numbers are free again. */
	APP_MUST(open("/dev/null", O_RDONLY | O_CLOEXEC) == self->lost[0]);
	APP_MUST(upg_fd_register(self->upg, self->lost[0], "client", 3) == 0);
	self->n_lost = 0;
}

Test(shim_park, can_close_what_was_lost, .init = setup, .fini = teardown)
{
	app->step = close_lost;
	fake_start_serving(&fake, app);
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
	resume(every_tenth_client);
	await_step(1);
	cr_assert_eq(app->n_lost, 0);
	/* What is left goes through another roll. */
	fake_roll_done(&roll);
	fake_roll_open(&roll, 1);
	fake_park(&fake, &roll);
	cr_assert_eq(roll.n_held, CONNECTIONS + 3 - CONNECTIONS / 10 + 1);
	cr_assert_eq(FAKE_TAKE(&fake, PARKED)->parked->fds, CONNECTIONS + 1 - CONNECTIONS / 10);
}

static bool everything(const struct fake_fd *fd)
{
	(void)fd;
	return true;
}

Test(shim_park, comes_back_even_if_nothing_else_does, .init = setup, .fini = teardown)
{
	fake_start_serving(&fake, app);
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
	resume(everything);
	cr_assert_eq(app->n_lost, CONNECTIONS + 1);
	cr_assert(is_lost(app->fds[LISTENER]));
	expect_shed();
}

Test(shim_park, has_no_use_for_descriptors_it_never_had, .init = setup, .fini = teardown)
{
	fake_start_serving(&fake, app);
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
	fake_hold(&roll, "stranger", 1, open("/dev/zero", O_RDONLY | O_CLOEXEC));
	fake_hold(&roll, "client", 1, open("/dev/zero", O_RDONLY | O_CLOEXEC));
	resume(NULL);
	await_step(1);
	expect_as_before();
}

/* ---- events ---- */

/* While it is parked: every client says something. */
static void say_something(void)
{
	for (unsigned i = 0; i < roll.n_held; i++)
		if (strcmp(roll.held[i].name, "client") == 0)
			cr_assert_eq(shutdown(roll.held[i].fd, SHUT_RD), 0);
}

static void count_events(struct app *self)
{
	struct epoll_event events[CONNECTIONS];
	bool seen[CONNECTIONS] = { false };
	int n = epoll_wait(self->epolls[1], events, CONNECTIONS, 0);

	for (int i = 0; i < n; i++)
		seen[(const int *)events[i].data.ptr - self->fds] = true;
	for (unsigned i = 0; i < CONNECTIONS; i++)
		APP_MUST(seen[i] == (i % 2 == 1));
}

Test(shim_park, hears_on_its_return_of_what_happened_meanwhile, .init = setup, .fini = teardown)
{
	app->step = count_events;
	fake_start_serving(&fake, app);
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
	say_something();
	resume(NULL);
	await_step(1);
}

/* A registration that has fired once is disarmed until the application says otherwise. */
static void disarm_first(struct app *self)
{
	struct epoll_event event;

	begin(self);
	for (unsigned i = 0; i < 3; i++)
		APP_MUST(close(self->epolls[i]) == 0);
	self->epolls[0] = epoll_create1(EPOLL_CLOEXEC);
	watch(self, 0, self->fds[0], EPOLLIN | EPOLLONESHOT, 5);
	APP_MUST(write(self->fds[PEERS], "x", 1) == 1);
	APP_MUST(epoll_wait(self->epolls[0], &event, 1, 1000) == 1 && event.data.u64 == 5);
	APP_MUST(epoll_wait(self->epolls[0], &event, 1, 0) == 0);
}

static void expect_disarmed(struct app *self)
{
	struct epoll_event event;

	APP_MUST(epoll_wait(self->epolls[0], &event, 1, 0) == 0);
	/* It is in the set all the same, to be armed again. */
	event = (struct epoll_event){ .events = EPOLLIN | EPOLLONESHOT, .data.u64 = 6 };
	APP_MUST(epoll_ctl(self->epolls[0], EPOLL_CTL_MOD, self->fds[0], &event) == 0);
	APP_MUST(epoll_wait(self->epolls[0], &event, 1, 0) == 1 && event.data.u64 == 6);
}

Test(shim_park, leaves_disarmed_what_was_disarmed, .init = setup, .fini = teardown)
{
	app->begin = disarm_first;
	app->step = expect_disarmed;
	fake_start_serving(&fake, app);
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
	resume(NULL);
	await_step(1);
}

/* ---- the end of being parked ---- */

Test(shim_park, leaves_when_the_supervisor_vanishes, .init = setup, .fini = teardown)
{
	app->begin = NULL;
	fake_start_serving(&fake, app);
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
	fake_vanish(&fake);
	cr_assert_eq(fake_wait(&fake), APP_LEFT);
}

/* So that the application can join them. */
Test(shim_park, lets_its_threads_go_when_it_leaves, .init = setup, .fini = teardown)
{
	struct app_worker *late;

	app->begin = NULL;
	app->joins_threads = true;
	app_worker_add(app, "turns", worker_turns);
	app_worker_add(app, "reads", worker_reads);
	app_worker_add(app, "waits", worker_waits);
	late = app_worker_add(app, "late", worker_comes_late);
	fake_start_serving(&fake, app);
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
	atomic_store(&late->go, true);
	while (!atomic_load(&late->entering))
		usleep(100);
	fake_vanish(&fake);
	cr_assert_eq(fake_wait(&fake), APP_LEFT);
	for (unsigned i = 0; i < app->n_workers; i++)
		cr_assert(atomic_load(&app->workers[i].left), "%s", app->workers[i].name);
}

static unsigned long turns_at_the_end;

static void linger(struct app *self)
{
	turns_at_the_end = atomic_load(&self->workers[0].turns);
	usleep(450000);
	/* One turn at once, and then one in each 100 ms. */
	APP_MUST(atomic_load(&self->workers[0].turns) - turns_at_the_end <= 6);
}

Test(shim_park, slows_a_thread_down_that_does_not_leave, .init = setup, .fini = teardown)
{
	app->begin = NULL;
	app->leave = linger;
	app_worker_add(app, "careless", worker_careless);
	fake_start_serving(&fake, app);
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
	fake_vanish(&fake);
	cr_assert_eq(fake_wait(&fake), APP_LEFT);
}

Test(shim_park, leaves_when_the_supervisor_vanishes_half_way_back, .init = setup, .fini = teardown)
{
	Upgraded__Wire__Resume resume = UPGRADED__WIRE__RESUME__INIT;

	fake_start_serving(&fake, app);
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
	FAKE_SAY(&fake, RESUME, resume, &resume);
	fake_vanish(&fake);
	cr_assert_eq(fake_wait(&fake), APP_LEFT);
	cr_assert_eq(atomic_load(&app->n_resumed), 0);
}

Test(shim_park, stays_so_whatever_else_it_is_told, .init = setup, .fini = teardown)
{
	app->begin = NULL;
	app->step = NULL;
	fake_start_serving(&fake, app);
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
	fake_say_ping(&fake, 1);
	fake_say_abort(&fake);
	fake_say_park(&fake);
	fake_say_commit(&fake);
	resume(NULL);
	cr_assert_eq(atomic_load(&app->n_resumed), 1);
	cr_assert_eq(atomic_load(&app->n_aborted), 0);
}

Test(shim_park, has_threads_that_stand_until_it_is_back, .init = setup, .fini = teardown)
{
	struct app_worker *turns = app_worker_add(app, "turns", worker_turns);
	unsigned long stood;

	fake_start_serving(&fake, app);
	fake_await(&turns->turns, 0);
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
	stood = atomic_load(&turns->turns);
	resume(NULL);
	await_step(1);
	expect_as_before();
	fake_await(&turns->turns, stood);
}
