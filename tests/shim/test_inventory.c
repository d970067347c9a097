/* SPDX-License-Identifier: MIT */
/* The numbers of all registered descriptors, asked for at any time. */
#include "tests/shim/fake.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

TestSuite(shim_inventory, .timeout = 60);

#define MANY 4500u

static struct app *app;
static struct fake fake;

static void ask(void)
{
	Upgraded__Wire__AskInventory ask = UPGRADED__WIRE__ASK_INVENTORY__INIT;

	FAKE_SAY(&fake, ASK_INVENTORY, ask_inventory, &ask);
}

static void register_some(struct app *self)
{
	self->n_fds = 3;
	for (unsigned i = 0; i < self->n_fds; i++) {
		self->fds[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
		APP_MUST(self->fds[i] >= 0 && upg_fd_register(self->upg, self->fds[i], "null", i) == 0);
	}
	upg_close(self->upg, self->fds[1], -1);
}

static void register_many(struct app *self)
{
	struct rlimit limit;

	APP_MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = limit.rlim_max;
	APP_MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	for (unsigned i = 0; i < MANY; i++)
		APP_MUST(upg_fd_register(self->upg, open("/dev/null", O_RDWR | O_CLOEXEC), "null", i) == 0);
}

static void setup(void)
{
	app = app_new();
}

static void end(void)
{
	fake_done(&fake);
}

Test(shim_inventory, names_what_is_registered_now, .init = setup, .fini = end)
{
	const Upgraded__Wire__Inventory *inventory;

	app->begin = register_some;
	fake_start_serving(&fake, app);
	ask();
	inventory = FAKE_TAKE(&fake, INVENTORY)->inventory;
	cr_assert(inventory->last);
	cr_assert_eq(inventory->n_fds, 2);
	cr_assert_eq(inventory->fds[0], (uint32_t)app->fds[0]);
	cr_assert_eq(inventory->fds[1], (uint32_t)app->fds[2]);
}

Test(shim_inventory, is_empty_where_nothing_is_registered, .init = setup, .fini = end)
{
	fake_start_serving(&fake, app);
	ask();
	cr_assert(FAKE_TAKE(&fake, INVENTORY)->inventory->last);
	cr_assert_eq(fake.message->inventory->n_fds, 0);
}

Test(shim_inventory, comes_in_several_messages_where_there_is_much, .init = setup, .fini = end)
{
	size_t n = 0;
	uint32_t before = 0;
	bool last = false;

	app->begin = register_many;
	fake_start_serving(&fake, app);
	ask();
	for (unsigned messages = 0; !last; messages++) {
		const Upgraded__Wire__Inventory *inventory = FAKE_TAKE(&fake, INVENTORY)->inventory;

		for (size_t i = 0; i < inventory->n_fds; i++) {
			cr_assert_gt(inventory->fds[i], before);
			before = inventory->fds[i];
		}
		n += inventory->n_fds;
		last = inventory->last;
		cr_assert(messages || !last);
	}
	cr_assert_eq(n, MANY);
}

static uint64_t registered(void)
{
	Upgraded__Wire__AskRegistered question = UPGRADED__WIRE__ASK_REGISTERED__INIT;

	FAKE_SAY(&fake, ASK_REGISTERED, ask_registered, &question);
	return FAKE_TAKE(&fake, REGISTERED)->registered->count;
}

Test(shim_inventory, says_how_many_are_registered, .init = setup, .fini = end)
{
	app->begin = register_some;
	fake_start_serving(&fake, app);
	cr_assert_eq(registered(), 2);
}

Test(shim_inventory, says_that_none_is_registered, .init = setup, .fini = end)
{
	fake_start_serving(&fake, app);
	cr_assert_eq(registered(), 0);
}

Test(shim_inventory, is_told_while_something_else_is_awaited, .init = setup, .fini = end)
{
	struct fake_roll roll;

	app->begin = register_some;
	fake_start_serving(&fake, app);
	fake_roll_open(&roll, 1);
	fake_park(&fake, &roll);
	FAKE_TAKE(&fake, PARKED);
	ask();
	cr_assert_eq(FAKE_TAKE(&fake, INVENTORY)->inventory->n_fds, 2);
	fake_roll_done(&roll);
}
