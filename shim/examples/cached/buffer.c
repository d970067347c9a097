/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/buffer.h"

#include <stdlib.h>
#include <string.h>

/* An idle connection keeps no more than this. */
#define KEEP_BYTES (32u * 1024u)

static void move_to_start(struct buffer *buffer)
{
	if (buffer->start == 0)
		return;
	memmove(buffer->data, buffer->data + buffer->start, buffer_size(buffer));
	buffer->end -= buffer->start;
	buffer->start = 0;
}

char *buffer_reserve(struct buffer *buffer, size_t size)
{
	if (buffer->capacity - buffer->end >= size && buffer->data)
		return buffer->data + buffer->end;
	/* Moving is worth it only when it frees at least as much as it copies; otherwise a long queue that drains in small
	 * sends would be copied again and again. */
	if (buffer->start >= buffer_size(buffer) && buffer->data)
		move_to_start(buffer);
	if (buffer->capacity - buffer->end < size || !buffer->data) {
		size_t capacity = buffer->capacity ? buffer->capacity : 1024;
		while (capacity - buffer->end < size)
			capacity *= 2;
		char *data = realloc(buffer->data, capacity);
		if (!data) {
			buffer->failed = true;
			return NULL;
		}
		buffer->data = data;
		buffer->capacity = capacity;
	}
	return buffer->data + buffer->end;
}

void buffer_grow(struct buffer *buffer, size_t size)
{
	buffer->end += size;
}

void buffer_consume(struct buffer *buffer, size_t size)
{
	buffer->start += size;
	if (buffer->start < buffer->end)
		return;
	buffer->start = buffer->end = 0;
	if (buffer->capacity > KEEP_BYTES) {
		free(buffer->data);
		buffer->data = NULL;
		buffer->capacity = 0;
	}
}

void buffer_done(struct buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct buffer){ 0 };
}

void buffer_put(struct buffer *buffer, const void *data, size_t size)
{
	if (size == 0)
		return;
	char *room = buffer_reserve(buffer, size);
	if (!room)
		return;
	memcpy(room, data, size);
	buffer_grow(buffer, size);
}

void buffer_put_text(struct buffer *buffer, const char *text)
{
	buffer_put(buffer, text, strlen(text));
}

void buffer_put_number(struct buffer *buffer, uint64_t number)
{
	char digits[20];
	size_t at = sizeof digits;

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	buffer_put(buffer, digits + at, sizeof digits - at);
}
