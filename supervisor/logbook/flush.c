/* SPDX-License-Identifier: MIT */
/* What is in the file comes to the disk: a thread waits for it, as a disk that is busy may take seconds. One flush is under way
 * at a time; what is written meanwhile is flushed by the next one. */
#include "supervisor/logbook/private.h"

#include "base/fd.h"
#include "base/loop.h"

#include <errno.h>
#include <fcntl.h>

/* A file is made anew when it is larger than the first and more than so many times what is in force. */
#define COMPACT_BYTES ((size_t)64 << 10)
#define COMPACT_TIMES 4u

bool book_wants_compaction(const struct logbook *book)
{
	return book->size_bytes > COMPACT_BYTES && book->size_bytes / COMPACT_TIMES > book_bytes(book) &&
	       book->size_bytes > book->compact_over;
}

/* In the thread. */
static void flush_run(struct work *work)
{
	struct logbook *book = container_of(work, struct logbook, work);
	const struct logbook_disk *disk = book->disk;
	int r;

	if (book->flush == FLUSH_NEW)
		r = disk->fsync(book->fresh.fd);
	else
		r = disk->fdatasync(book->fd);
	if (r == 0 && book->flush == FLUSH_NAME)
		r = disk->fsync(book->folder_fd);
	book->flushed = r < 0 ? -errno : 0;
}

static void get_stuck(struct logbook *book, int rc, const struct why *why)
{
	book->stuck = rc;
	book->trouble = *why;
}

/* It is no loss if compaction fails: the file is whole, and grows on. */
static void new_failed(struct logbook *book, int rc, const struct why *why)
{
	if (book->trusted && book->writable)
		book->compact_over = book->size_bytes + book->size_bytes / 4;
	else
		get_stuck(book, rc, why);
}

static void new_flushed(struct logbook *book)
{
	struct why why = { 0 };
	int r = book->fresh.failed ? book->fresh.failed : book->flushed;

	if (r < 0) {
		(void)book_why(book, r, "a new one could not be written", &why);
		book_new_drop(book);
	} else {
		r = book_new_name(book, &why);
	}
	if (r < 0)
		new_failed(book, r, &why);
}

static void name_flushed(struct logbook *book)
{
	struct why why = { 0 };

	if (book->flushed == 0) {
		book->named = true;
		book->safe = book->covers;
		return;
	}
	/* One that lay there is made anew; another one after a new one would fail as well. */
	book->trusted = false;
	(void)book_why(book, book->flushed, "a new one has its name, but perhaps not on the disk", &why);
	if (book->is_new)
		get_stuck(book, book->flushed, &why);
}

static void flush_end(struct logbook *book)
{
	book->busy = false;
	book->folder_fd = fd_close(book->folder_fd);
	switch (book->flush) {
	case FLUSH_NEW:
		new_flushed(book);
		break;
	case FLUSH_NAME:
		name_flushed(book);
		break;
	case FLUSH_FILE:
		if (book->flushed == 0)
			book->safe = book->covers;
		else /* nothing that is read back proves anything: a new one */
			book->trusted = false;
		break;
	}
}

static void on_flushed(struct work *work)
{
	struct logbook *book = container_of(work, struct logbook, work);

	flush_end(book);
	book_flush(book);
}

static void flush_begin(struct logbook *book, enum book_flush flush)
{
	book->busy = true;
	book->flush = flush;
	book->covers = book->made;
	if (book->worker) {
		worker_give(book->worker, &book->work, flush_run, on_flushed);
	} else {
		flush_run(&book->work);
		flush_end(book);
	}
}

/* Return: was there anything to be done? */
static bool take_step(struct logbook *book)
{
	bool needs_new = !book->trusted || !book->writable;
	struct why why = { 0 };
	int r;

	if (book->fresh.fd >= 0) {
		flush_begin(book, FLUSH_NEW);
	} else if (needs_new || book_wants_compaction(book)) {
		r = book_new_begin(book, &why);
		if (r < 0)
			new_failed(book, r, &why);
	} else if (!book->named) {
		book->folder_fd = open(book->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (book->folder_fd >= 0) {
			flush_begin(book, FLUSH_NAME);
		} else {
			r = book_why(book, -errno, "its folder could not be opened", &why);
			get_stuck(book, r, &why);
		}
	} else if (book->safe < book->made) {
		flush_begin(book, FLUSH_FILE);
	} else {
		return false;
	}
	return true;
}

static void tell(struct logbook *book)
{
	bool again = book->in_trouble;

	if (!book->events)
		return;
	book->in_trouble = book->stuck;
	if (book->stuck)
		book->events->on_trouble(book->owner, &book->trouble, again);
	else if (again)
		book->events->on_well(book->owner);
}

void book_flush(struct logbook *book)
{
	while (!book->busy && !book->stuck && take_step(book))
		;
	if (!book->busy)
		tell(book);
}

int logbook_flush_wait(struct logbook *book, struct why *why)
{
	struct worker *worker = book->worker;

	book->stuck = 0;
	/* Without one, what follows is done here and now, also by on_flushed(). */
	book->worker = NULL;
	if (book->busy)
		worker_wait(&book->work);
	else
		book_flush(book);
	book->worker = worker;
	if (book->stuck && why)
		*why = book->trouble;
	return book->stuck;
}
