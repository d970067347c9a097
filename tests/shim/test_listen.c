/* SPDX-License-Identifier: MIT */
/* Listeners by address, what a version leaves of what it was handed, and the list of what there is. */
#include "tests/shim/fake.h"

#include "base/door.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

TestSuite(shim_listen, .timeout = 60);

static struct app *app;
static struct fake fake;
static struct fake_roll roll;
static struct upg *upg;
static char path[64];

static void setup(void)
{
	app = app_new();
	fake_roll_open(&roll, 1);
	snprintf(path, sizeof(path), "/tmp/upg-listen.%d", (int)getpid());
}

static void teardown(void)
{
	fake_done(&fake);
	fake_roll_done(&roll);
	unlink(path);
}

/* ---- too early ---- */

static void listen_first(struct app *app_)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	app_->fds[0] = upg_listen(app_->upg, (struct sockaddr *)&address, sizeof(address), SOCK_STREAM, 5);
	snprintf(app_->snapshot[0], sizeof(app_->snapshot[0]), "%s", upg_why(app_->upg));
}

Test(shim_listen, with_a_supervisor_comes_after_upg_receive, .init = setup, .fini = teardown)
{
	app->opened = listen_first;
	fake_start_standby(&fake, app);
	cr_assert_eq(app->fds[0], -EBUSY);
	cr_assert_str_eq(app->snapshot[0],
			 "listen on 127.0.0.1:0: call upg_listen() after upg_receive(), in which the version that serves hands "
			 "over the socket that it has there");
}

Test(shim_listen, with_a_supervisor_is_well_after_a_fresh_start, .init = setup, .fini = teardown)
{
	Upgraded__Wire__AskRegistered ask = UPGRADED__WIRE__ASK_REGISTERED__INIT;

	app->opened = listen_first;
	app->begin = listen_first;
	fake_start_serving(&fake, app);
	FAKE_SAY(&fake, ASK_REGISTERED, ask_registered, &ask);
	cr_assert_eq(FAKE_TAKE(&fake, REGISTERED)->registered->count, 1);
	cr_assert_geq(app->fds[0], 0, "%d: %s", app->fds[0], app->snapshot[0]);
}

Test(shim_listen, alone_may_come_before_upg_receive, .init = setup, .fini = teardown)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	unsetenv(WIRE_FD_ENV);
	cr_assert_eq(upg_open(&app->config, &upg), 0);
	cr_assert_geq(upg_listen(upg, (struct sockaddr *)&address, sizeof(address), SOCK_STREAM, 5), 0);
	upg_free(upg);
}

/* ---- alone: what is opened ---- */

static void setup_alone(void)
{
	setup();
	unsetenv(WIRE_FD_ENV);
	cr_assert_eq(upg_open(&app->config, &upg), 0);
	cr_assert_eq(upg_receive(upg), UPG_FRESH);
}

static void teardown_alone(void)
{
	upg_free(upg);
	teardown();
}

static struct sockaddr_in v4(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int listen_v4(struct upg *at, uint16_t port, int type)
{
	struct sockaddr_in address = v4(port);

	return upg_listen(at, (struct sockaddr *)&address, sizeof(address), type, 5);
}

static int listen_path(struct upg *at, const char *where, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", where);
	return upg_listen(at, (struct sockaddr *)&address, sizeof(address), type, 5);
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in address;
	socklen_t size = sizeof(address);

	return getsockname(fd, (struct sockaddr *)&address, &size) == 0 ? ntohs(address.sin_port) : 0;
}

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t size = sizeof(value);

	cr_assert_eq(getsockopt(fd, level, name, &value, &size), 0);
	return value;
}

static struct upg_fd_info listed(int fd)
{
	struct upg_fd_info it = { .fd = -1 };

	while (upg_fd_next(upg, &it))
		if (it.fd == fd)
			return it;
	cr_assert_fail("%d is not listed", fd);
	return it;
}

Test(shim_listen, opens_and_registers_what_was_not_handed_over, .init = setup_alone, .fini = teardown_alone)
{
	int fd = listen_v4(upg, 0, SOCK_STREAM | SOCK_NONBLOCK);
	struct upg_fd_info it;
	char address[64];

	cr_assert_geq(fd, 0, "%s", upg_why(upg));
	it = listed(fd);
	snprintf(address, sizeof(address), "127.0.0.1:%u", port_of(fd));
	cr_assert_str_eq(it.name, "listener");
	cr_assert_str_eq(it.address, address);
	cr_assert(it.claimed);
	cr_assert_eq(door_kind(fd), DOOR_LISTENER);
	cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	cr_assert_eq(option(fd, SOL_SOCKET, SO_REUSEADDR), 1);
	upg_close(upg, fd, -1);
}

/* With SO_REUSEADDR both would be bound, and one of them would get nothing. */
Test(shim_listen, never_shares_a_port_with_another_process, .init = setup_alone, .fini = teardown_alone)
{
	int stream = listen_v4(upg, 0, SOCK_STREAM), datagrams = listen_v4(upg, 0, SOCK_DGRAM);

	cr_assert_eq(door_kind(datagrams), DOOR_DATAGRAMS);
	cr_assert_eq(listen_v4(upg, port_of(stream), SOCK_STREAM), -EADDRINUSE);
	cr_assert(strstr(upg_why(upg), "listen on 127.0.0.1:"), "%s", upg_why(upg));
	cr_assert_eq(listen_v4(upg, port_of(datagrams), SOCK_DGRAM), -EADDRINUSE);
}

Test(shim_listen, takes_both_wildcards_of_a_port, .init = setup_alone, .fini = teardown_alone)
{
	struct sockaddr_in any = { .sin_family = AF_INET };
	struct sockaddr_in6 any6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT };
	int fd = upg_listen(upg, (struct sockaddr *)&any, sizeof(any), SOCK_STREAM, 5), fd6;

	cr_assert_geq(fd, 0);
	any6.sin6_port = htons(port_of(fd));
	fd6 = upg_listen(upg, (struct sockaddr *)&any6, sizeof(any6), SOCK_STREAM, 5);
	if (fd6 == -EAFNOSUPPORT || fd6 == -EADDRNOTAVAIL)
		return; /* a machine without IPv6 */
	cr_assert_geq(fd6, 0, "%s", upg_why(upg));
	cr_assert_eq(option(fd6, IPPROTO_IPV6, IPV6_V6ONLY), 1);
}

Test(shim_listen, replaces_a_path_at_which_nobody_answers, .init = setup_alone, .fini = teardown_alone)
{
	int fd = listen_path(upg, path, SOCK_STREAM);

	cr_assert_geq(fd, 0, "%s", upg_why(upg));
	cr_assert_eq(listen_path(upg, path, SOCK_STREAM), -EADDRINUSE, "somebody answers");
	cr_assert_eq(listen_path(upg, path, SOCK_DGRAM), -EADDRINUSE, "of another type, all the same");
	upg_close(upg, fd, -1);
	fd = listen_path(upg, path, SOCK_STREAM);
	cr_assert_geq(fd, 0, "%s", upg_why(upg));
	cr_assert_str_eq(listed(fd).address, path);
	upg_close(upg, fd, -1);
	fd = listen_path(upg, path, SOCK_DGRAM);
	cr_assert_geq(fd, 0, "%s", upg_why(upg));
	upg_close(upg, fd, -1);
}

Test(shim_listen, leaves_what_is_no_socket, .init = setup_alone, .fini = teardown_alone)
{
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	cr_assert_eq(listen_path(upg, path, SOCK_STREAM), -EADDRINUSE);
	cr_assert_eq(access(path, F_OK), 0);
	cr_assert(strstr(upg_why(upg), path), "%s", upg_why(upg));
}

Test(shim_listen, knows_abstract_names, .init = setup_alone, .fini = teardown_alone)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int n = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "upg-listen.%d", (int)getpid());
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
	int fd = upg_listen(upg, (struct sockaddr *)&address, size, SOCK_SEQPACKET, 5);

	cr_assert_geq(fd, 0, "%s", upg_why(upg));
	cr_assert_eq(listed(fd).address[0], '@');
	cr_assert_eq(upg_listen(upg, (struct sockaddr *)&address, size, SOCK_SEQPACKET, 5), -EADDRINUSE);
}

Test(shim_listen, refuses_half_an_address, .init = setup_alone, .fini = teardown_alone)
{
	struct sockaddr_in address = v4(0);

	cr_assert_eq(upg_listen(upg, (struct sockaddr *)&address, 8, SOCK_STREAM, 5), -EINVAL);
	cr_assert_eq(upg_listen(upg, (struct sockaddr *)&address, 1, SOCK_STREAM, 5), -EINVAL);
	cr_assert_eq(upg_listen(upg, (struct sockaddr *)&address, 4000, SOCK_STREAM, 5), -EINVAL);
}

/* ---- a successor ---- */

/* What a version before opened, and still holds. Return: its port, or 0 for a path. */
static uint16_t handed(const char *name, uint64_t tag, int type)
{
	struct sockaddr_in address = v4(0);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert(type == SOCK_DGRAM || listen(fd, 5) == 0);
	fake_hold(&roll, name, tag, fd);
	return port_of(fd);
}

/* The same for one socket, whoever holds it. */
static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

static uint64_t cookies[8];

/* Before the application is forked, which does not keep what is held here. */
static void note_held(void)
{
	for (size_t i = 0; i < roll.n_held; i++)
		cookies[i] = cookie_of(roll.held[i].fd);
}

/* In the application. */
static bool is_held(int fd, size_t i)
{
	return cookies[i] && cookie_of(fd) == cookies[i];
}

static uint16_t port, other_port;

static void listen_again(struct app *self)
{
	int fd = listen_v4(self->upg, port, SOCK_STREAM), datagrams = listen_v4(self->upg, other_port, SOCK_DGRAM);

	APP_MUST(is_held(fd, 0));
	APP_MUST(is_held(datagrams, 1));
}

Test(shim_listen, claims_what_is_at_the_address_whatever_its_name, .init = setup, .fini = teardown)
{
	port = handed("web", 7, SOCK_STREAM);
	other_port = handed("listener", 0, SOCK_DGRAM);
	app->claim = listen_again;
	note_held();
	fake_take_over(&fake, app, &roll);
}

static void listen_elsewhere(struct app *self)
{
	int fd = listen_v4(self->upg, 0, SOCK_STREAM);

	APP_MUST(fd >= 0 && !is_held(fd, 0));
}

static const Upgraded__Wire__Loaded *load(void)
{
	struct fake_state state = fake_capture(3);

	note_held();
	fake_start_standby(&fake, app);
	fake_feed(&fake, &roll, state.data, state.size);
	free(state.data);
	return FAKE_TAKE(&fake, LOADED)->loaded;
}

Test(shim_listen, lets_what_is_not_configured_any_more_go, .init = setup, .fini = teardown)
{
	const Upgraded__Wire__Loaded *loaded;

	handed("listener", 5, SOCK_STREAM);
	app->claim = listen_elsewhere;
	loaded = load();
	cr_assert_eq(loaded->left_count, 1);
	cr_assert_str_eq(loaded->left[0]->name, "listener");
	cr_assert_eq(loaded->left[0]->tag, 5);
	fake_say_commit(&fake);
	FAKE_TAKE(&fake, COMMITTED);
	cr_assert_eq(FAKE_TAKE(&fake, CLOSED)->closed->fds[0]->tag, 5);
	cr_assert(door_is_open(roll.held[0].fd, DOOR_LISTENER), "the version before may need it again");
}

static const char *refusal(void)
{
	struct fake_state state = fake_capture(3);

	fake_start_standby(&fake, app);
	fake_feed(&fake, &roll, state.data, state.size);
	free(state.data);
	return FAKE_TAKE(&fake, REFUSED)->refused->reason;
}

Test(shim_listen, does_not_let_a_version_serve_to_which_nobody_can_come, .init = setup, .fini = teardown)
{
	char words[128];
	const char *reason;

	snprintf(words, sizeof(words), "none of 1 listeners was claimed, among them listener 5 (a listener at 127.0.0.1:%u)",
		 handed("listener", 5, SOCK_STREAM));
	reason = refusal();
	cr_assert(strstr(reason, words), "%s\nshould say: %s", reason, words);
}

static void drop(struct app *self)
{
	APP_MUST(upg_fd_drop(self->upg, "listener", 6) == -ENOENT);
	APP_MUST(upg_fd_drop(self->upg, "listener", 5) == 0);
	APP_MUST(upg_fd_drop(self->upg, "client", 9) == 0);
}

Test(shim_listen, lets_a_version_serve_that_says_it_wants_none, .init = setup, .fini = teardown)
{
	const Upgraded__Wire__Loaded *loaded;
	int pair[2];
	char byte;

	handed("listener", 5, SOCK_STREAM);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	fake_hold(&roll, "client", 9, pair[0]);
	app->claim = drop;
	loaded = load();
	cr_assert_eq(loaded->left_count, 2);
	cr_assert_lt(recv(pair[1], &byte, 1, MSG_DONTWAIT), 0, "the roll may still be called off");
	fake_say_commit(&fake);
	FAKE_TAKE(&fake, COMMITTED);
	cr_assert_eq(recv(pair[1], &byte, 1, 0), 0, "a connection that was dropped is closed for its peer");
	close(pair[1]);
}

Test(shim_listen, names_what_has_to_be_claimed_by_kind_and_address, .init = setup, .fini = teardown)
{
	struct sockaddr_in address;
	socklen_t size = sizeof(address);
	int listener, client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char words[128];
	const char *reason;

	port = handed("listener", 5, SOCK_STREAM);
	listener = roll.held[0].fd;
	address = v4(port);
	cr_assert_eq(connect(client, (struct sockaddr *)&address, size), 0);
	fake_hold(&roll, "client", 9, accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	snprintf(words, sizeof(words), "among them client 9 (a connection at 127.0.0.1:%u with 127.0.0.1:%u)", port,
		 port_of(client));
	reason = refusal();
	cr_assert(strstr(reason, words), "%s\nshould say: %s", reason, words);
	close(client);
}

static void listen_at_path(struct app *self)
{
	int fd = listen_path(self->upg, path, SOCK_STREAM);

	APP_MUST(fd >= 0);
	self->fds[0] = is_held(fd, 0);
}

static void hold_path(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(fd, 5), 0);
	fake_hold(&roll, "listener", 0, fd);
	note_held();
}

Test(shim_listen, claims_by_path, .init = setup, .fini = teardown)
{
	hold_path();
	app->claim = listen_at_path;
	fake_take_over(&fake, app, &roll);
	cr_assert(app->fds[0]);
}

Test(shim_listen, opens_a_path_anew_that_leads_nowhere, .init = setup, .fini = teardown)
{
	hold_path();
	cr_assert_eq(unlink(path), 0);
	app->claim = listen_at_path;
	fake_take_over(&fake, app, &roll);
	cr_assert_not(app->fds[0], "nobody could reach it");
	cr_assert_eq(access(path, F_OK), 0);
}

/* ---- two versions of an application ---- */

static void listen_at_two(struct app *self)
{
	self->fds[0] = listen_v4(self->upg, 0, SOCK_STREAM);
	self->fds[1] = listen_v4(self->upg, 0, SOCK_STREAM);
	APP_MUST(self->fds[0] >= 0 && self->fds[1] >= 0);
	self->fds[2] = port_of(self->fds[0]);
	self->fds[3] = port_of(self->fds[1]);
}

Test(shim_listen, finds_ports_again_that_the_kernel_chose, .init = setup, .fini = teardown)
{
	struct app *new_app = app_new();
	struct fake_roll before;
	struct fake old;

	app->begin = listen_at_two;
	fake_start_serving(&old, app);
	fake_say_ping(&old, 1);
	FAKE_TAKE(&old, PONG);
	fake_prepare(&old, &roll);
	FAKE_TAKE(&old, QUIESCED);
	fake_take_fds(&old, &roll);
	cr_assert_eq(roll.n_held, 2);
	before = roll;
	fake_roll_open(&roll, 1);
	roll.held = before.held;
	roll.n_held = before.n_held;
	before.n_held = 0;
	before.held = NULL;
	new_app->claim = listen_at_two;
	app = new_app;
	load();
	cr_assert_eq(new_app->fds[2], port_of(roll.held[0].fd));
	cr_assert_eq(new_app->fds[3], port_of(roll.held[1].fd));
	fake_done(&old);
	fake_roll_done(&before);
}

/* ---- tags that the library makes ---- */

static uint64_t new_tag(struct app *self)
{
	uint64_t tag = 0;
	int fd = eventfd(0, EFD_CLOEXEC);

	APP_MUST(upg_fd_register_new(self->upg, fd, "event", &tag) == 0);
	self->fds[tag] = fd;
	return tag;
}

/* 1 and 3 are open in the end; 4 was used; 2 is the application's own. */
static void make_tags(struct app *self)
{
	APP_MUST(upg_fd_register(self->upg, eventfd(0, EFD_CLOEXEC), "event", 2) == 0);
	APP_MUST(new_tag(self) == 1);
	APP_MUST(new_tag(self) == 3);
	APP_MUST(new_tag(self) == 4);
	upg_close(self->upg, self->fds[4], -1);
}

static void go_on_with_tags(struct app *self)
{
	for (uint64_t tag = 1; tag <= 3; tag++)
		APP_MUST(upg_fd_claim(self->upg, "event", tag) >= 0);
	APP_MUST(new_tag(self) == 5);
}

Test(shim_listen, tags_go_on_over_versions, .init = setup, .fini = teardown)
{
	struct app *new_app = app_new();
	struct fake_roll before;
	struct fake old;

	app->begin = make_tags;
	fake_start_serving(&old, app);
	fake_prepare(&old, &roll);
	FAKE_TAKE(&old, QUIESCED);
	fake_take_fds(&old, &roll);
	cr_assert_eq(roll.next_tag, 5);
	before = roll;
	fake_roll_open(&roll, 1);
	roll.held = before.held;
	roll.n_held = before.n_held;
	roll.next_tag = before.next_tag;
	before.n_held = 0;
	before.held = NULL;
	new_app->claim = go_on_with_tags;
	app = new_app;
	load();
	fake_done(&old);
	fake_roll_done(&before);
}

/* ---- unregistering ---- */

Test(shim_listen, keeps_what_is_unregistered_open, .init = setup_alone, .fini = teardown_alone)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	struct upg_fd_info it = { .fd = -1 };

	cr_assert_eq(upg_fd_unregister(upg, fd), -ENOENT);
	cr_assert_eq(upg_fd_register(upg, fd, "event", 1), 0);
	cr_assert_str_empty(listed(fd).address);
	cr_assert_eq(upg_fd_unregister(upg, fd), 0);
	cr_assert_eq(upg_fd_next(upg, &it), 0);
	cr_assert_eq(it.fd, -1);
	cr_assert_geq(fcntl(fd, F_GETFD), 0);
	cr_assert_eq(upg_fd_register(upg, fd, "event", 1), 0, "as if it never had been");
	upg_close(upg, fd, -1);
}

static void unregister_client(struct app *self)
{
	APP_MUST(upg_fd_unregister(self->upg, self->fds[0]) == 0);
	self->step = NULL;
}

static void claim_client(struct app *self)
{
	struct upg_fd_info it = { .fd = -1 };

	APP_MUST(upg_fd_next(self->upg, &it) == 1);
	APP_MUST(!it.claimed && strcmp(it.name, "client") == 0 && it.tag == 9);
	APP_MUST(upg_fd_unregister(self->upg, it.fd) == -ENOENT);
	self->fds[0] = upg_fd_claim(self->upg, it.name, it.tag);
	APP_MUST(self->fds[0] == it.fd);
}

/* The supervisor's duplicate goes, and the peer notices nothing. */
Test(shim_listen, tells_what_is_unregistered_and_does_not_shut_it_down, .init = setup, .fini = teardown)
{
	int pair[2];
	char byte;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	fake_hold(&roll, "client", 9, pair[0]);
	app->claim = claim_client;
	app->step = unregister_client;
	fake_take_over(&fake, app, &roll);
	fake_say_ping(&fake, 1);
	FAKE_TAKE(&fake, PONG);
	cr_assert_eq(FAKE_TAKE(&fake, CLOSED)->closed->fds[0]->tag, 9);
	cr_assert_lt(recv(pair[1], &byte, 1, MSG_DONTWAIT), 0);
	cr_assert_eq(errno, EAGAIN);
	close(pair[1]);
}

/* ---- what the supervisor has opened ---- */

static int given[3];
static uint16_t given_port;

/* What a service file names: an address of the loopback, a path, and one that no version asks for. */
static void open_given(void)
{
	struct sockaddr_un local = { .sun_family = AF_UNIX };
	struct sockaddr_in address = v4(0);

	snprintf(local.sun_path, sizeof(local.sun_path), "%s", path);
	for (size_t i = 0; i < 3; i++) {
		given[i] = socket(i == 1 ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		cr_assert_eq(bind(given[i], i == 1 ? (struct sockaddr *)&local : (struct sockaddr *)&address,
				  i == 1 ? sizeof(local) : sizeof(address)), 0);
		cr_assert_eq(listen(given[i], 5), 0);
		cookies[i] = cookie_of(given[i]);
	}
	given_port = port_of(given[0]);
	other_port = port_of(given[2]);
}

static void give(uint32_t count, size_t n)
{
	Upgraded__Wire__Listeners listeners = UPGRADED__WIRE__LISTENERS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_LISTENERS, .listeners = &listeners);

	listeners.count = count;
	fake_say(&fake, &message, given, n);
}

static void welcome(void)
{
	Upgraded__Wire__Welcome body = UPGRADED__WIRE__WELCOME__INIT;

	body.protocol = WIRE_PROTOCOL;
	body.fresh = true;
	FAKE_SAY(&fake, WELCOME, welcome, &body);
}

static void listen_given(struct app *self)
{
	int fd = listen_v4(self->upg, given_port, SOCK_STREAM | SOCK_NONBLOCK), local = listen_path(self->upg, path, SOCK_STREAM);

	APP_MUST(is_held(fd, 0));
	APP_MUST(fcntl(fd, F_GETFL) & O_NONBLOCK);
	APP_MUST(is_held(local, 1));
	APP_MUST(!(fcntl(local, F_GETFL) & O_NONBLOCK));
}

/* By the name that the service file gives it, and by its address all the same. */
static void claim_by_name(struct app *self)
{
	int local = upg_fd_claim(self->upg, "admin", 0), fd = listen_v4(self->upg, given_port, SOCK_STREAM);

	APP_MUST(is_held(local, 1));
	APP_MUST(is_held(fd, 0));
	APP_MUST(upg_fd_claim(self->upg, "web", 0) == -ENOENT); /* it is claimed */
	APP_MUST(is_held(upg_fd_claim(self->upg, "web", 1), 2));
}

static void listen_beside(struct app *self)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(given_port) };

	APP_MUST(upg_listen(self->upg, (struct sockaddr *)&any, sizeof(any), SOCK_STREAM, 5) == -EADDRINUSE);
	snprintf(self->snapshot[0], sizeof(self->snapshot[0]), "%s", upg_why(self->upg));
}

static void close_given(struct app *self)
{
	upg_close(self->upg, listen_v4(self->upg, given_port, SOCK_STREAM), -1);
}

Test(shim_listen, takes_what_the_supervisor_has_opened_and_closes_the_rest, .init = setup, .fini = teardown)
{
	Upgraded__Wire__AskRegistered ask = UPGRADED__WIRE__ASK_REGISTERED__INIT;

	open_given();
	app->fresh = listen_given;
	fake_start(&fake, app);
	cr_assert(FAKE_TAKE(&fake, HELLO)->hello->listens);
	FAKE_TAKE(&fake, STANDBY);
	give(3, 3);
	welcome();
	FAKE_TAKE(&fake, READY);
	FAKE_SAY(&fake, ASK_REGISTERED, ask_registered, &ask);
	cr_assert_eq(FAKE_TAKE(&fake, REGISTERED)->registered->count, 2);
}

Test(shim_listen, finds_what_the_supervisor_has_opened_by_name, .init = setup, .fini = teardown)
{
	Upgraded__Wire__Listeners listeners = UPGRADED__WIRE__LISTENERS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_LISTENERS, .listeners = &listeners);
	char web[] = "web", admin[] = "admin", *names[] = { web, admin, web };

	open_given();
	app->fresh = claim_by_name;
	fake_start(&fake, app);
	FAKE_TAKE(&fake, HELLO);
	FAKE_TAKE(&fake, STANDBY);
	listeners.count = 3;
	listeners.n_names = 3;
	listeners.names = names;
	fake_say(&fake, &message, given, 3);
	welcome();
	FAKE_TAKE(&fake, READY);
}

Test(shim_listen, tells_of_a_listener_that_it_closes, .init = setup, .fini = teardown)
{
	open_given();
	app->fresh = close_given;
	fake_start(&fake, app);
	FAKE_TAKE(&fake, HELLO);
	FAKE_TAKE(&fake, STANDBY);
	give(1, 1);
	welcome();
	cr_assert_str_eq(FAKE_TAKE(&fake, CLOSED)->closed->fds[0]->name, "listener");
	FAKE_TAKE(&fake, READY);
}

Test(shim_listen, says_that_the_service_file_names_another_address, .init = setup, .fini = teardown)
{
	char words[160];

	open_given();
	app->fresh = listen_beside;
	fake_start(&fake, app);
	FAKE_TAKE(&fake, HELLO);
	FAKE_TAKE(&fake, STANDBY);
	give(1, 1);
	welcome();
	FAKE_TAKE(&fake, READY);
	snprintf(words, sizeof(words),
		 "listen on 0.0.0.0:%u: Listen= of the service file names 127.0.0.1:%u instead, which has the port", given_port,
		 given_port);
	cr_assert_str_eq(app->snapshot[0], words);
}

Test(shim_listen, does_not_go_along_with_fewer_listeners_than_are_named, .init = setup, .fini = teardown)
{
	open_given();
	fake_start(&fake, app);
	FAKE_TAKE(&fake, HELLO);
	FAKE_TAKE(&fake, STANDBY);
	give(2, 1);
	cr_assert_eq(fake_wait(&fake), APP_FAILED);
	cr_assert(strstr(app->why, "2 listeners are named but 1 came"), "%s", app->why);
}

Test(shim_listen, passes_over_what_is_no_listener, .init = setup, .fini = teardown)
{
	Upgraded__Wire__AskRegistered ask = UPGRADED__WIRE__ASK_REGISTERED__INIT;

	given[0] = eventfd(0, EFD_CLOEXEC);
	fake_start(&fake, app);
	FAKE_TAKE(&fake, HELLO);
	FAKE_TAKE(&fake, STANDBY);
	give(1, 1);
	welcome();
	FAKE_TAKE(&fake, READY);
	FAKE_SAY(&fake, ASK_REGISTERED, ask_registered, &ask);
	cr_assert_eq(FAKE_TAKE(&fake, REGISTERED)->registered->count, 0);
}

/* Of a roll: beside what the version before hands over, under a tag that may be the same. */
Test(shim_listen, takes_an_address_that_no_version_before_had, .init = setup, .fini = teardown)
{
	struct fake_state state = fake_capture(3);
	const Upgraded__Wire__Loaded *loaded;

	open_given();
	port = handed("listener", 5, SOCK_STREAM);
	app->claim = listen_given;
	fake_start_standby(&fake, app);
	give(3, 3);
	fake_feed(&fake, &roll, state.data, state.size);
	free(state.data);
	loaded = FAKE_TAKE(&fake, LOADED)->loaded;
	cr_assert_eq(loaded->left_count, 1, "what the supervisor has opened is nobody's to miss");
	cr_assert_eq(loaded->left[0]->tag, 5);
	fake_say_commit(&fake);
	FAKE_TAKE(&fake, COMMITTED);
}
