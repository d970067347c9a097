/* SPDX-License-Identifier: MIT */
/* Migrations that look at the application's state: version 1 counts a note's id from an epoch that a record of another type holds,
 * version 2 has it absolute, in `stars`. */
#include "tests/shim/fake.h"

#include "base/fd.h"
#include "base/why.h"
#include "shim/state/application.h"
#include "shim/state/change.h"
#include "tests/shim/note.pb-c.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

TestSuite(shim_step, .timeout = 60);

#define V1 (&test__shim__note_v1__descriptor)
#define V2 (&test__shim__note_v2__descriptor)
#define NOTES 100u
#define EPOCH 5000u

static struct app *old_app, *new_app;
static struct fake old, new;
static struct fake_roll roll;

/* ---- the applications' part ---- */

static int save_epoch(struct upg_saver *saver, void *userdata)
{
	static char clock[32];
	const struct app *app = userdata;
	Test__Shim__NoteV1 epoch = TEST__SHIM__NOTE_V1__INIT;

	if (app->ticks)
		snprintf(clock, sizeof(clock), "pid %d", (int)getpid());
	epoch.text = clock;
	epoch.id = app->epoch;
	return upg_save(saver, &epoch.base);
}

static int load_epoch(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	(void)loader;
	((struct app *)userdata)->epoch = ((const Test__Shim__NoteV1 *)(const void *)message)->id;
	return 0;
}

static int save_relative(struct upg_saver *saver, void *userdata)
{
	const struct app *app = userdata;
	Test__Shim__NoteV1 note = TEST__SHIM__NOTE_V1__INIT;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < app->n_notes; i++) {
		note.id = app->notes[i].id;
		r = upg_save(saver, &note.base);
	}
	return r;
}

static int save_absolute(struct upg_saver *saver, void *userdata)
{
	const struct app *app = userdata;
	Test__Shim__NoteV2 note = TEST__SHIM__NOTE_V2__INIT;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < app->n_notes; i++) {
		note.stars = app->notes[i].stars;
		r = upg_save(saver, &note.base);
	}
	return r;
}

static int load_relative(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	struct app *app = userdata;

	(void)loader;
	APP_MUST(app->n_notes < APP_NOTES_MAX);
	app->notes[app->n_notes++].id = ((const Test__Shim__NoteV1 *)(const void *)message)->id;
	return 0;
}

static int load_absolute(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	struct app *app = userdata;

	(void)loader;
	APP_MUST(app->n_notes < APP_NOTES_MAX);
	app->notes[app->n_notes++].stars = ((const Test__Shim__NoteV2 *)(const void *)message)->stars;
	return 0;
}

static int up(struct upg_step *step, const ProtobufCMessage *from, ProtobufCMessage *to)
{
	const struct app *app = upg_step_userdata(step);

	if (!app->epoch)
		return upg_step_fail(step, "the epoch has not come: declare it before test.Note");
	((Test__Shim__NoteV2 *)(void *)to)->stars = (uint32_t)(app->epoch + ((const Test__Shim__NoteV1 *)(const void *)from)->id);
	return 0;
}

static int down(struct upg_step *step, const ProtobufCMessage *from, ProtobufCMessage *to)
{
	const struct app *app = upg_step_userdata(step);

	((Test__Shim__NoteV1 *)(void *)to)->id = ((const Test__Shim__NoteV2 *)(const void *)from)->stars - app->epoch;
	return 0;
}

#define TYPE_EPOCH \
	{ .name = "test.Epoch", .version = 1, .descriptor = V1, .save = save_epoch, .load = load_epoch }
#define TYPE_RELATIVE \
	{ .name = "test.Note", .version = 1, .descriptor = V1, .save = save_relative, .load = load_relative }

static const struct upg_type relative[] = { TYPE_EPOCH, TYPE_RELATIVE };
static const struct upg_type relative_too_early[] = { TYPE_RELATIVE, TYPE_EPOCH };
static const struct upg_type absolute[] = {
	TYPE_EPOCH,
	{ .name = "test.Note", .version = 2, .descriptor = V2, .save = save_absolute, .load = load_absolute },
};
static const struct upg_migration migrations[] = {
	{ "test.Note", 1, 2, V1, V2, up },
	{ "test.Note", 2, 1, V2, V1, down },
};

static void holds_relative(struct app *app, const struct upg_type *types)
{
	app_version_1(app);
	app->config.types = types;
	app->config.n_types = 2;
}

static void holds_absolute(struct app *app)
{
	holds_relative(app, absolute);
	app->config.version = "v2";
	app->config.migrations = migrations;
	app->config.n_migrations = 2;
}

/* ---- */

static void setup(void)
{
	fd_raise_limit();
	old_app = app_new();
	new_app = app_new();
	old_app->epoch = EPOCH;
	old_app->n_notes = NOTES;
	for (uint32_t i = 0; i < NOTES; i++)
		old_app->notes[i] = (struct app_note){ .id = i + 1, .stars = EPOCH + i + 1 };
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
	roll.target = new_app->config.types == absolute ? 2 : 1;
	roll.knows = "test.Epoch";
	fake_prepare(&old, &roll);
	fake_receive(&new, &roll);
	FAKE_TAKE(&old, QUIESCED);
	fake_take_fds(&old, &roll);
	fake_give_fds(&new, &roll, NULL);
}

Test(shim_step, makes_a_number_absolute_with_what_an_earlier_type_holds_and_back_again, .init = setup, .fini = teardown)
{
	holds_relative(old_app, relative);
	holds_absolute(new_app);
	/* The round trip makes them relative again. */
	roll.verify_roundtrip = true;
	transfer();
	FAKE_TAKE(&new, LOADED);
	cr_assert_eq(new_app->n_notes, NOTES);
	for (uint32_t i = 0; i < NOTES; i++)
		cr_assert_eq(new_app->notes[i].stars, EPOCH + i + 1);
}

Test(shim_step, looks_at_the_state_that_is_saved_on_the_way_down, .init = setup, .fini = teardown)
{
	holds_absolute(old_app);
	holds_relative(new_app, relative);
	transfer();
	FAKE_TAKE(&old, SAVED);
	FAKE_TAKE(&new, LOADED);
	for (uint32_t i = 0; i < NOTES; i++)
		cr_assert_eq(new_app->notes[i].id, i + 1);
}

Test(shim_step, sees_nothing_of_a_type_that_the_older_version_saves_later, .init = setup, .fini = teardown)
{
	const char *reason;

	holds_relative(old_app, relative_too_early);
	holds_absolute(new_app);
	transfer();
	reason = FAKE_TAKE(&new, REFUSED)->refused->reason;
	cr_assert(strstr(reason, "the epoch has not come: declare it before test.Note"), "%s", reason);
}

Test(shim_step, looks_at_the_present_state_when_a_change_is_written_down)
{
	static struct app app = { .epoch = EPOCH };
	const struct upg_config config = { .types = absolute, .n_types = 2, .migrations = migrations, .n_migrations = 2,
					   .userdata = &app };
	const struct sf_schema schemas[] = { { .name = "test.Note", .version = 1 } };
	const struct sf_header header = { .schemas = schemas, .n_schemas = 1 };
	Test__Shim__NoteV2 note = TEST__SHIM__NOTE_V2__INIT;
	Test__Shim__NoteV1 *written;
	struct application application;
	struct changes changes;
	struct change_ways ways;
	struct change_head head;

	cr_assert_eq(application_init(&application, &config), 0);
	cr_assert_eq(change_ways_init(&ways, &application, &header, NULL), 0);
	changes_init(&changes, 0);
	note.stars = EPOCH + 42;
	cr_assert_eq(changes_add(&changes, &ways, 1, UPG_PUT, &note.base, NULL), 0);
	memcpy(&head, changes.data, sizeof(head));
	written = test__shim__note_v1__unpack(NULL, head.size_bytes, changes.data + sizeof(head));
	cr_assert_not_null(written);
	cr_assert_eq(written->id, 42);
	test__shim__note_v1__free_unpacked(written, NULL);
	changes_done(&changes);
	change_ways_done(&ways);
	application_done(&application);
}

/* ---- fields that change by themselves ---- */

static void let_it_tick(void)
{
	holds_relative(old_app, relative);
	holds_absolute(new_app);
	old_app->ticks = new_app->ticks = true;
	roll.verify_roundtrip = true;
}

Test(shim_step, leaves_fields_that_change_by_themselves_out_of_the_round_trip, .init = setup, .fini = teardown)
{
	static const char *const fields[] = { "test.shim.NoteV1.text", NULL };

	let_it_tick();
	new_app->config.volatile_fields = fields;
	transfer();
	FAKE_TAKE(&new, LOADED);
	cr_assert_eq(new_app->n_notes, NOTES);
}

Test(shim_step, tells_a_field_that_changed_by_itself_and_shows_the_record, .init = setup, .fini = teardown)
{
	const char *reason;

	let_it_tick();
	transfer();
	reason = FAKE_TAKE(&new, REFUSED)->refused->reason;
	cr_assert(strstr(reason, "test.Epoch: 1 records before, 1 after, 1 of them changed, field text (2); for example the record "
				 "that begins with id: 5000 text: \"pid "), "%s", reason);
}
