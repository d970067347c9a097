/* SPDX-License-Identifier: MIT */
#include "tests/load/journal.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(journal, .timeout = 20);

#define KEYS 3u
#define STEPS 6u
#define COMMIT 100u

/* Six operations on three keys: a = key 0, b = key 1, c = key 2 (which does not exist at first). The fourth changes nothing. */
struct fixture {
	struct step steps[STEPS];
	const struct step *list[STEPS];
	struct value *final[KEYS], *observed[KEYS];
};

static struct value *text(const char *s)
{
	return s ? value_new(s, strlen(s), 5) : NULL;
}

static void step_fill(struct step *step, uint32_t key, const char *before, const char *after)
{
	*step = (struct step){ .sent_us = STEP_NEVER, .acked_us = STEP_NEVER, .key = key, .before = text(before),
			       .after = text(after) };
}

static void fixture_open(struct fixture *f)
{
	static const char *const final[KEYS] = { "a3", "b1", NULL };

	memset(f, 0, sizeof(*f));
	step_fill(&f->steps[0], 0, "a0", "a1");
	step_fill(&f->steps[1], 1, "b0", "b1");
	step_fill(&f->steps[2], 0, "a1", "a2");
	step_fill(&f->steps[3], STEP_NO_KEY, NULL, NULL);
	step_fill(&f->steps[4], 2, "c0", NULL);
	step_fill(&f->steps[5], 0, "a2", "a3");
	for (size_t i = 0; i < STEPS; i++)
		f->list[i] = &f->steps[i];
	for (size_t i = 0; i < KEYS; i++)
		f->final[i] = text(final[i]);
}

static void fixture_close(struct fixture *f)
{
	for (size_t i = 0; i < STEPS; i++)
		step_done(&f->steps[i]);
	for (size_t i = 0; i < KEYS; i++) {
		value_unref(f->final[i]);
		value_unref(f->observed[i]);
	}
}

/* The first @acked steps were answered before the commit, those from @late on were sent after it. */
static void times_set(struct fixture *f, size_t acked, size_t late)
{
	for (size_t i = 0; i < STEPS; i++) {
		f->steps[i].sent_us = i < late ? 10 + i : COMMIT + 1 + i;
		f->steps[i].acked_us = i < acked ? 50 + i : STEP_NEVER;
	}
}

static void observe(struct fixture *f, const char *a, const char *b, const char *c)
{
	const char *const texts[KEYS] = { a, b, c };

	for (size_t i = 0; i < KEYS; i++) {
		value_unref(f->observed[i]);
		f->observed[i] = text(texts[i]);
	}
}

static void observe_prefix(struct fixture *f, size_t prefix)
{
	for (uint32_t key = 0; key < KEYS; key++) {
		value_unref(f->observed[key]);
		f->observed[key] = value_ref(journal_state(f->list, STEPS, prefix, f->final, key));
	}
}

static struct verdict judge(struct fixture *f)
{
	struct verdict verdict;

	journal_judge(f->list, STEPS, COMMIT, f->final, f->observed, KEYS, &verdict);
	return verdict;
}

/* Prefixes 3 and 4 are one state: the step between changes nothing. */
static bool same_state(size_t p, size_t q)
{
	return p == q || (p == 3 && q == 4) || (p == 4 && q == 3);
}

Test(journal, accepts_exactly_the_allowed_prefixes)
{
	struct fixture f;

	fixture_open(&f);
	for (size_t acked = 0; acked <= STEPS; acked++) {
		for (size_t late = acked; late <= STEPS; late++) {
			times_set(&f, acked, late);
			for (size_t prefix = 0; prefix <= STEPS; prefix++) {
				bool allowed = false;
				struct verdict verdict;

				for (size_t p = acked; p <= late; p++)
					allowed |= same_state(p, prefix);
				observe_prefix(&f, prefix);
				verdict = judge(&f);
				cr_assert_eq(verdict.min, acked);
				cr_assert_eq(verdict.max, late);
				cr_assert_eq(verdict.mismatches == 0, allowed, "acked %zu late %zu prefix %zu", acked, late,
					     prefix);
				if (allowed)
					cr_assert(same_state(verdict.prefix, prefix));
				else
					cr_assert(same_state(verdict.elsewhere, prefix));
			}
		}
	}
	fixture_close(&f);
}

Test(journal, rejects_one_acknowledged_write_taken_back)
{
	struct fixture f;
	struct verdict verdict;

	fixture_open(&f);
	times_set(&f, 3, 6);
	observe_prefix(&f, 2);
	verdict = judge(&f);
	cr_assert_eq(verdict.mismatches, 1);
	cr_assert_eq(verdict.elsewhere, 2);
	fixture_close(&f);
}

Test(journal, rejects_one_write_that_should_have_been_taken_back)
{
	struct fixture f;
	struct verdict verdict;

	fixture_open(&f);
	times_set(&f, 0, 2);
	observe_prefix(&f, 3);
	verdict = judge(&f);
	cr_assert_eq(verdict.mismatches, 1);
	cr_assert_eq(verdict.prefix, 2);
	fixture_close(&f);
}

Test(journal, rejects_a_hole_in_the_sequence)
{
	struct fixture f;

	fixture_open(&f);
	times_set(&f, 0, 6);
	observe(&f, "a2", "b0", "c0"); /* the third without the second */
	cr_assert_neq(judge(&f).mismatches, 0);
	cr_assert_eq(judge(&f).elsewhere, SIZE_MAX);
	observe(&f, "a0", "b1", "c0"); /* the second without the first */
	cr_assert_neq(judge(&f).mismatches, 0);
	fixture_close(&f);
}

Test(journal, rejects_a_value_nobody_wrote_and_a_key_that_vanished)
{
	struct fixture f;

	fixture_open(&f);
	times_set(&f, 0, 6);
	observe(&f, "a1", "b9", "c0");
	cr_assert_eq(judge(&f).mismatches, 1);
	observe(&f, "a1", NULL, "c0");
	cr_assert_eq(judge(&f).mismatches, 1);
	fixture_close(&f);
}

Test(journal, counts_acknowledged_changes_that_were_taken_back)
{
	struct fixture f;
	struct verdict verdict;

	fixture_open(&f);
	times_set(&f, 1, 1);
	for (size_t i = 1; i < 5; i++)
		f.steps[i].acked_us = COMMIT + 50 + i; /* by the version that was lost; the last got no answer */
	observe_prefix(&f, 1);
	verdict = judge(&f);
	cr_assert_eq(verdict.mismatches, 0);
	cr_assert_eq(verdict.prefix, 1);
	cr_assert_eq(verdict.reverted, 3); /* b1, a2, c deleted; not the one without effect, nor the unanswered */
	fixture_close(&f);
}

Test(journal, an_operation_that_straddles_the_commit_may_be_either)
{
	struct fixture f;

	fixture_open(&f);
	times_set(&f, 1, 2);
	f.steps[1].acked_us = COMMIT + 1;
	observe_prefix(&f, 1);
	cr_assert_eq(judge(&f).mismatches, 0);
	cr_assert_eq(judge(&f).reverted, 1);
	observe_prefix(&f, 2);
	cr_assert_eq(judge(&f).mismatches, 0);
	cr_assert_eq(judge(&f).reverted, 0);
	fixture_close(&f);
}

Test(journal, a_request_never_sent_to_its_end_was_not_executed)
{
	struct fixture f;

	fixture_open(&f);
	times_set(&f, 0, 6);
	f.steps[5].sent_us = STEP_NEVER;
	observe_prefix(&f, 6);
	cr_assert_neq(judge(&f).mismatches, 0);
	fixture_close(&f);
}

Test(journal, without_operations_the_state_must_be_the_model)
{
	struct fixture f;
	struct verdict verdict;

	fixture_open(&f);
	observe_prefix(&f, STEPS);
	journal_judge(NULL, 0, COMMIT, f.final, f.observed, KEYS, &verdict);
	cr_assert_eq(verdict.mismatches, 0);
	observe(&f, "a2", "b1", NULL);
	journal_judge(NULL, 0, COMMIT, f.final, f.observed, KEYS, &verdict);
	cr_assert_eq(verdict.mismatches, 1);
	fixture_close(&f);
}
