/* SPDX-License-Identifier: MIT */
#include "supervisor/logbook/bytes.h"

#include "supervisor/logbook/logbook.h"

#include <endian.h>
#include <isa-l/crc.h>
#include <string.h>

/* Where a header has what. Every later format keeps this. */
#define MAGIC "UPGLOGBK"
#define MAGIC_BYTES 8u
#define FORMAT_AT 8u
#define BOOK_AT 12u
#define WRITER_AT 16u
#define FLAGS_AT 48u
#define CHECK_AT 60u

#define FLAG_LACKING 1u

/* Where a frame's head has what. */
#define LENGTH_AT 4u
#define SEQUENCE_AT 8u
#define FRAME_CHECK_AT 16u

static void put_u32(uint8_t *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, sizeof(value));
}

static void put_u64(uint8_t *at, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, sizeof(value));
}

static uint32_t get_u32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

static uint64_t get_u64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return le64toh(value);
}

/* The standard CRC32C of two pieces. The library leaves both inversions to its caller; its prototype lacks a const, but it only
 * reads. */
static uint32_t crc32c(const uint8_t *first, size_t n_first, const uint8_t *second, size_t n_second)
{
	uint32_t crc = crc32_iscsi((unsigned char *)(uintptr_t)first, (int)n_first, UINT32_MAX);

	return ~(n_second ? crc32_iscsi((unsigned char *)(uintptr_t)second, (int)n_second, crc) : crc);
}

void book_header_put(uint8_t at[BOOK_HEADER_BYTES], const struct book_header *header)
{
	memset(at, 0, BOOK_HEADER_BYTES);
	memcpy(at, MAGIC, MAGIC_BYTES);
	put_u32(at + FORMAT_AT, header->format);
	put_u32(at + BOOK_AT, header->book);
	memcpy(at + WRITER_AT, header->writer, strnlen(header->writer, BOOK_WRITER_BYTES));
	put_u32(at + FLAGS_AT, header->lacking ? FLAG_LACKING : 0);
	put_u32(at + CHECK_AT, crc32c(at, CHECK_AT, NULL, 0));
}

bool book_header_get(const uint8_t *data, size_t size_bytes, struct book_header *ret_header)
{
	if (size_bytes < BOOK_HEADER_BYTES || memcmp(data, MAGIC, MAGIC_BYTES) != 0 ||
	    get_u32(data + CHECK_AT) != crc32c(data, CHECK_AT, NULL, 0))
		return false;
	*ret_header = (struct book_header){ .format = get_u32(data + FORMAT_AT), .book = get_u32(data + BOOK_AT),
					    .lacking = get_u32(data + FLAGS_AT) & FLAG_LACKING };
	memcpy(ret_header->writer, data + WRITER_AT, BOOK_WRITER_BYTES);
	return true;
}

void book_frame_seal(uint8_t *frame, uint32_t book, uint64_t sequence, size_t length)
{
	put_u32(frame, book);
	put_u32(frame + LENGTH_AT, (uint32_t)length);
	put_u64(frame + SEQUENCE_AT, sequence);
	put_u32(frame + FRAME_CHECK_AT, crc32c(frame, FRAME_CHECK_AT, frame + BOOK_HEAD_BYTES, length));
}

/* Is there a whole frame at @at that may come next? What has no payload was never written, so zeros are no frame. */
static bool frame_get(const struct book_scan *scan, size_t at, struct book_frame *ret_frame)
{
	const uint8_t *head = scan->data + at;
	uint64_t sequence;
	size_t length;

	if (scan->size_bytes - at <= BOOK_HEAD_BYTES || (!scan->any_book && get_u32(head) != scan->book))
		return false;
	length = get_u32(head + LENGTH_AT);
	sequence = get_u64(head + SEQUENCE_AT);
	if (length < 1 || length > LOGBOOK_ENTRY_BYTES || length > scan->size_bytes - at - BOOK_HEAD_BYTES)
		return false;
	if (sequence < scan->sequence || sequence == UINT64_MAX)
		return false;
	if (get_u32(head + FRAME_CHECK_AT) != crc32c(head, FRAME_CHECK_AT, head + BOOK_HEAD_BYTES, length))
		return false;
	*ret_frame = (struct book_frame){ at, sequence, head + BOOK_HEAD_BYTES, length };
	return true;
}

bool book_scan_next(struct book_scan *scan, struct book_frame *ret_frame)
{
	struct book_frame frame;
	size_t at = scan->at;

	while (at < scan->size_bytes && !frame_get(scan, at, &frame))
		at++;
	if (at >= scan->size_bytes)
		return false;
	if (at != scan->at || frame.sequence != scan->sequence) {
		if (scan->damages++ == 0)
			scan->damaged_at = scan->at;
		scan->lost += frame.sequence - scan->sequence;
	}
	scan->any_book = false;
	scan->book = get_u32(scan->data + at);
	scan->at = at + BOOK_HEAD_BYTES + frame.length;
	scan->sequence = frame.sequence + 1;
	*ret_frame = frame;
	return true;
}
