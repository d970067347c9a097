/* SPDX-License-Identifier: MIT */
#include "tests/load/mix.h"

#include "tests/load/util.h"

#include <string.h>

#define EXPTIME_RELATIVE_MIN 86400u
#define EXPTIME_RELATIVE_MAX 2592000u /* more than 30 days is a date to the protocol */
#define EXPTIME_DATE 2147000000u      /* 2038, still within 31 bits */
#define BIG_ITEMS_MAX 160u

/* In per cent; what is left is a set. */
static const struct {
	unsigned share;
	enum request_kind kind;
} shares[] = {
	{ 26, REQUEST_GET }, { 16, REQUEST_GETS },   { 10, REQUEST_CAS },   { 7, REQUEST_ADD },  { 6, REQUEST_REPLACE },
	{ 5, REQUEST_APPEND }, { 5, REQUEST_PREPEND }, { 5, REQUEST_DELETE }, { 4, REQUEST_TOUCH }, { 4, REQUEST_INCR },
	{ 3, REQUEST_DECR },
};

void mix_init(struct mix *mix, uint64_t seed, unsigned conn, size_t value_min, size_t value_max)
{
	*mix = (struct mix){ .seed = seed, .value_min = value_min, .value_max = value_max };
	mix->rng = seed ^ ((uint64_t)conn + 1) * UINT64_C(0xd1b54a32d192ed03);
}

static bool key_counts(uint32_t key)
{
	return key % 4 == 1;
}

static uint32_t exptime_pick(struct mix *mix)
{
	switch (rng_below(&mix->rng, 5)) {
	case 0:
		return (uint32_t)rng_between(&mix->rng, EXPTIME_RELATIVE_MIN, EXPTIME_RELATIVE_MAX);
	case 1:
		return EXPTIME_DATE;
	default:
		return 0;
	}
}

static struct value *number_pick(struct mix *mix)
{
	uint32_t flags = (uint32_t)rng_next(&mix->rng);
	uint64_t n = rng_next(&mix->rng);

	/* Small ones that decr brings to 0, middling ones, and ones so large that incr wraps. */
	switch (rng_below(&mix->rng, 4)) {
	case 0:
		return value_number(n % 100, flags);
	case 1:
		return value_number(UINT64_MAX - n % 100, flags);
	default:
		return value_number(n % 1000000, flags);
	}
}

static struct value *value_pick(struct mix *mix, const struct model *model, uint32_t key)
{
	size_t top = (size_t)rng_between(&mix->rng, mix->value_min, mix->value_max);
	size_t size = (size_t)rng_between(&mix->rng, mix->value_min, top);

	if (key_counts(key))
		return number_pick(mix);
	return value_make(mix->seed, model->conn, key, ++mix->seq, size, (uint32_t)rng_next(&mix->rng));
}

void mix_set(struct mix *mix, const struct model *model, uint32_t key, struct request *ret_request)
{
	request_init(ret_request, REQUEST_SET, key);
	ret_request->value = value_pick(mix, model, key);
	ret_request->exptime = exptime_pick(mix);
}

static enum request_kind kind_pick(struct mix *mix)
{
	unsigned at = (unsigned)rng_below(&mix->rng, 100);

	for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
		if (at < shares[i].share)
			return shares[i].kind;
		at -= shares[i].share;
	}
	return REQUEST_SET;
}

/* The kind that makes sense for this key as it is: only text is joined, and not without end; only numbers count. */
static enum request_kind kind_fit(const struct mix *mix, const struct model *model, uint32_t key, enum request_kind kind)
{
	const struct value *old = model->keys[key].value;
	bool joins = kind == REQUEST_APPEND || kind == REQUEST_PREPEND;

	if (joins && (key_counts(key) || (old && old->size > mix->value_max * 3)))
		return REQUEST_SET;
	if ((kind == REQUEST_INCR || kind == REQUEST_DECR) && !key_counts(key))
		return REQUEST_GET;
	if (kind == REQUEST_CAS && !model->keys[key].cas_known)
		return REQUEST_GETS;
	return kind;
}

static void get_fill(struct mix *mix, const struct model *model, uint32_t key, enum request_kind kind,
		     struct request *ret_request)
{
	size_t n = rng_below(&mix->rng, 4) ? 1 : (size_t)rng_between(&mix->rng, 2, 12);
	size_t used = 1;

	request_init_get(ret_request, kind, n);
	ret_request->items[0].key = key;
	for (size_t i = 1; i < n; i++) {
		uint32_t other = (uint32_t)rng_below(&mix->rng, model->n_keys);

		if (!model->keys[other].distrusted)
			ret_request->items[used++].key = other;
	}
	ret_request->n_items = used;
}

static void request_fill(struct mix *mix, const struct model *model, uint32_t key, enum request_kind kind,
			 struct request *ret_request)
{
	if (kind == REQUEST_GET || kind == REQUEST_GETS) {
		get_fill(mix, model, key, kind, ret_request);
		return;
	}
	request_init(ret_request, kind, key);
	if (kind <= REQUEST_CAS)
		ret_request->value = value_pick(mix, model, key);
	ret_request->exptime = exptime_pick(mix);
	ret_request->cas = model->keys[key].cas;
	ret_request->delta = rng_below(&mix->rng, 8) ? rng_below(&mix->rng, 1000) : rng_next(&mix->rng);
}

static void follow_set(struct mix *mix, enum request_kind kind, uint32_t key)
{
	mix->follows = true;
	mix->follow_kind = kind;
	mix->follow_key = key;
}

void mix_next(struct mix *mix, const struct model *model, struct request *ret_request)
{
	uint32_t key = (uint32_t)rng_below(&mix->rng, model->n_keys);
	enum request_kind kind = kind_pick(mix);

	if (mix->follows && (mix->follow_kind != REQUEST_CAS || model_cas_fresh(model, mix->follow_key))) {
		kind = mix->follow_kind;
		key = mix->follow_key;
		mix->follows = false;
	}
	if (model->keys[key].distrusted) {
		mix_set(mix, model, key, ret_request);
		return;
	}
	kind = kind_fit(mix, model, key, kind);
	request_fill(mix, model, key, kind, ret_request);
	if (kind == REQUEST_DELETE)
		follow_set(mix, REQUEST_GET, key);
	else if (kind == REQUEST_GETS && !mix->follows)
		follow_set(mix, REQUEST_CAS, key);
	else if (kind != REQUEST_GET && mix->follows && mix->follow_key == key)
		mix->follows = false; /* the key has changed since: its number will not become fresh by waiting */
}

/* The largest of four, so that an answer is large without the question being long. */
static uint32_t large_key_pick(struct mix *mix, const struct model *model)
{
	uint32_t best = (uint32_t)rng_below(&mix->rng, model->n_keys);

	for (int i = 0; i < 3; i++) {
		uint32_t key = (uint32_t)rng_below(&mix->rng, model->n_keys);
		const struct value *value = model->keys[key].value, *of_best = model->keys[best].value;

		if (value && (!of_best || value->size > of_best->size))
			best = key;
	}
	return best;
}

void mix_big(struct mix *mix, const struct model *model, struct request *ret_request)
{
	size_t n = (size_t)rng_between(&mix->rng, BIG_ITEMS_MAX / 2, BIG_ITEMS_MAX), used = 0;
	size_t line = sizeof("gets\r\n");

	request_init_get(ret_request, rng_below(&mix->rng, 2) ? REQUEST_GET : REQUEST_GETS, n);
	for (size_t i = 0; i < n * 2 && used < n; i++) {
		uint32_t key = large_key_pick(mix, model);
		char text[KEY_TEXT_MAX];

		if (model->keys[key].distrusted)
			continue;
		line += strlen(key_write(text, model->conn, key)) + 1;
		if (line > REQUEST_LINE_MAX)
			break;
		ret_request->items[used++].key = key;
	}
	ret_request->n_items = used;
	if (used == 0) {
		request_done(ret_request);
		mix_set(mix, model, 0, ret_request);
	}
}
