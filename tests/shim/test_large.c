/* SPDX-License-Identifier: MIT */
/* Records larger than StateRecordMax=, of a type that says how large they may be. */
#include "tests/shim/fake.h"

#include "base/fd.h"
#include "tests/shim/note.pb-c.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(shim_large, .timeout = 60);

#define LARGE_BYTES ((size_t)20 << 20)

static struct app *old_app, *new_app;
static struct fake old, new;
static struct fake_roll roll;

static int save_large(struct upg_saver *saver, void *userdata)
{
	Test__Shim__NoteV1 note = TEST__SHIM__NOTE_V1__INIT;
	const struct app *app = userdata;
	char *text = malloc(app->text_bytes + 1);
	int r;

	APP_MUST(text);
	memset(text, 'l', app->text_bytes);
	text[app->text_bytes] = 0;
	note.text = text;
	r = upg_save(saver, &note.base);
	free(text);
	return r;
}

static int load_large(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	struct app *app = userdata;

	(void)loader;
	app->text_bytes = strlen(((const Test__Shim__NoteV1 *)(const void *)message)->text);
	app->n_notes = 1;
	return 0;
}

#define TYPE(max) \
	{ { .name = "test.Note", .version = 1, .descriptor = &test__shim__note_v1__descriptor, .save = save_large, \
	    .load = load_large, .record_max = (max) } }

static const struct upg_type large[] = TYPE(LARGE_BYTES + 100);
static const struct upg_type small[] = TYPE(0);

static void setup(void)
{
	fd_raise_limit();
	old_app = app_new();
	new_app = app_new();
	old_app->config.types = new_app->config.types = large;
	old_app->text_bytes = LARGE_BYTES;
	fake_roll_open(&roll, 1);
}

static void teardown(void)
{
	fake_done(&old);
	fake_done(&new);
	fake_roll_done(&roll);
}

static void transfer(void)
{
	fake_start_serving(&old, old_app);
	fake_start_standby(&new, new_app);
	fake_prepare(&old, &roll);
	fake_receive(&new, &roll);
	FAKE_TAKE(&old, QUIESCED);
	fake_take_fds(&old, &roll);
	fake_give_fds(&new, &roll, NULL);
}

Test(shim_large, travel_whole_where_both_versions_allow_them_and_make_the_round_trip, .init = setup, .fini = teardown)
{
	roll.verify_roundtrip = true;
	transfer();
	cr_assert_gt(FAKE_TAKE(&old, SAVED)->saved->totals->payload_bytes, LARGE_BYTES);
	FAKE_TAKE(&new, LOADED);
	cr_assert_eq(new_app->text_bytes, LARGE_BYTES);
}

Test(shim_large, are_refused_by_a_version_that_does_not_allow_them, .init = setup, .fini = teardown)
{
	const char *reason;

	new_app->config.types = small;
	transfer();
	reason = FAKE_TAKE(&new, REFUSED)->refused->reason;
	cr_assert(strstr(reason, "over the limit of 16777"), "%s", reason);
}

Test(shim_large, are_not_saved_where_they_are_larger_than_was_said, .init = setup, .fini = teardown)
{
	const char *reason;

	old_app->text_bytes = LARGE_BYTES + 100;
	fake_start_serving(&old, old_app);
	fake_prepare(&old, &roll);
	FAKE_TAKE(&old, QUIESCED);
	fake_take_fds(&old, &roll);
	fake_drain(roll.state_in);
	reason = FAKE_TAKE(&old, REFUSED)->refused->reason;
	cr_assert(strstr(reason, "over the limit of 20971620; StateRecordMax= of the service raises it, or record_max of the type"),
		  "%s", reason);
	fake_say_abort(&old);
	FAKE_TAKE(&old, RESUMED);
}
