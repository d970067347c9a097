/* SPDX-License-Identifier: MIT */
#include "tests/load/journal.h"

#include "tests/load/util.h"

#include <stdlib.h>

void step_done(struct step *step)
{
	step->before = value_unref(step->before);
	step->after = value_unref(step->after);
}

struct value *journal_state(const struct step *const *steps, size_t n, size_t prefix, struct value *const *final,
			    uint32_t key)
{
	for (size_t i = prefix; i < n; i++)
		if (steps[i]->key == key)
			return steps[i]->before;
	return final[key];
}

/*
 * An operation acknowledged in time takes everything before it along, and one sent too late keeps everything after it out,
 * because one connection's operations are executed in order. All times are of one clock, so min <= max; should a caller's
 * figures say otherwise, what was acknowledged wins.
 */
static void bounds_find(const struct step *const *steps, size_t n, uint64_t commit_us, struct verdict *verdict)
{
	verdict->min = 0;
	verdict->max = n;
	for (size_t i = 0; i < n; i++)
		if (steps[i]->acked_us < commit_us)
			verdict->min = i + 1;
	for (size_t i = n; i-- > 0;)
		if (steps[i]->sent_us > commit_us)
			verdict->max = i;
	if (verdict->max < verdict->min)
		verdict->max = verdict->min;
}

/*
 * Walks backwards from the final state, undoing one step at a time and keeping count of the keys that differ, so that the cost is
 * one comparison for each change and not keys times prefixes.
 */
void journal_judge(const struct step *const *steps, size_t n, uint64_t commit_us, struct value *const *final,
		   struct value *const *observed, size_t n_keys, struct verdict *ret_verdict)
{
	struct verdict verdict = { .elsewhere = SIZE_MAX, .mismatches = SIZE_MAX };
	bool *differs = mem_new(n_keys * sizeof(*differs));
	size_t n_differ = 0;

	bounds_find(steps, n, commit_us, &verdict);
	for (size_t key = 0; key < n_keys; key++) {
		differs[key] = !value_matches(final[key], observed[key]);
		n_differ += differs[key];
	}
	for (size_t prefix = n;; prefix--) {
		if (prefix >= verdict.min && prefix <= verdict.max) {
			if (n_differ < verdict.mismatches) {
				verdict.mismatches = n_differ;
				verdict.prefix = prefix;
			}
		} else if (n_differ == 0 && verdict.elsewhere == SIZE_MAX) {
			verdict.elsewhere = prefix;
		}
		if (prefix == 0)
			break;
		if (steps[prefix - 1]->key != STEP_NO_KEY) {
			uint32_t key = steps[prefix - 1]->key;
			bool now = !value_matches(steps[prefix - 1]->before, observed[key]);

			n_differ = n_differ - differs[key] + now;
			differs[key] = now;
		}
	}
	if (verdict.mismatches == 0)
		verdict.elsewhere = SIZE_MAX;
	for (size_t i = verdict.prefix; i < n; i++)
		verdict.reverted += steps[i]->key != STEP_NO_KEY && steps[i]->acked_us != STEP_NEVER;
	free(differs);
	*ret_verdict = verdict;
}
