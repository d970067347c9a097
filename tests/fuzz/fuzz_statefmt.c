/* SPDX-License-Identifier: MIT */
/* Any bytes as a state stream, read to their end and migrated up and down on the way.
 *
 * Each input is read twice: as it is, and with the checksums of its frames put right, since no mutation would ever get past
 * them otherwise. The corpus is made of plain streams.
 */
#include "statefmt/frame.h"
#include "statefmt/statefmt.h"
#include "tests/fuzz/fuzzed.pb-c.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ITEM_V1 (&test__fuzzed__item_v1__descriptor)
#define ITEM_V2 (&test__fuzzed__item_v2__descriptor)
#define NODE (&test__fuzzed__node__descriptor)

static int item_up(struct sf_step *step, const ProtobufCMessage *from, ProtobufCMessage *to, void *arg)
{
	const Test__Fuzzed__ItemV1 *old = (const void *)from;
	Test__Fuzzed__ItemV2 *new = (void *)to;

	(void)arg;
	if (old->flags == 666)
		return sf_step_fail(step, "flags %u of \"%s\"", old->flags, old->key);
	new->key = old->key;
	new->value = old->value;
	new->meta = sf_step_alloc(step, sizeof(*new->meta));
	test__fuzzed__meta__init(new->meta);
	new->meta->flags = old->flags;
	return 0;
}

static int item_down(struct sf_step *step, const ProtobufCMessage *from, ProtobufCMessage *to, void *arg)
{
	const Test__Fuzzed__ItemV2 *old = (const void *)from;
	Test__Fuzzed__ItemV1 *new = (void *)to;

	(void)arg;
	new->key = old->key;
	new->flags = old->meta ? old->meta->flags : 0;
	new->value.len = old->n_tags;
	new->value.data = sf_step_alloc(step, old->n_tags);
	return 0;
}

static const struct sf_migration migrations[] = {
	{ "item", 1, 2, ITEM_V1, ITEM_V2, item_up, NULL, NULL },
	{ "item", 2, 1, ITEM_V2, ITEM_V1, item_down, NULL, NULL },
};
static const struct sf_schema up[] = { { "item", 2, ITEM_V2, 0, 0 }, { "node", 1, NODE, 0, 0 } };
static const struct sf_schema down[] = { { "node", 1, NODE, 0, 0 }, { "item", 1, ITEM_V1, 0, 0 } };

struct input {
	const uint8_t *data;
	size_t size, at;
};

/* In pieces, so that reads that come short are met as well. */
static ssize_t input_read(void *arg, void *buffer, size_t size_bytes, struct why *why)
{
	struct input *input = arg;
	size_t n = input->size - input->at;

	(void)why;
	n = n < size_bytes ? n : size_bytes;
	n = n < 61 ? n : 61;
	if (n)
		memcpy(buffer, input->data + input->at, n);
	input->at += n;
	return (ssize_t)n;
}

/* Touches every byte a message holds. */
static void message_visit(const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *packed = malloc(size + 1);

	if (packed && protobuf_c_message_pack(message, packed) != size)
		abort();
	free(packed);
}

static void record_migrate(struct sf_plan *plan, size_t n_want, const struct sf_record *record)
{
	const ProtobufCMessage *message;
	size_t want;

	if (!plan || sf_plan_unpack(plan, record->type, record->data, record->size_bytes, &want, &message, NULL) < 0)
		return;
	if (want >= n_want)
		abort();
	message_visit(message);
}

static void totals_check(const struct sf_totals *totals)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < totals->n_counts; i++)
		sum += totals->counts[i];
	if (sum != totals->records)
		abort();
}

static void stream_read(const uint8_t *data, size_t size)
{
	static const struct sf_limits limits = { .record_bytes = 32768, .batch_bytes = 4096, .header_bytes = 8192, .types = 16 };
	struct input input = { .data = data, .size = size };
	struct sf_plan *plans[2] = { NULL, NULL };
	struct sf_reader *reader;
	struct sf_record record;
	const struct sf_header *header;
	int r;

	if (sf_reader_new(&limits, input_read, &input, &reader, NULL) < 0)
		return;
	header = sf_reader_header(reader);
	/* As tools do, which believe a file. */
	for (size_t i = 0; i < header->n_schemas; i++)
		sf_reader_raise(reader, i, header->schemas[i].record_bytes);
	(void)sf_plan_new(header->schemas, header->n_schemas, up, 2, migrations, 2, &plans[0], NULL);
	(void)sf_plan_new(header->schemas, header->n_schemas, down, 2, migrations, 2, &plans[1], NULL);
	while ((r = sf_reader_next(reader, &record, NULL)) == SF_RECORD) {
		record_migrate(plans[0], 2, &record);
		record_migrate(plans[1], 2, &record);
	}
	totals_check(sf_reader_totals(reader));
	if (r == SF_END && input.at != size)
		abort();
	sf_plan_free(plans[0]);
	sf_plan_free(plans[1]);
	sf_reader_free(reader);
}

static void checksums_repair(uint8_t *data, size_t size)
{
	size_t at = SF_PREAMBLE_BYTES;

	while (at < size && size - at >= SF_FRAME_HEAD_BYTES) {
		uint8_t *frame = data + at;
		size_t length = sf_get_le32(frame + 4);

		if (length > size - at - SF_FRAME_HEAD_BYTES)
			return;
		sf_put_le32(frame + 8, sf_frame_crc(frame, frame + SF_FRAME_HEAD_BYTES, length));
		at += SF_FRAME_HEAD_BYTES + length;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	stream_read(data, size);
	copy = malloc(size + 1);
	if (copy) {
		memcpy(copy, data, size);
		checksums_repair(copy, size);
		stream_read(copy, size);
	}
	free(copy);
	return 0;
}
