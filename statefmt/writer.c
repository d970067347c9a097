/* SPDX-License-Identifier: MIT */
/* The writing end. A record is packed straight into the batch it leaves in; a batch leaves in one call of @write. */
#include "base/why.h"
#include "statefmt/arena.h"
#include "statefmt/frame.h"
#include "statefmt/schema.h"
#include "statefmt/shape.h"
#include "statefmt/state.pb-c.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

struct writer_type {
	struct sf_schema schema;
	uint64_t seed;
	uint32_t cap;   /* of a record */
	bool recursive; /* of the schema's descriptor, or of the one that came last */
};

struct sf_writer {
	struct sf_limits limits;
	sf_write_fn write;
	void *arg;
	struct writer_type *types;
	size_t n_types;
	struct sf_arena names;
	uint8_t *frame; /* head, then @used bytes of payload */
	size_t used;
	size_t room;    /* of payload */
	uint64_t offset; /* bytes written so far */
	struct sf_totals totals;
	bool finished;
	int status;     /* sticky */
	struct why why; /* of @status */
};

static int writer_fail(struct sf_writer *writer, struct why *why)
{
	return why_set(why, writer->status, "%s", writer->why.text);
}

/* Room for a payload of @size_bytes in all; keeps what is there. */
static int frame_grow(struct sf_writer *writer, size_t size_bytes)
{
	uint8_t *frame;

	if (size_bytes <= writer->room)
		return 0;
	frame = realloc(writer->frame, SF_FRAME_HEAD_BYTES + size_bytes);
	if (!frame)
		return why_errno(&writer->why, -ENOMEM, "a frame of %zu bytes", size_bytes);
	writer->frame = frame;
	writer->room = size_bytes;
	return 0;
}

static int bytes_write(struct sf_writer *writer, const uint8_t *data, size_t size_bytes)
{
	int r;

	if (writer->limits.stream_bytes && writer->offset + size_bytes > writer->limits.stream_bytes)
		return why_set(&writer->why, -EMSGSIZE, "the state is over the limit of %" PRIu64 " bytes; " SF_RAISE_STREAM,
			       writer->limits.stream_bytes);
	r = writer->write(writer->arg, data, size_bytes, &writer->why);

	if (r < 0 && writer->why.text[0])
		return why_prefix(&writer->why, r, "writing state at byte %" PRIu64, writer->offset);
	if (r < 0)
		return why_errno(&writer->why, r, "writing state at byte %" PRIu64, writer->offset);
	writer->offset += size_bytes;
	return 0;
}

static int frame_write(struct sf_writer *writer, enum sf_frame_kind kind)
{
	size_t size = SF_FRAME_HEAD_BYTES + writer->used;

	sf_frame_seal(writer->frame, kind, (uint32_t)writer->used);
	writer->used = 0;
	return bytes_write(writer, writer->frame, size);
}

/* Digest a whole batch at once. To hash each record right after it was packed is slower by half: the hash's wide loads would wait
 * for the packer's many small stores. */
static void batch_digest(struct sf_writer *writer)
{
	const uint8_t *at = writer->frame + SF_FRAME_HEAD_BYTES, *end = at + writer->used;

	while (at < end) {
		uint32_t size = sf_get_le32(at + 4);

		sf_digest_add(writer->totals.digest, writer->types[sf_get_le16(at)].seed, at + SF_RECORD_HEAD_BYTES, size);
		at += SF_RECORD_HEAD_BYTES + size;
	}
}

static int batch_flush(struct sf_writer *writer)
{
	if (!writer->used)
		return 0;
	batch_digest(writer);
	return frame_write(writer, SF_FRAME_BATCH);
}

/* The header and the trailer: a message that is a frame. */
static int message_write(struct sf_writer *writer, enum sf_frame_kind kind, const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	int r;

	if (size > writer->limits.header_bytes)
		return why_set(&writer->why, -EMSGSIZE, "the %s takes %zu bytes, over the limit of %u",
			       sf_frame_name((uint8_t)kind), size, writer->limits.header_bytes);
	r = frame_grow(writer, size);
	if (r < 0)
		return r;
	writer->used = protobuf_c_message_pack(message, writer->frame + SF_FRAME_HEAD_BYTES);
	return frame_write(writer, kind);
}

static int preamble_write(struct sf_writer *writer)
{
	uint8_t preamble[SF_PREAMBLE_BYTES];

	memcpy(preamble, SF_MAGIC, SF_MAGIC_BYTES);
	sf_put_le32(preamble + SF_MAGIC_BYTES, SF_FORMAT_VERSION);
	return bytes_write(writer, preamble, sizeof(preamble));
}

static size_t field_bytes(size_t size_bytes)
{
	return size_bytes + 1 + 5; /* tag and length */
}

/* Add the description of the schemas' messages to @message, if it is known and there is room. It is added as a whole or not at all:
 * half a description would look like a damaged one. */
static int header_describe(struct sf_writer *writer, Upgraded__State__StateHeader *message)
{
	const ProtobufCMessageDescriptor **roots = calloc(writer->n_types + 1, sizeof(*roots));
	size_t size = protobuf_c_message_get_packed_size(&message->base), room, known = 0;
	int r = 0;

	if (!roots)
		return why_errno(&writer->why, -ENOMEM, "a header of %zu types", writer->n_types);
	for (size_t i = 0; i < writer->n_types; i++) {
		const ProtobufCMessageDescriptor *descriptor = writer->types[i].schema.descriptor;

		if (!descriptor || strlen(descriptor->name) > SF_TEXT_BYTES)
			continue;
		roots[i] = descriptor;
		size += field_bytes(strlen(descriptor->name)) + 5; /* the schema's own length may take more, too */
		known++;
	}
	room = writer->limits.header_bytes > field_bytes(size) ? writer->limits.header_bytes - field_bytes(size) : 0;
	if (known)
		r = schema_describe(roots, writer->n_types, room < SF_DESCRIPTORS_BYTES ? room : SF_DESCRIPTORS_BYTES,
				    &message->descriptors.data, &message->descriptors.len, &writer->why);
	for (size_t i = 0; i < writer->n_types && known && r == 0; i++)
		if (roots[i])
			/* Only packed, never written to. */
			message->schemas[i]->message = (char *)(uintptr_t)roots[i]->name;
	free(roots);
	if (r != -EMSGSIZE)
		return r;
	writer->why.text[0] = '\0';
	return 0;
}

static int header_write(struct sf_writer *writer, const struct sf_header *header)
{
	Upgraded__State__StateHeader message = UPGRADED__STATE__STATE_HEADER__INIT;
	Upgraded__State__StateSchema *schemas = calloc(writer->n_types, sizeof(*schemas));
	Upgraded__State__StateSchema **pointers = calloc(writer->n_types, sizeof(*pointers));
	char *service = sf_arena_string(&writer->names, header->service);
	char *app_version = sf_arena_string(&writer->names, header->app_version);
	int r;

	if (!schemas || !pointers || !service || !app_version) {
		r = why_errno(&writer->why, -ENOMEM, "a header of %zu types", writer->n_types);
		goto out;
	}
	for (size_t i = 0; i < writer->n_types; i++) {
		const struct sf_schema *schema = &writer->types[i].schema;

		upgraded__state__state_schema__init(&schemas[i]);
		schemas[i].name = sf_arena_string(&writer->names, schema->name);
		schemas[i].version = schema->version;
		schemas[i].fingerprint = schema->fingerprint;
		/* Where a reader's own cap would do, nothing is said. What no tool would believe is not either. */
		if (writer->types[i].cap > sf_limits_default.record_bytes && writer->types[i].cap <= SF_RECORD_BYTES_MAX)
			schemas[i].record_bytes = writer->types[i].cap;
		pointers[i] = &schemas[i];
		if (!schemas[i].name) {
			r = why_errno(&writer->why, -ENOMEM, "a header of %zu types", writer->n_types);
			goto out;
		}
		writer->types[i].schema.name = schemas[i].name;
	}
	message.service = service;
	message.app_version = app_version;
	message.schemas = pointers;
	message.n_schemas = writer->n_types;
	r = header_describe(writer, &message);
	if (r == 0)
		r = message_write(writer, SF_FRAME_HEADER, &message.base);
	free(message.descriptors.data);
out:
	free(pointers);
	free(schemas);
	return r;
}

static int types_init(struct sf_writer *writer, const struct sf_header *header)
{
	writer->n_types = header->n_schemas;
	writer->types = calloc(header->n_schemas, sizeof(*writer->types));
	writer->totals.counts = calloc(header->n_schemas, sizeof(*writer->totals.counts));
	writer->totals.n_counts = header->n_schemas;
	if (!writer->types || !writer->totals.counts)
		return why_errno(&writer->why, -ENOMEM, "a header of %zu types", header->n_schemas);
	for (size_t i = 0; i < header->n_schemas; i++) {
		struct writer_type *type = &writer->types[i];

		type->schema = header->schemas[i];
		type->seed = sf_digest_seed(&type->schema);
		type->cap = type->schema.record_bytes;
		if (type->cap < writer->limits.record_bytes)
			type->cap = writer->limits.record_bytes;
		if (!type->schema.descriptor)
			continue;
		type->recursive = sf_is_recursive(type->schema.descriptor);
		if (!type->schema.fingerprint)
			type->schema.fingerprint = sf_fingerprint(type->schema.descriptor);
	}
	return 0;
}

static int writer_start(struct sf_writer *writer, const struct sf_header *header)
{
	struct sf_header checked = *header;
	int r;

	checked.service = header->service ? header->service : "";
	checked.app_version = header->app_version ? header->app_version : "";
	r = sf_header_check(&checked, &writer->limits, -EINVAL, &writer->why);
	if (r == 0)
		r = types_init(writer, &checked);
	if (r == 0)
		r = preamble_write(writer);
	if (r == 0)
		r = header_write(writer, &checked);
	return r == 0 ? frame_grow(writer, writer->limits.batch_bytes) : r;
}

int sf_writer_new(const struct sf_header *header, const struct sf_limits *limits, sf_write_fn write, void *arg,
		  struct sf_writer **ret_writer, struct why *why)
{
	struct sf_writer *writer = calloc(1, sizeof(*writer));
	int r;

	if (!writer)
		return why_errno(why, -ENOMEM, "a state writer");
	writer->limits = sf_limits_resolve(limits);
	writer->write = write;
	writer->arg = arg;
	sf_arena_init(&writer->names);
	r = writer_start(writer, header);
	if (r < 0) {
		why_set(why, r, "%s", writer->why.text);
		sf_writer_free(writer);
		return r;
	}
	*ret_writer = writer;
	return 0;
}

/* May @message travel as a record of @type? Then also its size. */
static int record_check(struct sf_writer *writer, size_t type, const ProtobufCMessage *message, size_t *ret_size_bytes)
{
	struct writer_type *entry;

	if (writer->finished)
		return why_set(&writer->why, -EINVAL, "a record was put after the end of the state");
	if (type >= writer->n_types)
		return why_set(&writer->why, -EINVAL, "record type %zu: the header has %zu types", type, writer->n_types);
	entry = &writer->types[type];
	if (!entry->schema.descriptor) {
		entry->schema.descriptor = message->descriptor;
		entry->recursive = sf_is_recursive(message->descriptor);
	}
	if (message->descriptor != entry->schema.descriptor)
		return why_set(&writer->why, -EINVAL, "\"%s\" version %u: a message of type %s was put where %s belongs",
			       entry->schema.name, entry->schema.version, message->descriptor->name,
			       entry->schema.descriptor->name);
	*ret_size_bytes = protobuf_c_message_get_packed_size(message);
	if (*ret_size_bytes > entry->cap)
		return why_set(&writer->why, -EMSGSIZE,
			       "\"%s\" version %u: a record of %zu bytes is over the limit of %u; " SF_RAISE_RECORD,
			       entry->schema.name, entry->schema.version, *ret_size_bytes, entry->cap);
	return 0;
}

static int record_pack(struct sf_writer *writer, size_t type, const ProtobufCMessage *message, size_t size_bytes)
{
	const struct writer_type *entry = &writer->types[type];
	uint8_t *head = writer->frame + SF_FRAME_HEAD_BYTES + writer->used;
	uint8_t *data = head + SF_RECORD_HEAD_BYTES;

	if (protobuf_c_message_pack(message, data) != size_bytes)
		return why_set(&writer->why, -EINVAL, "\"%s\" version %u: a message changed while it was packed; stop "
			       "every thread that writes to it", entry->schema.name, entry->schema.version);
	/* A record that no reader would take must fail here, where the object still is. */
	if (entry->recursive && !sf_depth_check(message->descriptor, data, size_bytes))
		return why_set(&writer->why, -EMSGSIZE, "\"%s\" version %u: a record nests messages more than %u deep; "
			       "save the elements as records of their own", entry->schema.name, entry->schema.version,
			       SF_DEPTH_MAX);
	sf_put_le16(head, (uint16_t)type);
	sf_put_le16(head + 2, (uint16_t)entry->schema.version);
	sf_put_le32(head + 4, (uint32_t)size_bytes);
	writer->used += SF_RECORD_HEAD_BYTES + size_bytes;
	writer->totals.records++;
	writer->totals.payload_bytes += size_bytes;
	writer->totals.counts[type]++;
	return 0;
}

static int record_put(struct sf_writer *writer, size_t type, const ProtobufCMessage *message)
{
	size_t size = 0, needed;
	int r;

	r = record_check(writer, type, message, &size);
	if (r < 0)
		return r;
	needed = SF_RECORD_HEAD_BYTES + size;
	if (writer->used && writer->used + needed > writer->limits.batch_bytes) {
		r = batch_flush(writer);
		if (r < 0)
			return r;
	}
	r = frame_grow(writer, writer->used + needed);
	if (r == 0)
		r = record_pack(writer, type, message, size);
	if (r == 0 && writer->used > writer->limits.batch_bytes)
		r = batch_flush(writer);
	return r;
}

int sf_writer_put(struct sf_writer *writer, size_t type, const ProtobufCMessage *message, struct why *why)
{
	if (writer->status == 0)
		writer->status = record_put(writer, type, message);
	return writer->status ? writer_fail(writer, why) : 0;
}

static int trailer_write(struct sf_writer *writer)
{
	Upgraded__State__StateTrailer message = UPGRADED__STATE__STATE_TRAILER__INIT;

	message.counts = writer->totals.counts;
	message.n_counts = writer->totals.n_counts;
	message.records = writer->totals.records;
	message.payload_bytes = writer->totals.payload_bytes;
	message.digest_lo = writer->totals.digest[0];
	message.digest_hi = writer->totals.digest[1];
	return message_write(writer, SF_FRAME_TRAILER, &message.base);
}

static int stream_finish(struct sf_writer *writer)
{
	int r;

	if (writer->finished)
		return why_set(&writer->why, -EINVAL, "the state was ended twice");
	r = batch_flush(writer);
	return r == 0 ? trailer_write(writer) : r;
}

const struct sf_totals *sf_writer_totals(const struct sf_writer *writer)
{
	return &writer->totals;
}

int sf_writer_finish(struct sf_writer *writer, struct sf_totals *ret_totals, struct why *why)
{
	if (writer->status == 0)
		writer->status = stream_finish(writer);
	if (writer->status)
		return writer_fail(writer, why);
	writer->finished = true;
	if (ret_totals)
		*ret_totals = writer->totals;
	return 0;
}

struct sf_writer *sf_writer_free(struct sf_writer *writer)
{
	if (!writer)
		return NULL;
	sf_arena_done(&writer->names);
	free(writer->types);
	free(writer->totals.counts);
	free(writer->frame);
	free(writer);
	return NULL;
}
