/* SPDX-License-Identifier: MIT */
/* Programs that were compiled with an older or a newer <upgrade.h>. */
#include "shim/core/config.h"

#include "base/why.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

TestSuite(shim_config, .timeout = 20);

static struct config config;
static struct why why;

/* Structs with @more bytes at the end of each, all of them @byte. Two types. */
static int open_newer(size_t more, unsigned char byte)
{
	const struct upg_sizes bytes = { sizeof(struct upg_config) + more, sizeof(struct upg_type) + more,
					 sizeof(struct upg_migration) };
	struct upg_config *told = malloc(bytes.config_bytes);
	unsigned char *types = malloc(2 * bytes.type_bytes);
	int r;

	cr_assert(told && types);
	memset(told, byte, bytes.config_bytes);
	memset(types, byte, 2 * bytes.type_bytes);
	*told = (struct upg_config){ .version = "v7", .types = (const struct upg_type *)(void *)types, .n_types = 2 };
	for (unsigned i = 0; i < 2; i++)
		memcpy(types + i * bytes.type_bytes, &(struct upg_type){ .name = i ? "two" : "one", .version = i + 1 },
		       sizeof(struct upg_type));
	r = config_init(&config, told, &bytes, &why);
	free(types);
	free(told);
	return r;
}

static void teardown(void)
{
	config_done(&config);
}

Test(shim_config, of_a_program_with_a_newer_header_is_taken_if_it_uses_nothing_new, .fini = teardown)
{
	cr_assert_eq(open_newer(24, 0), 0, "%s", why.text);
	cr_assert_str_eq(config.told.version, "v7");
	cr_assert_str_eq(config.told.types[0].name, "one");
	cr_assert_str_eq(config.told.types[1].name, "two");
	cr_assert_eq(config.told.types[1].version, 2);
}

Test(shim_config, that_uses_what_this_library_does_not_know_is_refused, .fini = teardown)
{
	cr_assert_eq(open_newer(24, 1), -E2BIG);
	cr_assert_not_null(strstr(why.text, "install the one it was compiled with"), "%s", why.text);
}

Test(shim_config, of_a_program_with_an_older_header_has_nothing_in_what_that_did_not_know, .fini = teardown)
{
	const struct upg_sizes bytes = { offsetof(struct upg_config, volatile_fields) + sizeof(void *),
					 offsetof(struct upg_type, record_max) + sizeof(uint32_t), sizeof(struct upg_migration) };
	unsigned char types[2 * sizeof(struct upg_type)];
	struct upg_config told = { .n_types = 2, .types = (const struct upg_type *)(void *)types };

	memset(types, 0xff, sizeof(types));
	for (unsigned i = 0; i < 2; i++)
		memcpy(types + i * bytes.type_bytes, &(struct upg_type){ .name = i ? "two" : "one" }, bytes.type_bytes);
	cr_assert_eq(config_init(&config, &told, &bytes, &why), 0, "%s", why.text);
	cr_assert_str_eq(config.told.types[1].name, "two");
	for (const unsigned char *at = (const unsigned char *)config.told.types + bytes.type_bytes;
	     at < (const unsigned char *)(config.told.types + 1); at++)
		cr_assert_eq(*at, 0);
}

Test(shim_config, of_sizes_that_no_header_had_is_refused, .fini = teardown)
{
	const struct upg_sizes bytes = { 8, sizeof(struct upg_type), sizeof(struct upg_migration) };

	cr_assert_eq(config_init(&config, &(struct upg_config){ .n_types = 0 }, &bytes, &why), -EINVAL);
}
