/* SPDX-License-Identifier: MIT */
#include "base/text.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define CHARACTER_MAX 4u

/* How many bytes a character has that begins with @lead; 0: none begins so. */
static size_t length_of(unsigned char lead)
{
	if (lead < 0x80)
		return 1;
	if (lead >= 0xc2 && lead < 0xe0)
		return 2;
	if (lead >= 0xe0 && lead < 0xf0)
		return 3;
	return lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
}

static bool is_continuation(unsigned char byte)
{
	return (byte & 0xc0) == 0x80;
}

/* Return: the length of the valid character at @at, of which @left bytes are there; 0: there is none. */
static size_t decode(const unsigned char *at, size_t left, uint32_t *ret_point)
{
	static const uint32_t least[CHARACTER_MAX + 1] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = length_of(*at);
	uint32_t point;

	if (n == 0 || n > left)
		return 0;
	point = n == 1 ? *at : *at & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if (!is_continuation(at[i]))
			return 0;
		point = point << 6 | (at[i] & 0x3fu);
	}
	if (point < least[n] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
		return 0;
	*ret_point = point;
	return n;
}

static bool is_tame(uint32_t point)
{
	if (point < 0x20)
		return point == '\t';
	if (point >= 0x7f && point < 0xa0)
		return false;
	return !(point >= 0x2028 && point <= 0x202e) && !(point >= 0x2066 && point <= 0x2069);
}

/* Return: how many bytes at @at belong together; @ret_tame: may they stay? */
static size_t judge(const char *at, size_t left, bool *ret_tame)
{
	uint32_t point = 0;
	size_t n = decode((const unsigned char *)at, left, &point);

	*ret_tame = n && is_tame(point);
	return n ? n : 1;
}

void text_tame(char *text, size_t size)
{
	bool tame;
	size_t n;

	for (size_t i = 0; i < size; i += n) {
		n = judge(text + i, size - i, &tame);
		if (!tame)
			memset(text + i, '?', n);
	}
}

bool text_is_tame(const char *text)
{
	size_t size = strlen(text);
	bool tame = true;

	for (size_t i = 0; tame && i < size;)
		i += judge(text + i, size - i, &tame);
	return tame;
}

size_t text_whole(const char *text, size_t size)
{
	for (size_t back = 1; back <= size && back < CHARACTER_MAX; back++) {
		unsigned char byte = (unsigned char)text[size - back];

		if (!is_continuation(byte))
			return length_of(byte) > back ? size - back : size;
	}
	return size;
}

const char *text_count(char *buf, size_t size, uint64_t count)
{
	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%" PRIu64, count);
	size_t used = 0;

	for (int i = 0; i < n && used + 2 < size; i++) {
		if (i && (n - i) % 3 == 0)
			buf[used++] = ',';
		buf[used++] = digits[i];
	}
	if (size)
		buf[used] = '\0';
	return buf;
}
