/* SPDX-License-Identifier: MIT */
#include "tests/generator/walk.h"

#include "shim/upgrade.h"
#include "statefmt/statefmt.h"
#include "tests/generator/old_v2.upgrade.h"
#include "tests/generator/thing_v2.upgrade.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct upg_migration migrations[] = { THING_V2_MIGRATIONS, OLD_V2_MIGRATIONS };
#define N_MIGRATIONS (sizeof migrations / sizeof *migrations)

static const ProtobufCMessageDescriptor *descriptor_of(const char *type, uint32_t version)
{
	for (size_t i = 0; i < N_MIGRATIONS; i++)
		if (strcmp(migrations[i].type, type) == 0 && migrations[i].from == version)
			return migrations[i].from_descriptor;
	cr_assert_fail("no %s version %u", type, version);
	return NULL;
}

/* As the library has it: what a migration knows as struct upg_step is the walk's step. */
static int migrate(struct sf_step *step, const ProtobufCMessage *from, ProtobufCMessage *to, void *arg)
{
	const struct upg_migration *migration = arg;

	return migration->migrate((struct upg_step *)(void *)step, from, to);
}

struct packed packed_of(const ProtobufCMessage *message)
{
	struct packed packed = { .size_bytes = protobuf_c_message_get_packed_size(message) };

	packed.data = malloc(packed.size_bytes + 1);
	cr_assert_not_null(packed.data);
	protobuf_c_message_pack(message, packed.data);
	return packed;
}

int walk_bytes(const char *type, struct packed record, uint32_t from, uint32_t to, struct packed *ret_record, struct why *why)
{
	const struct sf_schema have = { type, from, descriptor_of(type, from), 0, 0 },
			       want = { type, to, descriptor_of(type, to), 0, 0 };
	struct sf_migration steps[N_MIGRATIONS];
	const ProtobufCMessage *converted;
	struct sf_plan *plan;
	size_t index;
	int r;

	for (size_t i = 0; i < N_MIGRATIONS; i++)
		steps[i] = (struct sf_migration){ migrations[i].type, migrations[i].from, migrations[i].to,
						  migrations[i].from_descriptor, migrations[i].to_descriptor, migrate,
						  (void *)(uintptr_t)&migrations[i], NULL };
	r = sf_plan_new(&have, 1, &want, 1, steps, N_MIGRATIONS, &plan, why);
	cr_assert_eq(r, 0, "%s", why->text);
	r = sf_plan_unpack(plan, 0, record.data, record.size_bytes, &index, &converted, why);
	if (r == 0)
		*ret_record = packed_of(converted);
	sf_plan_free(plan);
	return r;
}

void *walk(const char *type, const ProtobufCMessage *message, uint32_t from, uint32_t to, struct why *why)
{
	struct packed record = packed_of(message), result;
	void *unpacked = NULL;

	if (walk_bytes(type, record, from, to, &result, why) == 0) {
		unpacked = protobuf_c_message_unpack(descriptor_of(type, to), NULL, result.size_bytes, result.data);
		cr_assert_not_null(unpacked);
		free(result.data);
	}
	free(record.data);
	return unpacked;
}

void walk_free(void *message)
{
	protobuf_c_message_free_unpacked(message, NULL);
}

/* ---- what the generator leaves to a person ---- */

static const char *const moods[] = { "calm", "glad", "cross" };

int thing_thing_1_to_2_mood(struct upg_step *step, const Thing__V1__Thing *from, Thing__V2__Thing *to)
{
	if (from->mood < 0 || from->mood > 2)
		return upg_step_fail(step, "there is no mood %d", from->mood);
	to->mood = (char *)(uintptr_t)moods[from->mood];
	return 0;
}

int thing_thing_2_to_1_mood(struct upg_step *step, const Thing__V2__Thing *from, Thing__V1__Thing *to)
{
	for (int i = 0; i < 3; i++) {
		if (strcmp(from->mood, moods[i]) != 0)
			continue;
		to->mood = i;
		return 0;
	}
	to->mood = 0;
	return *from->mood ? upg_step_fail(step, "there was no mood %s", from->mood) : 0;
}

int thing_thing_1_to_2_size(struct upg_step *step, const Thing__V1__Thing *from, Thing__V2__Thing *to)
{
	to->size = upg_step_alloc(step, 16);
	snprintf(to->size, 16, "%u", from->size);
	return 0;
}

int thing_thing_2_to_1_size(struct upg_step *step, const Thing__V2__Thing *from, Thing__V1__Thing *to)
{
	(void)step;
	to->size = (uint32_t)strtoul(from->size, NULL, 10);
	return 0;
}
