/* SPDX-License-Identifier: MIT */
/* What the application says of its state, checked and looked up. */
#include "shim/state/application.h"

#include "base/why.h"
#include "tests/shim/note.pb-c.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

TestSuite(shim_application, .timeout = 60);

#define V1 (&test__shim__note_v1__descriptor)
#define V2 (&test__shim__note_v2__descriptor)

static int migrate(struct upg_step *step, const ProtobufCMessage *from, ProtobufCMessage *to)
{
	(void)step, (void)from, (void)to;
	return 0;
}

static const struct upg_type types[] = {
	{ .name = "test.Note", .version = 2, .descriptor = V2 },
	{ .name = "test.Other", .version = 1, .descriptor = V1 },
};
static const struct upg_migration migrations[] = {
	{ "test.Note", 1, 2, V1, V2, migrate },
	{ "test.Note", 2, 1, V2, V1, migrate },
};
static const struct upg_config config = { .types = types, .n_types = 2, .migrations = migrations, .n_migrations = 2 };
static struct application application;

static void setup(void)
{
	cr_assert_eq(application_init(&application, &config), 0);
}

static void teardown(void)
{
	application_done(&application);
}

Test(shim_application, knows_its_types_by_name, .init = setup, .fini = teardown)
{
	char copy[] = "test.Other";

	cr_assert_eq(application_type(&application, types[0].name), &types[0]);
	cr_assert_eq(application_type(&application, copy), &types[1]);
	cr_assert_null(application_type(&application, "test.Othe"));
	cr_assert_null(application_type(&application, ""));
}

Test(shim_application, knows_older_versions_by_the_migrations_that_make_them, .init = setup, .fini = teardown)
{
	cr_assert_eq(application_older(&application, "test.Note", 1), V1);
	cr_assert_null(application_older(&application, "test.Note", 3));
	cr_assert_null(application_older(&application, "test.Other", 1));
}

Test(shim_application, is_told_in_the_terms_of_the_state_format, .init = setup, .fini = teardown)
{
	cr_assert_str_eq(application.schemas[0].name, "test.Note");
	cr_assert_eq(application.schemas[0].version, 2);
	cr_assert_eq(application.schemas[0].descriptor, V2);
	cr_assert_eq(application.schemas[0].fingerprint, sf_fingerprint(V2));
	cr_assert_eq(application.migrations[1].from, 2);
	cr_assert_eq(application.migrations[1].to_descriptor, V1);
}

/* What is said of @type and @migration is refused. */
static void refused(struct upg_type type, struct upg_migration migration)
{
	struct upg_config bad = { .types = &type, .n_types = 1, .migrations = &migration, .n_migrations = 1 };

	cr_assert_eq(application_init(&application, &bad), -EINVAL);
	application_done(&application);
}

Test(shim_application, is_refused_if_it_makes_no_sense)
{
	refused((struct upg_type){ .version = 1, .descriptor = V1 }, migrations[0]);
	refused((struct upg_type){ .name = "", .version = 1, .descriptor = V1 }, migrations[0]);
	refused((struct upg_type){ .name = "n", .version = 0, .descriptor = V1 }, migrations[0]);
	refused((struct upg_type){ .name = "n", .version = 65536, .descriptor = V1 }, migrations[0]);
	refused((struct upg_type){ .name = "n", .version = 1 }, migrations[0]);
	refused(types[0], (struct upg_migration){ NULL, 1, 2, V1, V2, migrate });
	refused(types[0], (struct upg_migration){ "n", 1, 1, V1, V2, migrate });
	refused(types[0], (struct upg_migration){ "n", 1, 2, NULL, V2, migrate });
	refused(types[0], (struct upg_migration){ "n", 1, 2, V1, NULL, migrate });
	refused(types[0], (struct upg_migration){ "n", 1, 2, V1, V2, NULL });
}

Test(shim_application, knows_the_fields_that_change_by_themselves_in_all_its_messages, .init = setup, .fini = teardown)
{
	static const char *const good[] = { "test.shim.NoteV1.text", "test.shim.NoteV2.stars", NULL };
	static const char *const bad[] = { "test.shim.NoteV2.stars", "test.shim.NoteV1.stars", NULL };
	struct upg_config with = config;
	struct why why = { 0 };

	cr_assert_eq(application_check_volatile(&application, &why), 0);
	application.config = &with;
	with.volatile_fields = good;
	cr_assert_eq(application_check_volatile(&application, &why), 0, "%s", why.text);
	with.volatile_fields = bad;
	cr_assert_eq(application_check_volatile(&application, &why), -EINVAL);
	cr_assert(strstr(why.text, "\"test.shim.NoteV1.stars\""), "%s", why.text);
	application.config = &config;
}
