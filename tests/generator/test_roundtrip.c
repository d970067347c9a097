/* SPDX-License-Identifier: MIT */
/* What the annotations promise to carry comes back byte for byte, whichever way it went first. */
#include "tests/generator/thing_v2.pb-c.h"
#include "tests/generator/walk.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(roundtrip, .timeout = 120);

#define ROUNDS 3000
#define SEED UINT64_C(0x9e3779b97f4a7c15)

static uint64_t state;

static uint64_t any(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* Small, large and at the edges alike: of 0..@max. */
static uint64_t up_to(uint64_t max)
{
	uint64_t value = any() >> any() % 64;

	if (any() % 8 == 0)
		return max;
	return max == UINT64_MAX ? value : value % (max + 1);
}

static int64_t between(int64_t min, int64_t max)
{
	return any() % 2 ? (int64_t)up_to((uint64_t)max) : -(int64_t)up_to((uint64_t)-(min + 1)) - 1;
}

static bool maybe(void)
{
	return any() % 2;
}

/* From a few buffers that the message in hand shares. */
static char texts[4][24];
static uint8_t bytes[4][24];

static char *text_any(void)
{
	char *text = texts[any() % 4];

	snprintf(text, sizeof texts[0], "%.*s", (int)(any() % 20), "any text, or a part\xc3\xa4");
	return text;
}

static ProtobufCBinaryData bytes_any(bool without_zero)
{
	uint8_t *data = bytes[any() % 4];

	for (size_t i = 0; i < sizeof bytes[0]; i++)
		data[i] = (uint8_t)(without_zero ? 1 + any() % 255 : any());
	return (ProtobufCBinaryData){ any() % sizeof bytes[0], data };
}

/* ---- version 1 ---- */

static void part_v1(Thing__V1__Part *part)
{
	thing__v1__part__init(part);
	part->label = text_any();
	part->count = (int32_t)between(INT32_MIN, INT32_MAX);
	part->color = (Thing__V1__Color)(any() % 3);
}

struct v1 {
	Thing__V1__Thing thing, next;
	Thing__V1__Dims dims;
	Thing__V1__Part part, *parts[3];
	Thing__V1__Thing__IndexEntry entry, *index[1];
	Thing__V1__Color colors[4];
	int32_t numbers[4];
	char *tags[3];
};

static void numbers_v1(struct v1 *all)
{
	Thing__V1__Thing *thing = &all->thing;

	thing->id = (uint32_t)up_to(UINT32_MAX);
	thing->delta = (int32_t)between(INT32_MIN, INT32_MAX);
	thing->placed_s = between(-9223372036, 9223372036);
	thing->packed = up_to((UINT64_C(1) << 48) - 1);
	thing->low = (uint32_t)up_to(UINT32_MAX);
	thing->high = (uint32_t)up_to(UINT32_MAX);
	thing->flags = (uint32_t)up_to(UINT32_MAX);
	thing->ratio = (float)between(INT32_MIN, INT32_MAX) / 3;
	thing->weight_g = (double)between(-1000000, 1000000) * 1000;
	thing->mood = (int32_t)(any() % 3);
	thing->ready = maybe();
	thing->small = up_to(UINT32_MAX);
	thing->cut = between(INT32_MIN, INT32_MAX);
	thing->delay_ms = between(INT32_MIN, INT32_MAX) * 1000;
	thing->tick_us = between(INT64_MIN / 1000, INT64_MAX / 1000) * 1000;
	thing->size = (uint32_t)up_to(UINT32_MAX);
	thing->color = (Thing__V1__Color)(any() % 3);
	thing->shade = (Thing__V1__Color)(any() % 3);
	if (maybe())
		thing->left = (uint32_t)up_to(UINT32_MAX);
	else
		thing->right = text_any();
}

static void rest_v1(struct v1 *all)
{
	Thing__V1__Thing *thing = &all->thing;

	thing->name = text_any();
	thing->text = text_any();
	thing->blob = bytes_any(false);
	thing->raw = bytes_any(true);
	part_v1(&all->part);
	thing__v1__dims__init(&all->dims);
	all->dims.width = (int32_t)between(INT32_MIN, INT32_MAX);
	all->dims.height = (int32_t)between(INT32_MIN, INT32_MAX);
	thing->dims = maybe() && (all->dims.width || all->dims.height) ? &all->dims : NULL;
	for (size_t i = 0; i < 4; i++) {
		all->parts[i % 3] = &all->part;
		all->numbers[i] = (int32_t)between(INT32_MIN, INT32_MAX);
		all->colors[i] = (Thing__V1__Color)(any() % 3);
		all->tags[i % 3] = texts[i];
	}
	thing->parts = all->parts;
	thing->n_parts = any() % 4;
	thing->numbers = all->numbers;
	thing->n_numbers = any() % 5;
	thing->colors = all->colors;
	thing->n_colors = any() % 5;
	thing->tags = all->tags;
	thing->n_tags = any() % 4;
	thing__v1__thing__index_entry__init(&all->entry);
	all->entry.key = text_any();
	all->entry.value = maybe() ? &all->part : NULL;
	all->index[0] = &all->entry;
	thing->index = all->index;
	thing->n_index = any() % 2;
	thing->choice_case = (Thing__V1__Thing__ChoiceCase)(maybe() ? 0 : 18 + any() % 3);
	if (thing->choice_case == THING__V1__THING__CHOICE_NUMBER)
		thing->number = (int32_t)between(INT32_MIN, INT32_MAX);
	else if (thing->choice_case == THING__V1__THING__CHOICE_WORD)
		thing->word = texts[0];
	else if (thing->choice_case == THING__V1__THING__CHOICE_PART)
		thing->part = &all->part;
}

static void any_v1(struct v1 *all)
{
	thing__v1__thing__init(&all->thing);
	numbers_v1(all);
	rest_v1(all);
	if (maybe()) {
		thing__v1__thing__init(&all->next);
		all->next.id = all->thing.id;
		all->next.placed_s = all->thing.placed_s;
		all->next.choice_case = all->thing.choice_case;
		all->next.part = all->thing.part;
		if (all->next.choice_case == THING__V1__THING__CHOICE_NUMBER)
			all->next.number = all->thing.number;
		all->thing.next = &all->next;
	}
}

/* ---- version 2 ---- */

static void any_v2(Thing__V2__Thing *thing, Thing__V2__Extra *extra, char size[16])
{
	static const char *const moods[] = { "calm", "glad", "cross" };

	thing__v2__thing__init(thing);
	thing__v2__extra__init(extra);
	thing->extra = extra;
	extra->flags = (uint32_t)up_to(UINT32_MAX);
	extra->data = bytes_any(false);
	thing->id = up_to(UINT32_MAX);
	thing->delta = between(INT32_MIN, INT32_MAX);
	thing->title = text_any();
	thing->placed_ns = between(-9223372036, 9223372036) * 1000000000;
	thing->a = (uint32_t)up_to(UINT16_MAX);
	thing->b = (uint32_t)up_to(UINT32_MAX);
	thing->wide = up_to(UINT64_MAX);
	thing->width = (int32_t)between(INT32_MIN, INT32_MAX);
	thing->height = (int32_t)between(INT32_MIN, INT32_MAX);
	thing->color = (Thing__V2__Color)(any() % 3);
	thing->shade = (Thing__V2__Color)(any() % 3);
	thing->text = (ProtobufCBinaryData){ strlen(texts[0]), (uint8_t *)texts[0] };
	thing->raw = texts[1];
	thing->ratio = (double)((float)between(INT32_MIN, INT32_MAX) / 3);
	thing->mood = (char *)(uintptr_t)moods[any() % 3];
	thing->ready = (uint32_t)maybe();
	thing->small = (uint32_t)up_to(UINT32_MAX);
	thing->cut = (int32_t)between(INT32_MIN, INT32_MAX);
	thing->delay_s = (int32_t)between(INT32_MIN, INT32_MAX);
	thing->tick_ms = between(INT64_MIN / 1000, INT64_MAX / 1000);
	snprintf(size, 16, "%u", (unsigned)up_to(UINT32_MAX));
	thing->size = size;
	if (maybe()) {
		thing->side_case = THING__V2__THING__SIDE_LEFT;
		thing->left = 1 + (uint32_t)up_to(UINT32_MAX - 1);
	}
	/* What is new has the value that it is given for records of version 1. */
	thing->level = -7;
	thing->currency = (char *)(uintptr_t)"EUR \"?\"";
	thing->magic = (ProtobufCBinaryData){ 5, (uint8_t *)(uintptr_t)"magic" };
	thing->kind = THING__V2__COLOR__GREEN;
	thing->factor = 1.5;
	thing->fresh = 1;
	thing->least = INT64_MIN;
}

/* There and back again, by bytes. */
static void comes_back(const ProtobufCMessage *message, uint32_t from, int round)
{
	struct packed before = packed_of(message), there = { NULL, 0 }, after = { NULL, 0 };
	struct why why = { "" };

	cr_assert_eq(walk_bytes("thing.Thing", before, from, 3 - from, &there, &why), 0, "round %d: %s", round, why.text);
	cr_assert_eq(walk_bytes("thing.Thing", there, 3 - from, from, &after, &why), 0, "round %d: %s", round, why.text);
	cr_assert_eq(after.size_bytes, before.size_bytes, "round %d", round);
	cr_assert(memcmp(after.data, before.data, before.size_bytes) == 0, "round %d", round);
	free(before.data);
	free(there.data);
	free(after.data);
}

Test(roundtrip, up_and_down_is_as_if_nothing_had_been)
{
	struct v1 all;

	state = SEED;
	for (int round = 0; round < ROUNDS; round++) {
		any_v1(&all);
		comes_back(&all.thing.base, 1, round);
	}
}

Test(roundtrip, down_and_up_is_as_if_nothing_had_been)
{
	Thing__V2__Thing thing;
	Thing__V2__Extra extra;
	char size[16];

	state = SEED;
	text_any();
	for (int round = 0; round < ROUNDS; round++) {
		any_v2(&thing, &extra, size);
		comes_back(&thing.base, 2, round);
	}
}
