/* SPDX-License-Identifier: MIT */
/* Changes packed for a reader that holds other versions. */
#include "shim/state/application.h"
#include "shim/state/change.h"

#include "base/why.h"
#include "tests/shim/note.pb-c.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

TestSuite(shim_change, .timeout = 60);

#define V1 (&test__shim__note_v1__descriptor)
#define V2 (&test__shim__note_v2__descriptor)
#define HEAD_BYTES 40u

enum { NOTE, SAME, OWN };

static int down(struct upg_step *step, const ProtobufCMessage *from, ProtobufCMessage *to)
{
	const Test__Shim__NoteV2 *v2 = (const void *)from;
	Test__Shim__NoteV1 *v1 = (void *)to;

	if (v2->stars > 5)
		return upg_step_fail(step, "%u stars", v2->stars);
	v1->id = v2->id;
	v1->text = v2->text;
	return 0;
}

static const struct upg_type types[] = {
	[NOTE] = { .name = "test.Note", .version = 2, .descriptor = V2 },
	[SAME] = { .name = "test.Same", .version = 1, .descriptor = V1 },
	[OWN] = { .name = "test.Own", .version = 1, .descriptor = V1 },
};
static const struct upg_migration migrations[] = { { "test.Note", 2, 1, V2, V1, down } };
static const struct upg_config config = { .types = types, .n_types = 3, .migrations = migrations, .n_migrations = 1 };

static struct application application;
static struct change_ways ways;
static struct changes changes;

static void setup(void)
{
	/* In another order than the application's. */
	const struct sf_schema schemas[] = { { .name = "test.Same", .version = 1 }, { .name = "test.Note", .version = 1 } };
	const struct sf_header header = { .schemas = schemas, .n_schemas = 2 };

	cr_assert_eq(application_init(&application, &config), 0);
	cr_assert_eq(change_ways_init(&ways, &application, &header, NULL), 0);
	changes_init(&changes, HEAD_BYTES);
}

static void teardown(void)
{
	changes_done(&changes);
	change_ways_done(&ways);
	application_done(&application);
}

static int add(size_t type, uint64_t id, const char *text, uint32_t stars, struct why *why)
{
	Test__Shim__NoteV1 v1 = TEST__SHIM__NOTE_V1__INIT;
	Test__Shim__NoteV2 v2 = TEST__SHIM__NOTE_V2__INIT;

	v1.id = v2.id = id;
	v1.text = v2.text = (char *)(uintptr_t)text;
	v2.stars = stars;
	return changes_add(&changes, &ways, type, UPG_PUT, type == NOTE ? &v2.base : &v1.base, why);
}

/* The change at @at is a version 1 with these; unknown fields would be those of version 2. Return: where the next one is. */
static size_t holds(size_t at, uint16_t type, uint64_t id, const char *text)
{
	Test__Shim__NoteV1 *note;
	struct change_head head;

	memcpy(&head, changes.data + at, sizeof(head));
	cr_assert_eq(head.type, type);
	cr_assert_eq(head.change, UPG_PUT);
	cr_assert_eq(head.zero, 0);
	at += sizeof(head);
	note = test__shim__note_v1__unpack(NULL, head.size_bytes, changes.data + at);
	cr_assert_not_null(note);
	cr_assert_eq(note->id, id);
	cr_assert_str_eq(note->text, text);
	cr_assert_eq(note->base.n_unknown_fields, 0);
	test__shim__note_v1__free_unpacked(note, NULL);
	for (size_t i = head.size_bytes; i < change_padded(head.size_bytes); i++)
		cr_assert_eq(changes.data[at + i], 0);
	return at + change_padded(head.size_bytes);
}

Test(shim_change, lie_one_behind_the_other_in_the_versions_of_the_reader, .init = setup, .fini = teardown)
{
	size_t at = HEAD_BYTES;

	cr_assert_eq(add(NOTE, 7, "seven", 3, NULL), 0);
	cr_assert_eq(add(SAME, 8, "", 0, NULL), 0);
	cr_assert_eq(add(NOTE, 9, "and nine", 0, NULL), 0);
	cr_assert_eq(changes.n, 3);
	at = holds(at, 1, 7, "seven");
	at = holds(at, 0, 8, "");
	at = holds(at, 1, 9, "and nine");
	cr_assert_eq(changes.used, at);
	cr_assert_eq(at % 8, 0);
}

Test(shim_change, tell_which_types_have_a_way_and_which_are_migrated, .init = setup, .fini = teardown)
{
	cr_assert(change_ways_lead(&ways, NOTE));
	cr_assert(change_ways_lead(&ways, SAME));
	cr_assert_not(change_ways_lead(&ways, OWN));
	cr_assert(change_ways_migrate(&ways, NOTE));
	cr_assert_not(change_ways_migrate(&ways, SAME));
}

Test(shim_change, that_cannot_be_migrated_leave_the_others_as_they_are, .init = setup, .fini = teardown)
{
	struct why why = { 0 };
	size_t used;

	cr_assert_eq(add(NOTE, 1, "one", 1, NULL), 0);
	used = changes.used;
	cr_assert_lt(add(NOTE, 2, "two", 6, &why), 0);
	cr_assert(strstr(why.text, "6 stars"), "%s", why.text);
	cr_assert_eq(changes.used, used);
	cr_assert_eq(changes.n, 1);
	holds(HEAD_BYTES, 1, 1, "one");
}

Test(shim_change, are_cleared_with_little_memory_kept, .init = setup, .fini = teardown)
{
	static char text[200000];

	cr_assert_eq(add(SAME, 1, "short", 0, NULL), 0);
	changes_clear(&changes);
	cr_assert_eq(changes.n, 0);
	cr_assert_eq(changes.used, 0);
	cr_assert_not_null(changes.data);
	memset(text, 'x', sizeof(text) - 1);
	cr_assert_eq(add(SAME, 2, text, 0, NULL), 0);
	cr_assert_eq(holds(HEAD_BYTES, 0, 2, text), changes.used);
	changes_clear(&changes);
	cr_assert_null(changes.data);
	cr_assert_eq(add(SAME, 3, "again", 0, NULL), 0);
	cr_assert_eq(holds(HEAD_BYTES, 0, 3, "again"), changes.used);
}

Test(shim_change, have_no_way_where_no_migration_leads_down, .fini = teardown)
{
	const struct sf_schema schema = { .name = "test.Same", .version = 9 };
	const struct sf_header header = { .schemas = &schema, .n_schemas = 1 };
	struct why why = { 0 };

	cr_assert_eq(application_init(&application, &config), 0);
	cr_assert_eq(change_ways_init(&ways, &application, &header, &why), -ENOENT);
	cr_assert(strstr(why.text, "test.Same"), "%s", why.text);
}
