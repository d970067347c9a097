/* SPDX-License-Identifier: MIT */
/* The reading end. Nothing in a stream is believed before it was checked: a length must be under its cap, a payload must have its
 * checksum, and all records together must have the trailer's counts and digest. Memory grows with the bytes that have arrived, and
 * never with the length that a frame promises. */
#include "base/why.h"
#include "statefmt/arena.h"
#include "statefmt/frame.h"
#include "statefmt/state.pb-c.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define STEP_BYTES ((size_t)64 << 10) /* what a length is trusted with before its bytes come */

/* What a message of the header or trailer may take unpacked: strings and pointers, a multiple of its bytes. */
#define MESSAGE_MEMORY(size_bytes, types) (((size_t)64 << 10) + 4 * (size_t)(size_bytes) + 512 * (size_t)(types))

struct sf_reader {
	struct sf_limits limits;
	sf_read_fn read;
	void *arg;
	uint64_t offset;       /* bytes taken from the stream */
	uint64_t frame_offset; /* of the frame in hand */
	uint64_t frames;       /* started so far: the number of the frame in hand */
	uint64_t whole_frames;
	uint8_t kind;          /* of the frame in hand; 0: none yet */
	uint8_t *payload;
	size_t room;
	size_t size_bytes;     /* of the payload */
	size_t at;             /* in a batch: the next record */
	struct sf_arena arena; /* the header's strings */
	struct sf_header header;
	struct sf_schema *schemas;
	const char **messages;
	uint64_t *seeds;
	uint32_t *caps;        /* of a record, by type */
	uint32_t largest;      /* of @caps */
	struct sf_totals totals;
	bool ended;
	int status;            /* sticky */
	struct why why;        /* of @status */
};

/* A failure of the frame in hand, in words that lead to its bytes. */
__attribute__((format(printf, 3, 4)))
static int frame_fail(struct sf_reader *reader, int rc, const char *fmt, ...)
{
	char text[sizeof(reader->why.text)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return why_set(&reader->why, rc, "frame %" PRIu64 " (%s) at byte %" PRIu64 ": %s", reader->frames,
		       sf_frame_name(reader->kind), reader->frame_offset, text);
}

static int read_once(struct sf_reader *reader, uint8_t *buffer, size_t size_bytes, size_t *ret_got)
{
	ssize_t n = reader->read(reader->arg, buffer, size_bytes, &reader->why);
	int failure = n < -4095 ? -EIO : (int)n; /* nothing below is an errno */

	if (n < 0 && !reader->why.text[0])
		return why_errno(&reader->why, failure, "reading state at byte %" PRIu64, reader->offset);
	if (n < 0)
		return why_prefix(&reader->why, failure, "reading state at byte %" PRIu64, reader->offset);
	if ((size_t)n > size_bytes)
		return why_set(&reader->why, -EIO, "reading state at byte %" PRIu64 ": %zd bytes came where %zu were "
			       "asked for", reader->offset, n, size_bytes);
	reader->offset += (uint64_t)n;
	*ret_got = (size_t)n;
	return 0;
}

/* All of @size_bytes unless the stream ends before: *@ret_got tells. */
static int read_up_to(struct sf_reader *reader, uint8_t *buffer, size_t size_bytes, size_t *ret_got)
{
	*ret_got = 0;
	while (*ret_got < size_bytes) {
		size_t got = 0;
		int r = read_once(reader, buffer + *ret_got, size_bytes - *ret_got, &got);

		if (r < 0)
			return r;
		if (got == 0)
			return 0;
		*ret_got += got;
	}
	return 0;
}

static int preamble_read(struct sf_reader *reader)
{
	uint8_t preamble[SF_PREAMBLE_BYTES];
	uint32_t version;
	size_t got;
	int r;

	r = read_up_to(reader, preamble, sizeof(preamble), &got);
	if (r < 0)
		return r;
	if (memcmp(preamble, SF_MAGIC, got < SF_MAGIC_BYTES ? got : SF_MAGIC_BYTES) != 0)
		return why_set(&reader->why, -EBADMSG, "not a state stream: it does not begin with %s", SF_MAGIC);
	if (got < sizeof(preamble))
		return why_set(&reader->why, -EBADMSG, "the state ends at byte %" PRIu64 ", within its preamble of %u "
			       "bytes: it was cut off, or its writer died", reader->offset, SF_PREAMBLE_BYTES);
	version = sf_get_le32(preamble + SF_MAGIC_BYTES);
	if (version == 0)
		return why_set(&reader->why, -EBADMSG, "not a state stream: format version 0");
	if (version > SF_FORMAT_VERSION)
		return why_set(&reader->why, -EPROTONOSUPPORT, "state of format version %u; this program reads up to %u: "
			       "read it with a newer one", version, SF_FORMAT_VERSION);
	return 0;
}

/* The most a frame of the kind in hand may carry; 0 for what is no kind. */
static uint32_t frame_cap(const struct sf_reader *reader)
{
	uint32_t record = reader->largest + SF_RECORD_HEAD_BYTES;

	switch (reader->kind) {
	case SF_FRAME_HEADER:
	case SF_FRAME_TRAILER:
		return reader->limits.header_bytes;
	case SF_FRAME_BATCH:
		return record > reader->limits.batch_bytes ? record : reader->limits.batch_bytes;
	default:
		return 0;
	}
}

static int head_check(struct sf_reader *reader, const uint8_t *head)
{
	uint32_t length = sf_get_le32(head + 4);

	if (reader->kind != SF_FRAME_HEADER && reader->kind != SF_FRAME_BATCH && reader->kind != SF_FRAME_TRAILER)
		return frame_fail(reader, -EBADMSG, "no frame has kind 0x%02x: the stream is damaged", reader->kind);
	if (head[1] || head[2] || head[3])
		return frame_fail(reader, -EBADMSG, "reserved bytes are not zero: the stream is damaged");
	if ((reader->kind == SF_FRAME_HEADER) != (reader->frames == 1))
		return frame_fail(reader, -EBADMSG, "%s", reader->frames == 1 ? "a stream begins with its header"
									      : "a second header");
	if (length > frame_cap(reader))
		return frame_fail(reader, -EMSGSIZE, "%u bytes, over the limit of %u", length, frame_cap(reader));
	if (reader->limits.stream_bytes && reader->offset + length > reader->limits.stream_bytes)
		return frame_fail(reader, -EMSGSIZE, "the state is over the limit of %" PRIu64 " bytes; " SF_RAISE_STREAM,
				  reader->limits.stream_bytes);
	return 0;
}

static int payload_read(struct sf_reader *reader, size_t length)
{
	reader->size_bytes = 0;
	while (reader->size_bytes < length) {
		size_t got, want;
		int r;

		if (reader->size_bytes == reader->room) {
			size_t step = reader->room ? reader->room * 2 : STEP_BYTES;
			size_t room = step < length ? step : length;
			uint8_t *payload = realloc(reader->payload, room);

			if (!payload)
				return frame_fail(reader, -ENOMEM, "no memory for %zu bytes", room);
			reader->payload = payload;
			reader->room = room;
		}
		want = (reader->room < length ? reader->room : length) - reader->size_bytes;
		r = read_up_to(reader, reader->payload + reader->size_bytes, want, &got);
		if (r < 0)
			return r;
		reader->size_bytes += got;
		if (got < want)
			return frame_fail(reader, -EBADMSG, "the state ends at byte %" PRIu64 ", after %zu of %zu bytes "
					  "of payload: it was cut off, or its writer died", reader->offset,
					  reader->size_bytes, length);
	}
	return 0;
}

static int frame_read(struct sf_reader *reader)
{
	uint8_t head[SF_FRAME_HEAD_BYTES];
	size_t got;
	int r;

	reader->frame_offset = reader->offset;
	reader->whole_frames = reader->frames;
	r = read_up_to(reader, head, sizeof(head), &got);
	if (r < 0)
		return r;
	if (got < sizeof(head))
		return why_set(&reader->why, -EBADMSG, "the state ends at byte %" PRIu64 ", %s frame %" PRIu64 ", without a "
			       "trailer: it was cut off, or its writer died", reader->offset,
			       got ? "within the head of" : "before", reader->frames + 1);
	reader->kind = head[0];
	reader->frames++;
	r = head_check(reader, head);
	if (r == 0)
		r = payload_read(reader, sf_get_le32(head + 4));
	if (r < 0)
		return r;
	if (sf_get_le32(head + 8) != sf_frame_crc(head, reader->payload, reader->size_bytes))
		return frame_fail(reader, -EBADMSG, "checksum mismatch: the stream is damaged");
	reader->at = 0;
	return 0;
}

static int message_unpack(struct sf_reader *reader, const ProtobufCMessageDescriptor *descriptor,
			  struct sf_arena *arena, ProtobufCMessage **ret_message)
{
	sf_arena_reset(arena, MESSAGE_MEMORY(reader->size_bytes, reader->limits.types));
	*ret_message = protobuf_c_message_unpack(descriptor, &arena->allocator, reader->size_bytes, reader->payload);
	if (*ret_message)
		return 0;
	if (arena->over_limit)
		return frame_fail(reader, -EMSGSIZE, "its message takes more than %zu bytes of memory", arena->limit);
	return frame_fail(reader, -EBADMSG, "not a %s message", descriptor->short_name);
}

static int schemas_take(struct sf_reader *reader, const Upgraded__State__StateHeader *message)
{
	size_t n = message->n_schemas;

	if (n > reader->limits.types)
		return frame_fail(reader, -EMSGSIZE, "%zu types, over the limit of %u; " SF_RAISE_TYPES, n, reader->limits.types);
	reader->schemas = calloc(n + 1, sizeof(*reader->schemas)); /* n may be 0 until it was checked */
	reader->messages = calloc(n + 1, sizeof(*reader->messages));
	reader->seeds = calloc(n + 1, sizeof(*reader->seeds));
	reader->caps = calloc(n + 1, sizeof(*reader->caps));
	reader->totals.counts = calloc(n + 1, sizeof(*reader->totals.counts));
	if (!reader->schemas || !reader->messages || !reader->seeds || !reader->caps || !reader->totals.counts)
		return frame_fail(reader, -ENOMEM, "no memory for %zu types", n);
	reader->totals.n_counts = n;
	for (size_t i = 0; i < n; i++) {
		reader->schemas[i] = (struct sf_schema){
			.name = message->schemas[i]->name,
			.version = message->schemas[i]->version,
			.fingerprint = message->schemas[i]->fingerprint,
			.record_bytes = message->schemas[i]->record_bytes,
		};
		reader->messages[i] = message->schemas[i]->message;
		reader->seeds[i] = sf_digest_seed(&reader->schemas[i]);
		reader->caps[i] = reader->limits.record_bytes;
	}
	reader->header = (struct sf_header){
		.service = message->service,
		.app_version = message->app_version,
		.schemas = reader->schemas,
		.n_schemas = n,
		.messages = reader->messages,
		.descriptors = message->descriptors.data,
		.descriptors_bytes = message->descriptors.len,
	};
	return 0;
}

static int header_read(struct sf_reader *reader)
{
	ProtobufCMessage *message;
	int r;

	r = frame_read(reader);
	if (r < 0)
		return r;
	r = message_unpack(reader, &upgraded__state__state_header__descriptor, &reader->arena, &message);
	if (r < 0)
		return r;
	/* A zero byte within a string is lost in unpacking: two names could look the same. It shows in the size. */
	if (protobuf_c_message_get_packed_size(message) != reader->size_bytes)
		return frame_fail(reader, -EBADMSG, "a string holds a zero byte, or the message is not in its shortest form");
	r = schemas_take(reader, (const Upgraded__State__StateHeader *)message);
	return r < 0 ? r : sf_header_check(&reader->header, &reader->limits, -EBADMSG, &reader->why);
}

int sf_reader_new(const struct sf_limits *limits, sf_read_fn read, void *arg, struct sf_reader **ret_reader,
		  struct why *why)
{
	struct sf_reader *reader = calloc(1, sizeof(*reader));
	int r;

	if (!reader)
		return why_errno(why, -ENOMEM, "a state reader");
	reader->limits = sf_limits_resolve(limits);
	reader->largest = reader->limits.record_bytes;
	reader->read = read;
	reader->arg = arg;
	sf_arena_init(&reader->arena);
	r = preamble_read(reader);
	if (r == 0)
		r = header_read(reader);
	if (r < 0) {
		why_set(why, r, "%s", reader->why.text);
		sf_reader_free(reader);
		return r;
	}
	*ret_reader = reader;
	return 0;
}

const struct sf_header *sf_reader_header(const struct sf_reader *reader)
{
	return &reader->header;
}

void sf_reader_raise(struct sf_reader *reader, size_t type, uint32_t record_bytes)
{
	if (record_bytes > SF_RECORD_BYTES_MAX)
		record_bytes = SF_RECORD_BYTES_MAX;
	if (record_bytes > reader->caps[type])
		reader->caps[type] = record_bytes;
	if (record_bytes > reader->largest)
		reader->largest = record_bytes;
}

uint32_t sf_reader_cap(const struct sf_reader *reader, size_t type)
{
	return reader->caps[type];
}

/* Take the next record of the batch in hand, which has bytes left. */
static int record_take(struct sf_reader *reader, struct sf_record *ret_record)
{
	const uint8_t *head = reader->payload + reader->at;
	size_t left = reader->size_bytes - reader->at;
	uint64_t offset = reader->frame_offset + SF_FRAME_HEAD_BYTES + reader->at;
	uint32_t type, version, size;

	if (left < SF_RECORD_HEAD_BYTES)
		return frame_fail(reader, -EBADMSG, "record at byte %" PRIu64 ": %zu bytes are no record", offset, left);
	type = sf_get_le16(head);
	version = sf_get_le16(head + 2);
	size = sf_get_le32(head + 4);
	if (type >= reader->header.n_schemas)
		return frame_fail(reader, -EBADMSG, "record at byte %" PRIu64 ": type %u, but the header has %zu", offset,
				  type, reader->header.n_schemas);
	if (version != reader->schemas[type].version)
		return frame_fail(reader, -EBADMSG, "record at byte %" PRIu64 ": version %u of \"%s\", but the header says "
				  "%u", offset, version, reader->schemas[type].name, reader->schemas[type].version);
	if (size > reader->caps[type])
		return frame_fail(reader, -EMSGSIZE, "record at byte %" PRIu64 ": %u bytes of \"%s\", over the limit of %u; "
				  SF_RAISE_RECORD, offset, size, reader->schemas[type].name, reader->caps[type]);
	if (size > left - SF_RECORD_HEAD_BYTES)
		return frame_fail(reader, -EBADMSG, "record at byte %" PRIu64 ": %u bytes of \"%s\", but the batch ends "
				  "after %zu", offset, size, reader->schemas[type].name, left - SF_RECORD_HEAD_BYTES);
	*ret_record = (struct sf_record){
		.type = type,
		.version = version,
		.data = head + SF_RECORD_HEAD_BYTES,
		.size_bytes = size,
		.offset = offset,
	};
	reader->at += SF_RECORD_HEAD_BYTES + size;
	sf_digest_add(reader->totals.digest, reader->seeds[type], ret_record->data, size);
	reader->totals.records++;
	reader->totals.payload_bytes += size;
	reader->totals.counts[type]++;
	return SF_RECORD;
}

static int counts_check(struct sf_reader *reader, const Upgraded__State__StateTrailer *trailer)
{
	const struct sf_totals *totals = &reader->totals;

	if (trailer->n_counts != totals->n_counts)
		return frame_fail(reader, -EBADMSG, "counts of %zu types, but the header has %zu", trailer->n_counts,
				  totals->n_counts);
	for (size_t i = 0; i < totals->n_counts; i++)
		if (trailer->counts[i] != totals->counts[i])
			return frame_fail(reader, -EBADMSG, "%" PRIu64 " records of \"%s\" were written, but %" PRIu64
					  " came", trailer->counts[i], reader->schemas[i].name, totals->counts[i]);
	if (trailer->records != totals->records)
		return frame_fail(reader, -EBADMSG, "%" PRIu64 " records were written, but %" PRIu64 " came",
				  trailer->records, totals->records);
	if (trailer->payload_bytes != totals->payload_bytes)
		return frame_fail(reader, -EBADMSG, "%" PRIu64 " bytes of records were written, but %" PRIu64 " came",
				  trailer->payload_bytes, totals->payload_bytes);
	if (trailer->digest_lo != totals->digest[0] || trailer->digest_hi != totals->digest[1])
		return frame_fail(reader, -EBADMSG, "the digest over all records differs: what was read is not what was "
				  "written");
	return 0;
}

static int trailer_check(struct sf_reader *reader)
{
	struct sf_arena arena;
	ProtobufCMessage *message;
	uint8_t beyond;
	size_t got = 0;
	int r;

	sf_arena_init(&arena);
	r = message_unpack(reader, &upgraded__state__state_trailer__descriptor, &arena, &message);
	if (r == 0)
		r = counts_check(reader, (const Upgraded__State__StateTrailer *)message);
	sf_arena_done(&arena);
	if (r == 0) {
		reader->whole_frames = reader->frames;
		reader->frame_offset = reader->offset;
		r = read_once(reader, &beyond, sizeof(beyond), &got);
	}
	if (r < 0)
		return r;
	if (got)
		return why_set(&reader->why, -EBADMSG, "byte %" PRIu64 ": the state ended with its trailer, but more follows",
			       reader->offset - 1);
	reader->ended = true;
	return SF_END;
}

static int stream_next(struct sf_reader *reader, struct sf_record *ret_record)
{
	int r;

	if (reader->kind == SF_FRAME_BATCH && reader->at < reader->size_bytes)
		return record_take(reader, ret_record);
	r = frame_read(reader);
	if (r < 0)
		return r;
	if (reader->kind == SF_FRAME_TRAILER)
		return trailer_check(reader);
	/* An empty batch is refused, so that no stream can go on for ever and yet hold nothing. */
	if (reader->size_bytes == 0)
		return frame_fail(reader, -EBADMSG, "a batch without records");
	return record_take(reader, ret_record);
}

int sf_reader_next(struct sf_reader *reader, struct sf_record *ret_record, struct why *why)
{
	int r;

	if (reader->ended)
		return SF_END;
	if (reader->status < 0)
		return why_set(why, reader->status, "%s", reader->why.text);
	r = stream_next(reader, ret_record);
	if (r < 0) {
		reader->status = r;
		why_set(why, r, "%s", reader->why.text);
	}
	return r;
}

struct sf_position sf_reader_position(const struct sf_reader *reader)
{
	return (struct sf_position){
		.whole_frames = reader->whole_frames,
		.whole_bytes = reader->frame_offset,
		.read_bytes = reader->offset,
	};
}

const struct sf_totals *sf_reader_totals(const struct sf_reader *reader)
{
	return &reader->totals;
}

struct sf_reader *sf_reader_free(struct sf_reader *reader)
{
	if (!reader)
		return NULL;
	sf_arena_done(&reader->arena);
	free(reader->schemas);
	free(reader->messages);
	free(reader->seeds);
	free(reader->caps);
	free(reader->totals.counts);
	free(reader->payload);
	free(reader);
	return NULL;
}
