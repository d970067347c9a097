/* SPDX-License-Identifier: MIT */
/* Bytes on their way to a client. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* All zero is an empty one. */
struct output {
	char *data;
	size_t start, end, capacity;
};

static inline size_t output_size(const struct output *output)
{
	return output->end - output->start;
}

static inline const char *output_front(const struct output *output)
{
	return output->data ? output->data + output->start : "";
}

/** output_put() - Return: whether there was memory for it. */
bool output_put(struct output *output, const void *data, size_t size);
void output_consume(struct output *output, size_t size);
void output_done(struct output *output);
