/* SPDX-License-Identifier: MIT */
#include "supervisor/custody/names.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define NAMES 4096u
#define ENTRIES 400000u

TestSuite(names, .timeout = 10);

static struct custody_entry entry_of(const char *name, uint64_t tag, enum door door)
{
	return (struct custody_entry){ .name = (char *)(uintptr_t)name, .tag = tag, .door = door };
}

static void note(struct fd_names *names, struct custody_entry *entries, size_t n)
{
	struct custody custody = { .entries = entries, .n = n };

	fd_names_note(names, &custody);
}

static bool have(const struct fd_names *names, const char *name, uint64_t tag, enum door door)
{
	struct custody_entry entry = entry_of(name, tag, door);

	return fd_names_have(names, &entry);
}

Test(names, of_doors_count_with_their_tags_and_of_others_without)
{
	struct fd_names names = { .names = NULL };
	struct custody_entry entries[] = {
		entry_of("web", 8, DOOR_LISTENER), entry_of("client", 5, DOOR_NONE), entry_of("admin", 0, DOOR_LISTENER),
		entry_of("web", 2, DOOR_DATAGRAMS), entry_of("web", 9, DOOR_NONE), entry_of("client", 6, DOOR_NONE),
		entry_of("web", 5, DOOR_LISTENER), entry_of("web", 8, DOOR_LISTENER),
	};

	note(&names, entries, sizeof(entries) / sizeof(entries[0]));
	cr_assert_eq(names.n, 6u);
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		cr_assert(fd_names_have(&names, &entries[i]), "%zu", i);
	cr_assert(have(&names, "client", 1000, DOOR_NONE));
	cr_assert_not(have(&names, "client", 5, DOOR_LISTENER));
	cr_assert_not(have(&names, "web", 3, DOOR_LISTENER));
	cr_assert_not(have(&names, "admin", 0, DOOR_NONE));
	fd_names_done(&names);
	cr_assert_not(have(&names, "client", 5, DOOR_NONE));
}

static struct custody_entry *many(size_t n_names, size_t n)
{
	struct custody_entry *entries = calloc(n, sizeof(*entries));

	cr_assert_not_null(entries);
	for (size_t i = 0; i < n; i++) {
		char *name = NULL;

		/* In no order, and then all of the first name. */
		if (i < n_names)
			cr_assert_gt(asprintf(&name, "%05zu", i * 2477 % n_names), 0);
		entries[i] = entry_of(i < n_names ? name : entries[0].name, i, DOOR_NONE);
	}
	return entries;
}

static void free_many(struct custody_entry *entries, size_t n_names)
{
	for (size_t i = 0; i < n_names; i++)
		free(entries[i].name);
	free(entries);
}

/* The loop does this for a service, which chooses the names, and how many there are. */
Test(names, of_as_much_as_a_service_may_hand_over_are_noted_in_no_time)
{
	struct fd_names names = { .names = NULL };
	struct custody_entry *entries = many(NAMES, ENTRIES);

	note(&names, entries, ENTRIES);
	cr_assert_eq(names.n, NAMES);
	cr_assert_not(names.cut);
	for (size_t i = 0; i < ENTRIES; i++)
		cr_assert(fd_names_have(&names, &entries[i]));
	cr_assert_not(have(&names, "another", 0, DOOR_NONE));
	fd_names_done(&names);
	free_many(entries, NAMES);
}

Test(names, beyond_what_is_noted_all_count_as_had)
{
	struct fd_names names = { .names = NULL };
	struct custody_entry *entries = many(NAMES + 1, NAMES + 1);

	note(&names, entries, NAMES + 1);
	cr_assert(names.cut);
	cr_assert(have(&names, "another", 0, DOOR_LISTENER));
	fd_names_done(&names);
	free_many(entries, NAMES + 1);
}
