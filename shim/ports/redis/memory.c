/* SPDX-License-Identifier: MIT */
/* Clients wait for each page of memory that is touched for the first time while keys are loaded. So the heap grows to what will be needed
 * before, while the other version serves. */
#include "shim/ports/redis/private.h"

#include <malloc.h>
#include <sys/mman.h>

#define KEY_BYTES 128u /* that a key takes beside the bytes of its record: entry, object, headers */
#define STEP (64u << 20)
#define PAGE 4096u
#define MMAP_MAX 65536	      /* glibc's defaults */
#define TRIM_THRESHOLD 131072

void memory_touch(void)
{
	uint64_t records, bytes, room;
	char *block, *at, *end;

	/* The bytes are 0 where the other version has never saved: then this is the keys' own. */
	if (upg_expected(upg, "redis.Key", &records, &bytes) < 0 || records == 0)
		return;
	room = bytes + records * KEY_BYTES;
	mallopt(M_MMAP_MAX, 0); /* from the heap, which stays when the block is let go of */
	mallopt(M_TRIM_THRESHOLD, -1);
	block = malloc((size_t)room);
	if (block) {
		at = block + (PAGE - (uintptr_t)block % PAGE);
		end = block + room;
		for (; at + PAGE <= end; at += STEP) {
			size_t left = (size_t)(end - at) / PAGE * PAGE;

			madvise(at, left < STEP ? left : STEP, MADV_POPULATE_WRITE);
			upg_progress(upg, "touching memory");
		}
		free(block);
	}
	mallopt(M_MMAP_MAX, MMAP_MAX);
}

void memory_is_taken(void)
{
	mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD);
}
