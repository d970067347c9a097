/* SPDX-License-Identifier: MIT */
/* What one connection did while a crash window was open, and whether a state is one that its server may have gone back to.
 *
 * The server executes a connection's operations one after another, so the only states it can honestly return to are
 * those after some prefix of them. What the client saw narrows the prefix: an operation answered before the commit was
 * executed by the version that serves again; one whose last byte was handed over after the commit was not.
 */
#pragma once

#include "tests/load/value.h"

#include <stddef.h>
#include <stdint.h>

#define STEP_NEVER UINT64_MAX
#define STEP_NO_KEY UINT32_MAX

/* One operation, as far as the state is concerned. It owns references to both values. */
struct step {
	uint64_t sent_us;  /* read before the write(2) that handed over the last byte; STEP_NEVER: that did not happen */
	uint64_t acked_us; /* read after the read(2) that brought the whole answer; STEP_NEVER: no answer came */
	uint32_t key;      /* STEP_NO_KEY: changes nothing */
	struct value *before, *after;
};

void step_done(struct step *step);

struct verdict {
	size_t min, max;   /* the prefixes that are allowed, as numbers of operations */
	size_t prefix;     /* the longest allowed one that matches; without a match, the one with the fewest wrong keys */
	size_t mismatches; /* keys that differ from the state after @prefix; 0: matched */
	size_t elsewhere;  /* without a match: a prefix outside of min..max that does, or SIZE_MAX */
	size_t reverted;   /* changes that had been acknowledged and are not in @prefix */
};

/**
 * journal_judge() - Is @observed the state after an allowed prefix of @steps?
 * @steps:     @n of them, in the order they were sent.
 * @commit_us: when the version that was lost had taken over, CLOCK_MONOTONIC.
 * @final:     @n_keys values: the state after all of @steps.
 * @observed:  @n_keys values, as read back.
 */
void journal_judge(const struct step *const *steps, size_t n, uint64_t commit_us, struct value *const *final,
		   struct value *const *observed, size_t n_keys, struct verdict *ret_verdict);

/** journal_state() - The value of @key after the first @prefix of @steps. Return: borrowed. */
struct value *journal_state(const struct step *const *steps, size_t n, size_t prefix, struct value *const *final,
			    uint32_t key);
