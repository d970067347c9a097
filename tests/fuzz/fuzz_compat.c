/* SPDX-License-Identifier: MIT */
/* Any two descriptions of types, with any annotations, compared: what a program carries is not believed either.
 *
 * An input is the length of the older FileDescriptorSet (u16, little-endian), that set, and the newer one; if nothing is left for
 * that, the first is both.
 */
#include "base/why.h"
#include "statefmt/compat.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void compat_look(const struct compat *compat)
{
	enum compat_verdict worst = COMPAT_SAME;

	for (size_t i = 0; i < compat->n_types; i++) {
		for (size_t j = 0; j < compat->types[i].n_findings; j++) {
			const struct compat_finding *finding = &compat->types[i].findings[j];

			/* Every change is told in words, and none is worse than its type. */
			if (!*finding->change || finding->verdict > compat->types[i].verdict)
				abort();
		}
		worst = compat->types[i].verdict > worst ? compat->types[i].verdict : worst;
	}
	if (worst != compat->verdict)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct schema_set *older = NULL, *newer = NULL;
	struct compat *compat = NULL;
	struct why why = { "" };
	size_t first;

	if (size < 2)
		return 0;
	first = (size_t)data[0] | (size_t)data[1] << 8;
	data += 2;
	size -= 2;
	first = first < size ? first : size;
	if (schema_set_new(data, first, &older, &why) == 0 &&
	    schema_set_new(first < size ? data + first : data, first < size ? size - first : size, &newer, &why) == 0) {
		const struct compat_side sides[] = { { older, NULL }, { newer, NULL } };

		/* A failure is explained. */
		if (compat_new(&sides[0], &sides[1], &compat, &why) == 0)
			compat_look(compat);
		else if (!why.text[0])
			abort();
	}
	compat_free(compat);
	schema_set_free(older);
	schema_set_free(newer);
	return 0;
}
