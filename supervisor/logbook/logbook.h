/* SPDX-License-Identifier: MIT */
/* What must survive the supervisor: a durable map from keys to entries, in one file. What a process is called, which inode its
 * channel has, what is wanted of a service: a supervisor that was started anew reads it here.
 *
 *     header   64 bytes: "UPGLOGBK", u32 format version (1), u32 book, 32 bytes of text (the version of upgraded that made the
 *              file), u32 flags (1: entries were lost, and nobody has looked yet for what they said), 8 bytes zero, u32 CRC32C
 *              of the 60 bytes before it
 *     frame*   u32 book, u32 length, u64 sequence number, u32 CRC32C of the 16 bytes before it and the payload, then the
 *              payload: an Entry of logbook.proto, packed
 *
 * All integers little-endian. Sequence numbers begin at 1 and have no gaps. `book` is a random number, the same in header and
 * frames: where the middle of a file is damaged, the next whole frame is found by it, and bytes inside of an entry are not taken
 * for one.
 * Every format keeps the header's shape, so that each version can say which one wrote the file.
 *
 * The file grows at its end. When it is much larger than what is in force, a new file takes its place (compaction).
 * What is written is in the file when logbook_write() returns: a supervisor that is killed leaves it to the next one. It comes to
 * the disk, where it outlives the machine, a little later: a thread waits for that, as a disk that is busy may take seconds.
 * Not thread-safe.
 */
#pragma once

#include "supervisor/logbook/logbook.pb-c.h"

#include <stdbool.h>
#include <stdint.h>

struct logbook;
struct worker;
struct why;

#define LOGBOOK_NAME "logbook"
#define LOGBOOK_ENTRY_BYTES ((size_t)1 << 20)     /* an entry, packed */
#define LOGBOOK_IN_FORCE_BYTES ((size_t)16 << 20) /* all entries in force, with their frames */

enum logbook_found {
	LOGBOOK_NEW,           /* there was no file */
	LOGBOOK_WHOLE,
	LOGBOOK_TORN,          /* what was being written when the supervisor or the machine ended was cut off */
	/* All whole entries are in force, others are lost; the file was kept beside as logbook.damaged-N. Where the machine ended
	 * before the disk had several entries, it may have the later ones only: that looks the same. */
	LOGBOOK_DAMAGED,
	LOGBOOK_OTHER_VERSION, /* nothing of it is in force; the file was kept beside as logbook.other-N */
};

/**
 * logbook_open() - Read FOLDER/logbook, or make it.
 * @folder:    borrowed; it is there. The caller holds a lock in it, so that nobody else opens the book.
 * @ret_book:  owned by the caller; release with logbook_free().
 * @ret_found: what was found.
 * @why:       with TORN, DAMAGED and OTHER_VERSION, too: where, what is lost, and what the old file is called now.
 *
 * Where a book could be read, but not be mended, for instance as the disk is full, it is open nevertheless: @why says that, and
 * each logbook_write() tries again and fails until it succeeds. It waits for the disk where a new file is made: for NEW, DAMAGED
 * and OTHER_VERSION.
 *
 * Return: 0; -EPERM: somebody else can write to the file or the folder (base/trust.h); -ELOOP or -EINVAL: not a regular file;
 * -errno.
 */
int logbook_open(const char *folder, struct logbook **ret_book, enum logbook_found *ret_found, struct why *why);

/** logbook_look() - Could logbook_open() read FOLDER/logbook? Nothing is changed, and no lock is needed. Return: 0, also where
 * there is none, or one that is damaged: that would be mended; -EPROTO: it is of another format; -errno as of logbook_open(). */
int logbook_look(const char *folder, struct why *why);

/**
 * logbook_each() - Call @fn for each entry in force, in the order of their first writing.
 * @fn: may not write to the book. An entry of a kind that a later version invented has a what_case of 0. Not 0 ends the walk.
 *
 * Return: 0; what @fn returned; -ENOMEM.
 */
int logbook_each(const struct logbook *book, int (*fn)(void *arg, const Upgraded__Logbook__Entry *entry), void *arg);

struct logbook_list {
	Upgraded__Logbook__Entry **entries;
	size_t n;
};

/** logbook_list() - The entries in force that are @wanted (NULL: all), as copies: the book may be written while they are gone
 * through. @ret: release with logbook_list_done(), also after a failure. Return: 0; -ENOMEM. */
int logbook_list(const struct logbook *book, bool (*wanted)(const void *arg, const Upgraded__Logbook__Entry *entry),
		 const void *arg, struct logbook_list *ret);
void logbook_list_done(struct logbook_list *list);

/**
 * logbook_write() - Make @entry be in force. When this returns 0, the file has it, and it is on its way to the disk.
 *
 * A process takes the place of the one with its serial, a service of the one with its name; *_gone ends it. Whoever changes an
 * entry that logbook_each() gave to it, writes back what it does not know of it as well (protobuf-c keeps that in the message).
 * It waits for the disk only where the file is damaged, was removed, or is as large as it may become: then a new one is made first.
 *
 * Return: 0; -EINVAL: the entry has no kind, or no key; -EMSGSIZE: it is over LOGBOOK_ENTRY_BYTES, or the book would be over
 * LOGBOOK_IN_FORCE_BYTES; -errno of the disk. When it failed, the entry is not in the book, and what it would have replaced is.
 */
int logbook_write(struct logbook *book, const Upgraded__Logbook__Entry *entry, struct why *why);

/* They may not write to the book. */
struct logbook_events {
	/* The disk does not take what was written, and no new file either: it would be lost if the machine ends, and, as the kernel
	 * need not keep what it could not write, it may be if the supervisor does. @again: as the last time. */
	void (*on_trouble)(void *owner, const struct why *why, bool again);
	/* After trouble: all that was written is on the disk. */
	void (*on_well)(void *owner);
};

/** logbook_is_complete() - Had the file all that was ever written, when it was opened? Not where there was none, and not where it
 * was lost or damaged earlier and nobody has called logbook_rebuilt() since. */
bool logbook_is_complete(const struct logbook *book);

/** logbook_rebuilt() - What could be had of lost entries is written again: the next one to open the book need not look for it.
 * Return: as of logbook_write(). */
int logbook_rebuilt(struct logbook *book, struct why *why);

/** logbook_place() - Return: the real path of its folder; borrowed. */
const char *logbook_place(const struct logbook *book);

/** logbook_now_us() - For the written_us of an entry. */
uint64_t logbook_now_us(void);

/** logbook_flush_by() - Let @worker wait for the disk from now on; before, the caller of each function waits. What is there is
 * flushed, into a new file: nobody knows what the disk refused to a supervisor that was there before.
 * @worker, @events, @owner: borrowed until logbook_free(); @events may be NULL. */
void logbook_flush_by(struct logbook *book, struct worker *worker, const struct logbook_events *events, void *owner);

/** logbook_flush() - Try again what the disk did not take. logbook_write() does that as well. */
void logbook_flush(struct logbook *book);

/** logbook_flush_wait() - As logbook_flush(), and wait until there is nothing more to be done. Return: 0; -errno, with words: what
 * the disk did not take would be lost if the machine ends. */
int logbook_flush_wait(struct logbook *book, struct why *why);

/** logbook_is_safe() - Is all that was written on the disk? */
bool logbook_is_safe(const struct logbook *book);

/** logbook_is_busy() - Is the disk being waited for? */
bool logbook_is_busy(const struct logbook *book);

/** logbook_free() - Close the book, after a flush that is under way. NULL is allowed. Return: NULL. */
struct logbook *logbook_free(struct logbook *book);
