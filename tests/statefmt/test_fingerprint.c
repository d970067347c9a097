/* SPDX-License-Identifier: MIT */
#include "statefmt/shape.h"
#include "tests/statefmt/stream.h"

TestSuite(statefmt_fingerprint, .timeout = 30);

#define FINGERPRINT(name) sf_fingerprint(&test__state__##name##__descriptor)

Test(statefmt_fingerprint, a_rename_keeps_it)
{
	cr_assert_eq(FINGERPRINT(item_v1), FINGERPRINT(thing));
}

Test(statefmt_fingerprint, number_type_label_and_presence_of_a_field_count)
{
	const uint64_t all[] = { FINGERPRINT(item_v1),   FINGERPRINT(item_v2),    FINGERPRINT(item_v3), FINGERPRINT(item_number),
				 FINGERPRINT(item_type), FINGERPRINT(item_label), FINGERPRINT(meta),    FINGERPRINT(node) };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		cr_assert_neq(all[i], 0);
		for (size_t j = 0; j < i; j++)
			cr_assert_neq(all[i], all[j], "%zu and %zu", i, j);
	}
}

Test(statefmt_fingerprint, nested_types_of_equal_shape_are_equal)
{
	cr_assert_eq(FINGERPRINT(shared), FINGERPRINT(split));
}

Test(statefmt_fingerprint, cycles_are_compared_by_what_they_look_like)
{
	cr_assert_eq(FINGERPRINT(loop), FINGERPRINT(loop_a));
	cr_assert_eq(FINGERPRINT(loop), FINGERPRINT(loop_b));
	cr_assert_neq(FINGERPRINT(loop), FINGERPRINT(loop_c));
	cr_assert_neq(FINGERPRINT(loop), FINGERPRINT(loop_d));
	cr_assert_neq(FINGERPRINT(loop_c), FINGERPRINT(loop_d));
}

/* They are in the files of released versions. */
Test(statefmt_fingerprint, values_are_frozen)
{
	cr_assert_eq(FINGERPRINT(item_v1), 0xf443f1b213df0f16, "0x%llx", (unsigned long long)FINGERPRINT(item_v1));
	cr_assert_eq(FINGERPRINT(item_v3), 0x85d79c8e68fdaa8e, "0x%llx", (unsigned long long)FINGERPRINT(item_v3));
	cr_assert_eq(FINGERPRINT(node), 0xd8406910daa91889, "0x%llx", (unsigned long long)FINGERPRINT(node));
}

Test(statefmt_fingerprint, recursive_types_are_found)
{
	cr_assert(sf_is_recursive(&test__state__node__descriptor));
	cr_assert(sf_is_recursive(&test__state__loop_a__descriptor));
	cr_assert(!sf_is_recursive(&test__state__item_v3__descriptor));
	cr_assert(!sf_is_recursive(&test__state__wide__descriptor));
}

/* A chain of more types than are looked at: built here, as no generator would. */
Test(statefmt_fingerprint, types_beyond_the_limit_are_taken_for_the_worst)
{
	static ProtobufCMessageDescriptor types[SF_SHAPE_TYPES + 10];
	static ProtobufCFieldDescriptor fields[SF_SHAPE_TYPES + 10];

	for (size_t i = 0; i < SF_SHAPE_TYPES + 10; i++) {
		types[i].fields = &fields[i];
		types[i].n_fields = i + 1 < SF_SHAPE_TYPES + 10;
		fields[i].id = 1;
		fields[i].type = PROTOBUF_C_TYPE_MESSAGE;
		fields[i].descriptor = &types[i + 1 < SF_SHAPE_TYPES + 10 ? i + 1 : i];
	}
	cr_assert(sf_is_recursive(&types[0]));
	cr_assert(!sf_is_recursive(&types[10]));
	cr_assert_neq(sf_fingerprint(&types[0]), 0);
}
