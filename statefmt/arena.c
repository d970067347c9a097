/* SPDX-License-Identifier: MIT */
/* A bump arena. A record costs one reset and not one free for each of its fields, and the next one finds the chunk in the cache.
 *
 * After a record that needed several chunks, one chunk of their joint size (up to KEEP_BYTES) takes their place. So many records of
 * the same size soon need no allocation at all, and a single huge one does not keep its memory.
 */
#include "statefmt/arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)32 << 10)
#define KEEP_BYTES ((size_t)1 << 20)

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif

/* Under AddressSanitizer, memory that was given back must not be looked at. */
#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(at, size) ASAN_POISON_MEMORY_REGION((at), (size))
#define UNPOISON(at, size) ASAN_UNPOISON_MEMORY_REGION((at), (size))
#else
#define POISON(at, size) ((void)(at), (void)(size))
#define UNPOISON(at, size) ((void)(at), (void)(size))
#endif

struct sf_chunk {
	struct sf_chunk *next;
	size_t size_bytes;
	alignas(max_align_t) uint8_t data[];
};

static void *allocator_alloc(void *data, size_t size_bytes)
{
	/* protobuf-c asks for pointers, 64-bit scalars and messages made of them. */
	return sf_arena_alloc(data, size_bytes, sizeof(uint64_t));
}

static void allocator_free(void *data, void *pointer)
{
	(void)data;
	(void)pointer;
}

void sf_arena_init(struct sf_arena *arena)
{
	*arena = (struct sf_arena){
		.limit = SIZE_MAX,
		.next_bytes = CHUNK_BYTES,
		.allocator = { .alloc = allocator_alloc, .free = allocator_free, .allocator_data = arena },
	};
}

static void chunks_free(struct sf_arena *arena)
{
	while (arena->chunks) {
		struct sf_chunk *chunk = arena->chunks;

		arena->chunks = chunk->next;
		UNPOISON(chunk->data, chunk->size_bytes);
		free(chunk);
	}
	arena->at = NULL;
	arena->left = 0;
	arena->total = 0;
}

void sf_arena_done(struct sf_arena *arena)
{
	chunks_free(arena);
}

void sf_arena_reset(struct sf_arena *arena, size_t limit)
{
	struct sf_chunk *chunk = arena->chunks;

	arena->limit = limit;
	arena->over_limit = false;
	if (!chunk)
		return;
	if (chunk->next || arena->total > KEEP_BYTES) {
		arena->next_bytes = arena->total < KEEP_BYTES ? arena->total : KEEP_BYTES;
		chunks_free(arena);
		return;
	}
	arena->at = chunk->data;
	arena->left = chunk->size_bytes;
	POISON(chunk->data, chunk->size_bytes);
}

/* Give up the rest of the chunk in use, which is less than the piece needs. */
static bool chunk_add(struct sf_arena *arena, size_t least_bytes)
{
	size_t room = arena->limit > arena->total ? arena->limit - arena->total : 0;
	size_t size = least_bytes > arena->next_bytes ? least_bytes : arena->next_bytes;
	struct sf_chunk *chunk;

	if (least_bytes > room) {
		arena->over_limit = true;
		return false;
	}
	/* The first chunk has its usual size whatever the limit: it is what resets keep. */
	if (arena->chunks && size > room)
		size = least_bytes;
	chunk = size > PTRDIFF_MAX - sizeof(*chunk) ? NULL : malloc(sizeof(*chunk) + size);
	if (!chunk)
		return false;
	chunk->next = arena->chunks;
	chunk->size_bytes = size;
	arena->chunks = chunk;
	arena->at = chunk->data;
	arena->left = size;
	arena->total += size;
	arena->next_bytes = size < KEEP_BYTES / 2 ? size * 2 : KEEP_BYTES;
	POISON(chunk->data, size);
	return true;
}

void *sf_arena_alloc(struct sf_arena *arena, size_t size_bytes, size_t align)
{
	size_t pad = -(uintptr_t)arena->at & (align - 1);
	uint8_t *piece;

	if (!arena->at || size_bytes > arena->left || pad > arena->left - size_bytes) {
		if (!chunk_add(arena, size_bytes))
			return NULL;
		pad = 0;
	}
	piece = arena->at + pad;
	arena->at += pad + size_bytes;
	arena->left -= pad + size_bytes;
	UNPOISON(piece, size_bytes);
	return piece;
}

char *sf_arena_string(struct sf_arena *arena, const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = sf_arena_alloc(arena, size, 1);

	return copy ? memcpy(copy, text, size) : NULL;
}
