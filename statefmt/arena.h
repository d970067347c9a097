/* SPDX-License-Identifier: MIT */
/* Internal to the room: memory that is taken in pieces and given back at once. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sf_chunk;

struct sf_arena {
	struct sf_chunk *chunks;     /* newest first; pieces come from it */
	uint8_t *at;
	size_t left;
	size_t total;                /* bytes of all chunks */
	size_t limit;                /* for total */
	size_t next_bytes;           /* size of the next chunk */
	bool over_limit;             /* an allocation failed for the limit, not for lack of memory */
	ProtobufCAllocator allocator; /* gives out pieces of this arena; must not outlive or be copied from it */
};

void sf_arena_init(struct sf_arena *arena);
void sf_arena_done(struct sf_arena *arena);

/** sf_arena_reset() - Give everything back, but for one chunk for the next use. @limit: bytes that the arena may grow to. */
void sf_arena_reset(struct sf_arena *arena, size_t limit);

/** sf_arena_alloc() - Take memory that is not zeroed. @align: a power of two up to 16. Return: NULL over the limit or out of
 * memory. */
void *sf_arena_alloc(struct sf_arena *arena, size_t size_bytes, size_t align);

/** sf_arena_string() - Copy @text. Return: as sf_arena_alloc(). */
char *sf_arena_string(struct sf_arena *arena, const char *text);
