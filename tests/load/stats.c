/* SPDX-License-Identifier: MIT */
#include "tests/load/stats.h"

#include <inttypes.h>
#include <stdio.h>

#define SHOWN_MAX 10u
#define HALF_BITS 6u /* 64 buckets for each doubling */

static size_t bucket_of(uint64_t value)
{
	unsigned shift;

	if (value > HISTOGRAM_MAX)
		value = HISTOGRAM_MAX;
	if (value < UINT64_C(2) << HALF_BITS)
		return (size_t)value;
	shift = 63 - (unsigned)__builtin_clzll(value) - HALF_BITS;
	return ((size_t)shift << HALF_BITS) + (size_t)(value >> shift);
}

static uint64_t bucket_end(size_t bucket)
{
	size_t shift;

	if (bucket < (size_t)2 << HALF_BITS)
		return bucket;
	shift = (bucket >> HALF_BITS) - 1;
	return ((((uint64_t)bucket & ((1u << HALF_BITS) - 1)) + (1u << HALF_BITS) + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
	histogram->buckets[bucket_of(value)]++;
	histogram->count++;
	if (value > histogram->max)
		histogram->max = value;
}

uint64_t histogram_at(const struct histogram *histogram, unsigned per_mille)
{
	uint64_t want = histogram->count / 1000 * per_mille + (histogram->count % 1000 * per_mille + 999) / 1000;
	uint64_t seen = 0;

	if (histogram->count == 0)
		return 0;
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen >= want && seen)
			return bucket_end(i) < histogram->max ? bucket_end(i) : histogram->max;
	}
	return histogram->max;
}

void stats_latency(struct stats *stats, uint64_t latency_us)
{
	histogram_add(&stats->latency, latency_us);
	histogram_add(&stats->latency_since_mark, latency_us);
}

void stats_mark(struct stats *stats)
{
	stats->at_mark = stats->total;
	stats->latency_since_mark = (struct histogram){ 0 };
}

void stats_wrong(struct stats *stats, unsigned conn, uint32_t key, const char *expected, const char *got)
{
	stats->total.wrong++;
	if (stats->shown_wrong++ >= SHOWN_MAX)
		return;
	if (key == STEP_NO_KEY)
		fprintf(stderr, "upg-load: wrong: connection %u\n  expected %s\n  got      %s\n", conn, expected, got);
	else
		fprintf(stderr, "upg-load: wrong: connection %u, key load:%u:%" PRIu32 "\n  expected %s\n  got      %s\n", conn,
			conn, key, expected, got);
}

void stats_trouble(struct stats *stats, unsigned conn, const char *what, const char *detail)
{
	if (stats->shown_lost++ < SHOWN_MAX)
		fprintf(stderr, "upg-load: connection %u %s: %s\n", conn, what, detail);
}

bool stats_clean(const struct stats *stats)
{
	const struct counts *total = &stats->total;

	return total->answered && !total->wrong && !total->failed && !total->lost;
}

static void number_set(json_t *object, const char *name, uint64_t n)
{
	json_object_set_new(object, name, json_integer((json_int_t)n));
}

static void counts_json(const struct counts *now, const struct counts *since, json_t *object)
{
	number_set(object, "requests", now->requests - since->requests);
	number_set(object, "answered", now->answered - since->answered);
	number_set(object, "wrong", now->wrong - since->wrong);
	number_set(object, "failed", now->failed - since->failed);
	number_set(object, "lost_connections", now->lost - since->lost);
	number_set(object, "cut", now->cuts - since->cuts);
	number_set(object, "left_unread", now->unread - since->unread);
	number_set(object, "reopened", now->reopened - since->reopened);
}

static json_t *histogram_json(const struct histogram *histogram)
{
	json_t *object = json_object();

	number_set(object, "measured", histogram->count);
	number_set(object, "p50", histogram_at(histogram, 500));
	number_set(object, "p90", histogram_at(histogram, 900));
	number_set(object, "p99", histogram_at(histogram, 990));
	number_set(object, "p999", histogram_at(histogram, 999));
	number_set(object, "max", histogram->max);
	return object;
}

void stats_json(const struct stats *stats, json_t *object)
{
	static const struct counts none;
	json_t *since = json_object(), *kinds = json_object();

	counts_json(&stats->total, &none, object);
	json_object_set_new(object, "latency_us", histogram_json(&stats->latency));
	for (int kind = 0; kind < REQUEST_KINDS; kind++)
		number_set(kinds, request_name((enum request_kind)kind), stats->kinds[kind]);
	json_object_set_new(object, "kinds", kinds);
	counts_json(&stats->total, &stats->at_mark, since);
	json_object_set_new(since, "latency_us", histogram_json(&stats->latency_since_mark));
	json_object_set_new(object, "since_mark", since);
}
