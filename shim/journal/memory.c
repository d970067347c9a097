/* SPDX-License-Identifier: MIT */
/* Only the process that writes gives memory out. So who has which block is kept in that process's own memory, and ends with it.
 * Fresh pages are asked for in larger pieces, just before they are written: a page fault costs ten times as much. */
#include "shim/journal/memory.h"

#include "base/why.h"
#include "shim/core/channel.h"
#include "shim/core/upg.h"
#include "shim/fds/table.h"
#include "shim/state/application.h"
#include "statefmt/statefmt.h"
#include "wire/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define SIZE_MAX_BYTES ((uint64_t)1 << 40)
#define PAGE_BYTES ((uint64_t)4096)
#define LOG_AHEAD_BYTES ((uint64_t)256 << 10)
#define BLOCK_TOUCHED_BYTES ((uint64_t)8 << 10) /* of a block: most requests need no more */

void journal_init(struct journal *journal, const struct application *application, struct channel *channel, struct fd_table *fds)
{
	*journal = (struct journal){ .application = application, .channel = channel, .fds = fds };
	changes_init(&journal->loose, sizeof(struct journal_transaction));
	pthread_mutex_init(&journal->lock, NULL);
}

static void unmap(struct journal *journal)
{
	if (journal->map)
		munmap(journal->map, journal->size_bytes);
	journal->map = NULL;
	journal->header = NULL;
	journal->records = NULL;
	for (size_t i = 0; i < JOURNAL_ORDERS; i++) {
		free(journal->blocks[i].at);
		journal->blocks[i] = (struct journal_blocks){ 0 };
	}
	free(journal->free_records);
	journal->free_records = NULL;
	journal->n_free_records = 0;
}

void journal_done(struct journal *journal)
{
	unmap(journal);
	change_ways_done(&journal->ways);
	changes_done(&journal->loose);
	pthread_mutex_destroy(&journal->lock);
}

int upg_journal_on(const struct upg *upg)
{
	return atomic_load_explicit(&upg->journal->on, memory_order_relaxed);
}

/* ---- the map ---- */

static void touch(struct journal *journal, uint64_t at, uint64_t bytes)
{
	uint64_t from = at & ~(PAGE_BYTES - 1), to = (at + bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);

	if (to > journal->size_bytes)
		to = journal->size_bytes;
	/* A kernel before 5.14 does not know this: there the pages come one by one. */
	if (from < to)
		madvise(journal->map + from, to - from, MADV_POPULATE_WRITE);
}

uint8_t *journal_log_near(struct journal *journal)
{
	uint64_t from = journal->log_touched;

	if (journal->log_head + LOG_AHEAD_BYTES / 2 < from || from + LOG_AHEAD_BYTES > journal->header->log_bytes)
		return NULL;
	journal->log_touched += LOG_AHEAD_BYTES;
	return journal->map + journal->header->log_at + from;
}

/* Without the lock, so the journal may have ended meanwhile: then this fails, or touches what needs no touching. */
void journal_log_touch(uint8_t *near)
{
	madvise(near, LOG_AHEAD_BYTES, MADV_POPULATE_WRITE);
}

static uint64_t rounded(uint64_t bytes)
{
	return (bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
}

static int divide(struct journal *journal, size_t n_types)
{
	struct journal_header *header = journal->header;
	uint64_t at = rounded(sizeof(*header)), left;

	header->format = JOURNAL_FORMAT;
	header->size_bytes = journal->size_bytes;
	header->n_types = (uint32_t)n_types;
	header->types_at = at;
	at = rounded(at + n_types * sizeof(struct journal_type));
	header->records_at = at;
	header->n_records = journal->size_bytes / 16 / sizeof(struct journal_record);
	if (header->n_records > JOURNAL_RECORDS_MAX)
		header->n_records = JOURNAL_RECORDS_MAX;
	at = rounded(at + header->n_records * sizeof(struct journal_record));
	if (at + 4 * PAGE_BYTES > journal->size_bytes)
		return -ENOSPC;
	left = journal->size_bytes - at;
	header->arena_at = at;
	header->arena_bytes = left / 8 * 3 & ~(PAGE_BYTES - 1);
	header->log_at = at + header->arena_bytes;
	header->log_bytes = (journal->size_bytes - header->log_at) & ~(PAGE_BYTES - 1);
	journal->records = (struct journal_record *)(void *)(journal->map + header->records_at);
	journal->arena_top = header->arena_at;
	journal->arena_end = header->log_at;
	atomic_store(&journal->arena_left, header->arena_bytes);
	return 0;
}

static int map(struct journal *journal, int fd, struct why *why)
{
	struct stat st;
	void *address;

	if (fstat(fd, &st) < 0)
		return why_errno(why, -errno, "journal");
	if ((uint64_t)st.st_size < JOURNAL_BYTES_MIN || (uint64_t)st.st_size > SIZE_MAX_BYTES)
		return why_set(why, -EINVAL, "a journal of %llu bytes", (unsigned long long)st.st_size);
	address = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (address == MAP_FAILED)
		return why_errno(why, -errno, "mapping the journal");
	journal->map = address;
	journal->size_bytes = (size_t)st.st_size;
	journal->header = address;
	return 0;
}

void journal_attach(struct journal *journal, int fd)
{
	struct why why = { 0 };

	if (fd < 0)
		why_set(&why, -EPROTO, "it did not come");
	else
		map(journal, fd, &why);
	if (!journal->map)
		journal_fail(journal, "%s", why.text);
}

/* Write down which types the predecessor holds, for the reader of the journal. */
static int write_types(struct journal *journal, const struct sf_header *header, struct why *why)
{
	struct journal_type *types = (struct journal_type *)(void *)(journal->map + journal->header->types_at);

	for (size_t i = 0; i < header->n_schemas; i++) {
		const struct sf_schema *schema = &header->schemas[i];

		if (strlen(schema->name) >= sizeof(types[i].name))
			return why_set(why, -ENAMETOOLONG, "the name of type %s", schema->name);
		strcpy(types[i].name, schema->name);
		types[i].version = schema->version;
		types[i].fingerprint = schema->fingerprint;
	}
	return 0;
}

static int bind(struct journal *journal, const struct sf_header *header, struct why *why)
{
	int r;

	if (header->n_schemas > JOURNAL_TYPES_MAX)
		return why_set(why, -E2BIG, "%zu types", header->n_schemas);
	r = divide(journal, header->n_schemas);
	if (r < 0)
		return why_errno(why, r, "a journal of %zu bytes", journal->size_bytes);
	r = write_types(journal, header, why);
	return r < 0 ? r : change_ways_init(&journal->ways, journal->application, header, why);
}

void journal_bind(struct journal *journal, const struct sf_header *header)
{
	struct why why = { 0 };

	if (!journal->map)
		return;
	if (bind(journal, header, &why) < 0) {
		journal_fail(journal, "%s", why.text);
		return;
	}
	touch(journal, journal->header->records_at, LOG_AHEAD_BYTES / 4);
	touch(journal, journal->header->log_at, LOG_AHEAD_BYTES);
	journal->log_touched = LOG_AHEAD_BYTES;
	journal->usable = true;
	atomic_store_explicit(&journal->header->magic, JOURNAL_MAGIC, memory_order_release);
}

/* ---- when it counts ---- */

/* While changes count, the supervisor also gets a duplicate of each descriptor that is opened: a replay needs it to go on with the
 * connection. */
static void switch_on(struct journal *journal, bool on)
{
	atomic_store(&journal->on, on);
	atomic_store(&journal->fds->announces, on);
}

void journal_begin(struct journal *journal)
{
	switch_on(journal, journal->usable);
}

/* Lock held. Unmap once the last connection has left and none will come. */
static void unmap_if_unused(struct journal *journal)
{
	if (!journal->usable && !journal->n_attached)
		unmap(journal);
}

void journal_end(struct journal *journal)
{
	pthread_mutex_lock(&journal->lock);
	switch_on(journal, false);
	journal->usable = false;
	journal->is_over = true;
	if (journal->header && journal->header->log_bytes)
		madvise(journal->map + journal->header->log_at, journal->header->log_bytes, MADV_REMOVE);
	unmap_if_unused(journal);
	pthread_mutex_unlock(&journal->lock);
}

void journal_tell(struct journal *journal)
{
	Upgraded__Wire__JournalFull full = UPGRADED__WIRE__JOURNAL_FULL__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_FULL, .journal_full = &full);

	if (!atomic_load_explicit(&journal->full_untold, memory_order_relaxed))
		return;
	pthread_mutex_lock(&journal->lock);
	if (atomic_load(&journal->full_untold)) {
		full.bytes = journal->log_head;
		/* What finds no room is told by the next upg_dispatch(). */
		if (channel_post(journal->channel, &message, NULL, 0) != WIRE_AGAIN)
			atomic_store(&journal->full_untold, false);
	}
	pthread_mutex_unlock(&journal->lock);
}

void journal_fail_locked(struct journal *journal, const char *text)
{
	/* The journal says that it is void before it is switched off: a thread that finds it off, without this lock, answers
	 * requests whose changes are nowhere, and moves connections to memory that nobody will see. */
	if (!journal->is_over && journal->map) {
		snprintf(journal->header->reason, sizeof(journal->header->reason), "%s", text);
		atomic_store(&journal->header->is_void, 1);
		atomic_store(&journal->header->magic, JOURNAL_MAGIC);
	}
	if (!journal->is_over)
		atomic_store(&journal->full_untold, true);
	journal->is_over = true;
	switch_on(journal, false);
	journal->usable = false;
}

void journal_fail(struct journal *journal, const char *fmt, ...)
{
	char text[128];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	pthread_mutex_lock(&journal->lock);
	journal_fail_locked(journal, text);
	unmap_if_unused(journal);
	pthread_mutex_unlock(&journal->lock);
	journal_tell(journal);
}

/* ---- blocks ---- */

static unsigned order_of(size_t size_bytes)
{
	return (unsigned)__builtin_ctzll(size_bytes) % JOURNAL_ORDERS;
}

/* Lock held. */
static void put_block(struct journal *journal, uint64_t at, unsigned order)
{
	struct journal_blocks *blocks = &journal->blocks[order];

	if (blocks->n == blocks->cap) {
		size_t cap = blocks->cap ? blocks->cap * 2 : 16;
		uint64_t *grown = realloc(blocks->at, cap * sizeof(*grown));

		if (!grown)
			return; /* the block is lost, for the time of a bake */
		blocks->at = grown;
		blocks->cap = cap;
	}
	blocks->at[blocks->n++] = at;
}

/* Lock held. Cut a larger free block in halves. Return: as journal_block(). */
static uint64_t cut_block(struct journal *journal, unsigned order)
{
	for (unsigned larger = order; larger < JOURNAL_ORDERS; larger++) {
		struct journal_blocks *blocks = &journal->blocks[larger];
		uint64_t at;

		if (!blocks->n)
			continue;
		at = blocks->at[--blocks->n];
		while (larger-- > order)
			put_block(journal, at + ((uint64_t)1 << larger), larger);
		return at;
	}
	return 0;
}

uint64_t journal_block(struct journal *journal, size_t size_bytes)
{
	uint64_t at = 0;
	bool fresh = false;

	if (size_bytes >= (uint64_t)1 << (JOURNAL_ORDERS - 1))
		return 0;
	pthread_mutex_lock(&journal->lock);
	if (journal->usable) {
		struct journal_blocks *blocks = &journal->blocks[order_of(size_bytes)];

		if (blocks->n) {
			at = blocks->at[--blocks->n];
		} else if (journal->arena_end - journal->arena_top >= size_bytes) {
			at = journal->arena_top;
			journal->arena_top += size_bytes;
			fresh = true;
		} else {
			at = cut_block(journal, order_of(size_bytes));
		}
	}
	if (at)
		atomic_fetch_sub(&journal->arena_left, size_bytes);
	pthread_mutex_unlock(&journal->lock);
	if (fresh)
		touch(journal, at, size_bytes < BLOCK_TOUCHED_BYTES ? size_bytes : BLOCK_TOUCHED_BYTES);
	return at;
}

void journal_unblock(struct journal *journal, uint64_t at, size_t size_bytes)
{
	pthread_mutex_lock(&journal->lock);
	put_block(journal, at, order_of(size_bytes));
	atomic_fetch_add(&journal->arena_left, size_bytes);
	pthread_mutex_unlock(&journal->lock);
}

/* ---- records ---- */

struct journal_record *journal_record_take(struct journal *journal, uint64_t *ret_serial)
{
	struct journal_record *record = NULL;

	pthread_mutex_lock(&journal->lock);
	if (journal->usable) {
		uint32_t n_used = atomic_load(&journal->header->n_used);

		if (journal->n_free_records) {
			record = &journal->records[journal->free_records[--journal->n_free_records]];
		} else if (n_used < journal->header->n_records) {
			record = &journal->records[n_used];
			atomic_store(&journal->header->n_used, n_used + 1);
		}
	}
	if (record) {
		memset(record, 0, sizeof(*record));
		*ret_serial = ++journal->serial;
		journal->n_attached++;
	}
	pthread_mutex_unlock(&journal->lock);
	return record;
}

/* Lock held. */
static void put_record(struct journal *journal, struct journal_record *record)
{
	/* Room for all records at once: a realloc could fail at every close. */
	if (!journal->free_records)
		journal->free_records = calloc(journal->header->n_records, sizeof(*journal->free_records));
	if (journal->free_records)
		journal->free_records[journal->n_free_records++] = (uint32_t)(record - journal->records);
}

void journal_record_give(struct journal *journal, struct journal_record *record)
{
	pthread_mutex_lock(&journal->lock);
	atomic_store_explicit(&record->serial, 0, memory_order_release);
	put_record(journal, record);
	journal->n_attached--;
	unmap_if_unused(journal);
	pthread_mutex_unlock(&journal->lock);
}
