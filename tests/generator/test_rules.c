/* SPDX-License-Identifier: MIT */
#include "tests/generator/old_v2.pb-c.h"
#include "tests/generator/thing_v2.pb-c.h"
#include "tests/generator/walk.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

TestSuite(rules, .timeout = 30);

#define TEXT(literal) ((char *)(uintptr_t)(literal))
#define BYTES(literal) ((ProtobufCBinaryData){ sizeof(literal) - 1, (uint8_t *)(uintptr_t)(literal) })

static Thing__V2__Thing *up(const Thing__V1__Thing *thing)
{
	struct why why = { "" };
	Thing__V2__Thing *result = walk("thing.Thing", &thing->base, 1, 2, &why);

	cr_assert_not_null(result, "%s", why.text);
	return result;
}

static Thing__V1__Thing *down(const Thing__V2__Thing *thing)
{
	struct why why = { "" };
	Thing__V1__Thing *result = walk("thing.Thing", &thing->base, 2, 1, &why);

	cr_assert_not_null(result, "%s", why.text);
	return result;
}

/* The walk ends with words that name type, field and value. */
static void refuses(const ProtobufCMessage *thing, uint32_t from, const char *words)
{
	struct why why = { "" };
	void *result = walk("thing.Thing", thing, from, 3 - from, &why);

	cr_expect_null(result, "%s", words);
	cr_expect(strstr(why.text, words), "\"%s\" in: %s", words, why.text);
	if (result)
		walk_free(result);
}

static void refuses_up(const Thing__V1__Thing *thing, const char *words)
{
	refuses(&thing->base, 1, words);
}

static void refuses_down(const Thing__V2__Thing *thing, const char *words)
{
	refuses(&thing->base, 2, words);
}

Test(rules, carry_what_is_the_same_or_renamed)
{
	Thing__V1__Thing thing = THING__V1__THING__INIT;
	char *tags[] = { TEXT("x"), TEXT("") };

	thing.name = TEXT("called");
	thing.tags = tags;
	thing.n_tags = 2;
	Thing__V2__Thing *higher = up(&thing);
	cr_expect_str_eq(higher->title, "called");
	cr_assert_eq(higher->n_tags, 2);
	cr_expect_str_eq(higher->tags[0], "x");
	Thing__V1__Thing *lower = down(higher);
	cr_expect_str_eq(lower->name, "called");
	cr_expect_eq(lower->n_tags, 2);
	walk_free(lower);
	walk_free(higher);
}

Test(rules, widen_and_refuse_what_does_not_fit_on_the_way_down)
{
	Thing__V1__Thing thing = THING__V1__THING__INIT;
	Thing__V2__Thing wide = THING__V2__THING__INIT;
	int64_t numbers[] = { INT32_MIN, INT32_MAX };

	thing.id = UINT32_MAX;
	thing.delta = INT32_MIN;
	Thing__V2__Thing *higher = up(&thing);
	cr_expect_eq(higher->id, UINT32_MAX);
	cr_expect_eq(higher->delta, INT32_MIN);
	Thing__V1__Thing *lower = down(higher);
	cr_expect_eq(lower->id, UINT32_MAX);
	cr_expect_eq(lower->delta, INT32_MIN);
	walk_free(lower);
	walk_free(higher);
	wide.id = UINT64_C(1) << 32;
	refuses_down(&wide, "thing.v2.Thing: id = 4294967296 does not fit");
	wide.id = 0;
	wide.delta = INT64_C(-2147483649);
	refuses_down(&wide, "thing.v2.Thing: delta = -2147483649 does not fit");
	wide.delta = 0;
	wide.numbers = numbers;
	wide.n_numbers = 2;
	walk_free(down(&wide));
	numbers[1]++;
	refuses_down(&wide, "numbers = 2147483648 does not fit");
}

Test(rules, narrow_where_the_newer_type_is_the_smaller)
{
	Thing__V1__Thing thing = THING__V1__THING__INIT;

	thing.small = UINT32_MAX;
	thing.cut = INT64_MIN;
	Thing__V2__Thing *higher = up(&thing);
	cr_expect_eq(higher->small, UINT32_MAX);
	cr_expect_eq(higher->cut, INT32_MIN, "saturates");
	walk_free(higher);
	thing.cut = INT64_MAX;
	higher = up(&thing);
	cr_expect_eq(higher->cut, INT32_MAX);
	walk_free(higher);
	thing.small = UINT64_C(1) << 32;
	refuses_up(&thing, "thing.v1.Thing: small = 4294967296 does not fit");
}

Test(rules, convert_units_and_round_as_told)
{
	static const struct {
		int64_t ns, s;
	} cases[] = {
		{ 0, 0 }, { 1, 1 }, { 1000000000, 1 }, { 1000000001, 2 }, { -1, 0 }, { -1000000001, -1 },
		{ INT64_MIN, -9223372036 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		Thing__V2__Thing thing = THING__V2__THING__INIT;
		thing.placed_ns = cases[i].ns;
		Thing__V1__Thing *lower = down(&thing);
		cr_expect_eq(lower->placed_s, cases[i].s, "%lld", (long long)cases[i].ns);
		walk_free(lower);
	}
	Thing__V1__Thing thing = THING__V1__THING__INIT;
	thing.placed_s = -9223372036;
	Thing__V2__Thing *higher = up(&thing);
	cr_expect_eq(higher->placed_ns, INT64_C(-9223372036000000000));
	walk_free(higher);
	thing.placed_s = 9223372037;
	refuses_up(&thing, "placed_s = 9223372037 does not fit");
	thing.placed_s = INT64_MIN;
	refuses_up(&thing, "placed_s = -9223372036854775808 does not fit");
}

Test(rules, round_to_the_nearest_halves_away_from_zero)
{
	static const struct {
		int64_t us, ms;
	} cases[] = { { 499, 0 }, { 500, 1 }, { 1499, 1 }, { -499, 0 }, { -500, -1 }, { INT64_MAX, INT64_MAX / 1000 + 1 } };

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		Thing__V1__Thing thing = THING__V1__THING__INIT;
		thing.tick_us = cases[i].us;
		Thing__V2__Thing *higher = up(&thing);
		cr_expect_eq(higher->tick_ms, cases[i].ms, "%lld", (long long)cases[i].us);
		walk_free(higher);
	}
}

Test(rules, refuse_to_round_where_that_must_be_exact)
{
	Thing__V1__Thing thing = THING__V1__THING__INIT;

	thing.delay_ms = -5000;
	Thing__V2__Thing *higher = up(&thing);
	cr_expect_eq(higher->delay_s, -5);
	walk_free(higher);
	thing.delay_ms = 5001;
	refuses_up(&thing, "delay_ms = 5001 would have to be rounded");
	thing.delay_ms = INT64_C(2147483648000);
	refuses_up(&thing, "delay_ms = 2147483648000 does not fit");
}

Test(rules, convert_real_numbers)
{
	Thing__V1__Thing thing = THING__V1__THING__INIT;
	Thing__V2__Thing wide = THING__V2__THING__INIT;

	thing.ratio = 0.1f;
	thing.weight_g = 2500;
	Thing__V2__Thing *higher = up(&thing);
	cr_expect(higher->ratio == (double)0.1f);
	cr_expect(higher->weight_kg == 2.5);
	Thing__V1__Thing *lower = down(higher);
	cr_expect(lower->ratio == 0.1f);
	cr_expect(lower->weight_g == 2500);
	walk_free(lower);
	walk_free(higher);
	wide.ratio = 0.1;
	refuses_down(&wide, "ratio = 0.1");
	wide.ratio = 1e300;
	refuses_down(&wide, "does not fit");
	wide.ratio = (double)INFINITY;
	lower = down(&wide);
	cr_expect(isinf(lower->ratio));
	walk_free(lower);
	wide.ratio = (double)NAN;
	lower = down(&wide);
	cr_expect(isnan(lower->ratio));
	walk_free(lower);
}

Test(rules, split_an_integer_and_put_it_together_again)
{
	Thing__V1__Thing thing = THING__V1__THING__INIT;
	Thing__V2__Thing wide = THING__V2__THING__INIT;

	thing.packed = UINT64_C(0x0000123456789abc);
	Thing__V2__Thing *higher = up(&thing);
	cr_expect_eq(higher->a, 0x9abc);
	cr_expect_eq(higher->b, 0x12345678);
	Thing__V1__Thing *lower = down(higher);
	cr_expect_eq(lower->packed, thing.packed);
	walk_free(lower);
	walk_free(higher);
	thing.packed |= UINT64_C(1) << 63;
	refuses_up(&thing, "packed = 9223392052853119676 has bits set that no field follows");
	wide.a = 65536;
	refuses_down(&wide, "thing.v2.Thing: a = 65536 does not fit");
}

Test(rules, merge_integers_and_take_them_apart_again)
{
	Thing__V1__Thing thing = THING__V1__THING__INIT;

	thing.low = 7;
	thing.high = UINT32_MAX;
	Thing__V2__Thing *higher = up(&thing);
	cr_expect_eq(higher->wide, UINT64_C(0xffffffff00000007));
	Thing__V1__Thing *lower = down(higher);
	cr_expect_eq(lower->low, 7);
	cr_expect_eq(lower->high, UINT32_MAX);
	walk_free(lower);
	walk_free(higher);
}

Test(rules, move_fields_out_of_a_nested_message)
{
	Thing__V1__Thing thing = THING__V1__THING__INIT;
	Thing__V1__Dims dims = THING__V1__DIMS__INIT;

	thing.dims = &dims;
	dims.width = 3;
	dims.height = -4;
	Thing__V2__Thing *higher = up(&thing);
	cr_expect_eq(higher->width, 3);
	cr_expect_eq(higher->height, -4);
	Thing__V1__Thing *lower = down(higher);
	cr_assert_not_null(lower->dims);
	cr_expect_eq(lower->dims->width, 3);
	cr_expect_eq(lower->dims->height, -4);
	walk_free(lower);
	walk_free(higher);
	thing.dims = NULL;
	higher = up(&thing);
	lower = down(higher);
	cr_expect_null(lower->dims, "what was not there comes back as not there");
	walk_free(lower);
	walk_free(higher);
}

Test(rules, move_fields_into_a_nested_message)
{
	Thing__V1__Thing thing = THING__V1__THING__INIT;
	Thing__V2__Thing without = THING__V2__THING__INIT;

	thing.flags = 5;
	thing.blob = BYTES("a\0b");
	Thing__V2__Thing *higher = up(&thing);
	cr_assert_not_null(higher->extra);
	cr_expect_eq(higher->extra->flags, 5);
	cr_assert_eq(higher->extra->data.len, 3);
	Thing__V1__Thing *lower = down(higher);
	cr_expect_eq(lower->flags, 5);
	cr_expect_eq(lower->blob.len, 3);
	walk_free(lower);
	walk_free(higher);
	lower = down(&without);
	cr_expect_eq(lower->flags, 0);
	walk_free(lower);
}

Test(rules, go_through_nested_repeated_and_mapped_messages)
{
	Thing__V1__Thing thing = THING__V1__THING__INIT, next = THING__V1__THING__INIT;
	Thing__V1__Part part = THING__V1__PART__INIT;
	Thing__V1__Part *parts[] = { &part, &part };
	Thing__V1__Thing__IndexEntry entry = THING__V1__THING__INDEX_ENTRY__INIT, *index[] = { &entry };

	part.label = TEXT("bolt");
	part.count = -1;
	part.color = THING__V1__COLOR__GREEN;
	entry.key = TEXT("k");
	entry.value = &part;
	thing.parts = parts;
	thing.n_parts = 2;
	thing.index = index;
	thing.n_index = 1;
	thing.next = &next;
	next.id = 9;
	Thing__V2__Thing *higher = up(&thing);
	cr_assert_eq(higher->n_parts, 2);
	cr_expect_eq(higher->parts[1]->count, -1);
	cr_expect_eq(higher->parts[1]->color, THING__V2__COLOR__GREEN);
	cr_assert_eq(higher->n_index, 1);
	cr_expect_str_eq(higher->index[0]->key, "k");
	cr_expect_str_eq(higher->index[0]->value->label, "bolt");
	cr_expect_eq(higher->next->id, 9);
	higher->parts[0]->count = INT64_C(1) << 40;
	refuses_down(higher, "thing.v2.Part: count = 1099511627776 does not fit");
	walk_free(higher);
}

Test(rules, know_which_values_of_an_enum_the_other_version_lacks)
{
	Thing__V2__Thing thing = THING__V2__THING__INIT;

	thing.color = THING__V2__COLOR__BLUE;
	refuses_down(&thing, "thing.v2.Thing: color = 3 is not known to thing.v1.Color");
	thing.color = (Thing__V2__Color)77;
	Thing__V1__Thing *lower = down(&thing);
	cr_expect_eq((int)lower->color, 77, "known to neither: it has come from further up");
	walk_free(lower);
	thing.color = THING__V2__COLOR__RED;
	thing.shade = THING__V2__COLOR__BLUE;
	lower = down(&thing);
	cr_expect_eq(lower->color, THING__V1__COLOR__RED);
	cr_expect_eq(lower->shade, THING__V1__COLOR__NONE, "saturates");
	walk_free(lower);
}

Test(rules, turn_text_into_bytes_and_back)
{
	Thing__V1__Thing thing = THING__V1__THING__INIT;
	Thing__V2__Thing wide = THING__V2__THING__INIT;

	thing.text = TEXT("text");
	thing.raw = BYTES("raw");
	Thing__V2__Thing *higher = up(&thing);
	cr_assert_eq(higher->text.len, 4);
	cr_expect_str_eq(higher->raw, "raw");
	Thing__V1__Thing *lower = down(higher);
	cr_expect_str_eq(lower->text, "text");
	cr_expect_eq(lower->raw.len, 3);
	walk_free(lower);
	walk_free(higher);
	thing.raw = BYTES("a\0b");
	refuses_up(&thing, "raw = 3 bytes, with a zero among them");
	wide.text = BYTES("\0");
	refuses_down(&wide, "text = 1 bytes, with a zero among them");
}

Test(rules, keep_which_of_a_oneof_is_set)
{
	Thing__V1__Thing thing = THING__V1__THING__INIT;
	Thing__V1__Part part = THING__V1__PART__INIT;

	Thing__V2__Thing *higher = up(&thing);
	cr_expect_eq(higher->choice_case, THING__V2__THING__CHOICE__NOT_SET);
	walk_free(higher);
	thing.choice_case = THING__V1__THING__CHOICE_NUMBER;
	higher = up(&thing);
	cr_expect_eq(higher->choice_case, THING__V2__THING__CHOICE_NUMBER, "zero is a value, too");
	walk_free(higher);
	thing.choice_case = THING__V1__THING__CHOICE_WORD;
	thing.word = TEXT("w");
	higher = up(&thing);
	cr_assert_eq(higher->choice_case, THING__V2__THING__CHOICE_WORD);
	cr_expect_str_eq(higher->word, "w");
	walk_free(higher);
	thing.choice_case = THING__V1__THING__CHOICE_PART;
	thing.part = &part;
	part.count = 6;
	higher = up(&thing);
	cr_assert_eq(higher->choice_case, THING__V2__THING__CHOICE_PART);
	cr_expect_eq(higher->part->count, 6);
	Thing__V1__Thing *lower = down(higher);
	cr_expect_eq(lower->part->count, 6);
	walk_free(lower);
	walk_free(higher);
}

Test(rules, refuse_two_where_a_oneof_has_room_for_one)
{
	Thing__V1__Thing thing = THING__V1__THING__INIT;

	thing.right = TEXT("r");
	Thing__V2__Thing *higher = up(&thing);
	cr_assert_eq(higher->side_case, THING__V2__THING__SIDE_RIGHT);
	Thing__V1__Thing *lower = down(higher);
	cr_expect_str_eq(lower->right, "r");
	walk_free(lower);
	walk_free(higher);
	thing.left = 1;
	refuses_up(&thing, "right is set besides another field that goes into side");
}

Test(rules, turn_a_bool_into_a_number_and_back)
{
	Thing__V1__Thing thing = THING__V1__THING__INIT;
	Thing__V2__Thing wide = THING__V2__THING__INIT;

	thing.ready = 1;
	Thing__V2__Thing *higher = up(&thing);
	cr_expect_eq(higher->ready, 1);
	walk_free(higher);
	wide.ready = 2;
	refuses_down(&wide, "ready = 2 does not fit");
}

Test(rules, give_new_fields_their_default)
{
	Thing__V1__Thing thing = THING__V1__THING__INIT;
	Thing__V2__Thing *higher = up(&thing);

	cr_expect_eq(higher->level, -7);
	cr_expect_str_eq(higher->currency, "EUR \"?\"");
	cr_assert_eq(higher->magic.len, 5);
	cr_expect(memcmp(higher->magic.data, "magic", 5) == 0);
	cr_expect_eq(higher->kind, THING__V2__COLOR__GREEN);
	cr_expect(higher->factor == 1.5);
	cr_expect(higher->fresh);
	cr_expect_eq(higher->least, INT64_MIN);
	cr_expect_eq(higher->plain, 0);
	walk_free(higher);
}

Test(rules, call_what_a_person_wrote_and_what_nobody_decided)
{
	Thing__V1__Thing thing = THING__V1__THING__INIT;

	thing.mood = 2;
	thing.size = 12;
	Thing__V2__Thing *higher = up(&thing);
	cr_expect_str_eq(higher->mood, "cross");
	cr_expect_str_eq(higher->size, "12");
	Thing__V1__Thing *lower = down(higher);
	cr_expect_eq(lower->mood, 2);
	cr_expect_eq(lower->size, 12);
	walk_free(lower);
	walk_free(higher);
	thing.mood = 3;
	refuses_up(&thing, "there is no mood 3");
}

Test(rules, keep_absent_and_zero_apart_in_proto2)
{
	Old__V1__Old old = OLD__V1__OLD__INIT;
	struct why why = { "" };

	old.id = 1;
	old.has_count = 1;
	Old__V2__Old *higher = walk("old.Old", &old.base, 1, 2, &why);
	cr_assert_not_null(higher, "%s", why.text);
	cr_expect(higher->has_count);
	cr_expect_eq(higher->count, 0);
	cr_expect_not(higher->has_level);
	cr_expect_not(higher->has_data);
	cr_expect_null(higher->label);
	cr_expect(higher->has_wait_ms);
	cr_expect_eq(higher->wait_ms, 250, "the default for what was absent");
	cr_expect(higher->has_extra);
	cr_expect_eq(higher->extra, 4);
	higher->label = NULL;
	higher->wait_ms = 2999;
	Old__V1__Old *lower = walk("old.Old", &higher->base, 2, 1, &why);
	cr_assert_not_null(lower, "%s", why.text);
	cr_expect(lower->has_count);
	cr_expect_not(lower->has_level);
	cr_expect_eq(lower->wait_s, 2);
	walk_free(lower);
	walk_free(higher);
}

/* ---- what a version does not know ---- */

/* Field 1000 of length 2, as a later version would write it. */
static const uint8_t unknown[] = { 0xc2, 0x3e, 0x02, 'h', 'i' };

static bool holds_unknown(struct packed packed)
{
	return memmem(packed.data, packed.size_bytes, unknown, sizeof unknown) != NULL;
}

static void round_trip(const uint8_t *data, size_t size, uint32_t from)
{
	struct packed record = { (uint8_t *)(uintptr_t)data, size }, there, back;
	struct why why = { "" };

	cr_assert_eq(walk_bytes("thing.Thing", record, from, 3 - from, &there, &why), 0, "%s", why.text);
	cr_expect(holds_unknown(there));
	cr_assert_eq(walk_bytes("thing.Thing", there, 3 - from, from, &back, &why), 0, "%s", why.text);
	cr_expect(holds_unknown(back));
	free(there.data);
	free(back.data);
}

Test(rules, keep_unknown_fields_outermost_and_nested)
{
	uint8_t nested[2 + sizeof unknown] = { 0x5a, sizeof unknown }; /* parts = 11 */

	memcpy(nested + 2, unknown, sizeof unknown);
	for (uint32_t from = 1; from <= 2; from++) {
		round_trip(unknown, sizeof unknown, from);
		round_trip(nested, sizeof nested, from);
	}
}
