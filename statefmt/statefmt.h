/* SPDX-License-Identifier: MIT */
/* The versioned state stream: what a program's heap becomes on its way to the next version, or into a file.
 *
 *     preamble   8 bytes "UPGSTATE", u32 format version (1)
 *     frame*     u8 kind, u8[3] zero, u32 length, u32 CRC32C of the 8 bytes before it and the payload, then the payload
 *
 * All integers little-endian. Kinds, in this order: one header 'H' (protobuf StateHeader), batches 'B', one trailer 'T'
 * (protobuf StateTrailer), then end of stream. A batch is a run of records, each: u16 type index into the header's
 * schemas, u16 schema version, u32 length, then a protobuf message of that schema. Records of a type may be spread over any
 * batches. Both ends work in memory bounded by struct sf_limits, whatever the length of the stream.
 *
 * Nothing here knows of processes or sockets; bytes go out and come in through callbacks.
 * Not thread-safe: one writer, reader or plan belongs to one thread at a time.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct why;

#define SF_FORMAT_VERSION 1u
#define SF_PREAMBLE_BYTES 12u
#define SF_FRAME_HEAD_BYTES 12u
#define SF_RECORD_HEAD_BYTES 8u
#define SF_DESCRIPTORS_BYTES ((size_t)1 << 20) /* a header carries no larger description */

struct sf_limits {
	uint32_t record_bytes; /* one record's protobuf bytes */
	uint32_t batch_bytes;  /* a batch is closed when it would pass this; a larger single record travels alone */
	uint32_t header_bytes; /* the header or trailer frame */
	uint32_t types;
	uint64_t stream_bytes; /* all of it; 0: no cap */
};
extern const struct sf_limits sf_limits_default; /* 16 MiB, 256 KiB, 4 MiB, 256, none */

/* What an operator raises, as messages about a cap name it. */
#define SF_RAISE_RECORD "StateRecordMax= of the service raises it, or record_max of the type"
#define SF_RAISE_TYPES "StateTypesMax= of the service raises it"
#define SF_RAISE_STREAM "StateMax= of the service raises it"

/* One type at one version. @descriptor may be NULL where only names are known (the supervisor's view). */
struct sf_schema {
	const char *name;
	uint32_t version; /* 1..65535 */
	const ProtobufCMessageDescriptor *descriptor;
	uint64_t fingerprint; /* sf_fingerprint(); 0: not known */
	/* The largest record, where that is more than sf_limits allow; 0: not. What a reader's header says of it is the writer's
	 * word: sf_reader_raise() believes it, or what the application says. */
	uint32_t record_bytes;
};

#define SF_RECORD_BYTES_MAX (UINT32_C(1) << 30) /* of sf_schema.record_bytes */

/** sf_fingerprint() - Hash the message's shape: field numbers, types, labels, nested messages (cycles allowed). Names are left out,
 * so that a rename, on which the bytes do not depend, keeps it. Never 0. Thread-safe. */
uint64_t sf_fingerprint(const ProtobufCMessageDescriptor *descriptor);

/* What a stream says of itself. All pointers are borrowed. */
struct sf_header {
	const char *service;
	const char *app_version;
	const struct sf_schema *schemas; /* index = record type */
	size_t n_schemas;

	/* How the stream describes its own records. Only a reader fills this in; a writer makes the description from the schemas'
	 * descriptors. It is not checked: schema_set_new() does that. */
	const char *const *messages; /* per schema, a full name in @descriptors, or "" */
	const uint8_t *descriptors;  /* a FileDescriptorSet; @descriptors_bytes of 0: the stream has none */
	size_t descriptors_bytes;
};

/* Counts per type in the header's order and a digest that does not depend on the order of records: each record's
 * XXH3-128 over (type name, schema version, bytes), summed per 64-bit half modulo 2^64. */
struct sf_totals {
	uint64_t records;
	uint64_t payload_bytes;
	uint64_t digest[2];
	uint64_t *counts; /* n_schemas of them; owned by the writer or reader it came from */
	size_t n_counts;
};

/* ---- writing ---- */

struct sf_writer;
/* Writes all @size_bytes. Return: 0 or -errno. */
typedef int (*sf_write_fn)(void *arg, const void *data, size_t size_bytes, struct why *why);

/** sf_writer_new() - Write preamble and header through @write at once. @header is copied. Return: 0 or -errno.
 *
 * The header describes the types of schemas whose descriptors are known, within SF_DESCRIPTORS_BYTES and header_bytes. A
 * description that does not fit is left out: such a stream loads as any other, but nobody without the application's code can read
 * its records. */
int sf_writer_new(const struct sf_header *header, const struct sf_limits *limits, sf_write_fn write, void *arg,
		  struct sf_writer **ret_writer, struct why *why);

/** sf_writer_put() - Append one record. Errors are sticky: after one, every call returns it again.
 * Return: 0; -EMSGSIZE over record_bytes, of the limits or the schema (the type and the cap are named); -errno of @write. */
int sf_writer_put(struct sf_writer *writer, size_t type, const ProtobufCMessage *message, struct why *why);

/** sf_writer_totals() - Return: the totals of what was put so far, borrowed from the writer. */
const struct sf_totals *sf_writer_totals(const struct sf_writer *writer);

/** sf_writer_finish() - Flush, write the trailer. @ret_totals->counts lives until sf_writer_free(). */
int sf_writer_finish(struct sf_writer *writer, struct sf_totals *ret_totals, struct why *why);
struct sf_writer *sf_writer_free(struct sf_writer *writer); /* NULL allowed; returns NULL */

/* ---- reading ---- */

struct sf_reader;
/* Return: bytes read (1..@size_bytes), 0 at the end of the stream, or -errno. */
typedef ssize_t (*sf_read_fn)(void *arg, void *buffer, size_t size_bytes, struct why *why);

struct sf_record {
	size_t type;          /* index into the header's schemas */
	uint32_t version;
	const uint8_t *data;  /* borrowed until the next call on the reader */
	size_t size_bytes;
	uint64_t offset;      /* of the record in the stream, for messages */
};

/** sf_reader_raise() - Take records of this type (of the header) with so many bytes, if that is more than the limits allow. Memory
 * is taken as a record's bytes come, at most twice as much. */
void sf_reader_raise(struct sf_reader *reader, size_t type, uint32_t record_bytes);
/** sf_reader_cap() - Return: how large its records may be. */
uint32_t sf_reader_cap(const struct sf_reader *reader, size_t type);

enum sf_next { SF_END = 0, SF_RECORD = 1 };

/** sf_reader_new() - Read preamble and header. Return: 0; -EBADMSG if this is not a state stream or damaged;
 * -EPROTONOSUPPORT for a newer format; -EMSGSIZE over a cap; -errno of @read. */
int sf_reader_new(const struct sf_limits *limits, sf_read_fn read, void *arg, struct sf_reader **ret_reader,
		  struct why *why);

/** sf_reader_header() - Return: borrowed from the reader; its descriptors are NULL. */
const struct sf_header *sf_reader_header(const struct sf_reader *reader);

/** sf_reader_next() - Read the next record. Return: SF_RECORD with *@ret_record; SF_END: the trailer was read, agrees in every
 * count and in the digest, and the stream ended; negative as sf_reader_new(), with frame and offset in @why. Errors are sticky. */
int sf_reader_next(struct sf_reader *reader, struct sf_record *ret_record, struct why *why);

/* How far a reader came. Frames count from 1, the header; after SF_END all are whole. */
struct sf_position {
	uint64_t whole_frames; /* read and checked to their last record */
	uint64_t whole_bytes;  /* of the stream, up to where the frame in hand begins */
	uint64_t read_bytes;   /* taken from the stream */
};

struct sf_position sf_reader_position(const struct sf_reader *reader);

/** sf_reader_totals() - Return: the totals of what was read so far; after SF_END those of the whole stream. */
const struct sf_totals *sf_reader_totals(const struct sf_reader *reader);
struct sf_reader *sf_reader_free(struct sf_reader *reader); /* NULL allowed; returns NULL */

/* ---- migrating ---- */

/* Memory for what a migration makes, freed when the record is done. */
struct sf_step;

/** sf_step_alloc() - Take memory that is zeroed and aligned for any type. Never returns NULL: when memory is out, the migration is
 * left on the spot, as by longjmp, and the record fails. So hold no lock and no other memory across the call. */
void *sf_step_alloc(struct sf_step *step, size_t size_bytes);

/** sf_step_fail() - Say why this record cannot be migrated. Return: -EINVAL, for the migration to return. */
int sf_step_fail(struct sf_step *step, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** sf_step_context() - Return: what the migration that is running was given as its context; NULL: nothing. */
void *sf_step_context(const struct sf_step *step);

/* One step of one type, up or down by any distance. @migrate reads @from and fills @to, which is initialised and empty; it
 * may share @from's memory and sf_step_alloc()ed memory. Unknown fields are carried over by the walk, also in between. */
struct sf_migration {
	const char *type;
	uint32_t from, to;
	const ProtobufCMessageDescriptor *from_descriptor, *to_descriptor; /* NULL where only the path matters */
	int (*migrate)(struct sf_step *step, const ProtobufCMessage *from, ProtobufCMessage *to, void *arg);
	void *arg;
	void *context; /* for sf_step_context(): what migrations of all types share; NULL: nothing */
};

enum sf_path { SF_PATH_FOUND = 0, SF_PATH_NONE = 1, SF_PATH_AMBIGUOUS = 2 };

/**
 * sf_path_find() - Find the steps that lead a type from one schema version to another, always in one direction.
 * @ret_steps: @cap indices into @migrations, in order; *@ret_n of them (0 when from == to).
 *
 * The path with the fewest steps is taken; among equally short ones, the one whose steps are longer first. Two migrations with
 * equal (type, from, to) are SF_PATH_AMBIGUOUS.
 * Return: an enum sf_path; SF_PATH_NONE explains in @why which version the walk got stuck at.
 */
int sf_path_find(const struct sf_migration *migrations, size_t n, const char *type, uint32_t from, uint32_t to,
		 size_t *ret_steps, size_t cap, size_t *ret_n, struct why *why);

/* A plan turns records of one set of schemas into messages of another. */
struct sf_plan;

/**
 * sf_plan_new() - Plan for every schema in @have the way to the schema of the same name in @want.
 * @have: the schemas that records come in; descriptors may be NULL where a migration or @want supplies them.
 *
 * Copies what it needs except descriptors, names and migrations, which must outlive it.
 * Return: 0; -ENOENT: no path, or @want lacks a type of @have (named in @why); -EEXIST: ambiguous; -EPROTO: equal
 * versions but different known fingerprints.
 */
int sf_plan_new(const struct sf_schema *have, size_t n_have, const struct sf_schema *want, size_t n_want,
		const struct sf_migration *migrations, size_t n_migrations, struct sf_plan **ret_plan, struct why *why);

/** sf_plan_unpack() - Unpack a record of have[@type] and walk it. *@ret_want is the index in @want; *@ret_message is
 * borrowed until the next call on the plan. Return: 0 or -errno (record type and step named in @why). */
int sf_plan_unpack(struct sf_plan *plan, size_t type, const uint8_t *data, size_t size_bytes, size_t *ret_want,
		   const ProtobufCMessage **ret_message, struct why *why);

/** sf_plan_convert() - Walk a message in memory of have[@type], as the saving side does that goes down. Otherwise as
 * sf_plan_unpack(). */
int sf_plan_convert(struct sf_plan *plan, size_t type, const ProtobufCMessage *message, size_t *ret_want,
		    const ProtobufCMessage **ret_message, struct why *why);
struct sf_plan *sf_plan_free(struct sf_plan *plan); /* NULL allowed; returns NULL */
