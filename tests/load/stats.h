/* SPDX-License-Identifier: MIT */
/* What happened, counted: over the whole run, and since the last mark. */
#pragma once

#include "tests/load/request.h"

#include <jansson.h>
#include <stdint.h>

/* Log-linear: exact below 128, then 64 buckets for each doubling, so that no figure is off by more than 1.6 %. */
#define HISTOGRAM_BUCKETS 2304u
#define HISTOGRAM_MAX ((UINT64_C(1) << 41) - 1)

struct histogram {
	uint64_t count, max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);

/** histogram_at() - The value that @per_mille of all are not above (rounded up to its bucket's end, capped at max); 0 if empty. */
uint64_t histogram_at(const struct histogram *histogram, unsigned per_mille);

struct counts {
	uint64_t requests; /* made, of which ... */
	uint64_t answered; /* ... completely, right or wrong */
	uint64_t wrong;    /* answers, or keys of one, that were not what they had to be */
	uint64_t failed;   /* requests that got no answer */
	uint64_t lost;     /* connections that ended and should not have */
	uint64_t cuts;     /* requests sent in two parts with a pause between */
	uint64_t unread;   /* times that answers were left unread for a while */
	uint64_t reopened; /* connections that we closed, and opened again */
};

struct stats {
	struct counts total, at_mark;
	struct histogram latency, latency_since_mark;
	uint64_t kinds[REQUEST_KINDS];
	unsigned shown_wrong, shown_lost;
};

void stats_latency(struct stats *stats, uint64_t latency_us);
void stats_mark(struct stats *stats);

/** stats_wrong() - Count it; the first ten are printed in full to stderr. @key is STEP_NO_KEY for none. */
void stats_wrong(struct stats *stats, unsigned conn, uint32_t key, const char *expected, const char *got);

/** stats_trouble() - The first ten connections that ended are explained on stderr. */
void stats_trouble(struct stats *stats, unsigned conn, const char *what, const char *detail);

/** stats_clean() - Whether something was requested and nothing was wrong, failed or lost. */
bool stats_clean(const struct stats *stats);

/** stats_json() - Add the report's members to @object. */
void stats_json(const struct stats *stats, json_t *object);
