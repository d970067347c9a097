/* SPDX-License-Identifier: MIT */
#include "base/fd.h"
#include "base/text.h"
#include "base/trust.h"
#include "base/why.h"
#include "supervisor/logbook/bytes.h"
#include "supervisor/logbook/private.h"
#include "wire/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Larger it never becomes, whatever fails; more than that is not read. */
#define FILE_BYTES (LOGBOOK_IN_FORCE_BYTES * 6)

/* What was read, and what became of it. */
struct reading {
	uint8_t *data;
	size_t size_bytes;
	size_t unreadable; /* bytes that the disk did not give */
	size_t beyond;     /* bytes that no book can have */

	struct book_header header;
	bool headless;
	struct book_scan scan;
	uint64_t n_whole, n_senseless; /* frames; those that hold no entry */
	size_t senseless_at;
};

/* ---- opening ---- */

/* One frame. Return: 0 or -ENOMEM. */
static int take_frame(struct logbook *book, struct reading *reading, const struct book_frame *frame)
{
	struct entries_change change;
	Upgraded__Logbook__Entry *entry;
	ProtobufCMessage *message;
	int r = wire_unpack(&upgraded__logbook__entry__descriptor, frame->length, frame->payload, &message);

	reading->n_whole++;
	/* Memory that is out makes no damage of what is whole: the entry would be forgotten. */
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		if (reading->n_senseless++ == 0)
			reading->senseless_at = frame->at;
		return 0;
	}
	entry = (Upgraded__Logbook__Entry *)message;
	r = entries_prepare(&book->entries, entry, frame->payload, frame->length, &change);
	if (r == 0)
		entries_commit(&book->entries, &change);
	upgraded__logbook__entry__free_unpacked(entry, NULL);
	return r;
}

/* All frames of a file of our format. */
static int take_all(struct logbook *book, struct reading *reading, struct why *why)
{
	struct book_frame frame;
	int r = 0;

	reading->scan = (struct book_scan){
		.data = reading->data,
		.size_bytes = reading->size_bytes,
		/* One that is shorter than its header has no frames. */
		.at = reading->size_bytes < BOOK_HEADER_BYTES ? reading->size_bytes : BOOK_HEADER_BYTES,
		.sequence = 1,
		.book = reading->header.book,
		.any_book = reading->headless,
	};
	while (r == 0 && book_scan_next(&reading->scan, &frame))
		r = take_frame(book, reading, &frame);
	if (r < 0)
		return book_why(book, r, "it could not be read", why);
	book->number = reading->scan.book;
	book->sequence = reading->scan.sequence;
	book->size_bytes = reading->scan.at;
	return 0;
}

static enum logbook_found judge(const struct reading *reading)
{
	if (reading->headless || reading->unreadable || reading->beyond || reading->scan.damages || reading->n_senseless)
		return LOGBOOK_DAMAGED;
	return reading->scan.at < reading->size_bytes ? LOGBOOK_TORN : LOGBOOK_WHOLE;
}

/* What is wrong with a damaged file, and what it costs. */
static void tell_damage(const struct logbook *book, const struct reading *reading, struct why *why)
{
	const struct book_scan *scan = &reading->scan;
	uint64_t lost = scan->lost + reading->n_senseless;
	size_t at = scan->damages ? scan->damaged_at : scan->at;
	char much[28], few[28];

	if (reading->n_senseless && reading->senseless_at < at)
		at = reading->senseless_at;
	if (reading->headless)
		at = 0;
	(void)why_set(why, 0, "%s is damaged at byte %zu%s, or the machine ended before the disk had what was written last; "
		      "entries lost: %s%s; whole ones, all of which are used: %s",
		      book->path, at, reading->headless ? ", in its header" : "", text_count(few, sizeof(few), lost),
		      scan->at < reading->size_bytes || reading->beyond ? ", and perhaps some at its end" : "",
		      text_count(much, sizeof(much), reading->n_whole - reading->n_senseless));
	if (reading->unreadable)
		(void)why_set(why, 0, "%s; %zu bytes could not be read from the disk", why->text, reading->unreadable);
	if (reading->beyond)
		(void)why_set(why, 0, "%s; it is larger than a logbook can be", why->text);
}

static void tell_torn(const struct logbook *book, const struct reading *reading, struct why *why)
{
	(void)why_set(why, 0, "%s: what comes at byte %zu was being written when upgraded or the machine ended; these %zu bytes "
		      "were cut off",
		      book->path, book->size_bytes, reading->size_bytes - book->size_bytes);
}

static void tell_kept(const struct logbook *book, struct why *why)
{
	if (*book->kept)
		(void)why_set(why, 0, "%s; the file was kept as %s", why->text, book->kept);
}

/* The file is made one to which can be appended. What the supervisor before us wrote, and the name that it gave to the file, may be
 * in memory only: it was killed before the disk had them. From here on they count, so they have to come to the disk; but nobody
 * waits for that, as services are without a supervisor until we are there. */
static void mend(struct logbook *book, enum logbook_found found, const struct reading *reading, struct why *why)
{
	struct why failed = { 0 };
	int r;

	if (found == LOGBOOK_DAMAGED) {
		tell_damage(book, reading, why);
		book->aside = "damaged";
	} else if (found == LOGBOOK_TORN) {
		tell_torn(book, reading, why);
	}
	book->writable = found == LOGBOOK_WHOLE ||
			 (found == LOGBOOK_TORN && book->disk->ftruncate(book->fd, (off_t)book->size_bytes) == 0);
	book->trusted = true;
	r = book->writable ? 0 : logbook_flush_wait(book, &failed);
	tell_kept(book, why);
	if (r < 0 && !book->writable)
		(void)why_set(why, 0, "%s%snothing can be written yet: %s", why->text, *why->text ? "; " : "", failed.text);
}

/* A file of another format: nothing in it is ours to read. */
static int leave_other(struct logbook *book, const struct reading *reading, struct why *why)
{
	char writer[sizeof(reading->header.writer)];
	int r;

	memcpy(writer, reading->header.writer, sizeof(writer));
	text_tame(writer, strlen(writer));
	book->aside = "other";
	book->lacking = true;
	r = logbook_flush_wait(book, why);
	if (r < 0)
		return why_prefix(why, r, "a logbook of format %u, by upgraded %s", reading->header.format, writer);
	(void)why_set(why, 0, "%s was written by upgraded %s in format %u; this one reads format %u", book->path, writer,
		      reading->header.format, BOOK_FORMAT);
	tell_kept(book, why);
	return 0;
}

static int take_file(struct logbook *book, struct reading *reading, enum logbook_found *ret_found, struct why *why)
{
	int r;

	reading->headless = !book_header_get(reading->data, reading->size_bytes, &reading->header);
	if (!reading->headless && reading->header.format != BOOK_FORMAT) {
		*ret_found = LOGBOOK_OTHER_VERSION;
		return leave_other(book, reading, why);
	}
	r = take_all(book, reading, why);
	if (r < 0)
		return r;
	*ret_found = judge(reading);
	book->lacking = *ret_found == LOGBOOK_DAMAGED || reading->header.lacking;
	mend(book, *ret_found, reading, why);
	return 0;
}

static int read_file(struct logbook *book, const struct stat *st, enum logbook_found *ret_found, struct why *why)
{
	size_t size_bytes = (size_t)st->st_size < FILE_BYTES ? (size_t)st->st_size : FILE_BYTES;
	struct reading reading = { .data = malloc(size_bytes + 1), .beyond = (size_t)st->st_size - size_bytes };
	int r = reading.data ? 0 : -ENOMEM;

	if (r == 0)
		r = disk_read(book->disk, book->fd, reading.data, size_bytes, &reading.size_bytes, &reading.unreadable);
	r = r < 0 ? book_why(book, r, "it could not be read", why) : take_file(book, &reading, ret_found, why);
	free(reading.data);
	return r;
}

/* A device or a pipe in its place must not keep us waiting. */
static int open_file(struct logbook *book, int folder, struct stat *ret_st, struct why *why)
{
	int r;

	book->fd = book->disk->openat(folder, LOGBOOK_NAME, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
	if (book->fd < 0)
		return errno == ENOENT ? 0 : book_why(book, -errno, "it could not be opened", why);
	r = fstat(book->fd, ret_st) < 0 ? -errno : 0;
	if (r < 0)
		return book_why(book, r, "it could not be looked at", why);
	if (!S_ISREG(ret_st->st_mode))
		return why_set(why, -EINVAL, "%s is not a regular file; remove it", book->path);
	return trust_stat(ret_st, book->path, why);
}

static int open_in(struct logbook *book, enum logbook_found *ret_found, struct why *why)
{
	FD_CLEANUP int folder = open(book->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	int r;

	if (folder < 0 || fstat(folder, &st) < 0)
		return book_why(book, -errno, "its folder could not be opened", why);
	r = trust_stat(&st, book->folder, why);
	if (r == 0)
		r = open_file(book, folder, &st, why);
	if (r < 0)
		return r;
	if (book->fd >= 0)
		return read_file(book, &st, ret_found, why);
	*ret_found = LOGBOOK_NEW;
	book->lacking = true; /* from its first byte on: we may be killed before anybody has looked */
	return logbook_flush_wait(book, why);
}

static void release(struct logbook *book)
{
	book_new_drop(book);
	fd_close(book->fd);
	entries_done(&book->entries);
	free(book->folder);
	free(book->place);
	free(book->path);
	free(book);
}

int logbook_open_on(const struct logbook_disk *disk, const char *folder, struct logbook **ret_book,
		    enum logbook_found *ret_found, struct why *why)
{
	struct logbook *book = calloc(1, sizeof(*book));
	enum logbook_found found = LOGBOOK_NEW;
	struct why told = { 0 };
	int r;

	if (!book || !(book->folder = strdup(folder)) || asprintf(&book->path, "%s/" LOGBOOK_NAME, folder) < 0) {
		if (book)
			free(book->folder);
		free(book);
		return why_errno(why, -ENOMEM, "%s/" LOGBOOK_NAME, folder);
	}
	book->disk = disk;
	book->fd = book->fresh.fd = book->folder_fd = -1;
	book->made = 1; /* what is found */
	r = open_in(book, &found, &told);
	if (why)
		*why = told;
	if (r == 0 && !(book->place = realpath(folder, NULL)))
		r = book_why(book, -errno, "its folder could not be found", why);
	if (r < 0) { /* what lies there is not touched */
		release(book);
		return r;
	}
	book->complete = !book->lacking;
	*ret_book = book;
	*ret_found = found;
	return 0;
}

int logbook_open(const char *folder, struct logbook **ret_book, enum logbook_found *ret_found, struct why *why)
{
	return logbook_open_on(&logbook_disk_real, folder, ret_book, ret_found, why);
}

/* The header is all that has to be understood: of what is behind it, whatever is whole is taken. */
static int look_at_header(const struct logbook *book, struct why *why)
{
	uint8_t data[BOOK_HEADER_BYTES];
	struct book_header header;
	size_t n = 0, unreadable = 0;
	int r = disk_read(book->disk, book->fd, data, sizeof(data), &n, &unreadable);

	if (r < 0)
		return book_why(book, r, "it could not be read", why);
	if (book_header_get(data, n, &header) && header.format != BOOK_FORMAT)
		return why_set(why, -EPROTO, "%s is of format %u; this upgraded reads format %u", book->path, header.format,
			       BOOK_FORMAT);
	return 0;
}

int logbook_look(const char *folder, struct why *why)
{
	FD_CLEANUP int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct logbook book = { .disk = &logbook_disk_real, .folder = (char *)(uintptr_t)folder, .fd = -1 };
	struct stat st;
	int r;

	if (dir < 0)
		return why_errno(why, -errno, "%s", folder);
	if (asprintf(&book.path, "%s/" LOGBOOK_NAME, folder) < 0)
		return why_errno(why, -ENOMEM, "%s", folder);
	r = open_file(&book, dir, &st, why);
	if (r == 0 && book.fd >= 0)
		r = look_at_header(&book, why);
	fd_close(book.fd);
	free(book.path);
	return r;
}

/* ---- open ---- */

bool logbook_is_complete(const struct logbook *book)
{
	return book->complete;
}

const char *logbook_place(const struct logbook *book)
{
	return book->place;
}

int logbook_each(const struct logbook *book, int (*fn)(void *arg, const Upgraded__Logbook__Entry *entry), void *arg)
{
	int r = 0;

	for (const struct entry *at = book->entries.first; at && r == 0; at = at->next) {
		ProtobufCMessage *entry = NULL;

		r = wire_unpack(&upgraded__logbook__entry__descriptor, at->size_bytes, entry_payload(at), &entry);
		if (r == 0)
			r = fn(arg, (Upgraded__Logbook__Entry *)entry);
		protobuf_c_message_free_unpacked(entry, NULL);
	}
	return r;
}

static int list_add(struct logbook_list *list, Upgraded__Logbook__Entry *entry)
{
	Upgraded__Logbook__Entry **more = reallocarray(list->entries, list->n + 1, sizeof(*more));

	if (!more)
		return -ENOMEM;
	list->entries = more;
	more[list->n++] = entry;
	return 0;
}

int logbook_list(const struct logbook *book, bool (*wanted)(const void *arg, const Upgraded__Logbook__Entry *entry),
		 const void *arg, struct logbook_list *ret)
{
	int r = 0;

	*ret = (struct logbook_list){ .n = 0 };
	for (const struct entry *at = book->entries.first; at && r == 0; at = at->next) {
		ProtobufCMessage *entry = NULL;
		bool kept;

		r = wire_unpack(&upgraded__logbook__entry__descriptor, at->size_bytes, entry_payload(at), &entry);
		kept = r == 0 && (!wanted || wanted(arg, (Upgraded__Logbook__Entry *)entry));
		if (kept)
			r = list_add(ret, (Upgraded__Logbook__Entry *)entry);
		if (!kept || r < 0)
			protobuf_c_message_free_unpacked(entry, NULL);
	}
	return r;
}

void logbook_list_done(struct logbook_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		upgraded__logbook__entry__free_unpacked(list->entries[i], NULL);
	free(list->entries);
	*list = (struct logbook_list){ .n = 0 };
}

static int check_entry(const struct logbook *book, const Upgraded__Logbook__Entry *entry, struct why *why)
{
	switch ((int)entry->what_case) { /* the generated enum has a case that is none */
	case UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS:
		return entry->process->serial ? 0 : why_set(why, -EINVAL, "%s: a process without a serial", book->path);
	case UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS_GONE:
		return entry->process_gone ? 0 : why_set(why, -EINVAL, "%s: process_gone without a serial", book->path);
	case UPGRADED__LOGBOOK__ENTRY__WHAT_SERVICE:
		return *entry->service->name ? 0 : why_set(why, -EINVAL, "%s: a service without a name", book->path);
	case UPGRADED__LOGBOOK__ENTRY__WHAT_SERVICE_GONE:
		return *entry->service_gone ? 0 : why_set(why, -EINVAL, "%s: service_gone without a name", book->path);
	case UPGRADED__LOGBOOK__ENTRY__WHAT__NOT_SET:
	default:
		return why_set(why, -EINVAL, "%s: an entry that is neither of a process nor of a service", book->path);
	}
}

/* Somebody may have removed the file, or put another one in its place: what is appended to ours would be lost. */
static bool in_place(const struct logbook *book)
{
	struct stat there, ours;

	return stat(book->path, &there) == 0 && fstat(book->fd, &ours) == 0 && there.st_dev == ours.st_dev &&
	       there.st_ino == ours.st_ino;
}

/* One write at the end. What fails half-way is no entry, cut off or not: the next one is written over it. */
static int append(struct logbook *book, const uint8_t *frame, size_t size_bytes)
{
	int r = disk_write(book->disk, book->fd, frame, size_bytes, (off_t)book->size_bytes);

	if (r < 0) {
		(void)book->disk->ftruncate(book->fd, (off_t)book->size_bytes);
		return r;
	}
	book->size_bytes += size_bytes;
	book->sequence++;
	return 0;
}

/* What is made anew meanwhile gets the entry, too. */
static void append_to_new(struct logbook *book, uint8_t *frame, size_t length)
{
	struct book_new *fresh = &book->fresh;

	if (fresh->fd < 0 || fresh->failed)
		return;
	book_frame_seal(frame, fresh->number, fresh->sequence, length);
	fresh->failed = disk_write(book->disk, fresh->fd, frame, BOOK_HEAD_BYTES + length, (off_t)fresh->size_bytes);
	fresh->size_bytes += BOOK_HEAD_BYTES + length;
	fresh->sequence++;
}

static int write_frame(struct logbook *book, uint8_t *frame, size_t length, struct why *why)
{
	size_t size_bytes = BOOK_HEAD_BYTES + length;
	int r;

	book->is_new = false;
	book->stuck = 0;
	if (!in_place(book) || size_bytes > FILE_BYTES - book->size_bytes)
		book->writable = false;
	if (!book->writable) {
		r = logbook_flush_wait(book, why);
		if (!book->writable)
			return why_prefix(why, r, "an entry was not written, as the logbook has to be made anew first");
	}
	book_frame_seal(frame, book->number, book->sequence, length);
	r = append(book, frame, size_bytes);
	if (r < 0)
		return book_why(book, r, "an entry could not be written", why);
	append_to_new(book, frame, length);
	return 0;
}

static int check_size(const struct logbook *book, const struct entries_change *change, struct why *why)
{
	size_t old = change->old ? change->old->size_bytes + BOOK_HEAD_BYTES : 0;
	size_t fresh = change->fresh ? change->fresh->size_bytes + BOOK_HEAD_BYTES : 0;

	/* What makes it smaller is always fine. */
	if (fresh <= old || book_bytes(book) - BOOK_HEADER_BYTES - old + fresh <= LOGBOOK_IN_FORCE_BYTES)
		return 0;
	return why_set(why, -EMSGSIZE,
		       "%s: with this entry of %zu bytes, more than %zu MiB would be in force; stop a service", book->path,
		       fresh - BOOK_HEAD_BYTES, LOGBOOK_IN_FORCE_BYTES >> 20);
}

static int write_packed(struct logbook *book, const Upgraded__Logbook__Entry *entry, uint8_t *frame, size_t length,
			struct why *why)
{
	struct entries_change change;
	int r = entries_prepare(&book->entries, entry, frame + BOOK_HEAD_BYTES, length, &change);

	if (r < 0)
		return book_why(book, r, "an entry could not be written", why);
	r = check_size(book, &change, why);
	if (r == 0)
		r = write_frame(book, frame, length, why);
	if (r < 0) {
		entries_drop(&change);
		return r;
	}
	entries_commit(&book->entries, &change);
	book->made++;
	book_flush(book);
	return 0;
}

int logbook_write(struct logbook *book, const Upgraded__Logbook__Entry *entry, struct why *why)
{
	size_t length;
	uint8_t *frame;
	int r = check_entry(book, entry, why);

	if (r < 0)
		return r;
	length = upgraded__logbook__entry__get_packed_size(entry);
	if (length > LOGBOOK_ENTRY_BYTES)
		return why_set(why, -EMSGSIZE, "%s: an entry of %zu bytes; %zu are possible", book->path, length,
			       LOGBOOK_ENTRY_BYTES);
	frame = malloc(BOOK_HEAD_BYTES + length);
	if (!frame)
		return book_why(book, -ENOMEM, "an entry could not be written", why);
	(void)upgraded__logbook__entry__pack(entry, frame + BOOK_HEAD_BYTES);
	r = write_packed(book, entry, frame, length, why);
	free(frame);
	return r;
}

uint64_t logbook_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* In place, as 64 bytes at the begin of a file are one sector of its disk. */
static int write_looked_for(const struct logbook *book, int fd)
{
	uint8_t data[BOOK_HEADER_BYTES];
	struct book_header header;
	size_t n = 0, unreadable = 0;
	int r = disk_read(book->disk, fd, data, sizeof(data), &n, &unreadable);

	if (r < 0)
		return r;
	if (unreadable || !book_header_get(data, n, &header))
		return -EIO;
	header.lacking = false;
	book_header_put(data, &header);
	return disk_write(book->disk, fd, data, sizeof(data), 0);
}

int logbook_rebuilt(struct logbook *book, struct why *why)
{
	int r = book->lacking && book->writable ? write_looked_for(book, book->fd) : 0;

	if (r < 0)
		return book_why(book, r, "its header could not be written", why);
	if (!book->lacking)
		return 0;
	book->lacking = false;
	if (book->fresh.fd >= 0 && !book->fresh.failed)
		book->fresh.failed = write_looked_for(book, book->fresh.fd);
	book->made++;
	book_flush(book);
	return 0;
}

/* ---- flushed ---- */

void logbook_flush_by(struct logbook *book, struct worker *worker, const struct logbook_events *events, void *owner)
{
	book->worker = worker;
	book->events = events;
	book->owner = owner;
	book->trusted = false;
	logbook_flush(book);
}

void logbook_flush(struct logbook *book)
{
	book->stuck = 0;
	book_flush(book);
}

bool logbook_is_safe(const struct logbook *book)
{
	return book->writable && book->trusted && book->named && book->safe == book->made;
}

bool logbook_is_busy(const struct logbook *book)
{
	return book->busy;
}

struct logbook *logbook_free(struct logbook *book)
{
	if (!book)
		return NULL;
	book->events = NULL;
	/* What ends there begins no next step: the thread would have a book that is gone. */
	book->stuck = -ECANCELED;
	if (book->busy)
		worker_wait(&book->work);
	release(book);
	return NULL;
}
