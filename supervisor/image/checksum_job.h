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
	int rc;              /* 0; -errno: it could not be read; -EINPROGRESS: it was not reached */
	uint64_t size_bytes; /* that were read */
	struct checksum sum;
};

struct graveyard;

struct checksum_job {
	/* For the owner to read. */
	void *owner;
	struct graveyard *graveyard;    /* for a child that is given up while it reads; NULL: wait for it */
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
	bool background;          /* run at the lowest priority, as nobody waits for it */
	uint64_t timeout_us;
};

/** checksum_job_init() - Set @job to the empty state; required before any other call. */
void checksum_job_init(struct checksum_job *job, void *owner);

/**
 * checksum_start() - Read files and sum them up.
 * @on_done: called once from the loop. With 0 each entry holds the result of its file. With -errno (-ETIMEDOUT; -EIO: the child
 *           was ended) the entries that were not reached have -EINPROGRESS. May start @job again.
 *
 * The child closes the descriptors of this process, so that no peer waits for the end of one that only the child holds open.
 *
 * Return: 0; -errno if there is no child: then on_done is not called. Context: loop thread; returns at once.
 */
int checksum_start(struct loop *loop, struct checksum_job *job, const struct checksum_spec *spec,
		   void (*on_done)(struct checksum_job *job, int rc, const struct why *why), struct why *why);

bool checksum_job_busy(const struct checksum_job *job);

/** checksum_job_done() - Give up what @job holds. A run under way is killed, on_done is not called. */
void checksum_job_done(struct checksum_job *job);

/** checksum_file() - Sum up one small file in @dir, in this process. Return: 0 or -errno, which is in @ret->rc, too. */
int checksum_file(int dir, const char *name, struct checksum_entry *ret);

/** checksum_data() - Sum up bytes in memory. */
struct checksum checksum_data(const void *data, size_t size_bytes);

/** checksum_text() - Write @sum as hexadecimal digits. Return: @buf. */
const char *checksum_text(const struct checksum *sum, char buf[CHECKSUM_TEXT]);

/** checksum_parse() - Read CHECKSUM_TEXT - 1 digits. Return: 0 or -EINVAL. */
int checksum_parse(const char *text, struct checksum *ret);
