/* SPDX-License-Identifier: MIT */
/* One block of memory serves three purposes: it collects entries; it is divided into a window for each run that is merged; and if
 * all entries fit in it, it is the result. When there are more runs than can be merged at once, they are merged into fewer, longer
 * ones first.
 */
#include "cli/sorter.h"

#include "base/fd.h"
#include "base/why.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WINDOW_ENTRIES 128u /* of a run, in memory while it is merged: 4 KiB */

struct run {
	uint64_t at;   /* in the file, in entries: the next to be read */
	uint64_t left; /* of those */
	struct sort_entry *window;
	size_t have, next; /* in the window */
};

struct sorter {
	struct sort_entry *block;
	size_t capacity, n;
	int fd;          /* of the runs; -1: none yet */
	uint64_t at;     /* entries in the file */
	struct run *runs;
	size_t n_runs, room;
	size_t *heap;    /* indices of runs, the one with the least entry on top */
	size_t n_heap;
	size_t next;     /* in the block, when it is the result */
};

int sort_entry_compare(const struct sort_entry *a, const struct sort_entry *b)
{
	for (size_t i = 0; i < 3; i++)
		if (a->group[i] != b->group[i])
			return a->group[i] < b->group[i] ? -1 : 1;
	return 0;
}

static int compare(const void *a, const void *b)
{
	return sort_entry_compare(a, b);
}

int sorter_new(size_t capacity, struct sorter **ret_sorter, struct why *why)
{
	struct sorter *sorter = calloc(1, sizeof(*sorter));

	if (!sorter)
		return why_errno(why, -ENOMEM, "sorting");
	sorter->fd = -1;
	sorter->capacity = capacity < 2 * WINDOW_ENTRIES ? 2 * WINDOW_ENTRIES : capacity;
	sorter->block = malloc(sorter->capacity * sizeof(*sorter->block));
	sorter->heap = calloc(sorter->capacity / WINDOW_ENTRIES, sizeof(*sorter->heap));
	if (!sorter->block || !sorter->heap) {
		sorter_free(sorter);
		return why_errno(why, -ENOMEM, "sorting");
	}
	*ret_sorter = sorter;
	return 0;
}

struct sorter *sorter_free(struct sorter *sorter)
{
	if (!sorter)
		return NULL;
	fd_close(sorter->fd);
	free(sorter->block);
	free(sorter->heap);
	free(sorter->runs);
	free(sorter);
	return NULL;
}

/* ---- files ---- */

static int file_open(int *ret_fd, struct why *why)
{
	const char *folder = getenv("TMPDIR");
	char path[4096];
	int fd;

	if (!folder || !*folder)
		folder = "/tmp";
	fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) { /* a file system that has no nameless files */
		if (snprintf(path, sizeof(path), "%s/upgradectl-XXXXXX", folder) >= (int)sizeof(path))
			return why_set(why, -ENAMETOOLONG, "$TMPDIR is too long");
		fd = mkostemp(path, O_CLOEXEC);
		if (fd >= 0)
			unlink(path);
	}
	if (fd < 0)
		return why_errno(why, -errno, "a temporary file in %s (set TMPDIR to another folder)", folder);
	*ret_fd = fd;
	return 0;
}

static int entries_write(int fd, const struct sort_entry *entries, size_t n, struct why *why)
{
	int r = fd_write_all(fd, entries, n * sizeof(*entries), 0);

	return r < 0 ? why_errno(why, r, "writing a temporary file (set TMPDIR to a folder with more space)") : 0;
}

static int run_note(struct sorter *sorter, uint64_t at, uint64_t n, struct why *why)
{
	if (sorter->n_runs == sorter->room) {
		size_t room = sorter->room ? sorter->room * 2 : 64;
		struct run *runs = realloc(sorter->runs, room * sizeof(*runs));

		if (!runs)
			return why_errno(why, -ENOMEM, "sorting");
		sorter->runs = runs;
		sorter->room = room;
	}
	sorter->runs[sorter->n_runs++] = (struct run){ .at = at, .left = n };
	return 0;
}

static int block_spill(struct sorter *sorter, struct why *why)
{
	int r = 0;

	if (sorter->fd < 0)
		r = file_open(&sorter->fd, why);
	if (r < 0)
		return r;
	qsort(sorter->block, sorter->n, sizeof(*sorter->block), compare);
	r = entries_write(sorter->fd, sorter->block, sorter->n, why);
	if (r == 0)
		r = run_note(sorter, sorter->at, sorter->n, why);
	sorter->at += sorter->n;
	sorter->n = 0;
	return r;
}

int sorter_add(struct sorter *sorter, const struct sort_entry *entry, struct why *why)
{
	int r = sorter->n == sorter->capacity ? block_spill(sorter, why) : 0;

	if (r == 0)
		sorter->block[sorter->n++] = *entry;
	return r;
}

/* ---- merging ---- */

static int window_fill(struct sorter *sorter, struct run *run, struct why *why)
{
	size_t want = run->left < WINDOW_ENTRIES ? (size_t)run->left : WINDOW_ENTRIES, bytes = want * sizeof(*run->window);
	size_t got = 0;

	while (got < bytes) {
		ssize_t n = pread(sorter->fd, (char *)run->window + got, bytes - got,
				  (off_t)(run->at * sizeof(*run->window) + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return why_errno(why, n ? -errno : -EIO, "reading a temporary file");
		got += (size_t)n;
	}
	run->at += want;
	run->left -= want;
	run->have = want;
	run->next = 0;
	return 0;
}

static const struct sort_entry *run_top(const struct sorter *sorter, size_t at)
{
	const struct run *run = &sorter->runs[sorter->heap[at]];

	return &run->window[run->next];
}

static void heap_sink(struct sorter *sorter, size_t at)
{
	for (;;) {
		size_t child = 2 * at + 1, run;

		if (child >= sorter->n_heap)
			return;
		if (child + 1 < sorter->n_heap && sort_entry_compare(run_top(sorter, child + 1), run_top(sorter, child)) < 0)
			child++;
		if (sort_entry_compare(run_top(sorter, at), run_top(sorter, child)) <= 0)
			return;
		run = sorter->heap[at];
		sorter->heap[at] = sorter->heap[child];
		sorter->heap[child] = run;
		at = child;
	}
}

static int merge_open(struct sorter *sorter, size_t first, size_t n, struct why *why)
{
	sorter->n_heap = n;
	for (size_t i = 0; i < n; i++) {
		struct run *run = &sorter->runs[first + i];
		int r;

		run->window = sorter->block + i * WINDOW_ENTRIES;
		r = window_fill(sorter, run, why);
		if (r < 0)
			return r;
		sorter->heap[i] = first + i;
	}
	for (size_t i = n / 2; i-- > 0;)
		heap_sink(sorter, i);
	return 0;
}

static int merge_next(struct sorter *sorter, struct sort_entry *ret_entry, struct why *why)
{
	struct run *run;
	int r = 0;

	if (!sorter->n_heap)
		return 0;
	run = &sorter->runs[sorter->heap[0]];
	*ret_entry = run->window[run->next++];
	if (run->next == run->have) {
		if (run->left)
			r = window_fill(sorter, run, why);
		else
			sorter->heap[0] = sorter->heap[--sorter->n_heap];
	}
	if (r < 0)
		return r;
	heap_sink(sorter, 0);
	return 1;
}

/* Merge the runs [@first, @first + @n) into one, and append it to @fd. */
static int runs_join(struct sorter *sorter, size_t first, size_t n, int fd, uint64_t *at, struct why *why)
{
	struct sort_entry out[WINDOW_ENTRIES];
	size_t n_out = 0;
	int r = merge_open(sorter, first, n, why);

	while (r == 0) {
		int more = merge_next(sorter, &out[n_out], why);

		if (more < 0)
			return more;
		n_out += (size_t)more;
		if (n_out == WINDOW_ENTRIES || (!more && n_out)) {
			r = entries_write(fd, out, n_out, why);
			*at += n_out;
			n_out = 0;
		}
		if (!more)
			break;
	}
	return r;
}

/* Merge as many runs at a time as fit in the block, until all runs were merged once. */
static int merge_pass(struct sorter *sorter, struct why *why)
{
	size_t fan = sorter->capacity / WINDOW_ENTRIES, joined = 0;
	uint64_t at = 0;
	int fd = -1, r = file_open(&fd, why);

	for (size_t first = 0; first < sorter->n_runs && r == 0; first += fan) {
		size_t n = sorter->n_runs - first < fan ? sorter->n_runs - first : fan;
		uint64_t start = at;

		r = runs_join(sorter, first, n, fd, &at, why);
		/* The new run takes the place of the first one that went into it, so none that is still to be read is
		 * overwritten. */
		sorter->runs[joined++] = (struct run){ .at = start, .left = at - start };
	}
	if (r < 0) {
		fd_close(fd);
		return r;
	}
	fd_close(sorter->fd);
	sorter->fd = fd;
	sorter->at = at;
	sorter->n_runs = joined;
	return 0;
}

int sorter_sort(struct sorter *sorter, struct why *why)
{
	size_t fan = sorter->capacity / WINDOW_ENTRIES;
	int r = 0;

	if (sorter->fd < 0) {
		qsort(sorter->block, sorter->n, sizeof(*sorter->block), compare);
		return 0;
	}
	if (sorter->n)
		r = block_spill(sorter, why);
	while (r == 0 && sorter->n_runs > fan)
		r = merge_pass(sorter, why);
	return r == 0 ? merge_open(sorter, 0, sorter->n_runs, why) : r;
}

int sorter_next(struct sorter *sorter, struct sort_entry *ret_entry, struct why *why)
{
	if (sorter->fd >= 0)
		return merge_next(sorter, ret_entry, why);
	if (sorter->next == sorter->n)
		return 0;
	*ret_entry = sorter->block[sorter->next++];
	return 1;
}
