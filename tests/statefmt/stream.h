/* SPDX-License-Identifier: MIT */
/* Streams in memory, for the tests of statefmt. */
#pragma once

#include "base/why.h"
#include "statefmt/frame.h"
#include "statefmt/statefmt.h"
#include "tests/statefmt/item.pb-c.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where a writer writes to, and a reader reads from. */
struct memory {
	uint8_t *data;
	size_t size;
	size_t at;         /* of the reader */
	size_t piece;      /* most bytes of one read; 0: all */
	size_t fail_after; /* writes fail when they would pass it; 0: never */
};

static inline int memory_write(void *arg, const void *data, size_t size_bytes, struct why *why)
{
	struct memory *memory = arg;
	uint8_t *grown;

	if (memory->fail_after && memory->size + size_bytes > memory->fail_after)
		return why_set(why, -ENOSPC, "the disk is full");
	grown = realloc(memory->data, memory->size + size_bytes);
	if (!grown)
		return why_errno(why, -ENOMEM, "memory");
	memcpy(grown + memory->size, data, size_bytes);
	memory->data = grown;
	memory->size += size_bytes;
	return 0;
}

static inline ssize_t memory_read(void *arg, void *buffer, size_t size_bytes, struct why *why)
{
	struct memory *memory = arg;
	size_t n = memory->size - memory->at;

	(void)why;
	if (n > size_bytes)
		n = size_bytes;
	if (memory->piece && n > memory->piece)
		n = memory->piece;
	if (n)
		memcpy(buffer, memory->data + memory->at, n);
	memory->at += n;
	return (ssize_t)n;
}

static inline void memory_free(struct memory *memory)
{
	free(memory->data);
	*memory = (struct memory){ .data = NULL };
}

/* Reads all there is. Return: SF_END or the failure; *@ret_totals (if given) without counts. */
static inline int memory_drain(const struct memory *memory, const struct sf_limits *limits,
			       struct sf_totals *ret_totals, struct why *why)
{
	struct memory source = { .data = memory->data, .size = memory->size };
	struct sf_reader *reader;
	struct sf_record record;
	int r;

	r = sf_reader_new(limits, memory_read, &source, &reader, why);
	if (r < 0)
		return r;
	while ((r = sf_reader_next(reader, &record, why)) == SF_RECORD)
		;
	if (r == SF_END && ret_totals) {
		*ret_totals = *sf_reader_totals(reader);
		ret_totals->counts = NULL;
	}
	sf_reader_free(reader);
	return r;
}

#define TYPE_ITEM 0u
#define TYPE_NODE 1u

static const struct sf_schema test_schemas[] = {
	[TYPE_ITEM] = { .name = "cached.Item", .version = 1, .descriptor = &test__state__item_v1__descriptor,
			.fingerprint = 0x1122334455667788 },
	[TYPE_NODE] = { .name = "cached.Node", .version = 7, .descriptor = &test__state__node__descriptor,
			.fingerprint = 0x99aabbccddeeff00 },
};

static const struct sf_header test_header = {
	.service = "cached",
	.app_version = "v1",
	.schemas = test_schemas,
	.n_schemas = 2,
};

static inline Test__State__ItemV1 item_make(char *key, void *value, size_t n_value, uint32_t flags)
{
	Test__State__ItemV1 item;

	test__state__item_v1__init(&item);
	item.key = key;
	item.value = (ProtobufCBinaryData){ .len = n_value, .data = value };
	item.flags = flags;
	return item;
}

static inline struct sf_writer *writer_make_with(const struct sf_header *header, struct memory *memory,
						 const struct sf_limits *limits)
{
	struct sf_writer *writer = NULL;
	struct why why = { "" };

	cr_assert_eq(sf_writer_new(header, limits, memory_write, memory, &writer, &why), 0, "%s", why.text);
	return writer;
}

static inline struct sf_writer *writer_make(struct memory *memory, const struct sf_limits *limits)
{
	return writer_make_with(&test_header, memory, limits);
}

static inline void item_put(struct sf_writer *writer, const char *key, uint32_t flags)
{
	char copy[64];
	Test__State__ItemV1 item;
	struct why why = { "" };

	snprintf(copy, sizeof(copy), "%s", key);
	item = item_make(copy, copy, strlen(copy), flags);
	cr_assert_eq(sf_writer_put(writer, TYPE_ITEM, &item.base, &why), 0, "%s", why.text);
}

static inline void node_put(struct sf_writer *writer, uint64_t id)
{
	Test__State__Node node, child;
	struct why why = { "" };

	test__state__node__init(&node);
	test__state__node__init(&child);
	node.id = id;
	node.child = &child;
	child.id = id + 1;
	cr_assert_eq(sf_writer_put(writer, TYPE_NODE, &node.base, &why), 0, "%s", why.text);
}

static inline void stream_finish(struct sf_writer *writer)
{
	struct why why = { "" };

	cr_assert_eq(sf_writer_finish(writer, NULL, &why), 0, "%s", why.text);
	sf_writer_free(writer);
}

static inline struct memory small_stream_with(const struct sf_header *header)
{
	const struct sf_limits limits = { .record_bytes = 1000, .batch_bytes = 48, .header_bytes = 1000, .types = 4 };
	struct memory memory = { .data = NULL };
	struct sf_writer *writer = writer_make_with(header, &memory, &limits);

	item_put(writer, "one", 1);
	item_put(writer, "two", 2);
	node_put(writer, 300);
	stream_finish(writer);
	return memory;
}

/* Three small records in two batches, without a description of their types: what most tests damage. */
static inline struct memory small_stream(void)
{
	struct sf_schema schemas[2] = { test_schemas[0], test_schemas[1] };
	struct sf_header header = test_header;

	schemas[0].descriptor = schemas[1].descriptor = NULL;
	header.schemas = schemas;
	return small_stream_with(&header);
}

/* The frame at @offset: its bytes with head. */
static inline size_t frame_bytes(const struct memory *memory, size_t offset)
{
	return SF_FRAME_HEAD_BYTES + sf_get_le32(memory->data + offset + 4);
}

/* Where frame @n (0: the header) starts. */
static inline size_t frame_offset(const struct memory *memory, size_t n)
{
	size_t offset = SF_PREAMBLE_BYTES;

	while (n--)
		offset += frame_bytes(memory, offset);
	return offset;
}

/* After a change within a frame: makes its checksum right again, so that what lies behind the checksum is tested. */
static inline void frame_reseal(struct memory *memory, size_t offset)
{
	uint8_t *frame = memory->data + offset;

	sf_put_le32(frame + 8, sf_frame_crc(frame, frame + SF_FRAME_HEAD_BYTES, sf_get_le32(frame + 4)));
}
