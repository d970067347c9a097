/* SPDX-License-Identifier: MIT */
#include "tests/load/request.h"

#include "tests/load/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const request_names[REQUEST_KINDS] = {
	[REQUEST_SET] = "set",         [REQUEST_ADD] = "add",       [REQUEST_REPLACE] = "replace",
	[REQUEST_APPEND] = "append",   [REQUEST_PREPEND] = "prepend", [REQUEST_CAS] = "cas",
	[REQUEST_GET] = "get",         [REQUEST_GETS] = "gets",     [REQUEST_DELETE] = "delete",
	[REQUEST_INCR] = "incr",       [REQUEST_DECR] = "decr",     [REQUEST_TOUCH] = "touch",
};

const char *request_name(enum request_kind kind)
{
	return request_names[kind];
}

void buffer_done(struct buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct buffer){ 0 };
}

void buffer_put(struct buffer *buffer, const void *data, size_t size_bytes)
{
	if (buffer->start && buffer->cap - buffer->end < size_bytes) {
		memmove(buffer->data, buffer->data + buffer->start, buffer->end - buffer->start);
		buffer->end -= buffer->start;
		buffer->start = 0;
	}
	if (buffer->cap - buffer->end < size_bytes) {
		buffer->cap = (buffer->end + size_bytes) * 2;
		buffer->data = mem_resize(buffer->data, buffer->cap);
	}
	memcpy(buffer->data + buffer->end, data, size_bytes);
	buffer->end += size_bytes;
}

void buffer_drop(struct buffer *buffer, size_t n)
{
	buffer->start += n;
	buffer->start_pos += n;
	if (buffer->start == buffer->end)
		buffer->start = buffer->end = 0;
}

void request_init(struct request *request, enum request_kind kind, uint32_t key)
{
	*request = (struct request){
		.kind = kind,
		.key = key,
		.step = { .sent_us = STEP_NEVER, .acked_us = STEP_NEVER, .key = STEP_NO_KEY },
	};
}

void request_init_get(struct request *request, enum request_kind kind, size_t n_items)
{
	request_init(request, kind, STEP_NO_KEY);
	request->items = mem_new(n_items * sizeof(*request->items));
	request->n_items = n_items;
}

void request_done(struct request *request)
{
	for (size_t i = 0; i < request->n_items; i++)
		value_unref(request->items[i].value);
	free(request->items);
	request->items = NULL;
	request->n_items = 0;
	request->value = value_unref(request->value);
	step_done(&request->step);
}

const char *key_write(char buf[static KEY_TEXT_MAX], unsigned conn, uint32_t key)
{
	snprintf(buf, KEY_TEXT_MAX, "load:%u:%" PRIu32, conn, key);
	return buf;
}

bool key_read(const char *text, unsigned conn, uint32_t *ret_key)
{
	char again[KEY_TEXT_MAX];
	const char *colon = strrchr(text, ':');
	unsigned long key;

	if (!colon)
		return false;
	key = strtoul(colon + 1, NULL, 10);
	/* Writing it again and comparing refuses everything that strtoul() is lenient about. */
	if (key >= STEP_NO_KEY || strcmp(key_write(again, conn, (uint32_t)key), text) != 0)
		return false;
	*ret_key = (uint32_t)key;
	return true;
}

static size_t get_line_write(const struct request *request, unsigned conn, struct buffer *buffer)
{
	const char *name = request_names[request->kind];
	size_t size = strlen(name) + 2;

	buffer_put(buffer, name, strlen(name));
	for (size_t i = 0; i < request->n_items; i++) {
		char text[KEY_TEXT_MAX + 1] = " ";

		key_write(text + 1, conn, request->items[i].key);
		buffer_put(buffer, text, strlen(text));
		size += strlen(text);
	}
	buffer_put(buffer, "\r\n", 2);
	return size;
}

void request_encode(const struct request *request, unsigned conn, struct buffer *buffer, struct layout *ret_layout)
{
	const char *name = request_names[request->kind];
	char key[KEY_TEXT_MAX], line[200] = "";

	*ret_layout = (struct layout){ 0 };
	if (request_is_get(request)) {
		ret_layout->line = get_line_write(request, conn, buffer);
		return;
	}
	key_write(key, conn, request->key);
	if (request->kind == REQUEST_CAS)
		snprintf(line, sizeof(line), "%s %s %" PRIu32 " %" PRIu32 " %zu %" PRIu64 "\r\n", name, key,
			 request->value->flags, request->exptime, request->value->size, request->cas);
	else if (request->value)
		snprintf(line, sizeof(line), "%s %s %" PRIu32 " %" PRIu32 " %zu\r\n", name, key, request->value->flags,
			 request->exptime, request->value->size);
	else if (request->kind == REQUEST_INCR || request->kind == REQUEST_DECR)
		snprintf(line, sizeof(line), "%s %s %" PRIu64 "\r\n", name, key, request->delta);
	else if (request->kind == REQUEST_TOUCH)
		snprintf(line, sizeof(line), "%s %s %" PRIu32 "\r\n", name, key, request->exptime);
	else
		snprintf(line, sizeof(line), "%s %s\r\n", name, key);
	ret_layout->line = strlen(line);
	buffer_put(buffer, line, ret_layout->line);
	if (request->value) {
		buffer_put(buffer, request->value->data, request->value->size);
		buffer_put(buffer, "\r\n", 2);
		ret_layout->data = request->value->size + 2;
	}
}

size_t layout_cut(const struct layout *layout, uint64_t *rng)
{
	size_t all = layout->line + layout->data;

	switch (rng_below(rng, layout->data ? 4 : 2)) {
	case 0:
		return (size_t)rng_between(rng, 1, layout->line - 1);
	case 1:
		return all - 1;
	case 2:
		return layout->line;
	default:
		return layout->line + (size_t)rng_between(rng, 1, layout->data - 1);
	}
}
