/* SPDX-License-Identifier: MIT */
/* Bytes that come in at one end and leave at the other. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero is an empty buffer. */
struct buffer {
	char *data;
	size_t start, end, capacity;
	bool failed; /* sticky: memory was out and something is missing; checked once by whoever owns the buffer */
};

static inline size_t buffer_size(const struct buffer *buffer)
{
	return buffer->end - buffer->start;
}

static inline const char *buffer_front(const struct buffer *buffer)
{
	return buffer->data ? buffer->data + buffer->start : "";
}

/** buffer_reserve() - Room for @size more bytes behind the last one. Return: where they go, or NULL. */
char *buffer_reserve(struct buffer *buffer, size_t size);

/** buffer_grow() - The first @size bytes of the reserved room are filled now. */
void buffer_grow(struct buffer *buffer, size_t size);
void buffer_consume(struct buffer *buffer, size_t size);
void buffer_done(struct buffer *buffer);

void buffer_put(struct buffer *buffer, const void *data, size_t size);
void buffer_put_text(struct buffer *buffer, const char *text);
void buffer_put_number(struct buffer *buffer, uint64_t number);
