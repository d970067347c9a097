/* SPDX-License-Identifier: MIT */
/* How much state there is: a version that serves tells it, and one that starts may ask. */
#include "tests/shim/fake.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

TestSuite(shim_expected, .timeout = 60);

static struct app *app;
static struct fake fake;

static void setup(void)
{
	app = app_new();
}

static void end(void)
{
	fake_done(&fake);
}

/* ---- telling ---- */

static const Upgraded__Wire__Inventory *ask_inventory(void)
{
	Upgraded__Wire__AskInventory ask = UPGRADED__WIRE__ASK_INVENTORY__INIT;

	FAKE_SAY(&fake, ASK_INVENTORY, ask_inventory, &ask);
	return FAKE_TAKE(&fake, INVENTORY)->inventory;
}

Test(shim_expected, a_version_that_serves_counts_what_it_holds, .init = setup, .fini = end)
{
	const Upgraded__Wire__Inventory *inventory;

	app_fill(app, 700, 100);
	fake_start_serving(&fake, app);
	inventory = ask_inventory();
	cr_assert_eq(inventory->n_counts, 1);
	cr_assert_str_eq(inventory->counts[0]->type, "test.Note");
	cr_assert_eq(inventory->counts[0]->records, 700);
	cr_assert_eq(inventory->counts[0]->bytes, 0, "nothing was ever saved or loaded");
}

Test(shim_expected, bytes_are_those_of_the_last_load, .init = setup, .fini = end)
{
	struct fake_state state = fake_capture(100);
	const Upgraded__Wire__Inventory *inventory;
	struct fake_roll roll;
	uint64_t bytes;

	fake_roll_open(&roll, 1);
	fake_start_standby(&fake, app);
	fake_feed(&fake, &roll, state.data, state.size);
	bytes = FAKE_TAKE(&fake, LOADED)->loaded->totals->payload_bytes;
	cr_assert_eq(ask_inventory()->n_counts, 0, "it does not serve yet");
	fake_say_commit(&fake);
	FAKE_TAKE(&fake, COMMITTED);
	app->n_notes = 50;
	inventory = ask_inventory();
	cr_assert_eq(inventory->counts[0]->records, 50);
	cr_assert_eq(inventory->counts[0]->bytes, bytes / 2);
	fake_roll_done(&roll);
	free(state.data);
}

/* ---- asking ---- */

static void expect(struct app *self)
{
	self->expected_rc = upg_expected(self->upg, "test.Note", &self->expected_records, &self->expected_bytes);
	APP_MUST(upg_expected(self->upg, "test.Nothing", &self->expected_records, NULL) == -EINVAL);
}

static void start(void)
{
	app->opened = expect;
	fake_start(&fake, app);
	FAKE_TAKE(&fake, HELLO);
	FAKE_TAKE(&fake, ASK_EXPECTED);
}

static void answer(size_t n)
{
	Upgraded__Wire__Count counts[2] = { UPGRADED__WIRE__COUNT__INIT, UPGRADED__WIRE__COUNT__INIT };
	Upgraded__Wire__Count *list[] = { &counts[0], &counts[1] };
	Upgraded__Wire__Expected expected = UPGRADED__WIRE__EXPECTED__INIT;

	counts[0].type = wire_text("test.Stranger");
	counts[0].records = 1;
	counts[1].type = wire_text("test.Note");
	counts[1].records = 200229;
	counts[1].bytes = 12345678;
	expected.counts = list;
	expected.n_counts = n;
	FAKE_SAY(&fake, EXPECTED, expected, &expected);
}

Test(shim_expected, is_known_before_the_pause, .init = setup, .fini = end)
{
	start();
	answer(2);
	FAKE_TAKE(&fake, STANDBY);
	cr_assert_eq(app->expected_rc, 0);
	cr_assert_eq(app->expected_records, 200229);
	cr_assert_eq(app->expected_bytes, 12345678);
}

Test(shim_expected, is_not_known_where_nobody_can_tell, .init = setup, .fini = end)
{
	start();
	answer(0);
	FAKE_TAKE(&fake, STANDBY);
	cr_assert_eq(app->expected_rc, -ENOENT);
}

/* The version that serves may be busy. */
Test(shim_expected, is_not_waited_for_without_end_and_an_answer_that_is_late_disturbs_nobody, .init = setup, .fini = end)
{
	Upgraded__Wire__Welcome welcome = UPGRADED__WIRE__WELCOME__INIT;

	start();
	FAKE_TAKE(&fake, STANDBY);
	cr_assert_eq(app->expected_rc, -ENOENT);
	answer(2);
	FAKE_SAY(&fake, WELCOME, welcome, &welcome);
	FAKE_TAKE(&fake, READY);
}

Test(shim_expected, of_a_roll_that_is_called_off_meanwhile_nothing_comes, .init = setup, .fini = end)
{
	start();
	fake_say_abort(&fake);
	cr_assert_eq(fake_wait(&fake), APP_LEFT);
}
