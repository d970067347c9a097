/* SPDX-License-Identifier: MIT */
#include "shim/examples/chatd/output.h"

#include <stdlib.h>
#include <string.h>

/* Make room for @size more bytes: by moving what is there to the front, or else by growing. */
static bool reserve(struct output *output, size_t size)
{
	size_t used = output_size(output), capacity = output->capacity ? output->capacity : 256;

	if (output->capacity - output->end >= size)
		return true;
	if (output->start >= used && output->capacity - used >= size) {
		memmove(output->data, output->data + output->start, used);
		output->start = 0;
		output->end = used;
		return true;
	}
	while (capacity - output->end < size)
		capacity *= 2;
	char *data = realloc(output->data, capacity);
	if (!data)
		return false;
	output->data = data;
	output->capacity = capacity;
	return true;
}

bool output_put(struct output *output, const void *data, size_t size)
{
	if (size == 0)
		return true;
	if (!reserve(output, size))
		return false;
	memcpy(output->data + output->end, data, size);
	output->end += size;
	return true;
}

void output_consume(struct output *output, size_t size)
{
	output->start += size;
	if (output->start == output->end)
		output_done(output); /* nearly everyone's is empty nearly always */
}

void output_done(struct output *output)
{
	free(output->data);
	*output = (struct output){ 0 };
}
