/* SPDX-License-Identifier: MIT */
/* What the files of this folder know of the book. */
#pragma once

#include "base/why.h"
#include "base/work.h"
#include "supervisor/logbook/disk.h"
#include "supervisor/logbook/entries.h"

#include <stdbool.h>
#include <stdint.h>

/* The new file, while it is being made: it holds what is in force, and each entry that is written meanwhile. */
struct book_new {
	int fd; /* -1: none is being made */
	size_t size_bytes;
	uint32_t number;
	uint64_t sequence;
	int failed; /* -errno: an entry could not be written to it */
};

enum book_flush {
	FLUSH_FILE, /* what was appended */
	FLUSH_NEW,  /* the new file, before it has the name */
	FLUSH_NAME, /* the name of what was the new file, and what was appended to it since */
};

struct logbook {
	const struct logbook_disk *disk;
	char *folder, *path;
	char *place; /* where the folder is, without links */
	bool complete; /* all entries were found when it was opened */
	bool lacking;  /* those that were not have not been looked for yet; each new file says so in its header */
	struct entries entries;

	int fd;              /* the file at @path; -1: none yet */
	size_t size_bytes;   /* of it, up to the end of the last entry in the book */
	uint32_t number;     /* of its header and frames */
	uint64_t sequence;   /* of the next frame */

	/* May entries be appended to it? Not to a damaged one, nor to one that lies somewhere else by now. */
	bool writable;
	/* Is what was flushed on the disk? Not after the disk failed in a way that leaves open what the file holds: pages that
	 * could not be written count as written afterwards, and what is read back is not what is on the disk. Memory has the
	 * truth. */
	bool trusted;
	bool named;          /* is its name on the disk? */
	bool is_new;         /* was it made since the last change? */
	const char *aside;   /* the file is to be kept under this name and a number when a new one takes its place; NULL: not */
	char kept[32];       /* under which name one was kept; "": none */
	size_t compact_over; /* after compaction failed: not before the file is larger than this */
	struct book_new fresh;

	/* Changes, counted: made; on the disk, whatever becomes of the machine. */
	uint64_t made, safe;
	struct worker *worker; /* that waits for the disk; NULL: the caller does */
	const struct logbook_events *events;
	void *owner;
	struct work work;      /* of it what follows: changed by the loop's thread only while @busy is false */
	bool busy;
	enum book_flush flush;
	uint64_t covers;       /* it makes so many of @made safe */
	int folder_fd, flushed; /* its result */
	int stuck;             /* -errno: flushing and making anew have failed, which is not tried again before the next change */
	struct why trouble;    /* and why */
	bool in_trouble;       /* the owner was told so last */
};

/** book_flush() - Bring to the disk what is not there, and make a new file where one is needed: all that can be begun now. */
void book_flush(struct logbook *book);

/** book_wants_compaction() - Is the file much larger than what is in force? */
bool book_wants_compaction(const struct logbook *book);

/** book_new_begin() - Write a new file, without a name of its own yet, that holds what is in force. Return: 0 or -errno. */
int book_new_begin(struct logbook *book, struct why *why);

/** book_new_name() - Let the new file, which is on the disk, take the place of the present one. Return: 0; -errno: it is gone,
 * and the present one stays. */
int book_new_name(struct logbook *book, struct why *why);

/** book_new_drop() - No new file. */
void book_new_drop(struct logbook *book);

/** book_bytes() - Return: how large a new file would be. */
size_t book_bytes(const struct logbook *book);

/** book_why() - Say that @what failed with the negative errno @rc, and what to do next. Return: @rc. */
int book_why(const struct logbook *book, int rc, const char *what, struct why *why);
