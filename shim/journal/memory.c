/* SPDX-License-Identifier: MIT */
/* The journal's memory: mapped and divided, blocks for buffers, records for connections.
 *
 * Only the process that writes gives memory out, so who has what is kept in its own memory and dies with it. Fresh pages
 * are asked for in larger pieces just before they are written: a page fault costs ten times as much.
 */
#include "shim/journal/memory.h"

#include "shim/journal/conn.h"
#include "shim/core/upg.h"
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

void journal_init(struct journal *journal, struct fd_table *fds)
{
	journal->fds = fds;
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

/* What changes are made with; other threads may be at it until the end. */
static void forget_types(struct upg *upg)
{
	struct journal *journal = &upg->journal;

	for (size_t i = 0; journal->plans && i < upg->config->n_types; i++)
		sf_plan_free(journal->plans[i]);
	for (size_t i = 0; i < journal->n_names; i++)
		free(journal->names[i]);
	free(journal->names);
	free(journal->plans);
	free(journal->types);
	journal->names = NULL;
	journal->n_names = 0;
	journal->plans = NULL;
	journal->types = NULL;
}

void journal_done(struct upg *upg)
{
	unmap(&upg->journal);
	forget_types(upg);
	journal_pending_done(&upg->journal.loose);
	pthread_mutex_destroy(&upg->journal.lock);
}

static void touch(struct journal *journal, uint64_t at, uint64_t bytes)
{
	uint64_t from = at & ~(PAGE_BYTES - 1), to = (at + bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);

	if (to > journal->size_bytes)
		to = journal->size_bytes;
	/* Where the kernel does not know this, the pages come one by one. */
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

/* The journal may be over by now: then this does nothing, or nothing that matters. */
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

void journal_attach(struct upg *upg, int fd)
{
	struct journal *journal = &upg->journal;
	struct why why = { 0 };

	if (fd < 0)
		why_set(&why, -EPROTO, "it did not come");
	else
		map(journal, fd, &why);
	if (!journal->map)
		journal_fail(upg, "%s", why.text);
}

/* Where the predecessor's type of this name is in the stream's header, or -1. */
static int find_type(const struct sf_header *header, const char *name)
{
	for (size_t i = 0; i < header->n_schemas; i++)
		if (strcmp(header->schemas[i].name, name) == 0)
			return (int)i;
	return -1;
}

static int bind_type(struct upg *upg, size_t index, const struct sf_header *header, struct why *why)
{
	struct journal *journal = &upg->journal;
	const struct upg_type *type = &upg->config->types[index];
	struct sf_schema have = { .name = type->name, .version = type->version, .descriptor = type->descriptor }, want;
	int at = find_type(header, type->name);

	journal->types[index] = at;
	if (at < 0 || header->schemas[at].version == type->version)
		return 0;
	want = header->schemas[at];
	want.name = journal->names[at];
	want.descriptor = application_older(upg->application, type->name, want.version);
	return sf_plan_new(&have, 1, &want, 1, upg->application->migrations, upg->config->n_migrations, &journal->plans[index], why);
}

static int bind_types(struct upg *upg, const struct sf_header *header, struct why *why)
{
	struct journal *journal = &upg->journal;
	const struct upg_config *config = upg->config;
	struct journal_type *types = (struct journal_type *)(void *)(journal->map + journal->header->types_at);
	int r = 0;

	journal->types = calloc(config->n_types + 1, sizeof(*journal->types));
	journal->plans = calloc(config->n_types + 1, sizeof(struct sf_plan *));
	journal->names = calloc(header->n_schemas + 1, sizeof(char *));
	if (!journal->types || !journal->plans || !journal->names)
		return why_errno(why, -ENOMEM, "journal");
	for (size_t i = 0; i < header->n_schemas; i++) {
		const struct sf_schema *schema = &header->schemas[i];

		if (strlen(schema->name) >= sizeof(types[i].name))
			return why_set(why, -ENAMETOOLONG, "the name of type %s", schema->name);
		strcpy(types[i].name, schema->name);
		types[i].version = schema->version;
		types[i].fingerprint = schema->fingerprint;
		journal->names[i] = strdup(schema->name);
		journal->n_names = i + 1;
		if (!journal->names[i])
			return why_errno(why, -ENOMEM, "journal");
	}
	for (size_t i = 0; r == 0 && i < config->n_types; i++)
		r = bind_type(upg, i, header, why);
	return r;
}

void journal_bind(struct upg *upg, const struct sf_header *header)
{
	struct journal *journal = &upg->journal;
	struct why why = { 0 };
	int r;

	if (!journal->map)
		return;
	if (header->n_schemas > JOURNAL_TYPES_MAX)
		r = why_set(&why, -E2BIG, "%zu types", header->n_schemas);
	else if ((r = divide(journal, header->n_schemas)) < 0)
		why_errno(&why, r, "a journal of %zu bytes", journal->size_bytes);
	if (r == 0)
		r = bind_types(upg, header, &why);
	if (r < 0) {
		journal_fail(upg, "%s", why.text);
		return;
	}
	touch(journal, journal->header->records_at, LOG_AHEAD_BYTES / 4);
	touch(journal, journal->header->log_at, LOG_AHEAD_BYTES);
	journal->log_touched = LOG_AHEAD_BYTES;
	journal->usable = true;
	atomic_store_explicit(&journal->header->magic, JOURNAL_MAGIC, memory_order_release);
}

/* While changes count, the supervisor holds duplicates also of what is opened: without those the replay could not go on with it. */
static void switch_on(struct journal *journal, bool on)
{
	atomic_store(&journal->on, on);
	atomic_store(&journal->fds->announces, on);
}

void journal_begin(struct upg *upg)
{
	switch_on(&upg->journal, upg->journal.usable);
}

/* Lock held. The last connection has left, and nobody will come. */
static void unmap_if_unused(struct journal *journal)
{
	if (!journal->usable && !journal->n_attached)
		unmap(journal);
}

void journal_end(struct upg *upg)
{
	struct journal *journal = &upg->journal;

	pthread_mutex_lock(&journal->lock);
	switch_on(journal, false);
	journal->usable = false;
	journal->is_over = true;
	if (journal->header && journal->header->log_bytes)
		madvise(journal->map + journal->header->log_at, journal->header->log_bytes, MADV_REMOVE);
	unmap_if_unused(journal);
	pthread_mutex_unlock(&journal->lock);
}

/* Without waiting: what finds no room is told by the next upg_dispatch(). */
void journal_tell(struct upg *upg)
{
	Upgraded__Wire__JournalFull full = UPGRADED__WIRE__JOURNAL_FULL__INIT;
	Upgraded__Wire__AppMessage message = APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_FULL, .journal_full = &full);

	pthread_mutex_lock(&upg->journal.lock);
	if (upg->journal.full_untold) {
		full.bytes = upg->journal.log_head;
		if (channel_post(upg->channel, &message, NULL, 0) != WIRE_AGAIN)
			upg->journal.full_untold = false;
	}
	pthread_mutex_unlock(&upg->journal.lock);
}

/* Lock held; the caller tells. */
void journal_fail_locked(struct journal *journal, const char *text)
{
	/* The journal first: who finds it off, without this lock, answers requests whose changes are nowhere, and connections move
	 * to memory that nobody will see. */
	if (!journal->is_over && journal->map) {
		snprintf(journal->header->reason, sizeof(journal->header->reason), "%s", text);
		atomic_store(&journal->header->is_void, 1);
		atomic_store(&journal->header->magic, JOURNAL_MAGIC);
	}
	if (!journal->is_over)
		journal->full_untold = true;
	journal->is_over = true;
	switch_on(journal, false);
	journal->usable = false;
}

void journal_fail(struct upg *upg, const char *fmt, ...)
{
	char text[128];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	pthread_mutex_lock(&upg->journal.lock);
	journal_fail_locked(&upg->journal, text);
	unmap_if_unused(&upg->journal);
	pthread_mutex_unlock(&upg->journal.lock);
	journal_tell(upg);
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
			return; /* given up: it is only for the time of a bake */
		blocks->at = grown;
		blocks->cap = cap;
	}
	blocks->at[blocks->n++] = at;
}

/* Lock held. A larger block that is free is cut in halves. */
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

struct journal_record *journal_record_take(struct upg *upg, uint64_t *ret_serial)
{
	struct journal *journal = &upg->journal;
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
	/* Room for all there can be, at once: no realloc that could fail at every close. */
	if (!journal->free_records)
		journal->free_records = calloc(journal->header->n_records, sizeof(*journal->free_records));
	if (journal->free_records)
		journal->free_records[journal->n_free_records++] = (uint32_t)(record - journal->records);
}

void journal_record_give(struct upg *upg, struct journal_record *record)
{
	struct journal *journal = &upg->journal;

	pthread_mutex_lock(&journal->lock);
	atomic_store_explicit(&record->serial, 0, memory_order_release);
	put_record(journal, record);
	journal->n_attached--;
	unmap_if_unused(journal);
	pthread_mutex_unlock(&journal->lock);
}

void journal_leave_all(struct upg *upg)
{
	struct fd_table *table = upg->fds;

	journal_end(upg);
	for (size_t i = 0; i < table->n_by_fd; i++) {
		struct upg_conn *conn = table->by_fd[i] ? table->by_fd[i]->conn : NULL;

		/* Out of memory it stays where it is: an image is larger then. */
		if (conn && conn->record)
			conn_leave_journal(conn);
	}
}
