/* SPDX-License-Identifier: MIT */
/* The bytes of the file, without the file: header and frames, written, and found again in any bytes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BOOK_FORMAT 1u
#define BOOK_WRITER_BYTES 32u
#define BOOK_HEADER_BYTES 64u
#define BOOK_HEAD_BYTES 20u /* of a frame */

struct book_header {
	uint32_t format;
	uint32_t book;
	bool lacking; /* entries were lost before it was made, and nobody has looked for them since */
	char writer[BOOK_WRITER_BYTES + 1];
};

void book_header_put(uint8_t at[BOOK_HEADER_BYTES], const struct book_header *header);

/** book_header_get() - Return: false: it is none, or damaged. Of another format: true. */
bool book_header_get(const uint8_t *data, size_t size_bytes, struct book_header *ret_header);

/** book_frame_seal() - Fill in the head of @frame, whose @length bytes of payload already follow it. */
void book_frame_seal(uint8_t *frame, uint32_t book, uint64_t sequence, size_t length);

struct book_frame {
	size_t at; /* of its head */
	uint64_t sequence;
	const uint8_t *payload;
	size_t length;
};

/* A walk over the frames of a file. */
struct book_scan {
	const uint8_t *data;
	size_t size_bytes;
	size_t at;         /* where the next frame is expected; at the end: behind the last whole one */
	uint64_t sequence; /* which one is expected */
	uint32_t book;
	bool any_book;     /* the header is damaged: the first whole frame says which book it is */

	uint64_t damages;  /* places at which whole frames follow something that is none, or one is left out */
	size_t damaged_at; /* the first of them */
	uint64_t lost;     /* entries that were there, by their sequence numbers */
};

/** book_scan_next() - Find the next whole frame. @ret_frame: borrows from the bytes that are walked. Return: is there one? */
bool book_scan_next(struct book_scan *scan, struct book_frame *ret_frame);
