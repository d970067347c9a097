/* SPDX-License-Identifier: MIT */
/* A new file in the place of the old one: for the first one, for compaction, and where the old one is damaged or not to be
 * trusted. The new file is on the disk before it gets its name. Until the name is on the disk as well, a crash of the machine may
 * bring the old file back: what is in the new one alone is not safe before that. */
#include "base/fd.h"
#include "base/why.h"
#include "supervisor/logbook/bytes.h"
#include "supervisor/logbook/private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEW_NAME LOGBOOK_NAME ".new"
#define ASIDE_MAX 1000u

int book_why(const struct logbook *book, int rc, const char *what, struct why *why)
{
	const char *next = "";

	switch (-rc) {
	case ENOSPC:
	case EDQUOT:
		next = "; make room on its file system";
		break;
	case EIO:
		next = "; the kernel's log says more about the disk";
		break;
	case EROFS:
		next = "; its file system has to be writable";
		break;
	case ELOOP:
		next = "; a symbolic link is not followed: remove it";
		break;
	case ENOENT:
		next = "; somebody removed its folder: make it anew";
		break;
	default:
		break;
	}
	return why_set(why, rc, "%s: %s: %s%s", book->path, what, strerrordesc_np(-rc), next);
}

size_t book_bytes(const struct logbook *book)
{
	return BOOK_HEADER_BYTES + book->entries.n * BOOK_HEAD_BYTES + book->entries.bytes;
}

/* Return: release with free(); NULL: memory is out. */
static uint8_t *compose(const struct logbook *book, uint32_t number)
{
	struct book_header header = { .format = BOOK_FORMAT, .book = number, .lacking = book->lacking,
				      .writer = UPGRADED_VERSION };
	uint8_t *bytes = malloc(book_bytes(book)), *at = bytes + BOOK_HEADER_BYTES;
	uint64_t sequence = 1;

	if (!bytes)
		return NULL;
	book_header_put(bytes, &header);
	for (const struct entry *entry = book->entries.first; entry; entry = entry->next) {
		memcpy(at + BOOK_HEAD_BYTES, entry_payload(entry), entry->size_bytes);
		book_frame_seal(at, number, sequence++, entry->size_bytes);
		at += BOOK_HEAD_BYTES + entry->size_bytes;
	}
	return bytes;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* By a second name, so that the first one always leads to a file. */
static int keep_aside(struct logbook *book, int folder, const char *kind, const struct stat *old, struct why *why)
{
	for (unsigned n = 1; n <= ASIDE_MAX; n++) {
		struct stat there;
		char name[sizeof(book->kept)];

		(void)snprintf(name, sizeof(name), LOGBOOK_NAME ".%.9s-%u", kind, n);
		if (book->disk->linkat(folder, LOGBOOK_NAME, folder, name, 0) < 0) {
			if (errno != EEXIST)
				return book_why(book, -errno, "it could not be kept beside under another name", why);
			/* It was kept before the supervisor ended the last time. */
			if (fstatat(folder, name, &there, AT_SYMLINK_NOFOLLOW) < 0 || !same_file(&there, old))
				continue;
		}
		strcpy(book->kept, name);
		return 0;
	}
	return why_set(why, -EEXIST, "%s: %u old ones lie beside it, up to " LOGBOOK_NAME ".%s-%u; look at them and remove them",
		       book->path, ASIDE_MAX, kind, ASIDE_MAX);
}

/* What is at our path is kept if it is damaged, of another version, or not the file that we read: somebody put it there. */
static int make_way(struct logbook *book, int folder, struct why *why)
{
	const char *kind = book->aside;
	struct stat there, ours;

	if (fstatat(folder, LOGBOOK_NAME, &there, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : book_why(book, -errno, "it could not be looked at", why);
	if (book->fd < 0 || fstat(book->fd, &ours) < 0 || !same_file(&there, &ours))
		kind = "other";
	return kind ? keep_aside(book, folder, kind, &there, why) : 0;
}

/* Return: the new file, or -errno. */
static int make_new(const struct logbook *book, int folder, const uint8_t *bytes, size_t size_bytes, struct why *why)
{
	const struct logbook_disk *disk = book->disk;
	int r, fd;

	/* One that was left when a supervisor ended. */
	if (disk->unlinkat(folder, NEW_NAME, 0) < 0 && errno != ENOENT)
		return book_why(book, -errno, NEW_NAME " beside it could not be removed", why);
	fd = disk->openat(folder, NEW_NAME, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return book_why(book, -errno, "a new one could not be made", why);
	r = disk_write(disk, fd, bytes, size_bytes, 0);
	if (r == 0)
		return fd;
	(void)disk->unlinkat(folder, NEW_NAME, 0);
	fd_close(fd);
	return book_why(book, r, "a new one could not be written", why);
}

int book_new_begin(struct logbook *book, struct why *why)
{
	FD_CLEANUP int folder = open(book->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t size_bytes = book_bytes(book);
	uint32_t number;
	uint8_t *bytes;
	int fd;

	if (folder < 0)
		return book_why(book, -errno, "its folder could not be opened", why);
	number = book->disk->chance();
	bytes = compose(book, number);
	if (!bytes)
		return book_why(book, -ENOMEM, "a new one could not be composed", why);
	fd = make_new(book, folder, bytes, size_bytes, why);
	free(bytes);
	if (fd < 0)
		return fd;
	book->fresh = (struct book_new){ .fd = fd, .size_bytes = size_bytes, .number = number, .sequence = book->entries.n + 1 };
	return 0;
}

void book_new_drop(struct logbook *book)
{
	FD_CLEANUP int folder = open(book->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (folder >= 0 && book->fresh.fd >= 0)
		(void)book->disk->unlinkat(folder, NEW_NAME, 0);
	fd_close(book->fresh.fd);
	book->fresh.fd = -1;
}

int book_new_name(struct logbook *book, struct why *why)
{
	FD_CLEANUP int folder = open(book->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = folder < 0 ? book_why(book, -errno, "its folder could not be opened", why) : make_way(book, folder, why);

	if (r == 0 && book->disk->renameat(folder, NEW_NAME, folder, LOGBOOK_NAME) < 0)
		r = book_why(book, -errno, "a new one could not take its place", why);
	if (r < 0) {
		book_new_drop(book);
		return r;
	}
	fd_close(book->fd);
	book->fd = book->fresh.fd;
	book->size_bytes = book->fresh.size_bytes;
	book->number = book->fresh.number;
	book->sequence = book->fresh.sequence;
	book->fresh.fd = -1;
	book->aside = NULL;
	book->compact_over = 0;
	book->writable = book->trusted = book->is_new = true;
	book->named = false;
	return 0;
}
