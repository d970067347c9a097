/* SPDX-License-Identifier: MIT */
/* Records of any bytes, compared: what is left without the fields that change by themselves never grows, stays the same when it is
 * stripped again, and is not told from itself; what differs can be told in words. The first byte says where the second record
 * begins. */
#include "base/why.h"
#include "statefmt/compare.h"
#include "statefmt/volatile.h"
#include "tests/fuzz/fuzzed.pb-c.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(holds) \
	do { \
		if (!(holds)) \
			abort(); \
	} while (0)

static const char *const names[] = { "test.fuzzed.Meta.history", "test.fuzzed.ItemV2.value", "test.fuzzed.Node.id", NULL };

static void strip(const uint8_t *data, size_t size)
{
	const ProtobufCMessageDescriptor *descriptor = &test__fuzzed__node__descriptor;
	struct sf_volatile *fields = NULL, *again = NULL;
	const uint8_t *once = data, *twice;
	size_t n_once = size, n_twice;

	MUST(sf_volatile_new(names, &fields) == 0 && sf_volatile_new(names, &again) == 0);
	MUST(sf_volatile_strip(fields, descriptor, &once, &n_once) == 0 && n_once <= size);
	twice = once;
	n_twice = n_once;
	MUST(sf_volatile_strip(again, descriptor, &twice, &n_twice) == 0);
	MUST(n_once == n_twice && memcmp(once, twice, n_once) == 0);
	sf_volatile_free(fields);
	sf_volatile_free(again);
}

static void compare(const uint8_t *before, size_t n_before, const uint8_t *after, size_t n_after)
{
	const struct sf_schema schema = { .name = "Node", .version = 1, .descriptor = &test__fuzzed__node__descriptor };
	struct sf_compare *compare = NULL;
	struct why why = { "" };
	bool same = n_before == n_after && memcmp(before, after, n_before) == 0, equal;

	MUST(sf_compare_new(&schema, 1, names, &compare) == 0);
	MUST(sf_compare_add(compare, SF_BEFORE, 0, before, n_before) == 0);
	MUST(sf_compare_add(compare, SF_AFTER, 0, after, n_after) == 0);
	equal = sf_compare_explain(compare, &why);
	MUST(equal ? !why.text[0] : why.text[0] && !same);
	sf_compare_free(compare);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t first;

	if (size < 1)
		return 0;
	first = data[0];
	data++;
	size--;
	first = first < size ? first : size;
	strip(data, size);
	compare(data, first, data + first, size - first);
	compare(data, size, data, size);
	return 0;
}
