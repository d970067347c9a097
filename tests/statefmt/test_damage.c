/* SPDX-License-Identifier: MIT */
/* No damaged stream is accepted, and the reason leads to the damage. */
#include "statefmt/state.pb-c.h"
#include "tests/statefmt/stream.h"

TestSuite(statefmt_damage, .timeout = 60);

Test(statefmt_damage, every_flipped_byte_is_noticed)
{
	static const uint8_t flips[] = { 0x01, 0x80, 0xff, 0x20 };
	struct memory memory = small_stream();

	for (size_t at = 0; at < memory.size; at++) {
		for (size_t f = 0; f < sizeof(flips); f++) {
			struct why why = { "" };
			int r;

			memory.data[at] ^= flips[f];
			r = memory_drain(&memory, NULL, NULL, &why);
			cr_assert(r == -EBADMSG || r == -EMSGSIZE || r == -EPROTONOSUPPORT, "byte %zu: %d", at, r);
			cr_assert_neq(why.text[0], '\0');
			memory.data[at] ^= flips[f];
		}
	}
	cr_assert_eq(memory_drain(&memory, NULL, NULL, NULL), SF_END);
	memory_free(&memory);
}

Test(statefmt_damage, every_flipped_byte_behind_the_checksum_is_noticed_or_harmless)
{
	struct memory memory = small_stream();

	for (size_t n = 0; n < 4; n++) {
		size_t offset = frame_offset(&memory, n);
		size_t end = offset + frame_bytes(&memory, offset);

		for (size_t at = offset + SF_FRAME_HEAD_BYTES; at < end; at++) {
			int r;

			memory.data[at] ^= 0x01;
			frame_reseal(&memory, offset);
			r = memory_drain(&memory, NULL, NULL, NULL);
			/* A header with its checksum right is a header. */
			cr_assert(r == -EBADMSG || r == -EMSGSIZE || (r == SF_END && n == 0), "byte %zu: %d", at, r);
			memory.data[at] ^= 0x01;
			frame_reseal(&memory, offset);
		}
	}
	memory_free(&memory);
}

Test(statefmt_damage, every_truncation_names_where_it_ends)
{
	struct memory memory = small_stream();
	size_t size = memory.size;

	for (memory.size = 0; memory.size < size; memory.size++) {
		char where[48];
		struct why why = { "" };

		cr_assert_eq(memory_drain(&memory, NULL, NULL, &why), -EBADMSG, "at %zu", memory.size);
		snprintf(where, sizeof(where), "ends at byte %zu,", memory.size);
		cr_assert(strstr(why.text, where), "at %zu: %s", memory.size, why.text);
		cr_assert(strstr(why.text, memory.size < SF_PREAMBLE_BYTES ? "preamble" : "frame"), "%s", why.text);
	}
	memory_free(&memory);
}

Test(statefmt_damage, anything_after_the_trailer_is_refused)
{
	struct memory memory = small_stream();
	struct why why = { "" };
	size_t size = memory.size;
	char where[48];

	cr_assert_eq(memory_write(&memory, "", 1, NULL), 0);
	cr_assert_eq(memory_drain(&memory, NULL, NULL, &why), -EBADMSG);
	snprintf(where, sizeof(where), "byte %zu:", size);
	cr_assert(strstr(why.text, where) && strstr(why.text, "trailer"), "%s", why.text);
	memory_free(&memory);
}

/* A stream of the same preamble and the frames named in @order. */
static int drain_frames(const char *order, struct why *why)
{
	struct memory memory = small_stream();
	struct memory other = { .data = NULL };
	int r;

	cr_assert_eq(memory_write(&other, memory.data, SF_PREAMBLE_BYTES, NULL), 0);
	for (; *order; order++) {
		size_t offset = frame_offset(&memory, (size_t)(*order - '0'));

		cr_assert_eq(memory_write(&other, memory.data + offset, frame_bytes(&memory, offset), NULL), 0);
	}
	r = memory_drain(&other, NULL, NULL, why);
	memory_free(&other);
	memory_free(&memory);
	return r;
}

/* 0 is the header, 1 and 2 the batches, 3 the trailer. */
Test(statefmt_damage, frames_lost_doubled_or_out_of_place_are_noticed)
{
	static const char *const orders[] = { "",     "0",    "012",   "03",    "013",   "023",   "123",  "3",    "1023",
					      "3012", "0312", "01123", "01223", "00123", "01203", "0132", "3210", "01233" };
	struct why why;

	cr_assert_eq(drain_frames("0123", &why), SF_END, "%s", why.text);
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
		cr_assert_eq(drain_frames(orders[i], &why), -EBADMSG, "%s: %s", orders[i], why.text);
	/* Batches are a set: the format gives them no order, and the digest says that it is the same set. */
	cr_assert_eq(drain_frames("0213", &why), SF_END, "%s", why.text);
}

/* A lost batch, and a trailer that says so. */
Test(statefmt_damage, missing_records_are_counted_by_type)
{
	struct why why = { "" };

	cr_assert_eq(drain_frames("013", &why), -EBADMSG);
	cr_assert(strstr(why.text, "1 records of \"cached.Node\" were written, but 0 came"), "%s", why.text);
}

/* ---- trailers that disagree ---- */

static int drain_with_trailer(void (*change)(Upgraded__State__StateTrailer *trailer), struct why *why)
{
	struct memory memory = small_stream();
	size_t offset = frame_offset(&memory, 3), size;
	const uint8_t *payload = memory.data + offset + SF_FRAME_HEAD_BYTES;
	Upgraded__State__StateTrailer *trailer;
	uint8_t frame[256];
	int r;

	trailer = upgraded__state__state_trailer__unpack(NULL, sf_get_le32(memory.data + offset + 4), payload);
	cr_assert_not_null(trailer);
	change(trailer);
	size = upgraded__state__state_trailer__pack(trailer, frame + SF_FRAME_HEAD_BYTES);
	upgraded__state__state_trailer__free_unpacked(trailer, NULL);
	sf_frame_seal(frame, SF_FRAME_TRAILER, (uint32_t)size);
	memory.size = offset;
	cr_assert_eq(memory_write(&memory, frame, SF_FRAME_HEAD_BYTES + size, NULL), 0);
	r = memory_drain(&memory, NULL, NULL, why);
	memory_free(&memory);
	return r;
}

static void change_nothing(Upgraded__State__StateTrailer *trailer)
{
	(void)trailer;
}

static void change_count(Upgraded__State__StateTrailer *trailer)
{
	trailer->counts[TYPE_ITEM]++;
}

static void change_n_counts(Upgraded__State__StateTrailer *trailer)
{
	trailer->n_counts = 1;
}

static void change_records(Upgraded__State__StateTrailer *trailer)
{
	trailer->records++;
}

static void change_bytes(Upgraded__State__StateTrailer *trailer)
{
	trailer->payload_bytes--;
}

static void change_digest_lo(Upgraded__State__StateTrailer *trailer)
{
	trailer->digest_lo ^= 1;
}

static void change_digest_hi(Upgraded__State__StateTrailer *trailer)
{
	trailer->digest_hi ^= UINT64_C(1) << 63;
}

Test(statefmt_damage, a_trailer_that_disagrees_in_anything_is_refused)
{
	static const struct {
		void (*change)(Upgraded__State__StateTrailer *trailer);
		const char *say;
	} cases[] = {
		{ change_count, "3 records of \"cached.Item\" were written, but 2 came" },
		{ change_n_counts, "counts of 1 types" },
		{ change_records, "4 records were written, but 3 came" },
		{ change_bytes, "bytes of records" },
		{ change_digest_lo, "digest" },
		{ change_digest_hi, "digest" },
	};
	struct why why = { "" };

	cr_assert_eq(drain_with_trailer(change_nothing, &why), SF_END, "%s", why.text);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_assert_eq(drain_with_trailer(cases[i].change, &why), -EBADMSG, "%zu", i);
		cr_assert(strstr(why.text, cases[i].say) && strstr(why.text, "frame 4 (trailer)"), "%zu: %s", i, why.text);
	}
}

/* ---- damage with right checksums ---- */

struct poke {
	size_t at;    /* in the first record's head, or with @head in the frame's */
	bool head;
	uint8_t value;
	int status;
	const char *say;
};

Test(statefmt_damage, records_that_contradict_the_header_are_refused)
{
	static const struct poke pokes[] = {
		{ 0, false, 2, -EBADMSG, "type 2, but the header has 2" },
		{ 1, false, 1, -EBADMSG, "type 256" },
		{ 2, false, 2, -EBADMSG, "version 2 of \"cached.Item\"" },
		{ 4, false, 200, -EBADMSG, "but the batch ends after" },
		{ 7, false, 0xff, -EMSGSIZE, "over the limit" },
		{ 1, true, 1, -EBADMSG, "reserved" },
		{ 3, true, 1, -EBADMSG, "reserved" },
		{ 0, true, 'X', -EBADMSG, "kind 0x58" },
		{ 0, true, 'H', -EBADMSG, "second header" },
	};

	for (size_t i = 0; i < sizeof(pokes) / sizeof(pokes[0]); i++) {
		struct memory memory = small_stream();
		size_t offset = frame_offset(&memory, 1);
		struct why why = { "" };

		memory.data[offset + (pokes[i].head ? 0 : SF_FRAME_HEAD_BYTES) + pokes[i].at] = pokes[i].value;
		frame_reseal(&memory, offset);
		cr_assert_eq(memory_drain(&memory, NULL, NULL, &why), pokes[i].status, "%zu: %s", i, why.text);
		cr_assert(strstr(why.text, pokes[i].say) && strstr(why.text, "frame 2"), "%zu: %s", i, why.text);
		memory_free(&memory);
	}
}

/* A frame of @kind around @payload, in a stream of its own after @memory. */
static void frame_append(struct memory *memory, enum sf_frame_kind kind, const void *payload, size_t size)
{
	uint8_t frame[1024];

	cr_assert_leq(size, sizeof(frame) - SF_FRAME_HEAD_BYTES);
	if (size)
		memcpy(frame + SF_FRAME_HEAD_BYTES, payload, size);
	sf_frame_seal(frame, kind, (uint32_t)size);
	cr_assert_eq(memory_write(memory, frame, SF_FRAME_HEAD_BYTES + size, NULL), 0);
}

Test(statefmt_damage, a_batch_without_a_whole_record_is_refused)
{
	for (size_t size = 0; size < SF_RECORD_HEAD_BYTES; size++) {
		struct memory memory = small_stream();
		struct why why = { "" };

		memory.size = frame_offset(&memory, 1);
		frame_append(&memory, SF_FRAME_BATCH, "\0\0\1\0\0\0\0\0", size);
		cr_assert_eq(memory_drain(&memory, NULL, NULL, &why), -EBADMSG, "%zu", size);
		memory_free(&memory);
	}
}

static int drain_with_header(const void *payload, size_t size, struct why *why)
{
	struct memory memory = small_stream();
	int r;

	memory.size = SF_PREAMBLE_BYTES;
	frame_append(&memory, SF_FRAME_HEADER, payload, size);
	r = memory_drain(&memory, NULL, NULL, why);
	memory_free(&memory);
	return r;
}

Test(statefmt_damage, headers_that_are_no_headers_are_refused)
{
	static const struct {
		const char *bytes;
		size_t size;
		const char *say;
	} cases[] = {
		{ "", 0, "names no type" },
		{ "\xff\xff\xff", 3, "not a StateHeader" },
		{ "\x1a\x05\x0a\x01t\x10\x01", 7, "ends at byte" }, /* a whole header; then the stream ends */
		{ "\x1a\x07\x0a\x01t\x10\x80\x80\x04", 9, "version 65536" },
		{ "\x1a\x03\x0a\x01t", 5, "version 0" },
		{ "\x1a\x02\x10\x01", 4, "no name" },
		{ "\x1a\x05\x0a\x01\x1b\x10\x01", 7, "printable" },
		{ "\x1a\x07\x0a\x03t\0u\x10\x01", 9, "zero byte" },
		{ "\x1a\x05\x0a\x01t\x10\x01\x1a\x05\x0a\x01t\x10\x02", 14, "appears twice" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct why why = { "" };

		cr_assert_eq(drain_with_header(cases[i].bytes, cases[i].size, &why), -EBADMSG, "%zu: %s", i, why.text);
		cr_assert(strstr(why.text, cases[i].say), "%zu: %s", i, why.text);
	}
}

/* What is reserved for descriptors today must not stop a reader of today. */
Test(statefmt_damage, fields_a_header_may_have_later_are_skipped)
{
	struct why why = { "" };

	cr_assert_eq(drain_with_header("\x1a\x05\x0a\x01t\x10\x01\x22\x04" "data", 13, &why), -EBADMSG);
	cr_assert(strstr(why.text, "before frame 2, without a trailer"), "%s", why.text);
}

Test(statefmt_damage, a_newer_format_is_refused_by_name)
{
	struct memory memory = small_stream();
	struct why why = { "" };

	memory.data[SF_MAGIC_BYTES] = 2;
	cr_assert_eq(memory_drain(&memory, NULL, NULL, &why), -EPROTONOSUPPORT);
	cr_assert(strstr(why.text, "format version 2"), "%s", why.text);
	memory_free(&memory);
}

/* ---- failures stick, and are passed on ---- */

Test(statefmt_damage, a_failure_is_returned_again)
{
	struct memory memory = small_stream();
	struct sf_reader *reader;
	struct sf_record record;
	struct why why = { "" }, again = { "" };

	memory.data[frame_offset(&memory, 1) + 8] ^= 1;
	cr_assert_eq(sf_reader_new(NULL, memory_read, &memory, &reader, NULL), 0);
	cr_assert_eq(sf_reader_next(reader, &record, &why), -EBADMSG);
	cr_assert(strstr(why.text, "frame 2 (batch) at byte") && strstr(why.text, "checksum"), "%s", why.text);
	cr_assert_eq(sf_reader_next(reader, &record, &again), -EBADMSG);
	cr_assert_str_eq(why.text, again.text);
	sf_reader_free(reader);
	memory_free(&memory);
}

static ssize_t broken_read(void *arg, void *buffer, size_t size_bytes, struct why *why)
{
	struct memory *memory = arg;

	if (memory->at >= 100)
		return memory->piece ? why_set(why, -EIO, "the disk is on fire") : -EPIPE;
	return memory_read(memory, buffer, size_bytes < 20 ? size_bytes : 20, why);
}

Test(statefmt_damage, a_failing_read_is_passed_on_with_its_reason)
{
	struct memory memory = small_stream();
	struct sf_reader *reader = NULL;
	struct why why = { "" };

	memory.piece = 20;
	cr_assert_eq(frame_offset(&memory, 1) > 100, false, "the header is read before the failure");
	cr_assert_eq(sf_reader_new(NULL, broken_read, &memory, &reader, &why), 0, "%s", why.text);
	for (int r = SF_RECORD; r >= 0;) {
		struct sf_record record;

		r = sf_reader_next(reader, &record, &why);
		cr_assert(r == SF_RECORD || r == -EIO, "%d", r);
	}
	cr_assert(strstr(why.text, "at byte") && strstr(why.text, "on fire"), "%s", why.text);
	sf_reader_free(reader);
	memory.at = memory.piece = 0;
	cr_assert_eq(sf_reader_new(NULL, broken_read, &memory, &reader, &why), 0);
	for (int r = SF_RECORD; r >= 0;) {
		struct sf_record record;

		r = sf_reader_next(reader, &record, &why);
		cr_assert(r == SF_RECORD || r == -EPIPE, "%d", r);
	}
	cr_assert(strstr(why.text, "Broken pipe"), "%s", why.text);
	sf_reader_free(reader);
	memory_free(&memory);
}
