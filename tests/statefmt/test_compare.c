/* SPDX-License-Identifier: MIT */
#include "base/why.h"
#include "statefmt/compare.h"
#include "tests/statefmt/item.pb-c.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(compare, .timeout = 30);

static const struct sf_schema schemas[] = { { .name = "test.One", .version = 1 }, { .name = "test.Two", .version = 1 } };

/* A record of two fields, as a packer writes them: 1: bytes, 2: varint below 128. */
static void add(struct sf_compare *compare, enum sf_side side, size_t type, const char *key, uint8_t number)
{
	uint8_t record[64] = { 0x0a, (uint8_t)strlen(key) };
	size_t n = 2 + strlen(key);

	memcpy(record + 2, key, strlen(key));
	record[n++] = 0x10;
	record[n++] = number;
	cr_assert_eq(sf_compare_add(compare, side, type, record, n), 0);
}

static struct sf_compare *begin(void)
{
	struct sf_compare *compare = NULL;

	cr_assert_eq(sf_compare_new(2, &compare), 0);
	return compare;
}

Test(compare, finds_nothing_in_nothing)
{
	struct sf_compare *compare = begin();

	cr_assert(sf_compare_explain(compare, schemas, NULL));
	sf_compare_free(compare);
}

Test(compare, does_not_care_for_order)
{
	struct sf_compare *compare = begin();
	struct why why = { 0 };

	for (uint8_t i = 0; i < 100; i++)
		add(compare, SF_BEFORE, 0, i % 2 ? "odd" : "even", i);
	for (uint8_t i = 100; i > 0; i--)
		add(compare, SF_AFTER, 0, (i - 1) % 2 ? "odd" : "even", (uint8_t)(i - 1));
	cr_assert(sf_compare_explain(compare, schemas, &why), "%s", why.text);
	sf_compare_free(compare);
}

Test(compare, names_the_type_the_field_and_a_record)
{
	struct sf_compare *compare = begin();
	struct why why = { 0 };

	add(compare, SF_BEFORE, 0, "same", 1);
	add(compare, SF_BEFORE, 1, "apple", 1);
	add(compare, SF_BEFORE, 1, "pear", 2);
	add(compare, SF_AFTER, 0, "same", 1);
	add(compare, SF_AFTER, 1, "apple", 1);
	add(compare, SF_AFTER, 1, "pear", 3);
	cr_assert_not(sf_compare_explain(compare, schemas, &why));
	cr_assert(strstr(why.text, "test.Two: 2 records before, 2 after, 1 of them changed"), "%s", why.text);
	cr_assert(strstr(why.text, "(2)"), "%s", why.text);
	cr_assert_not(strstr(why.text, "(1)"), "%s", why.text);
	cr_assert(strstr(why.text, "\"pear\""), "%s", why.text);
	cr_assert_not(strstr(why.text, "test.One"), "%s", why.text);
	sf_compare_free(compare);
}

Test(compare, tells_a_record_that_is_missing)
{
	struct sf_compare *compare = begin();
	struct why why = { 0 };

	add(compare, SF_BEFORE, 0, "a", 1);
	add(compare, SF_BEFORE, 0, "b", 1);
	add(compare, SF_AFTER, 0, "a", 1);
	cr_assert_not(sf_compare_explain(compare, schemas, &why));
	cr_assert(strstr(why.text, "2 records before, 1 after"), "%s", why.text);
	sf_compare_free(compare);
}

Test(compare, sees_a_swap_of_values_between_records)
{
	struct sf_compare *compare = begin();
	struct why why = { 0 };

	/* Each field's values are the same set: only whole records differ. */
	add(compare, SF_BEFORE, 0, "a", 1);
	add(compare, SF_BEFORE, 0, "b", 2);
	add(compare, SF_AFTER, 0, "a", 2);
	add(compare, SF_AFTER, 0, "b", 1);
	cr_assert_not(sf_compare_explain(compare, schemas, &why));
	cr_assert(strstr(why.text, "2 of them changed"), "%s", why.text);
	sf_compare_free(compare);
}

Test(compare, survives_bytes_that_are_no_fields)
{
	static const uint8_t odd[][4] = { { 0xff, 0xff, 0xff, 0xff }, { 0x0a, 0x7f, 0, 0 }, { 0x0b, 1, 2, 3 }, { 0, 0, 0, 0 } };
	struct sf_compare *compare = begin();

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		for (size_t n = 0; n <= 4; n++) {
			/* An exact allocation, so that a read past its end is seen. */
			uint8_t *copy = malloc(n ? n : 1);

			cr_assert_not_null(copy);
			memcpy(copy, odd[i], n);
			cr_assert_eq(sf_compare_add(compare, SF_BEFORE, 0, copy, n), 0);
			free(copy);
		}
	cr_assert_not(sf_compare_explain(compare, schemas, &(struct why){ 0 }));
	sf_compare_free(compare);
}

Test(compare, holds_many_records)
{
	struct sf_compare *compare = begin();
	char key[16];

	for (int side = SF_BEFORE; side <= SF_AFTER; side++) {
		for (unsigned i = 0; i < 50000; i++) {
			snprintf(key, sizeof(key), "k%u", side == SF_BEFORE ? i : 49999 - i);
			add(compare, (enum sf_side)side, 0, key, 7);
		}
	}
	cr_assert(sf_compare_explain(compare, schemas, NULL));
	sf_compare_free(compare);
}
