/* SPDX-License-Identifier: MIT */
/* Fresh pages are asked for in larger pieces, just before they are written: a page fault costs ten times as much. */
#include "shim/journal/memory.h"

#include "base/why.h"
#include "shim/core/channel.h"
#include "shim/core/upg.h"
#include "shim/fds/table.h"
#include "shim/journal/divide.h"
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
#include <sys/resource.h>
#include <sys/stat.h>

#define PAGE_BYTES ((uint64_t)4096)
#define LOG_AHEAD_BYTES ((uint64_t)256 << 10)

void journal_init(struct journal *journal, const struct application *application, struct channel *channel, struct fd_table *fds)
{
	*journal = (struct journal){ .application = application, .channel = channel, .fds = fds };
	changes_init(&journal->loose, sizeof(struct journal_transaction));
	pthread_mutex_init(&journal->lock, NULL);
}

static void unmap(struct journal *journal)
{
	struct journal_former former = { journal->map, journal->size_bytes };

	journal_former_done(&former);
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

void journal_former_done(struct journal_former *former)
{
	if (former->map)
		munmap(former->map, former->size_bytes);
	former->map = NULL;
}

struct journal_former journal_take_off(struct journal *journal)
{
	struct journal_former former = { journal->map, journal->size_bytes };

	pthread_mutex_lock(&journal->lock);
	atomic_store(&journal->on, false);
	journal->usable = journal->is_over = journal->is_own_way = false;
	gaps_end(&journal->fds->gaps);
	*journal->reason = 0;
	atomic_store(&journal->full_untold, false);
	atomic_store(&journal->half_untold, false);
	journal->map = NULL;
	unmap(journal);
	journal->n_attached = 0;
	journal->log_head = journal->log_touched = journal->log_half = journal->missed_bytes = 0;
	free(journal->unapplied);
	journal->unapplied = NULL;
	change_ways_done(&journal->ways);
	pthread_mutex_unlock(&journal->lock);
	return former;
}

void journal_done(struct journal *journal)
{
	unmap(journal);
	change_ways_done(&journal->ways);
	changes_done(&journal->loose);
	free(journal->unapplied);
	pthread_mutex_destroy(&journal->lock);
}

int upg_journal_on(const struct upg *upg)
{
	return atomic_load_explicit(&upg->journal->on, memory_order_relaxed);
}

/* ---- the map ---- */

void journal_touch(struct journal *journal, uint64_t at, uint64_t bytes)
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

static int divide(struct journal *journal, size_t n_types)
{
	struct rlimit files = { 0 };
	struct journal_header *header = journal->header;
	struct journal_wish wish = { .n_types = n_types, .n_registered = journal->fds->n_entries };
	struct journal_division division;
	int r;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
		wish.n_files_max = files.rlim_cur;
	r = journal_divide(journal->size_bytes, &wish, &division);
	if (r < 0)
		return r;
	header->format = JOURNAL_FORMAT;
	header->size_bytes = journal->size_bytes;
	header->n_types = (uint32_t)n_types;
	header->types_at = division.types_at;
	header->records_at = division.records_at;
	header->n_records = division.n_records;
	header->arena_at = division.arena_at;
	header->arena_bytes = division.arena_bytes;
	header->log_at = division.log_at;
	header->log_bytes = division.log_bytes;
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
	if ((uint64_t)st.st_size < JOURNAL_BYTES_MIN || (uint64_t)st.st_size > JOURNAL_BYTES_MAX)
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

void journal_limit(struct journal *journal, const Upgraded__Wire__Receive *receive)
{
	const struct upg_config *config = journal->application->config;

	journal->no_newcomers = receive->no_newcomers;
	for (size_t i = 0; i < receive->n_predecessor; i++) {
		const Upgraded__Wire__Schema *theirs = receive->predecessor[i];
		const struct upg_type *type = application_type(journal->application, theirs->name);

		if (!type || !theirs->no_change)
			continue;
		if (!journal->unapplied)
			journal->unapplied = calloc(config->n_types, sizeof(*journal->unapplied));
		if (!journal->unapplied) {
			journal_fail(journal, "out of memory");
			return;
		}
		journal->unapplied[type - config->types] = true;
	}
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

static int bind_types(struct journal *journal, const struct sf_header *header, struct why *why)
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

void journal_lay_out(struct journal *journal, const struct sf_header *header)
{
	struct why why = { 0 };

	if (!journal->map)
		return;
	if (bind_types(journal, header, &why) < 0) {
		journal_fail(journal, "%s", why.text);
		return;
	}
	journal_touch(journal, journal->header->records_at, LOG_AHEAD_BYTES / 4);
	journal_touch(journal, journal->header->log_at, LOG_AHEAD_BYTES);
	journal->log_touched = LOG_AHEAD_BYTES;
	journal->usable = true;
}

void journal_say_bound(struct journal *journal)
{
	if (journal->header)
		atomic_store_explicit(&journal->header->magic, JOURNAL_MAGIC, memory_order_release);
}

void journal_bind(struct journal *journal, const struct sf_header *header)
{
	journal_lay_out(journal, header);
	if (journal->usable)
		journal_say_bound(journal);
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
	bool usable = journal->usable;

	if (usable && journal->is_own_way)
		journal->log_half = journal->header->log_bytes / 2;
	switch_on(journal, usable);
	if (!usable)
		return;
	fd_table_find_gaps(journal->fds);
	gaps_begin(&journal->fds->gaps);
}

void journal_unmap_if_unused(struct journal *journal)
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
	gaps_end(&journal->fds->gaps);
	if (journal->header && journal->header->log_bytes)
		madvise(journal->map + journal->header->log_at, journal->header->log_bytes, MADV_REMOVE);
	journal_unmap_if_unused(journal);
	pthread_mutex_unlock(&journal->lock);
}

static void tell_half(struct journal *journal)
{
	Upgraded__Wire__JournalFills fills = UPGRADED__WIRE__JOURNAL_FILLS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_FILLS, .journal_fills = &fills);

	pthread_mutex_lock(&journal->lock);
	if (atomic_load(&journal->half_untold)) {
		fills.bytes = journal->log_head;
		if (channel_post(journal->channel, &message, NULL, 0) != WIRE_AGAIN)
			atomic_store(&journal->half_untold, false);
	}
	pthread_mutex_unlock(&journal->lock);
}

void journal_tell(struct journal *journal)
{
	Upgraded__Wire__JournalFull full = UPGRADED__WIRE__JOURNAL_FULL__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_FULL, .journal_full = &full);

	gaps_tell(&journal->fds->gaps);
	if (atomic_load_explicit(&journal->half_untold, memory_order_relaxed))
		tell_half(journal);
	if (!atomic_load_explicit(&journal->full_untold, memory_order_relaxed))
		return;
	pthread_mutex_lock(&journal->lock);
	if (atomic_load(&journal->full_untold)) {
		full.bytes = journal->log_head;
		full.reason = journal->reason;
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
		snprintf(journal->header->reason, sizeof(journal->header->reason), "%s", text ? text : "it is full");
		atomic_store(&journal->header->is_void, 1);
		atomic_store(&journal->header->magic, JOURNAL_MAGIC);
	}
	if (!journal->is_over) {
		snprintf(journal->reason, sizeof(journal->reason), "%s", text ? text : "");
		atomic_store(&journal->full_untold, true);
	}
	journal->is_over = true;
	switch_on(journal, false);
	journal->usable = false;
	gaps_end(&journal->fds->gaps);
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
	journal_unmap_if_unused(journal);
	pthread_mutex_unlock(&journal->lock);
	journal_tell(journal);
}
