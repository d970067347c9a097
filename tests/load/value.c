/* SPDX-License-Identifier: MIT */
#include "tests/load/value.h"

#include "tests/load/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define HEAD_MAX 96u

struct value *value_new(const void *data, size_t size_bytes, uint32_t flags)
{
	struct value *value = mem_new(sizeof(*value) + size_bytes);

	value->refs = 1;
	value->flags = flags;
	value->size = size_bytes;
	if (data && size_bytes)
		memcpy(value->data, data, size_bytes);
	return value;
}

struct value *value_ref(struct value *value)
{
	if (value)
		value->refs++;
	return value;
}

struct value *value_unref(struct value *value)
{
	if (value && --value->refs == 0)
		free(value);
	return NULL;
}

static void filler_write(uint64_t state, uint8_t *data, size_t size)
{
	static const uint8_t bait[] = { '\r', '\n', 'E', 'N', 'D', '\r', '\n' };
	size_t i = 0;

	for (; i + sizeof(uint64_t) <= size; i += sizeof(uint64_t)) {
		uint64_t word = rng_next(&state);

		memcpy(data + i, &word, sizeof(word));
	}
	for (; i < size; i++)
		data[i] = (uint8_t)rng_next(&state);
	/* What a parser that looks for line ends inside of data would trip on. */
	if (size > sizeof(bait))
		memcpy(data + rng_below(&state, size - sizeof(bait)), bait, sizeof(bait));
}

static size_t head_write(char *head, unsigned conn, unsigned key, uint64_t seq, size_t size, uint32_t checksum)
{
	int n = snprintf(head, HEAD_MAX, "c%u k%u s%" PRIu64 " n%zu x%08" PRIx32 "|", conn, key, seq, size, checksum);

	return n < 0 ? 0 : (size_t)n;
}

struct value *value_make(uint64_t seed, unsigned conn, unsigned key, uint64_t seq, size_t size_bytes, uint32_t flags)
{
	char head[HEAD_MAX];
	uint64_t state = seed ^ (uint64_t)conn << 40 ^ (uint64_t)key << 24 ^ seq * UINT64_C(0x9e3779b97f4a7c15);
	size_t head_size = head_write(head, conn, key, seq, size_bytes, 0);
	struct value *value;
	uint32_t checksum;

	if (size_bytes < head_size) {
		/* The size is part of the head: settle on one that agrees with itself. */
		size_bytes = head_size;
		head_size = head_write(head, conn, key, seq, size_bytes, 0);
		size_bytes = head_size;
	}
	value = value_new(NULL, size_bytes, flags);
	filler_write(state, value->data + head_size, size_bytes - head_size);
	checksum = (uint32_t)XXH3_64bits(value->data + head_size, size_bytes - head_size);
	head_write(head, conn, key, seq, size_bytes, checksum);
	memcpy(value->data, head, head_size);
	return value;
}

struct value *value_number(uint64_t n, uint32_t flags)
{
	char text[24];
	int size = snprintf(text, sizeof(text), "%" PRIu64, n);
	struct value *value = value_new(text, size < 0 ? 0 : (size_t)size, flags);

	value->number = true;
	return value;
}

struct value *value_join(const struct value *head, const struct value *tail, uint32_t flags)
{
	struct value *value = value_new(NULL, head->size + tail->size, flags);

	memcpy(value->data, head->data, head->size);
	memcpy(value->data + head->size, tail->data, tail->size);
	return value;
}

bool value_to_number(const struct value *value, uint64_t *ret_n)
{
	size_t size = value->size;
	uint64_t n = 0;

	while (size && value->data[size - 1] == ' ')
		size--;
	if (size == 0 || size > 20)
		return false;
	for (size_t i = 0; i < size; i++) {
		unsigned digit = (unsigned)value->data[i] - '0';

		if (digit > 9 || __builtin_mul_overflow(n, UINT64_C(10), &n) ||
		    __builtin_add_overflow(n, (uint64_t)digit, &n))
			return false;
	}
	*ret_n = n;
	return true;
}

bool value_matches(const struct value *expected, const struct value *got)
{
	if (!expected || !got)
		return expected == got;
	if (expected->flags != got->flags || got->size < expected->size)
		return false;
	if (memcmp(expected->data, got->data, expected->size) != 0)
		return false;
	if (got->size == expected->size)
		return true;
	if (!expected->number || got->size > 20)
		return false;
	for (size_t i = expected->size; i < got->size; i++)
		if (got->data[i] != ' ')
			return false;
	return true;
}

/* What the head of a made value says, and whether the filler still has that checksum. */
static bool head_describe(const struct value *value, char *buf, size_t size)
{
	char head[HEAD_MAX];
	size_t n = value->size < sizeof(head) - 1 ? value->size : sizeof(head) - 1;
	const char *bar;
	unsigned conn, key, checksum;
	unsigned long long seq;
	size_t whole, used;

	memcpy(head, value->data, n);
	head[n] = '\0';
	bar = strchr(head, '|');
	if (!bar || sscanf(head, "c%u k%u s%llu n%zu x%8x|", &conn, &key, &seq, &whole, &checksum) != 5)
		return false;
	used = (size_t)(bar - head) + 1;
	if (whole < used || whole > value->size)
		snprintf(buf, size, "%zu bytes, flags %u, head of conn %u key %u seq %llu but %zu bytes long", value->size,
			 value->flags, conn, key, seq, whole);
	else
		snprintf(buf, size, "%zu bytes, flags %u, conn %u key %u seq %llu, filler %s%s", value->size, value->flags, conn,
			 key, seq,
			 (uint32_t)XXH3_64bits(value->data + used, whole - used) == checksum ? "intact" : "DAMAGED",
			 whole < value->size ? ", with more after it" : "");
	return true;
}

const char *value_describe(const struct value *value, char *buf, size_t size)
{
	uint64_t n;

	if (!value) {
		snprintf(buf, size, "no such key");
	} else if (value_to_number(value, &n)) {
		snprintf(buf, size, "number %" PRIu64 " in %zu bytes, flags %u", n, value->size, value->flags);
	} else if (!head_describe(value, buf, size)) {
		int at = snprintf(buf, size, "%zu bytes, flags %u, beginning", value->size, value->flags);

		for (size_t i = 0; i < value->size && i < 16 && at > 0 && (size_t)at + 4 < size; i++)
			at += snprintf(buf + at, size - (size_t)at, " %02x", value->data[i]);
	}
	return buf;
}

size_t value_difference(const struct value *a, const struct value *b)
{
	size_t n = a->size < b->size ? a->size : b->size;

	for (size_t i = 0; i < n; i++)
		if (a->data[i] != b->data[i])
			return i;
	return n;
}
