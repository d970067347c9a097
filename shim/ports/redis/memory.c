/* SPDX-License-Identifier: MIT */
/* Clients wait for each page of memory that is touched for the first time while keys are loaded. So the heap grows to what
 * will be needed before, while the other version serves. */
#include <private.h>

#include <malloc.h>

#define KEY_BYTES 128u /* that a key takes beside the bytes of its record: entry, object, headers */
#define STEP (64u << 20) /* after which it says that it gets on */
#define PAGE 4096u
#define MMAP_MAX 65536	      /* glibc's defaults */
#define TRIM_THRESHOLD 131072

void memory_touch(void)
{
	uint64_t records, bytes, room;
	volatile char *block;

	/* The bytes are 0 where the other version has never saved: then this is the keys' own. */
	if (upg_expected(upg, "redis.Key", &records, &bytes) < 0 || records == 0)
		return;
	room = bytes + records * KEY_BYTES;
	mallopt(M_MMAP_MAX, 0); /* from the heap, which stays when the block is let go of */
	mallopt(M_TRIM_THRESHOLD, -1);
	block = ztrymalloc((size_t)room);
	/* Written to and not only asked for (MADV_POPULATE_WRITE): below a hypervisor that keeps page tables of its own, that alone
	 * is what makes the next access cheap. */
	for (uint64_t at = 0; block && at < room; at += PAGE) {
		block[at] = 0;
		if (at % STEP == 0)
			upg_progress(upg, "touching memory");
	}
	zfree((char *)block);
	mallopt(M_MMAP_MAX, MMAP_MAX);
}

void memory_is_taken(void)
{
	mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD);
}
