/* SPDX-License-Identifier: MIT */
/* What a key holds: immutable and counted, so that a model, expectations and a journal can share it. NULL: no such key. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct value {
	unsigned refs;
	uint32_t flags;
	bool number; /* decimal text; the protocol lets a server pad it with spaces where it got shorter */
	size_t size;
	uint8_t data[];
};

/** value_new() - @size_bytes of @data (NULL: zeroes, for the caller to fill before sharing it). */
struct value *value_new(const void *data, size_t size_bytes, uint32_t flags);

/** value_ref() - NULL allowed. Return: @value. */
struct value *value_ref(struct value *value);

/** value_unref() - NULL allowed. Return: NULL. */
struct value *value_unref(struct value *value);

/**
 * value_make() - A value that says whose it is: "c<conn> k<key> s<seq> n<size> x<checksum>|", then binary filler (NUL, CR
 * and LF included) that the checksum covers and that differs for every (seed, conn, key, seq).
 * @size_bytes: of the whole; raised to what the head needs.
 */
struct value *value_make(uint64_t seed, unsigned conn, unsigned key, uint64_t seq, size_t size_bytes, uint32_t flags);

/** value_number() - @n as decimal text. */
struct value *value_number(uint64_t n, uint32_t flags);

/** value_join() - @head then @tail, with @flags. */
struct value *value_join(const struct value *head, const struct value *tail, uint32_t flags);

/** value_to_number() - Return: whether @value is a decimal number (spaces after it allowed), then in *@ret_n. */
bool value_to_number(const struct value *value, uint64_t *ret_n);

/** value_matches() - Whether @got is what @expected says; NULL matches NULL. */
bool value_matches(const struct value *expected, const struct value *got);

/** value_describe() - For a person: size, flags, and what the head and the checksum say. Return: @buf. */
const char *value_describe(const struct value *value, char *buf, size_t size);

/** value_difference() - Offset of the first byte that differs; the shorter size if one begins the other. */
size_t value_difference(const struct value *a, const struct value *b);
