/* SPDX-License-Identifier: MIT */
/* Doors (base/door.h) through a close and a resume, what a version need not claim, the numbers of questions, and whether
 * clients get answers. */
#include "tests/shim/fake.h"

#include "base/door.h"
#include "base/fd.h"
#include "shim/core/channel.h"
#include "shim/fds/announce.h"
#include "shim/fds/traffic.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

TestSuite(shim_doors, .timeout = 60);

static struct app *app;
static struct fake fake;
static struct fake_roll roll;
static char path[64];

static void setup(void)
{
	app = app_new();
	fake_roll_open(&roll, 1);
	snprintf(path, sizeof(path), "/tmp/upg-doors.%d", (int)getpid());
}

static void teardown(void)
{
	fake_done(&fake);
	fake_roll_done(&roll);
	unlink(path);
}

/* In the application and in the test. */
static int unix_listener(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	APP_MUST(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 5) == 0);
	return fd;
}

static int loopback(int type)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	APP_MUST(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	APP_MUST(type != SOCK_STREAM || listen(fd, 5) == 0);
	return fd;
}

/* ---- the newer version closes what it was given ---- */

static void claim_two(struct app *self)
{
	self->fds[0] = upg_fd_claim(self->upg, "unix", 0);
	self->fds[1] = upg_fd_claim(self->upg, "udp", 0);
	APP_MUST(self->fds[0] >= 0 && self->fds[1] >= 0);
}

static void close_two(struct app *self)
{
	upg_close(self->upg, self->fds[0], -1);
	upg_close(self->upg, self->fds[1], -1);
	self->step = NULL;
}

/* As it does in a clean shutdown: the version before is given these again. */
Test(shim_doors, stay_open_for_whoever_holds_a_duplicate, .init = setup, .fini = teardown)
{
	fake_hold(&roll, "unix", 0, unix_listener());
	fake_hold(&roll, "udp", 0, loopback(SOCK_DGRAM));
	app->claim = claim_two;
	app->step = close_two;
	fake_take_over(&fake, app, &roll);
	fake_say_ping(&fake, 1);
	FAKE_TAKE(&fake, PONG);
	FAKE_TAKE(&fake, CLOSED);
	FAKE_TAKE(&fake, CLOSED);
	cr_assert(door_is_open(roll.held[0].fd, DOOR_LISTENER));
	cr_assert(door_is_open(roll.held[1].fd, DOOR_DATAGRAMS));
}

/* ---- what nobody need claim ---- */

static void claim_udp(struct app *self)
{
	APP_MUST(upg_fd_claim(self->upg, "udp", 0) >= 0);
}

Test(shim_doors, that_are_optional_and_not_claimed_are_told_and_closed_by_the_version_that_serves, .init = setup, .fini = teardown)
{
	struct fake_state state = fake_capture(3);
	const Upgraded__Wire__Loaded *loaded;
	int pair[2];
	char byte;

	fake_hold(&roll, "udp", 0, loopback(SOCK_DGRAM));
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	fake_hold(&roll, "admin", 7, pair[0]);
	roll.held[1].optional = true;
	app->claim = claim_udp;
	fake_start_standby(&fake, app);
	fake_feed(&fake, &roll, state.data, state.size);
	loaded = FAKE_TAKE(&fake, LOADED)->loaded;
	cr_assert_eq(loaded->fds, 2, "it came, all the same");
	cr_assert_eq(loaded->n_left, 1);
	cr_assert_eq(loaded->left_count, 1);
	cr_assert_str_eq(loaded->left[0]->name, "admin");
	cr_assert_eq(loaded->left[0]->tag, 7);
	cr_assert_lt(recv(pair[1], &byte, 1, MSG_DONTWAIT), 0, "the roll may still be called off");
	fake_say_commit(&fake);
	FAKE_TAKE(&fake, COMMITTED);
	cr_assert_str_eq(FAKE_TAKE(&fake, CLOSED)->closed->fds[0]->name, "admin");
	cr_assert_eq(recv(pair[1], &byte, 1, 0), 0, "its peer knows, although there are duplicates");
	close(pair[1]);
	free(state.data);
}

/* ---- what is missing after a resume ---- */

static void open_two(struct app *self)
{
	self->fds[0] = unix_listener();
	self->fds[1] = loopback(SOCK_DGRAM);
	APP_MUST(upg_fd_register(self->upg, self->fds[0], "unix", 0) == 0);
	APP_MUST(upg_fd_register(self->upg, self->fds[1], "udp", 0) == 0);
}

static bool is_udp(const struct fake_fd *fd)
{
	return strcmp(fd->name, "udp") == 0;
}

static const Upgraded__Wire__Resumed *resume(bool (*but)(const struct fake_fd *fd))
{
	Upgraded__Wire__Resume order = UPGRADED__WIRE__RESUME__INIT;

	FAKE_SAY(&fake, RESUME, resume, &order);
	fake_give_fds(&fake, &roll, but);
	return FAKE_TAKE(&fake, RESUMED)->resumed;
}

static void park(void)
{
	app->begin = open_two;
	fake_start_serving(&fake, app);
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
}

Test(shim_doors, that_are_back_are_not_missed, .init = setup, .fini = teardown)
{
	park();
	cr_assert_eq(resume(NULL)->n_missed, 0);
}

Test(shim_doors, that_did_not_come_back_are_named, .init = setup, .fini = teardown)
{
	const Upgraded__Wire__Resumed *resumed;

	park();
	resumed = resume(is_udp);
	cr_assert_eq(resumed->n_missed, 1);
	cr_assert_str_eq(resumed->missed[0]->name, "udp");
}

/* A version that ends in good order removes its own path. */
Test(shim_doors, whose_path_is_gone_are_named, .init = setup, .fini = teardown)
{
	const Upgraded__Wire__Resumed *resumed;

	park();
	cr_assert_eq(unlink(path), 0);
	resumed = resume(NULL);
	cr_assert_eq(resumed->n_missed, 1);
	cr_assert_str_eq(resumed->missed[0]->name, "unix");
}

/* ---- questions ---- */

Test(shim_doors, answers_name_the_question, .init = setup, .fini = teardown)
{
	app->prepare_says[0] = UPG_NOT_YET;
	fake_start_serving(&fake, app);
	roll.question = 4;
	fake_prepare(&fake, &roll);
	cr_assert_eq(FAKE_TAKE(&fake, NOT_YET)->not_yet->question, 4);
	fake_roll_done(&roll);
	fake_roll_open(&roll, 1);
	roll.question = 5;
	fake_prepare(&fake, &roll);
	cr_assert_eq(FAKE_TAKE(&fake, QUIESCED)->quiesced->question, 5);
	fake_take_fds(&fake, &roll);
	fake_drain(roll.state_in);
	cr_assert_eq(FAKE_TAKE(&fake, SAVED)->saved->question, 5);
	fake_say_abort(&fake);
	cr_assert_eq(FAKE_TAKE(&fake, RESUMED)->resumed->question, 5);
}

Test(shim_doors, a_refusal_names_the_question, .init = setup, .fini = teardown)
{
	app->prepare_says[0] = UPG_REFUSE;
	fake_start_serving(&fake, app);
	roll.question = 6;
	fake_prepare(&fake, &roll);
	cr_assert_eq(FAKE_TAKE(&fake, REFUSED)->refused->question, 6);
}

/* ---- are clients answered? ---- */

static struct channel channel;
static struct fd_table table;
static int listener = -1;

static void traffic_setup(void)
{
	cr_assert_eq(fd_table_init(&table, &channel), 0);
	listener = loopback(SOCK_STREAM);
}

static void traffic_teardown(void)
{
	fd_table_done(&table);
	listener = fd_close(listener);
}

/* Registered as @tag. Return: the client's end. */
static int connect_one(uint64_t tag, int *ret_server)
{
	struct sockaddr_in address;
	socklen_t size = sizeof(address);
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	cr_assert_eq(connect(client, (struct sockaddr *)&address, size), 0);
	*ret_server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	cr_assert_eq(fd_table_put(&table, *ret_server, "client", tag, true, false), 0);
	return client;
}

Test(shim_traffic, a_client_that_sent_something_and_got_nothing_is_unanswered, .init = traffic_setup, .fini = traffic_teardown)
{
	int server, client = connect_one(1, &server);
	Upgraded__Wire__Traffic traffic;

	fd_table_close(&table, server, -1);
	traffic = fd_traffic_look(&table);
	cr_assert_eq(traffic.unanswered, 0, "it has said nothing");
	close(client);
	client = connect_one(2, &server);
	cr_assert_eq(send(client, "x", 1, 0), 1);
	traffic = fd_traffic_look(&table);
	cr_assert_eq(traffic.unanswered, 0, "there was no time for an answer");
	fd_table_close(&table, server, -1);
	traffic = fd_traffic_look(&table);
	cr_assert_eq(traffic.unanswered, 1);
	cr_assert_eq(traffic.answered, 0);
	close(client);
}

Test(shim_traffic, one_that_got_something_is_answered_open_or_closed, .init = traffic_setup, .fini = traffic_teardown)
{
	int server, client = connect_one(1, &server);

	cr_assert_eq(send(client, "x", 1, 0), 1);
	cr_assert_eq(send(server, "y", 1, 0), 1);
	fd_table_close(&table, server, -1);
	cr_assert_eq(fd_traffic_look(&table).answered, 1);
	close(client);
}

Test(shim_traffic, what_was_handed_over_does_not_count, .init = traffic_setup, .fini = traffic_teardown)
{
	int server, client = connect_one(1, &server);

	table.by_fd[server]->own_make = false;
	cr_assert_eq(send(server, "y", 1, 0), 1);
	cr_assert_eq(fd_traffic_look(&table).answered, 0);
	fd_table_close(&table, server, -1);
	cr_assert_eq(fd_traffic_look(&table).answered, 0);
	close(client);
}
