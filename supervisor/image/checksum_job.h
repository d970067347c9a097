/* SPDX-License-Identifier: MIT */
/* Checksums of large files (XXH3, 128 bits), computed in a child process so that the loop never waits for a disk. */
#pragma once

#include "base/child.h"
#include "base/loop.h"
#include "base/why.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHECKSUM_BYTES 16u
#define CHECKSUM_TEXT (2 * CHECKSUM_BYTES + 1) /* as hexadecimal digits, with the NUL */

struct checksum {
	uint8_t bytes[CHECKSUM_BYTES];
};

/* What was found of one file. */
struct checksum_entry {
	int rc;              /* 0; -errno: it could not be read; -EINPROGRESS: it was not come to */
	uint64_t size_bytes; /* that were read */
	struct checksum sum;
};

struct checksum_job {
	/* For the owner to read. */
	void *owner;
	struct checksum_entry *entries; /* in the order of the names; until the job is started again or done */
	size_t n;

	/* checksum_job.c only. */
	struct loop *loop;
	struct child child;
	struct timer timer;
	size_t mapped_bytes;
	uint64_t limit_us;
	bool timed_out;
	void (*on_done)(struct checksum_job *job, int rc, const struct why *why);
};

struct checksum_spec {
	const char *dir;
	const char *const *names; /* borrowed during the call */
	size_t n;
	bool background;          /* nobody waits for it: the lowest priority there is */
	uint64_t timeout_us;
};

/** checksum_job_init() - To the empty state; required before any other call. */
void checksum_job_init(struct checksum_job *job, void *owner);

/**
 * checksum_start() - Read files and sum them up.
 * @on_done: called once from the loop. With 0 each entry says what came of its file. With -errno (-ETIMEDOUT; -EIO: the child
 *           was ended) the entries that were not come to say so. May start @job again.
 *
 * The child has none of this process's descriptors, so that no peer waits for an end that it holds open.
 *
 * Return: 0; -errno if there is no child: then on_done is not called. Context: loop thread; returns at once.
 */
int checksum_start(struct loop *loop, struct checksum_job *job, const struct checksum_spec *spec,
		   void (*on_done)(struct checksum_job *job, int rc, const struct why *why), struct why *why);

bool checksum_job_busy(const struct checksum_job *job);

/** checksum_job_done() - Give up what is held; a run under way is killed, on_done is not called. */
void checksum_job_done(struct checksum_job *job);

/** checksum_file() - The same for one small file, here and now. Return: 0 or -errno, which @ret says, too. */
int checksum_file(int dir, const char *name, struct checksum_entry *ret);

/** checksum_data() - Of bytes in memory. */
struct checksum checksum_data(const void *data, size_t size_bytes);

/** checksum_text() - Return: @buf. */
const char *checksum_text(const struct checksum *sum, char buf[CHECKSUM_TEXT]);

/** checksum_parse() - CHECKSUM_TEXT - 1 digits. Return: 0 or -EINVAL. */
int checksum_parse(const char *text, struct checksum *ret);
