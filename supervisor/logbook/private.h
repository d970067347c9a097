/* SPDX-License-Identifier: MIT */
/* What the files of this folder know of the book. */
#pragma once

#include "supervisor/logbook/disk.h"
#include "supervisor/logbook/entries.h"

#include <stdbool.h>
#include <stdint.h>

struct logbook {
	const struct logbook_disk *disk;
	char *folder, *path;
	struct entries entries;

	int fd;              /* the file at @path; -1: none yet */
	size_t size_bytes;   /* of it, up to the end of the last entry in the book */
	uint32_t number;     /* of its header and frames */
	uint64_t sequence;   /* of the next frame */

	/* May entries be appended to it? Not after the disk failed in a way that leaves open what the file holds: pages that could
	 * not be written count as written afterwards, and what is read back is not what is on the disk. Memory has the truth. */
	bool trusted;
	const char *aside;   /* the file is to be kept under this name and a number when a new one takes its place; NULL: not */
	char kept[32];       /* under which name one was kept; "": none */
	size_t compact_over; /* after compaction failed: not before the file is larger than this */
};

/** book_rewrite() - Let a new file take the place of the present one; it holds what is in force. It is all or nothing: at any
 * moment the folder has a whole file. When this succeeds, the book is trusted. Return: 0 or -errno. */
int book_rewrite(struct logbook *book, struct why *why);

/** book_bytes() - Return: how large a new file would be. */
size_t book_bytes(const struct logbook *book);

/** book_why() - Say that @what failed with the negative errno @rc, and what to do next. Return: @rc. */
int book_why(const struct logbook *book, int rc, const char *what, struct why *why);
